//! Runs a workload with real processes, in a pool of its own: the node's tasks neither wait for them nor are measured.

use super::observer::{Observer, Watch};
use super::trace::Trace;
use super::workload::{Plan, Planned};
use crate::jobs::Jobs;
use crate::pool::{self, Attempt, AttemptId, Links, Pool, Sizes, Stop};
use crate::runtime::{RuntimeKey, Runtimes};
use crate::scheduler::Algorithm;
use crate::task::Limits;
use potluck_sdk::Level;
use potluck_sdk::message::to_json;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest run of a workload, if slots do not idle and every process gets a whole core.
pub(super) const RUN_SECONDS_MAX: u64 = 60;
/// Longest comparison: all runs together.
pub(super) const COMPARISON_SECONDS_MAX: u64 = 600;
/// How much longer than that a run may take before it is given up: the machine has others to serve.
const PATIENCE: u32 = 3;
/// What a run may take besides: interpreters that are started, programs that are longer than they say.
const GRACE: Duration = Duration::from_secs(10);
/// All interpreters are there by then.
const WARM_UP_WITHIN: Duration = Duration::from_secs(60);
/// The first processes arrive so long after the run has begun.
const LEAD: Duration = Duration::from_millis(5);

/// Burns exactly so much processor time, and says how much it was. While its process is stopped no time goes by in it.
const BURN: &str = "\
import time

def burn(microseconds):
    begin = time.thread_time_ns()
    end = begin + microseconds * 1000
    while time.thread_time_ns() < end:
        pass
    return (time.thread_time_ns() - begin) // 1000
";

/// A pool with a warm interpreter for each process of a workload.
pub(super) struct Stage<'a> {
    plan: &'a Plan,
    watch: Arc<Watch>,
    pool: Arc<Pool>,
    supervisor: JoinHandle<()>,
    runtime: RuntimeKey,
    limits: Limits,
}

