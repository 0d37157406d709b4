//! Messages of the provider `process`: the table of processes, and what cpu tells it.

mod naming;
mod reports;

pub use naming::{NAMED_TOPIC, Naming, ProcessNamed};
pub use reports::{Change, ChangeKind, PidsReserved, ProcessChanges, ReportEnded, ReservePids};

use super::RawValue;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The topic on which a process is said to have ended. Who holds anything in its name releases it, and takes its waits back.
pub const ENDED_TOPIC: &str = "process.ended";
/// The topic on which the table tells what has changed in it: a [`ProcessesChanged`], some fifty a second at most.
pub const CHANGED_TOPIC: &str = "process.changed";
/// Most process names that one RESERVE_PIDS hands out.
pub const RESERVE_PIDS_MAX: u64 = 4096;
/// Most changes in one PROCESS_CHANGES.
pub const CHANGES_MAX: usize = 10_000;

/// An event of [`ENDED_TOPIC`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessEnded<'a> {
    /// Its name, as [`crate::Request::process_name`] gives it; `*@<peer id>` is every process of that peer.
    #[serde(borrow, default)]
    pub pid: Cow<'a, str>,
    /// Why, in a few words.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
}

impl ProcessEnded<'_> {
    /// Whether a process of this name has ended by this event.
    pub fn is_meant(&self, pid: &str) -> bool {
        match self.pid.strip_prefix('*') {
            Some(peer) if peer.starts_with('@') => pid.ends_with(peer),
            _ => pid == self.pid,
        }
    }
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProcessState {
    /// It has been made, and nothing else.
    #[default]
    New,
    /// It could run, and waits for its turn.
    Ready,
    /// It runs.
    Running,
    /// It waits for something else than its turn.
    Waiting,
    /// It has ended, and its parent has ended or knows.
    Terminated,
    /// It has ended, and its parent has not asked how.
    Zombie,
}

impl ProcessState {
    /// All of them.
    pub const ALL: [ProcessState; 6] = [
        ProcessState::New,
        ProcessState::Ready,
        ProcessState::Running,
        ProcessState::Waiting,
        ProcessState::Terminated,
        ProcessState::Zombie,
    ];

    /// Its word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            ProcessState::New => "NEW",
            ProcessState::Ready => "READY",
            ProcessState::Running => "RUNNING",
            ProcessState::Waiting => "WAITING",
            ProcessState::Terminated => "TERMINATED",
            ProcessState::Zombie => "ZOMBIE",
        }
    }

    /// Whether a process in this state has not ended.
    pub const fn is_alive(self) -> bool {
        !matches!(self, ProcessState::Terminated | ProcessState::Zombie)
    }
}

/// What can be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// It goes on later, where it is.
    Pause,
    /// It goes on.
    Resume,
    /// It ends.
    Terminate,
    /// It ends, without any more work of its own.
    Kill,
}

impl Signal {
    /// Its word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Signal::Pause => "pause",
            Signal::Resume => "resume",
            Signal::Terminate => "terminate",
            Signal::Kill => "kill",
        }
    }

    /// The exit code of a process that ended by it.
    pub const fn exit_code(self) -> i32 {
        match self {
            Signal::Kill => 128 + 9,
            Signal::Pause | Signal::Resume | Signal::Terminate => 128 + 15,
        }
    }
}

/// CREATE_PROCESS: makes an entry; with `task`, runs it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CREATE_PROCESS")]
pub struct CreateProcess<'a> {
    /// Whatever belongs to an entry that runs nothing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task_data: Option<&'a RawValue>,
    /// Body of a CPU_TASK that the process runs.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub task: Option<&'a RawValue>,
    /// Its parent; a task's is the task itself when missing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub parent_pid: Option<Cow<'a, str>>,
    /// The group that it joins; made when it is not there.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Cow<'a, str>>,
    /// Higher runs first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// What people call it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
}

/// Reply to CREATE_PROCESS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessCreated<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The new process.
    pub pid: Cow<'a, str>,
}

/// TERMINATE_PROCESS: ends a process and all that descend from it, children first.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "TERMINATE_PROCESS")]
pub struct TerminateProcess<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
}

/// Reply to TERMINATE_PROCESS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessTerminated<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The process.
    pub pid: Cow<'a, str>,
    /// How many have ended by this, descendants included.
    pub terminated: usize,
}

