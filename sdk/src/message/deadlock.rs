//! Messages of the provider `deadlock`: resources under Banker's algorithm, and deadlocks of the whole node.
//!
//! A denial of REQUEST_RESOURCE is an error whose code is one of [`NOT_REGISTERED`], [`EXCEEDS_NEED`],
//! [`INSUFFICIENT_RESOURCES`] and [`UNSAFE_STATE`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Code: the process or the resource is not registered.
pub const NOT_REGISTERED: &str = "not_registered";
/// Code: the process has not said that it needs so much.
pub const EXCEEDS_NEED: &str = "exceeds_need";
/// Code: so many units are not free now.
pub const INSUFFICIENT_RESOURCES: &str = "insufficient_resources";
/// Code: the units are free, but not every process could then be sure to end.
pub const UNSAFE_STATE: &str = "unsafe_state";
/// Code of a wait that was ended because its process was chosen to end a deadlock.
pub const DEADLOCK_VICTIM: &str = "deadlock_victim";
/// Code of a wait whose process has ended.
pub const PROCESS_ENDED: &str = "process_ended";

/// Event: somebody has begun to wait for a resource without a time-out, where nobody did before; `{"kind":"semaphore"}`.
/// Providers whose resources can be part of a deadlock publish it, so that one is looked for only while somebody waits.
pub const WAITING_TOPIC: &str = "resource.waiting";
/// Event: a deadlock has been found that was not there before; the body is a [`DeadlockFound`].
pub const DETECTED_TOPIC: &str = "deadlock.detected";
/// Event: a process was ended because of a deadlock; the body is an [`EndedVictim`].
pub const RESOLVED_TOPIC: &str = "deadlock.resolved";
/// Event: a process of another node has to give up its waits and what it holds here; the body is a [`VictimChosen`].
pub const VICTIM_TOPIC: &str = "deadlock.victim";

/// An event of [`VICTIM_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VictimChosen {
    /// Name of the process.
    pub pid: String,
    /// What its open waits are answered with.
    pub code: String,
    /// The same, for people.
    pub reason: String,
}

/// REGISTER_RESOURCE: a resource of which processes can have units; of a known one, how many there are from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REGISTER_RESOURCE")]
pub struct RegisterResource {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// `CPU`, `MEMORY`, `DISK`, `NETWORK` or `OTHER`; the last when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Units there are, above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_units: Option<i64>,
}

/// Reply to REGISTER_RESOURCE and UNREGISTER_RESOURCE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ResourceDone {
    /// `OK`.
    pub status: String,
    /// The resource.
    pub resource_id: String,
    /// Its type.
    pub resource_type: String,
    /// Units there are, or were.
    pub total_units: u64,
}

/// UNREGISTER_RESOURCE: forgets a resource of which nobody has a unit and nobody may need one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UNREGISTER_RESOURCE")]
pub struct UnregisterResource {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
}

/// REGISTER_PROCESS: says how much a process may need at most; again with other numbers when that changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REGISTER_PROCESS")]
pub struct RegisterProcess {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Units of each resource.
    #[serde(default)]
    pub max_need: BTreeMap<String, i64>,
}

/// UNREGISTER_PROCESS: releases all that a process has and forgets it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UNREGISTER_PROCESS")]
pub struct UnregisterProcess {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
}

/// Reply to REGISTER_PROCESS and UNREGISTER_PROCESS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct ProcessDone {
    /// `OK`.
    pub status: String,
    /// The process.
    pub pid: String,
    /// What it may need.
    pub max_need: BTreeMap<String, u64>,
    /// What it has, or had.
    pub allocation: BTreeMap<String, u64>,
}

/// REQUEST_RESOURCE: asks for units of one resource, or of several at once with `requests`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REQUEST_RESOURCE")]
pub struct RequestResource {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Units of it; 1 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<i64>,
    /// Units of several resources, all or none, in place of `resource_id` and `units`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, i64>,
    /// Seconds to wait until the request can be granted; without it and `wait` the answer comes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Wait as long as it takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
}

/// RELEASE_RESOURCE: gives units back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RELEASE_RESOURCE")]
pub struct ReleaseResource {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Units of it; 1 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<i64>,
    /// Units of several resources, all or none, in place of `resource_id` and `units`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, i64>,
}

/// Reply to REQUEST_RESOURCE and RELEASE_RESOURCE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct UnitsDone {
    /// `OK`.
    pub status: String,
    /// The process.
    pub pid: String,
    /// The resource; missing when there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Units of it; missing when there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<u64>,
    /// What was asked for, when there were several resources.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, u64>,
    /// What the process has now.
    pub allocation: BTreeMap<String, u64>,
}

