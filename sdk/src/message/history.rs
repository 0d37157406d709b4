//! What has become of tasks: RECORD_TASKS, TASK_HISTORY, HISTORY_CLEAR.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Most records of one RECORD_TASKS.
pub const RECORDS_PER_BATCH_MAX: usize = 10_000;

/// The words of [`TaskRecord::status`].
pub mod status {
    /// The task returned a result.
    pub const SUCCESS: &str = "SUCCESS";
    /// It did not.
    pub const FAILED: &str = "FAILED";
    /// Somebody cancelled it.
    pub const CANCELLED: &str = "CANCELLED";
}

/// The words of [`TaskRecord::role`].
pub mod role {
    /// This node ran the task.
    pub const EXECUTOR: &str = "EXECUTOR";
    /// Another peer ran the task for somebody of this node.
    pub const CLIENT: &str = "CLIENT";
}

/// One task that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its place in the history; larger is newer. Given by the provider, 0 in RECORD_TASKS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u64,
    /// Name of the task.
    pub task_id: String,
    /// `CPU_TASK`.
    pub task_type: String,
    /// One of [`status`].
    pub status: String,
    /// Local time at which it ended, as ISO 8601. Written by the provider, from `finished_unix_ms`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// The same in milliseconds since 1970.
    #[serde(default)]
    pub finished_unix_ms: u64,
    /// Seconds from the task's arrival to its result, time in the queue included; null when that is not known.
    #[serde(default)]
    pub execution_time: Option<f64>,
    /// `ip:port` of the peer that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_info: Option<String>,
    /// Who it ran for: `local`, or the id of a peer. Tasks and members see the records that bear their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// One of [`role`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it returned, as JSON, cut to 100 characters. Never that of a confidential task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it failed, in one line. Never that of a confidential task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The function that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What ran the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Id of the peer that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// Code of the failure, as in CPU_RESULT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Seconds that it waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_time: Option<f64>,
    /// Processor time that it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// How often it was run; missing when once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Whether the result is that of an earlier run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cached: bool,
    /// Whether nobody else was to learn of it: the provider drops `result` and `error` then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confidential: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// RECORD_TASKS: puts tasks that have ended into the history. Answered once they are on the disk. After an error, or no
/// answer, the recorder keeps the batch and sends it again under the same name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RECORD_TASKS")]
pub struct RecordTasks<L = Vec<TaskRecord>> {
    /// Name of the batch, 1 to 64 bytes that no other batch of any recorder ever has: a batch that comes twice is recorded
    /// once.
    pub batch: String,
    /// What holds for every record that does not say it itself. Most records of a batch have much in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<RecordDefaults>,
    /// The tasks, the first to end first; [`RECORDS_PER_BATCH_MAX`] at most.
    pub records: L,
}

/// The fields of a [`TaskRecord`] that may be said once for a batch. A record that says nothing in spite of its default has
/// an empty text.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RecordDefaults {
    /// As in [`TaskRecord`], all of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_type: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_info: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// See [`TaskRecord`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_id: String,
}

/// Reply to RECORD_TASKS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TasksRecorded<'a> {
    /// `OK`.
    pub status: &'a str,
    /// How many were put in; 0 when the batch was there already.
    pub recorded: usize,
}

/// TASK_HISTORY: the newest records that fit all filters, or the newest record of one task.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_HISTORY")]
pub struct TaskHistory<'a> {
    /// Only the newest record of this task.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Cow<'a, str>>,
    /// Most records to return; 100 when missing, 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only records of this type.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<Cow<'a, str>>,
    /// Only records of this status: one of [`status`], in any case.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Cow<'a, str>>,
    /// Only tasks that ran on this peer: its id, or its `ip:port`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Cow<'a, str>>,
    /// Only tasks that ran for this one: `local`, or the id of a peer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<Cow<'a, str>>,
    /// Only tasks that ended then or later: seconds since 1970, or a time as ISO 8601, local when it names no zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<PointInTime>,
    /// Only tasks that ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<PointInTime>,
    /// Only tasks with this in their name or that of their function, in any case of the letters a to z.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// Only records before this number: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A point in time in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PointInTime {
    /// Seconds since 1970.
    UnixSeconds(f64),
    /// ISO 8601.
    Text(String),
}

/// Reply to TASK_HISTORY.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TaskHistoryPage {
    /// `OK`.
    pub status: String,
    /// The records, the newest last.
    pub history: Vec<TaskRecord>,
    /// Of all records that the caller may see, whatever the filters.
    pub statistics: HistoryStatistics,
    /// Pass as `before` for the page before this one; null when there is none. A search that takes long is cut off with
    /// fewer records than asked for, and goes on there.
    pub next: Option<u64>,
}

/// Reply to TASK_HISTORY with a `task_id`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TaskHistoryEntry {
    /// `OK`.
    pub status: String,
    /// The newest record of the task; null when there is none.
    pub task: Option<TaskRecord>,
}

/// What all records come to; also the member `task_history` of the node's STATUS reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryStatistics {
    /// Records that are kept.
    pub total_tasks: u64,
    /// Of these, with status SUCCESS.
    pub successful: u64,
    /// With status FAILED.
    pub failed: u64,
    /// With status CANCELLED.
    pub cancelled: u64,
    /// Successful ones among all, from 0 to 1; missing when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Mean of the execution times that are known, in seconds.
    pub average_execution_time: f64,
}

/// HISTORY_CLEAR: forgets all records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "HISTORY_CLEAR")]
pub struct HistoryClear {}

/// Reply to HISTORY_CLEAR.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct HistoryCleared<'a> {
    /// `OK`.
    pub status: &'a str,
    /// How many there were.
    pub removed: u64,
}
