//! What processes hold and wait for, as every provider that has such things tells it: IPC_RESOURCES, MEMORY_RESOURCES.

use serde::{Deserialize, Serialize};

/// Reply to IPC_RESOURCES and MEMORY_RESOURCES.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RESOURCES")]
pub struct Resources {
    /// Only those that somebody holds or waits for.
    #[serde(default)]
    pub resources: Vec<ResourceState>,
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