/// SIGNAL_PROCESS: pauses, resumes or ends a process.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SIGNAL_PROCESS")]
pub struct SignalProcess<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
    /// What to do.
    #[serde(default)]
    pub signal: Option<Signal>,
    /// Whether all that descend from it are meant too; always so when it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tree: bool,
}

/// Reply to SIGNAL_PROCESS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessSignalled<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The process.
    pub pid: Cow<'a, str>,
    /// The signal.
    pub signal: Signal,
    /// How many processes have it.
    pub signalled: usize,
}

/// PROCESS_TREE: who descends from whom.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PROCESS_TREE")]
pub struct ProcessTree<'a> {
    /// Only this process and what descends from it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub root_pid: Option<Cow<'a, str>>,
    /// Whether to say what they have used, and how those that have ended did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
}

/// Reply to PROCESS_TREE.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessTreeReply {
    /// `OK`.
    pub status: String,
    /// The tree; null for a root that is unknown.
    pub tree: Option<Tree>,
}

/// What PROCESS_TREE shows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tree {
    /// Everything.
    Whole(Forest),
    /// One process and what descends from it.
    Node(TreeNode),
}

/// All trees.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Forest {
    /// Processes without a parent.
    pub roots: Vec<TreeNode>,
    /// How many processes there are that have not ended, or that nobody has waited for.
    pub total_processes: usize,
}

/// A process in the tree.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct TreeNode {
    /// Its name.
    pub pid: String,
    /// Its parent.
    pub ppid: Option<String>,
    /// What it does.
    pub state: ProcessState,
    /// Higher runs first.
    pub priority: i64,
    /// What people call it: its name, or its task's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Why it is in its state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where its task runs, when elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executed_by: String,
    /// What its task has used so far. Missing when it has not begun, has ended, or runs on another node, in a tree that was
    /// not asked for it, and behind the first [`USAGE_PIDS_MAX`] tasks of a tree.
    ///
    /// [`USAGE_PIDS_MAX`]: super::cpu::USAGE_PIDS_MAX
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ProcessUsage>,
    /// How it ended; missing while it has not, and in a tree that was not asked for usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Box<ProcessExit>>,
    /// Those whose parent it is.
    pub children: Vec<TreeNode>,
    /// How many children are left out here, since the reply is large or deep enough: ask for them with `root_pid`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_children: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// PROCESS_INFO: all that is known of a process.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PROCESS_INFO")]
pub struct ProcessInfo<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
}

/// Reply to PROCESS_INFO.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessInfoReply {
    /// `OK`.
    pub status: String,
    /// The process.
    pub process: ProcessFacts,
}

/// LIST_PROCESSES: the table, by number, a page at a time.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_PROCESSES")]
pub struct ListProcesses<'a> {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ProcessState>,
    /// Only those of this group.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Cow<'a, str>>,
    /// Continue behind this process: the `next` of the page before.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cow<'a, str>>,
    /// Most processes to return; 100 when missing, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether to say of those that run here what they have used so far, which takes longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
}

/// Reply to LIST_PROCESSES.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PROCESS_LIST")]
pub struct ProcessList {
    /// The page.
    pub processes: Vec<ProcessFacts>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// How many processes the table has in all, those that have ended included.
    pub total_processes: usize,
}

/// All that is known of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Its name.
    pub pid: String,
    /// Its parent.
    pub ppid: Option<String>,
    /// What it does.
    pub state: ProcessState,
    /// Why it is in its state, such as `paused` or `semaphore forks-1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Higher runs first.
    pub priority: i64,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Who it works for: `local` or the id of a peer.
    pub requested_by: String,
    /// Its task; empty when it runs nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// The function that the task calls.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub function: String,
    /// What runs the task.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// Where the task runs, when elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executed_by: String,
    /// What belongs to an entry that runs nothing, as sent; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_data: Option<Box<RawValue>>,
    /// Number of children.
    pub children: usize,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_milliseconds: u64,
    /// Since when it is in its state, in milliseconds since 1970.
    pub state_unix_milliseconds: u64,
    /// What its task has used so far. Missing when it has not begun, has ended, or runs on another node, and in lists
    /// that were not asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ProcessUsage>,
    /// How it ended; missing while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ProcessExit>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Processor time.
    pub cpu_seconds: f64,
    /// Memory that what runs it has now. That may have been there before.
    pub memory_bytes: u64,
    /// How often it has given up its processor, or lost it.
    pub context_switches: u64,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// 0 it did what it should, 1 it failed, 128 and more it was ended: 137 by `kill`, 143 by `terminate`.
    pub exit_code: i32,
    /// The code of its CPU_RESULT, when that failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// Why it failed, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Processor time that it used, when that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The most memory that it had, when that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// How often it gave up its processor, or lost it, when that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_switches: Option<u64>,
    /// When, in milliseconds since 1970.
    #[serde(default)]
    pub unix_milliseconds: u64,
}

