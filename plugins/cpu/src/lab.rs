//! COMPARE_SCHEDULERS: one workload through several algorithms, in exact simulation and with real processes.
//!
//! A [`workload`] is checked, then for each algorithm [`simulate`]d and [`replay`]ed: real processes run in a pool of
//! their own and are [`observer`]ed. Both give a [`trace`], from which the same tables are made, and the
//! [`differences`] say where they are not the same.

mod differences;
mod observer;
mod replay;
mod simulate;
mod trace;
mod workload;

use crate::jobs::Jobs;
use crate::scheduler::Algorithm;
use observer::Watch;
use parking_lot::Mutex;
use potluck_sdk::message::scheduler::{AlgorithmComparison, CompareSchedulers, SchedulerComparison};
use potluck_sdk::{ProviderError, Reply, Request};
use replay::{COMPARISON_SECONDS_MAX, RUN_SECONDS_MAX, Stage};
use std::sync::{Arc, Weak};
use workload::Plan;

/// Where comparisons are made, one at a time: two at once would measure each other.
#[derive(Default)]
pub(crate) struct Lab {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The comparison that is being made.
    running: Weak<Watch>,
    is_stopped: bool,
}

impl Lab {
    /// COMPARE_SCHEDULERS.
    pub(crate) fn compare(&self, jobs: &Arc<Jobs>, request: Request<'_>, reply: Reply<'_>) {
        let mut message = match request.parse::<CompareSchedulers>() {
            Ok(message) => message,
            Err(error) => return reply.error(&error),
        };
        let is_real = message.real.unwrap_or(true);
        let title = message.workload.title.take();
        let checked = check(message, is_real).map_err(ProviderError::invalid);
        let begun = checked.and_then(|(plan, algorithms)| Ok((plan, algorithms, self.begin()?)));
        let (plan, algorithms, watch) = match begun {
            Ok(begun) => begun,
            Err(error) => return reply.error(&error),
        };
        let (jobs, reply) = (Arc::clone(jobs), reply.later());
        let abandoned = Arc::downgrade(&watch);
        // Nobody waits for the tables any more.
        reply.on_cancel(move || {
            if let Some(watch) = abandoned.upgrade() {
                watch.call_off();
            }
        });
        let host = jobs.host;
        host.spawn_blocking(move || {
            let made = make(&jobs, title, &plan, &algorithms, &watch, is_real);
            // The next one may begin as soon as this one is answered.
            drop(watch);
            match made {
                Ok(comparison) => reply.send(&comparison),
                Err(text) => reply.error(&ProviderError::new("comparison_failed", text)),
            }
        });
    }

    /// The node stops: calls off what is being made, and takes no more.
    pub(crate) fn stop(&self) {
        let running = {
            let mut state = self.state.lock();
            state.is_stopped = true;
            state.running.upgrade()
        };
        if let Some(watch) = running {
            watch.call_off();
        }
    }

    fn begin(&self) -> Result<Arc<Watch>, ProviderError> {
        let mut state = self.state.lock();
        if state.is_stopped {
            return Err(ProviderError::new("node_stopping", "this node is stopping"));
        }
        if state.running.strong_count() > 0 {
            let text = "another comparison of schedulers is being made on this node; try again when it is over";
            return Err(ProviderError::new("busy", text));
        }
        let watch = Arc::new(Watch::new());
        state.running = Arc::downgrade(&watch);
        Ok(watch)
    }
}

fn check(mut message: CompareSchedulers, is_real: bool) -> Result<(Plan, Vec<Algorithm>), String> {
    let workload = std::mem::take(&mut message.workload);
    let options = (workload.quantum_ms, workload.ageing_seconds);
    let plan = Plan::read(workload)?;
    (message.workload.quantum_ms, message.workload.ageing_seconds) = options;
    let algorithms = workload::algorithms(&message, &plan)?;
    if is_real {
        let real = algorithms.iter().try_for_each(|algorithm| algorithm.check_real().map(|_| ()));
        let seconds = plan.micros_max().div_ceil(1_000_000);
        let all_seconds = seconds * algorithms.len() as u64;
        let bounded = if seconds > RUN_SECONDS_MAX || all_seconds > COMPARISON_SECONDS_MAX {
            Err(format!(
                "with real processes this workload takes {seconds} s for each of {} algorithms; at most {RUN_SECONDS_MAX} s \
                 each and {COMPARISON_SECONDS_MAX} s together are taken",
                algorithms.len()
            ))
        } else {
            Ok(())
        };
        real.and(bounded).map_err(|text| format!("{text}; or let it only be simulated (`real`: false)"))?;
    }
    Ok((plan, algorithms))
}

