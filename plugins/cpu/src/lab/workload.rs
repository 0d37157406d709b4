//! A workload, checked, in exact units.

use crate::scheduler::{Algorithm, Options, QUANTUM_DEFAULT, Ticket, micros};
use potluck_sdk::message::scheduler::{CompareSchedulers, Workload, WorkloadProcess};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Processes of a workload: as many interpreters are started to run it, of some 10 MiB each.
pub(super) const PROCESSES_MAX: usize = 64;
/// Slots of a workload.
const SLOTS_MAX: usize = 64;
/// Longest time in a workload. Eleven days in microseconds are far from what 64 bits hold, also times all processes.
const MILLIS_MAX: f64 = 1e9;
/// Quanta that Round Robin may need: the simulation takes a step for each.
const QUANTA_MAX: u64 = 200_000;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;
/// Longest program.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// What is compared when nothing is said.
const COMPARED: [&str; 6] = ["FCFS", "SJF", "SRTF", "PRIORITY", "PRIORITY_PREEMPTIVE", "RR"];
/// Most algorithms in one comparison.
const ALGORITHMS_MAX: usize = 16;

/// A workload that can be run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) slots: usize,
    /// In the order of the workload.
    pub(super) processes: Vec<Planned>,
}

/// A process of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) arrival_micros: u64,
    pub(super) burst_micros: u64,
    pub(super) estimate_micros: u64,
    /// As the workload has it.
    pub(super) priority: i64,
    /// Larger is higher, whatever the workload says.
    pub(super) rank: i64,
    /// Function and arguments of a program to run instead of a synthetic burst.
    pub(super) program: Option<Program>,
}

/// A program of a workload.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) text: String,
    pub(super) function: String,
    pub(super) args: Vec<Value>,
}

impl Plan {
    /// Reads a workload, or says what is wrong with which entry.
    pub(super) fn read(workload: Workload) -> Result<Plan, String> {
        let slots = workload.slots.unwrap_or(1);
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(format!("`slots` must be from 1 to {SLOTS_MAX}"));
        }
        let count = workload.processes.len();
        if !(1..=PROCESSES_MAX).contains(&count) {
            return Err(format!("`processes` has {count} entries; a workload has 1 to {PROCESSES_MAX}"));
        }
        let inverted = workload.smallest_is_highest.unwrap_or(false);
        let read = |(index, process)| read_process(index, process, inverted);
        let processes = workload.processes.into_iter().enumerate().map(read).collect::<Result<Vec<_>, String>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = processes.iter().find(|process| !names.insert(process.name.as_str())) {
            return Err(format!("two processes are called {:?}; give each a name of its own", twice.name));
        }
        Ok(Plan { slots, processes })
    }

    /// The ticket with which a process arrives; `sequence` counts the arrivals.
    pub(super) fn ticket(&self, process: usize, sequence: u64) -> Ticket {
        let process = &self.processes[process];
        Ticket {
            priority: process.rank,
            sequence,
            arrival_micros: process.arrival_micros,
            estimate_micros: process.estimate_micros,
        }
    }

    /// The processes in the order of their arrival.
    pub(super) fn arrivals(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.processes.len()).collect();
        order.sort_by_key(|index| self.processes[*index].arrival_micros);
        order
    }

    /// When all is done at the latest, if slots do not idle while somebody waits.
    pub(super) fn micros_max(&self) -> u64 {
        let last = self.processes.iter().map(|process| process.arrival_micros).max().unwrap_or(0);
        last + self.processes.iter().map(|process| process.burst_micros).sum::<u64>()
    }

    fn quanta(&self, quantum: Duration) -> u64 {
        let quantum_micros = u64::try_from(quantum.as_micros()).unwrap_or(u64::MAX).max(1);
        self.processes.iter().map(|process| process.burst_micros / quantum_micros).sum()
    }
}