/// WAIT_PROCESS: answered when a process has ended, with how. A parent that waits for its child takes it out of the zombies.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WAIT_PROCESS")]
pub struct WaitProcess<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
    /// Seconds to wait at most; for ever when missing. When they are over, the answer is an error with the code `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// Reply to WAIT_PROCESS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessWaited<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The process.
    pub pid: Cow<'a, str>,
    /// How it ended.
    #[serde(flatten)]
    pub exit: ProcessExit,
}

/// SET_PROCESS_STATE: moves an entry that runs nothing from one state to another, if that can follow.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_PROCESS_STATE")]
pub struct SetProcessState<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
    /// Its new state.
    #[serde(default)]
    pub state: Option<ProcessState>,
    /// With TERMINATED: 0 when it did what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Reply to SET_PROCESS_STATE.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessStateSet<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The process.
    pub pid: Cow<'a, str>,
    /// Its state now.
    pub state: ProcessState,
}

/// SET_PRIORITY: changes a process's rank in the queue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_PRIORITY")]
pub struct SetPriority<'a> {
    /// The process.
    #[serde(borrow, default)]
    pub pid: Option<Cow<'a, str>>,
    /// Higher runs first.
    #[serde(default)]
    pub priority: Option<i64>,
}

/// Reply to SET_PRIORITY.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct PrioritySet<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The process.
    pub pid: Cow<'a, str>,
    /// Its priority now.
    pub priority: i64,
}

/// CREATE_GROUP: puts processes into a group, which is made when it is not there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CREATE_GROUP")]
pub struct CreateGroup<'a> {
    /// The group.
    #[serde(borrow, default)]
    pub group_id: Option<Cow<'a, str>>,
    /// Who joins it; those that are not there are passed over.
    #[serde(borrow, default)]
    pub pids: Vec<Cow<'a, str>>,
}

/// Reply to CREATE_GROUP.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct GroupCreated<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// How many processes it has now.
    pub members: usize,
}

/// KILL_GROUP: ends the processes of a group and all that descend from them, and removes the group.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "KILL_GROUP")]
pub struct KillGroup<'a> {
    /// The group.
    #[serde(borrow, default)]
    pub group_id: Option<Cow<'a, str>>,
}

/// Reply to KILL_GROUP.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct GroupKilled<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// How many processes have ended by this; 0 when there is no such group.
    pub terminated: usize,
}

/// SIGNAL_GROUP: SIGNAL_PROCESS for all processes of a group.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SIGNAL_GROUP")]
pub struct SignalGroup<'a> {
    /// The group.
    #[serde(borrow, default)]
    pub group_id: Option<Cow<'a, str>>,
    /// What to do.
    #[serde(default)]
    pub signal: Option<Signal>,
}

/// Reply to SIGNAL_GROUP.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct GroupSignalled<'a> {
    /// `OK`.
    pub status: &'a str,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// The signal.
    pub signal: Signal,
    /// How many processes have it.
    pub signalled: usize,
}

/// LIST_GROUPS: the groups and who is in them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_GROUPS")]
pub struct ListGroups {}

/// Reply to LIST_GROUPS.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GROUP_LIST")]
pub struct GroupList {
    /// By name.
    pub groups: Vec<GroupFacts>,
    /// How many groups there are in all.
    pub total_groups: usize,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// Its name.
    pub group_id: String,
    /// Who is in it, the first thousand.
    pub pids: Vec<String>,
    /// How many are in it.
    pub members: usize,
}

/// Body of an event on [`CHANGED_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessesChanged {
    /// How many processes were made since the last event.
    pub created: u64,
    /// How many have ended since.
    pub ended: u64,
    /// Some of those that were made, ended, or changed their state since, each once.
    pub changes: Vec<ProcessChanged>,
    /// How many more there are.
    pub more: u64,
    /// How many processes are in each state now.
    pub processes_by_state: BTreeMap<String, usize>,
}

/// One process in [`ProcessesChanged`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessChanged {
    /// Its name.
    pub pid: String,
    /// Its state.
    pub state: ProcessState,
    /// Why it is in its state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How it ended, when it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}