impl Stage<'_> {
    /// Starts it. May take as long as interpreters take to start.
    pub(super) fn set<'a>(jobs: &Jobs, plan: &'a Plan, watch: &Arc<Watch>) -> Result<Stage<'a>, String> {
        let processes = plan.processes.len();
        let config = &jobs.config;
        let sizes = Sizes {
            slots: plan.slots,
            spares: processes,
            processes_max: processes,
            suspended_max: processes,
            waiting_max: processes,
            queue_tasks_max: processes,
            queue_bytes_max: usize::MAX,
            scratch_bytes_max: config.scratch_limit_bytes,
            others_unprotected: false,
        };
        let (images, tools) = (Arc::clone(&jobs.images), Arc::clone(&jobs.tools));
        let runtimes = Runtimes::new(config, &jobs.node.lib_dir, jobs.modules.folder(), images, tools);
        let host = jobs.host;
        let links = Links {
            on_load: Box::new(|_, _| ()),
            complain: Box::new(move |complaint| host.log(Level::Warn, complaint)),
            prepare: Box::new(move |pool, key, runtime| {
                let pool = Arc::clone(pool);
                host.spawn_blocking(move || pool.prepared(&key, runtime.prepare()));
            }),
            on_decision: Box::new(|_| ()),
        };
        let folder = jobs.node.data_dir.join("scratch-schedule");
        let (pool, supervisor) = pool::start(sizes, Algorithm::Fcfs, runtimes, folder, links)
            .map_err(|error| format!("the workers of the comparison cannot be started: {error}"))?;
        let stage = Stage {
            plan,
            watch: Arc::clone(watch),
            pool,
            supervisor,
            runtime: RuntimeKey::Python { trusted: config.trusted },
            limits: Limits {
                cpu_seconds: None,
                memory_bytes: config.memory_limit_bytes,
                output_bytes: config.output_limit_bytes,
            },
        };
        match stage.warm_up() {
            Ok(()) => Ok(stage),
            Err(text) => {
                stage.clear();
                Err(text)
            }
        }
    }

    /// Runs the workload once.
    pub(super) fn run(&self, algorithm: Algorithm) -> Result<Trace, String> {
        self.pool.set_algorithm(algorithm);
        self.watch.begin(self.plan.processes.len());
        let begin = Instant::now() + LEAD;
        let planned = Duration::from_micros(self.plan.micros_max());
        let deadline = begin + planned * PATIENCE + GRACE;
        let arrivals = self.plan.arrivals();
        let time = |process: &usize| self.plan.processes[*process].arrival_micros;
        let mut begun = Vec::new();
        // Those that arrive at one instant are chosen from together.
        for group in arrivals.chunk_by(|one, other| time(one) == time(other)) {
            if !self.watch.wait_until(begin + Duration::from_micros(time(&group[0]))) {
                break;
            }
            begun.extend(self.submit(group, deadline, Planned::order));
        }
        self.wait(&begun, deadline)?;
        Ok(self.watch.trace(begin, self.plan.slots))
    }

    /// Ends all its processes.
    pub(super) fn clear(self) {
        self.pool.drain(Duration::ZERO);
        // Its thread ends once its workers have.
        let _ = self.supervisor.join();
    }

    /// Has every process's interpreter started before anything is measured.
    fn warm_up(&self) -> Result<(), String> {
        self.watch.begin(self.plan.processes.len());
        let all: Vec<usize> = (0..self.plan.processes.len()).collect();
        let deadline = Instant::now() + WARM_UP_WITHIN;
        let begun = self.submit(&all, deadline, |_| order(BURN, "burn", &json!([0])));
        self.wait(&begun, deadline + GRACE)?;
        let warm = self.watch.trace(Instant::now(), self.plan.slots);
        match warm.errors.into_iter().flatten().next() {
            Some(error) => Err(format!("the processes of the comparison cannot be run: {error}")),
            None => Ok(()),
        }
    }

    fn wait(&self, begun: &[AttemptId], deadline: Instant) -> Result<(), String> {
        let is_over = !self.watch.is_called_off() && self.watch.wait_for_all(deadline);
        if is_over {
            return Ok(());
        }
        for id in begun {
            self.pool.stop(*id, Stop::Cancelled);
        }
        Err(if self.watch.is_called_off() {
            "the comparison was called off".to_owned()
        } else {
            "the processes of the comparison have not ended in time; the machine may be busy with something else"
                .to_owned()
        })
    }

    fn submit(&self, processes: &[usize], deadline: Instant, order: impl Fn(&Planned) -> Vec<u8>) -> Vec<AttemptId> {
        let attempt = |process: &usize| {
            let planned = &self.plan.processes[*process];
            let (watch, process, counts) = (Arc::clone(&self.watch), *process, planned.program.is_none());
            Attempt {
                name: planned.name.as_str().into(),
                calls: Some(Arc::new(Observer {
                    watch: Arc::clone(&watch),
                    process,
                    pool: Arc::downgrade(&self.pool),
                })),
                runtime: self.runtime.clone(),
                others_work: false,
                peer: None,
                body: self.body(&order(planned)),
                // An interpreter for each, so that one can be stopped without the others.
                submitter: planned.name.as_str().into(),
                isolated: false,
                confidential: true,
                may_leave: false,
                turn: None,
                priority: planned.rank,
                deadline,
                estimate_seconds: planned.estimate_micros as f64 / 1e6,
                limits: self.limits,
                done: Box::new(move |outcome| watch.ended(process, counts, Ok(&outcome))),
            }
        };
        let results = self.pool.submit_all(processes.iter().map(attempt).collect());
        let begun = results.into_iter().zip(processes).filter_map(|(result, process)| match result {
            Ok(id) => Some(id),
            Err(failed) => {
                self.watch.ended(*process, false, Err(&failed.error));
                None
            }
        });
        begun.collect()
    }

    /// The order that a worker gets, behind its slot.
    fn body(&self, order: &[u8]) -> Arc<[u8]> {
        let Limits { memory_bytes, output_bytes, .. } = self.limits;
        let limits = format!("\"memory_limit_bytes\":{memory_bytes},\"output_limit_bytes\":{output_bytes},");
        [limits.as_bytes(), order].concat().into()
    }
}

impl Planned {
    fn order(&self) -> Vec<u8> {
        match &self.program {
            Some(program) => order(&program.text, &program.function, &Value::Array(program.args.clone())),
            None => order(BURN, "burn", &json!([self.burst_micros])),
        }
    }
}

/// A task as the end of an order, without its first brace.
fn order(program: &str, function: &str, args: &Value) -> Vec<u8> {
    #[derive(Serialize)]
    struct Task<'a> {
        program: &'a str,
        function: &'a str,
        args: &'a Value,
    }
    to_json(&Task { program, function, args }).into_bytes().split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_task_without_its_first_brace() {
        let text = String::from_utf8(order("def f(a): pass\n", "f", &json!([1]))).unwrap();
        assert_eq!(text, r#""program":"def f(a): pass\n","function":"f","args":[1]}"#);
        let burst = Planned { burst_micros: 1500, ..Planned::default() };
        assert!(String::from_utf8(burst.order()).unwrap().ends_with(r#""function":"burn","args":[1500]}"#));
    }
}