/// LIST_RESOURCES: Banker's books.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_RESOURCES")]
pub struct ListResources {
    /// Most processes to list; 100 when missing, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Continue behind this process: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Reply to LIST_RESOURCES.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESOURCE_LIST")]
pub struct ResourceList {
    /// All resources.
    pub resources: Vec<ResourceLine>,
    /// A page of the processes.
    pub processes: Vec<ProcessLine>,
    /// Requests that wait, the first first; 100 at most.
    pub waiting: Vec<WaitingLine>,
    /// Requests that wait in all.
    pub waiting_count: usize,
    /// Whether every process can be sure to end.
    pub safe_state: bool,
    /// An order in which the processes that have something can all end; empty when there is none.
    pub safe_sequence: Vec<String>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<String>,
}

/// One resource of LIST_RESOURCES.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceLine {
    /// Its name.
    pub resource_id: String,
    /// Its type.
    pub resource_type: String,
    /// Units there are.
    pub total: u64,
    /// Units that nobody has.
    pub available: u64,
    /// Units that somebody has.
    pub allocated: u64,
}

/// One process of LIST_RESOURCES.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessLine {
    /// The process.
    pub pid: String,
    /// What it has.
    pub allocation: BTreeMap<String, u64>,
    /// What it may still ask for.
    pub need: BTreeMap<String, u64>,
    /// What it may have at most.
    pub max_need: BTreeMap<String, u64>,
}

/// One request that waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitingLine {
    /// The process.
    pub pid: String,
    /// What it waits for.
    pub requests: BTreeMap<String, u64>,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Why it still waits, in the words of a denial.
    pub why: String,
}

/// DEADLOCK_CHECK: looks for processes that wait for one another and can never go on, over Banker's resources,
/// semaphores and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DEADLOCK_CHECK")]
pub struct DeadlockCheck {}

/// What a search for deadlocks has found; the body of an event of [`DETECTED_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadlockFound {
    /// Whether there is a deadlock.
    pub deadlock: bool,
    /// The processes that can never go on, in order of their names; 1000 at most.
    pub deadlocked_processes: Vec<String>,
    /// How many there are.
    pub deadlocked_count: usize,
    /// One circle of them: each waits for something that the next one has, and the last for something of the first.
    pub cycle: Vec<CycleEdge>,
    /// That circle and others, which share no process with it or with one another; 16 at most.
    #[serde(default)]
    pub cycles: Vec<Vec<CycleEdge>>,
    /// How many there are.
    #[serde(default)]
    pub cycle_count: usize,
    /// What has happened, in sentences.
    pub explanation: String,
    /// Whom to end, and why that one; null without a deadlock.
    pub victim: Option<Victim>,
    /// Waits that were looked at.
    pub waiting: usize,
    /// Providers whose resources could not be looked at, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_at: Vec<String>,
}

/// Reply to DEADLOCK_CHECK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct DeadlockChecked {
    /// `OK`.
    pub status: String,
    /// What was found.
    #[serde(flatten)]
    pub found: DeadlockFound,
}

/// One process of a circle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CycleEdge {
    /// The process.
    pub pid: String,
    /// The resource that it waits for.
    pub waits_for: String,
    /// Units of it.
    pub units: u64,
    /// Who has it: the next process of the circle.
    pub held_by: String,
}

/// Whom to end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Victim {
    /// The process.
    pub pid: String,
    /// Why this one, in one sentence.
    pub why: String,
}

/// RESOLVE_DEADLOCK: ends processes until no deadlock is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESOLVE_DEADLOCK")]
pub struct ResolveDeadlock {
    /// Whom to end first; by default whom DEADLOCK_CHECK proposes. It must be one of the deadlocked processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// End one process only, though a deadlock may be left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// Reply to RESOLVE_DEADLOCK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct DeadlockResolved {
    /// `OK`.
    pub status: String,
    /// Whom it has ended, in that order.
    pub ended: Vec<EndedVictim>,
    /// Whether a deadlock is left.
    pub deadlock: bool,
    /// Who is still deadlocked; 1000 at most.
    pub deadlocked_processes: Vec<String>,
    /// Who could not be ended, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// What was done, in sentences.
    pub explanation: String,
}

/// A process that was ended because of a deadlock; the body of an event of [`RESOLVED_TOPIC`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndedVictim {
    /// The process.
    pub pid: String,
    /// Why this one.
    pub why: String,
    /// How: `terminated` (as TERMINATE_PROCESS does), `waits_cancelled` (a process of another node) or `released` (what
    /// was kept in the name was released: it is no process of this node, or one that has ended before or did not say that it has).
    pub how: String,
}
