//! Scheduling: SET_SCHEDULER, GET_SCHEDULER, COMPARE_SCHEDULERS, and what a node tells of its decisions.
//!
//! Times of a workload and its schedules are milliseconds after its beginning, with microseconds behind the point.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// SET_SCHEDULER: chooses the order of the queue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_SCHEDULER")]
pub struct SetScheduler<'a> {
    /// `FCFS`, `SJF`, `SRTF` (SJF that preempts), `PRIORITY`, `PRIORITY_PREEMPTIVE`, `RR` or `ROUND_ROBIN`, in any case.
    #[serde(borrow, default)]
    pub algorithm: Option<Cow<'a, str>>,
    /// For RR: how long a task may run while others wait; 50 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum_ms: Option<f64>,
    /// For SJF and PRIORITY: whether a more urgent task stops one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptive: Option<bool>,
    /// For PRIORITY: the time of waiting that counts as much as one step of priority; waiting does not count when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<f64>,
}

/// Reply to SET_SCHEDULER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct SchedulerSet<'a> {
    /// `OK`.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    /// What is in force now.
    #[serde(flatten)]
    pub scheduler: SchedulerChoice,
}

/// An algorithm with its options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SchedulerChoice {
    /// `FCFS`, `SJF`, `PRIORITY` or `RR`.
    pub algorithm: String,
    /// For RR, how long a task may run while others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum_ms: Option<f64>,
    /// Whether a task that runs may be stopped for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemptive: Option<bool>,
    /// For PRIORITY, the time of waiting that counts as much as one step of priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<f64>,
}

/// GET_SCHEDULER: which algorithm is in force, and how each one has fared on this node.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GET_SCHEDULER")]
pub struct GetScheduler {}

/// Reply to GET_SCHEDULER.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SCHEDULER")]
pub struct SchedulerState {
    /// What is in force.
    #[serde(flatten)]
    pub scheduler: SchedulerChoice,
    /// The names that SET_SCHEDULER takes.
    #[serde(default)]
    pub available: Vec<String>,
    /// Tasks that may run at once.
    pub slots: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that wait to run: for a slot, or behind another one in the worker that they were sent to.
    pub queued: usize,
    /// Tasks that are paused in the middle of their run.
    #[serde(default)]
    pub suspended: usize,
    /// One entry for each algorithm that has been in force since the node started; one that is chosen again begins anew.
    #[serde(default)]
    pub statistics: Vec<SchedulerStatistics>,
}

/// How an algorithm has fared, measured over the tasks that ended while it was in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SchedulerStatistics {
    /// Its name; preemptive varieties are `SRTF` and `PRIORITY_PREEMPTIVE`.
    pub algorithm: String,
    /// How long it has been in force.
    pub in_force_seconds: f64,
    /// Tasks that ended under it.
    pub tasks: u64,
    /// Time ready but not running, on average.
    pub average_waiting_seconds: f64,
    /// Time from arrival to end, on average.
    pub average_turnaround_seconds: f64,
    /// Time from arrival to the first run, on average.
    pub average_response_seconds: f64,
    /// Tasks that ended, for each second in force.
    pub throughput_per_second: f64,
    /// Times that a slot went from one task to another one.
    pub context_switches: u64,
    /// Times that a task was stopped before its end.
    pub preemptions: u64,
    /// Tasks that waited, on average over time.
    #[serde(default)]
    pub average_queue: f64,
    /// Most tasks that waited.
    pub longest_queue: usize,
}

/// The topic on which decisions are told.
pub const DECISION_TOPIC: &str = "scheduler.decision";
/// The topic on which is told that another algorithm is in force; the body is a [`SchedulerChoice`].
pub const CHANGED_TOPIC: &str = "scheduler.changed";
/// Most candidates that a [`SchedulerDecision`] lists.
pub const CANDIDATES_MAX: usize = 8;

/// An event of [`DECISION_TOPIC`]: a task was given a slot, or was sent ahead to a worker, behind short tasks.
///
/// One that was sent ahead begins as soon as those before it have ended. When they turn out long, or the order of the queue
/// is changed, it is taken back, and there is another decision for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SchedulerDecision {
    /// When.
    pub unix_ms: u64,
    /// By which algorithm; preemptive varieties are `SRTF` and `PRIORITY_PREEMPTIVE`.
    pub algorithm: String,
    /// The process that runs next in that slot or worker.
    pub chosen: String,
    /// The process that had to leave its slot for it, if one had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Those that could have been chosen, best first, at most [`CANDIDATES_MAX`]. For a slot those are all that were
    /// stopped before their end, and of each runtime those that have not begun, up to the first without a worker that
    /// could take it at once. Of those who would have been sent ahead, it is those that the same worker could have got.
    pub candidates: Vec<SchedulerCandidate>,
    /// How many waited in the queue, with those that could not have been chosen; those sent ahead before are no longer
    /// in it.
    pub queue: usize,
    /// Why this one.
    pub why: String,
    /// Decisions before this one that were not told because there were too many.
    #[serde(default)]
    pub skipped: u64,
}

