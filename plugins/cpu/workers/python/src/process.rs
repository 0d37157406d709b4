//! What the worker does to its own process.

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpid, getrlimit, kill_process, setrlimit, waitid,
};
use std::os::unix::fs::MetadataExt;

/// Address space that is kept free, to be used when a task has used up the rest and its failure must be reported. Python
/// takes it in pieces of 1 MiB, and some must be left for the report itself.
const RESERVE_BYTES: usize = 8 << 20;

/// The limit on address space, hard so that a task cannot lift it. It can only become smaller.
pub(crate) struct MemoryLimit {
    current: Option<u64>,
    /// Held while a task runs.
    reserve: Option<Vec<u8>>,
}

impl MemoryLimit {
    pub(crate) fn new() -> MemoryLimit {
        MemoryLimit { current: getrlimit(Resource::As).maximum, reserve: None }
    }

    /// Sets the limit for the next task; 0 for none but the process's own.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.reserve.get_or_insert_with(|| vec![0; RESERVE_BYTES]);
        if bytes == 0 || self.current.is_some_and(|current| current <= bytes) {
            return;
        }
        if setrlimit(Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) }).is_ok() {
            self.current = Some(bytes);
        }
    }

    /// Gives back the reserve, so that a failure for want of memory can be reported.
    pub(crate) fn release_reserve(&mut self) {
        self.reserve = None;
    }
}

/// A task may fork and return in the child as well; only the worker itself may go on.
pub(crate) fn end_if_forked(worker: Pid) {
    while getpid() != worker {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// Threads of this process.
pub(crate) fn threads() -> u64 {
    // A folder for each, beside its own name and its parent's.
    std::fs::metadata("/proc/self/task").map_or(1, |folder| folder.nlink().saturating_sub(2))
}

/// Reaps children that have ended, and tells whether any is left.
pub(crate) fn has_children() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
