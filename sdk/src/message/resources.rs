//! What processes hold and wait for, as every provider that has such things tells it: IPC_RESOURCES, MEMORY_RESOURCES,
//! TASK_RESOURCES, PROCESS_RESOURCES.

use serde::{Deserialize, Serialize};

/// Reply to IPC_RESOURCES, MEMORY_RESOURCES, TASK_RESOURCES and PROCESS_RESOURCES.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESOURCES")]
pub struct Resources {
    /// Only those that somebody holds or waits for.
    #[serde(default)]
    pub resources: Vec<ResourceState>,
}

/// Reply to MEMORY_RESOURCES. Whoever asks several providers reads every answer as this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESOURCES")]
pub struct PlacedResources {
    /// Only those that somebody holds or waits for.
    #[serde(default)]
    pub resources: Vec<ResourceState>,
    /// Where the units of those lie which are given out in one piece only; empty while nobody waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Places>,
}

/// Where the units of one resource lie that somebody holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// The resource. Its units are numbered from 0 to `total_units`.
    pub resource_id: String,
    /// In order of their addresses. The provider may leave some out when there are many: they count as free places, so that
    /// no deadlock is seen where there is none.
    #[serde(default)]
    pub blocks: Vec<HeldBlock>,
}

/// Units in one piece.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldBlock {
    /// Who holds it.
    pub pid: String,
    /// Its first unit.
    pub address: u64,
    /// How many.
    pub size: u64,
}

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceState {
    /// Its name among all resources of the node, such as `semaphore:forks-1`.
    pub resource_id: String,
    /// What it is, in one word, such as `semaphore`.
    pub kind: String,
    /// Units there are.
    pub total_units: u64,
    /// Units that nobody holds.
    pub available_units: u64,
    /// Whether only those who hold units can give some back. A semaphore that serves for signalling is given by anybody,
    /// so nobody who waits for it can be said to wait in vain.
    pub owned: bool,
    /// Who holds how many.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// Who waits for how many, the first first.
    #[serde(default)]
    pub waiters: Vec<Waiter>,
}

/// Who holds units of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Name of the process.
    pub pid: String,
    /// How many.
    pub units: u64,
}

/// Who waits for units of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waiter {
    /// Name of the process.
    pub pid: String,
    /// How many.
    pub units: u64,
    /// Since when, in milliseconds since 1970.
    pub since_unix_milliseconds: u64,
    /// Whether the wait ends by itself, by a time-out of its own.
    pub bounded: bool,
}