/// Somebody who waits for a slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SchedulerCandidate {
    /// The process.
    pub pid: String,
    /// Higher is more urgent, under PRIORITY.
    pub priority: i64,
    /// How long it is still expected to run.
    pub estimate_seconds: f64,
    /// Whether it has run before.
    pub begun: bool,
}

/// COMPARE_SCHEDULERS: runs one workload through several algorithms, in exact simulation and with real processes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "COMPARE_SCHEDULERS")]
pub struct CompareSchedulers {
    /// What is to be run.
    pub workload: Workload,
    /// Names as in SET_SCHEDULER; FCFS, SJF, SRTF, PRIORITY, PRIORITY_PREEMPTIVE and RR when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<String>>,
    /// Whether real processes run it too; they do when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<bool>,
    /// The quantum of RR instead of the workload's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum_ms: Option<f64>,
}

/// Processes and when they come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Processes that run at once; 1 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
    /// The quantum of RR; 50 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum_ms: Option<f64>,
    /// The ageing of PRIORITY; none when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<f64>,
    /// Whether the smallest number is the highest priority, as in many textbooks; else the largest is, as in Potluck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_is_highest: Option<bool>,
    /// The processes. Of those that arrive at the same time, the one that is named first comes first.
    pub processes: Vec<WorkloadProcess>,
}

/// A process of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadProcess {
    /// What it is called; `P1`, `P2`... when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it comes.
    #[serde(default)]
    pub arrival_ms: f64,
    /// The processor time that it needs: exactly that much is used up, unless it has a `program`. With one, it is what the
    /// simulation takes for it.
    pub burst_ms: f64,
    /// Its priority.
    #[serde(default)]
    pub priority: i64,
    /// What SJF believes that it needs; the truth when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_ms: Option<f64>,
    /// A Python program to run instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The program's function; `main` when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The function's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<Value>>,
}

/// Reply to COMPARE_SCHEDULERS.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SCHEDULER_COMPARISON")]
pub struct SchedulerComparison {
    /// The workload's title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Processes that ran at once.
    pub slots: usize,
    /// One entry for each algorithm, in the order of the request.
    pub algorithms: Vec<AlgorithmComparison>,
    /// The names of the algorithms with the shortest average waiting time in the simulation.
    pub shortest_waiting: Vec<String>,
    /// What holds for all of it, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How one algorithm fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlgorithmComparison {
    /// Its name; preemptive varieties are `SRTF` and `PRIORITY_PREEMPTIVE`.
    pub name: String,
    /// The algorithm with its options.
    #[serde(flatten)]
    pub scheduler: SchedulerChoice,
    /// What the rules give, exactly.
    pub simulated: Schedule,
    /// What was measured when real processes ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<Schedule>,
    /// Where the two differ and what the difference comes from, in sentences.
    #[serde(default)]
    pub differences: Vec<String>,
}

/// Who ran when, and what follows from that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// One entry for each process, in the order of the workload.
    pub processes: Vec<ProcessTimes>,
    /// The Gantt chart, by beginning and slot.
    pub segments: Vec<Segment>,
    /// Segments at the end that are left out because there are too many.
    #[serde(default)]
    pub segments_left_out: usize,
    /// Mean of the processes' waiting times.
    pub average_waiting_ms: f64,
    /// Mean of the processes' turnaround times.
    pub average_turnaround_ms: f64,
    /// Mean of the processes' response times.
    pub average_response_ms: f64,
    /// Processes that ended, for each second from the first arrival to the last end.
    pub throughput_per_second: f64,
    /// Times that a slot went from one process to another one.
    pub context_switches: usize,
    /// Share of the slots' time that was used, from 0 to 1.
    pub utilization: f64,
    /// From the beginning to the last end.
    pub end_ms: f64,
}

/// The times of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessTimes {
    /// Its name.
    pub name: String,
    /// When it came.
    pub arrival_ms: f64,
    /// The processor time that it used.
    pub burst_ms: f64,
    /// Its priority as the workload has it.
    pub priority: i64,
    /// When it ran for the first time.
    pub start_ms: f64,
    /// When it ended.
    pub completion_ms: f64,
    /// Time in which it was ready and did not run.
    pub waiting_ms: f64,
    /// From its arrival to its end.
    pub turnaround_ms: f64,
    /// From its arrival to its first run.
    pub response_ms: f64,
    /// Times that it was stopped before its end.
    pub preemptions: usize,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A process has a slot from one time to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The slot, from 0.
    pub slot: usize,
    /// The process.
    pub name: String,
    /// Beginning.
    pub from_ms: f64,
    /// End.
    pub to_ms: f64,
}