/// The algorithms that are to be compared.
pub(super) fn algorithms(message: &CompareSchedulers, plan: &Plan) -> Result<Vec<Algorithm>, String> {
    let named = message.algorithms.iter().flatten().map(String::as_str);
    let names: Vec<&str> = if message.algorithms.is_some() { named.collect() } else { COMPARED.to_vec() };
    if !(1..=ALGORITHMS_MAX).contains(&names.len()) {
        return Err(format!("`algorithms` must name 1 to {ALGORITHMS_MAX}; leave it out to compare all"));
    }
    let workload = &message.workload;
    let quantum_ms = message.quantum_ms.or(workload.quantum_ms);
    let quantum_ms = quantum_ms.unwrap_or(QUANTUM_DEFAULT.as_secs_f64() * 1e3);
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for name in names {
        let algorithm = match name.parse()? {
            Algorithm::RoundRobin { .. } => Algorithm::chosen(name, Options::read(Some(quantum_ms), None, None)?)?,
            Algorithm::Priority { .. } => Algorithm::chosen(name, Options::read(None, None, workload.ageing_seconds)?)?,
            other => other,
        };
        if let Algorithm::RoundRobin { quantum } = algorithm
            && plan.quanta(quantum) > QUANTA_MAX
        {
            let text = format!("a quantum of {quantum_ms} ms cuts this workload into more than {QUANTA_MAX} turns");
            return Err(format!("{text}; choose a longer one"));
        }
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    Ok(algorithms)
}

fn read_process(index: usize, process: WorkloadProcess, inverted: bool) -> Result<Planned, String> {
    let name = process.name.unwrap_or_else(|| format!("P{}", index + 1));
    let entry = format!("processes[{index}]");
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!("{entry}: `name` must have 1 to {NAME_BYTES_MAX} bytes, without control characters"));
    }
    let entry = format!("{entry} ({name})");
    let time = |key: &str, millis: f64, least: u64| {
        let micros = micros(millis / 1e3);
        if !(0.0..=MILLIS_MAX).contains(&millis) || micros < least {
            let least = least as f64 / 1e3;
            return Err(format!("{entry}: `{key}` must be from {least} to {MILLIS_MAX} milliseconds"));
        }
        Ok(micros)
    };
    let arrival_micros = time("arrival_ms", process.arrival_ms, 0)?;
    let burst_micros = time("burst_ms", process.burst_ms, 1)?;
    let estimate_micros = match process.estimate_ms {
        Some(millis) => time("estimate_ms", millis, 0)?,
        None => burst_micros,
    };
    let program = match process.program {
        Some(text) if text.len() > PROGRAM_BYTES_MAX => {
            return Err(format!("{entry}: `program` has more than {PROGRAM_BYTES_MAX} bytes"));
        }
        Some(text) => Some(Program {
            text,
            function: process.function.unwrap_or_else(|| "main".to_owned()),
            args: process.args.unwrap_or_default(),
        }),
        None if process.function.is_some() || process.args.is_some() => {
            return Err(format!("{entry}: `function` and `args` belong to a `program`, which is missing"));
        }
        None => None,
    };
    // One up and one down, so that the smallest number has an opposite too.
    let rank = if inverted { !process.priority } else { process.priority };
    Ok(Planned { name, arrival_micros, burst_micros, estimate_micros, priority: process.priority, rank, program })
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::scheduler::SchedulerChoice;
    use serde_json::json;

    fn read(json: Value) -> Result<Plan, String> {
        Plan::read(serde_json::from_value(json).unwrap())
    }

    fn refusal(json: Value) -> String {
        read(json).unwrap_err()
    }

    #[test]
    fn what_is_left_out_has_sensible_values() {
        let plan = read(json!({ "processes": [{ "burst_ms": 2.5 }, { "burst_ms": 1, "arrival_ms": 0.4 }] })).unwrap();
        assert_eq!((plan.slots, plan.processes[0].name.as_str(), plan.processes[1].name.as_str()), (1, "P1", "P2"));
        assert_eq!((plan.processes[0].burst_micros, plan.processes[0].estimate_micros), (2500, 2500));
        assert_eq!((plan.processes[1].arrival_micros, plan.micros_max()), (400, 3900));
    }

    #[test]
    fn a_mistake_is_told_with_the_name_of_its_entry() {
        let with = |process: Value| refusal(json!({ "processes": [{ "burst_ms": 1 }, process] }));
        for (process, expected) in [
            (json!({ "burst_ms": 0 }), "processes[1] (P2): `burst_ms` must be from 0.001 "),
            (json!({ "burst_ms": 1, "arrival_ms": -1, "name": "late" }), "processes[1] (late): `arrival_ms` must be"),
            (json!({ "burst_ms": 2e9 }), "processes[1] (P2): `burst_ms` must be"),
            (json!({ "burst_ms": 1, "estimate_ms": -2 }), "processes[1] (P2): `estimate_ms` must be"),
            (json!({ "burst_ms": 1, "name": "" }), "processes[1]: `name` must have"),
            (json!({ "burst_ms": 1, "name": "P1" }), "two processes are called \"P1\""),
            (json!({ "burst_ms": 1, "function": "f" }), "processes[1] (P2): `function` and `args` belong"),
        ] {
            let text = with(process);
            assert!(text.starts_with(expected), "{text}");
        }
        assert!(refusal(json!({ "processes": [] })).contains("has 0 entries"));
        assert!(refusal(json!({ "slots": 0, "processes": [{ "burst_ms": 1 }] })).contains("`slots`"));
        let many = vec![json!({ "burst_ms": 1 }); PROCESSES_MAX + 1];
        assert!(refusal(json!({ "processes": many })).contains("has 65 entries"));
    }

    #[test]
    fn the_smallest_number_can_be_the_highest_priority() {
        let processes = json!([
            { "burst_ms": 1, "priority": i64::MIN }, { "burst_ms": 1, "priority": 0 },
            { "burst_ms": 1, "priority": i64::MAX },
        ]);
        let ranks = |inverted: bool| {
            let plan = read(json!({ "smallest_is_highest": inverted, "processes": processes })).unwrap();
            plan.processes.iter().map(|process| process.rank).collect::<Vec<_>>()
        };
        assert!(ranks(false).is_sorted());
        assert!(ranks(true).iter().rev().is_sorted());
    }

    fn chosen(members: Value) -> Result<Vec<SchedulerChoice>, String> {
        let mut message = json!({ "workload": { "processes": [{ "burst_ms": 1e6 }], "ageing_seconds": 2 } });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let message: CompareSchedulers = serde_json::from_value(message).unwrap();
        let plan = Plan::read(message.workload.clone()).unwrap();
        Ok(algorithms(&message, &plan)?.into_iter().map(Algorithm::choice).collect())
    }

    #[test]
    fn algorithms_get_the_options_of_the_workload() {
        let all = chosen(json!({})).unwrap();
        assert_eq!((all.len(), all[5].quantum_ms, all[3].ageing_seconds), (6, Some(50.0), Some(2.0)));
        let some = chosen(json!({ "algorithms": ["rr", "ROUND_ROBIN", "fcfs"], "quantum_ms": 20 })).unwrap();
        assert_eq!((some.len(), some[0].quantum_ms), (2, Some(20.0)));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for (members, expected) in [
            (json!({ "algorithms": [] }), "`algorithms` must name"),
            (json!({ "algorithms": ["LIFO"] }), "Unknown algorithm: LIFO"),
            (json!({ "quantum_ms": 1 }), "a quantum of 1 ms cuts this workload"),
            (json!({ "quantum_ms": 0 }), "`quantum_ms` must be above 0"),
        ] {
            let text = chosen(members).unwrap_err();
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
