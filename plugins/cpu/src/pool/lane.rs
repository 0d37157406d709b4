//! A runtime in the pool: what waits for its workers, and whether there can be any.

use super::AttemptId;
use crate::runtime::{Runtime, RuntimeKey};
use crate::scheduler::{Algorithm, ReadyQueue};
use potluck_worker_protocol::{Protection, ProtectionState};
use std::sync::Arc;
use std::time::Instant;

/// The protections without which others' work is not taken.
const NEEDED: [&str; 4] = ["landlock", "no_new_privs", "rlimits", "seccomp"];

/// One runtime's attempts and workers.
pub(super) struct Lane {
    pub(super) runtime: Arc<dyn Runtime>,
    /// Attempts that have not begun.
    pub(super) queue: ReadyQueue<AttemptId>,
    /// Attempts that have begun and wait for a slot; each holds its worker.
    pub(super) begun: ReadyQueue<AttemptId>,
    pub(super) phase: Phase,
    /// Workers that the supervisor should start.
    pub(super) spawns_wanted: usize,
    /// None is started before: the last one could not be.
    pub(super) spawn_after: Option<Instant>,
    /// Workers that ended before they were ready, in a row.
    pub(super) failed_starts: u32,
    /// What the last worker said of itself.
    pub(super) description: String,
    pub(super) protections: Vec<Protection>,
}

/// Whether a runtime can have workers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Nobody has needed it yet.
    Asleep,
    /// It is being made ready.
    Preparing,
    /// Workers can be started.
    Ready,
    /// They cannot: why, and when that was found.
    Unavailable(String, Instant),
}

/// A runtime, as the operator sees it.
pub(crate) struct LaneReport {
    pub(crate) key: RuntimeKey,
    pub(crate) phase: Phase,
    pub(crate) description: String,
    pub(crate) processes: usize,
    pub(crate) is_hardened: bool,
    pub(crate) protections: Vec<Protection>,
}

impl Lane {
    pub(super) fn new(runtime: Arc<dyn Runtime>, algorithm: Algorithm) -> Lane {
        Lane {
            runtime,
            queue: ReadyQueue::new(algorithm),
            begun: ReadyQueue::new(algorithm),
            phase: Phase::Asleep,
            spawns_wanted: 0,
            spawn_after: None,
            failed_starts: 0,
            description: String::new(),
            protections: Vec::new(),
        }
    }
}

/// What a worker lacks that work of others needs; nothing when it has all.
pub(crate) fn missing_protections(protections: &[Protection]) -> Option<String> {
    let lacks = |name: &&&str| {
        !protections.iter().any(|protection| protection.name == ***name && protection.state == ProtectionState::On)
    };
    let missing: Vec<&str> = NEEDED.iter().filter(lacks).copied().collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}
