//! What cpu, and other nodes, report of processes.

use super::ProcessState;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// RESERVE_PIDS, from cpu: names for processes that it will report.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESERVE_PIDS")]
pub struct ReservePids {
    /// How many; [`super::RESERVE_PIDS_MAX`] at most.
    #[serde(default)]
    pub count: u64,
}

/// Reply to RESERVE_PIDS: `P<first>`, `P<first + 1>` and so on are the asker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PIDS_RESERVED")]
pub struct PidsReserved {
    /// Number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// PROCESS_CHANGES, from cpu: what has become of tasks, in the order in which it happened. Answered with STATUS `OK`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PROCESS_CHANGES")]
pub struct ProcessChanges<'a> {
    /// At most [`super::CHANGES_MAX`].
    #[serde(borrow, default)]
    pub changes: Vec<Change<'a>>,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// There is a new process, with its parent, group, task, priority and submitter.
    Created,
    /// It is in another state: READY, RUNNING or WAITING.
    #[default]
    State,
    /// It has ended.
    Ended,
    /// Its parent has its result, so it is no zombie (any more).
    Joined,
}

/// One change. It is one flat object, whose members are missing when they are empty: that is what is read fastest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change<'a> {
    /// What kind it is.
    pub change: ChangeKind,
    /// The process.
    #[serde(borrow)]
    pub pid: Cow<'a, str>,
    /// When, in milliseconds since 1970; now when 0.
    pub unix_milliseconds: u64,
    /// Created: its parent.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub parent_pid: Cow<'a, str>,
    /// Created: its group.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub group_id: Cow<'a, str>,
    /// Created: name of the task.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub task_id: Cow<'a, str>,
    /// Created: the function that it calls.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub function: Cow<'a, str>,
    /// Created: what runs it.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub runtime: Cow<'a, str>,
    /// Created: higher runs first.
    #[serde(skip_serializing_if = "is_nought")]
    pub priority: i64,
    /// Created: who it works for, `local` or the id of a peer.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub requested_by: Cow<'a, str>,
    /// State: READY, RUNNING or WAITING.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ProcessState>,
    /// State: why, such as `queued`, `preempted`, `paused`, `semaphore forks-1`.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'a, str>,
    /// State: the peer that runs it, when it is another one; empty when it is nowhere else (any more).
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub executed_by: Cow<'a, str>,
    /// Ended: 0 it did what it should, 1 it failed, 128 + n it was ended by a signal ([`super::Signal::exit_code`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Ended: the code of its CPU_RESULT, when that failed.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub outcome: Cow<'a, str>,
    /// Ended: why it failed, in one line.
    #[serde(borrow, skip_serializing_if = "str::is_empty")]
    pub error: Cow<'a, str>,
    /// Ended: processor time that it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Ended: the most memory that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Ended: how often it gave up its processor, or lost it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_switches: Option<u64>,
}

fn is_nought(number: &i64) -> bool {
    *number == 0
}

/// PROCESS_ENDED: a process of the sender's has ended that may hold something on this node. Answered with STATUS `OK`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PROCESS_ENDED")]
pub struct ReportEnded<'a> {
    /// Its name on the sender's node.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
    /// Why, in a few words.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
}