fn make(
    jobs: &Jobs,
    title: Option<String>,
    plan: &Plan,
    algorithms: &[Algorithm],
    watch: &Arc<Watch>,
    is_real: bool,
) -> Result<SchedulerComparison, String> {
    let stage = if is_real { Some(Stage::set(jobs, plan, watch)?) } else { None };
    let compared: Result<Vec<AlgorithmComparison>, String> =
        algorithms.iter().map(|algorithm| compare_one(plan, *algorithm, stage.as_ref())).collect();
    if let Some(stage) = stage {
        stage.clear();
    }
    let compared = compared?;
    let least = compared.iter().map(|one| one.simulated.average_waiting_ms).fold(f64::INFINITY, f64::min);
    let is_least = |one: &&AlgorithmComparison| one.simulated.average_waiting_ms <= least;
    Ok(SchedulerComparison {
        title,
        slots: plan.slots,
        shortest_waiting: compared.iter().filter(is_least).map(|one| one.name.clone()).collect(),
        algorithms: compared,
        notes: notes(plan, jobs.node.cores, is_real),
    })
}

fn compare_one(plan: &Plan, algorithm: Algorithm, stage: Option<&Stage<'_>>) -> Result<AlgorithmComparison, String> {
    let simulated = simulate::simulate(plan, algorithm);
    let real = stage.map(|stage| stage.run(algorithm)).transpose()?;
    Ok(AlgorithmComparison {
        name: algorithm.label().to_owned(),
        scheduler: algorithm.choice(),
        simulated: simulated.schedule(plan),
        differences: real
            .as_ref()
            .map(|real| differences::differences(plan, algorithm, &simulated, real))
            .unwrap_or_default(),
        real: real.map(|real| real.schedule(plan)),
    })
}

fn notes(plan: &Plan, cores: usize, is_real: bool) -> Vec<String> {
    let mut notes = vec![
        "simulation: switching takes no time; of equals the one that came first is first; one that arrives at the \
         instant at which a quantum ends is ahead of the one whose quantum it was"
            .to_owned(),
    ];
    if is_real {
        notes.push("real: Python processes in a pool of their own, stopped and continued by signals".to_owned());
        if plan.slots > cores {
            notes.push(format!("{} slots share {cores} cores of this machine, so bursts take longer", plan.slots));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn checked(message: Value, is_real: bool) -> Result<(Plan, Vec<Algorithm>), String> {
        check(serde_json::from_value(message).unwrap(), is_real)
    }

    #[test]
    fn what_is_too_long_for_processes_can_be_simulated() {
        let long = json!({ "workload": { "processes": [{ "burst_ms": 61_000 }] } });
        let text = checked(long.clone(), true).unwrap_err();
        assert!(text.contains("takes 61 s for each of 6 algorithms") && text.contains("`real`: false"), "{text}");
        assert!(checked(long, false).is_ok());
        let fine = json!({ "workload": { "quantum_ms": 1, "processes": [{ "burst_ms": 10 }] } });
        assert!(checked(fine.clone(), true).unwrap_err().starts_with("a quantum of 1 ms is not possible"));
        let (_, algorithms) = checked(fine, false).unwrap();
        assert_eq!(algorithms.last().unwrap().choice().quantum_ms, Some(1.0));
    }

    #[test]
    fn one_comparison_is_made_at_a_time() {
        let lab = Lab::default();
        let watch = lab.begin().unwrap();
        assert_eq!(lab.begin().err().unwrap().code, "busy");
        drop(watch);
        let watch = lab.begin().unwrap();
        lab.stop();
        assert!(watch.is_called_off());
        drop(watch);
        assert_eq!(lab.begin().err().unwrap().code, "node_stopping");
    }
}
