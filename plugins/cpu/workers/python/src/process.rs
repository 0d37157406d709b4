//! What the worker does to its own process.

use rustix::fs::{Mode, OFlags};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpid, getrlimit, kill_process, set_child_subreaper,
    set_parent_process_death_signal, setrlimit, waitid,
};
use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Address space that is kept free, to be used when a task has used up the rest and its failure must be reported.
const RESERVE_BYTES: usize = 1 << 20;

/// Takes the socket away from standard input, so that a task that reads finds an empty file instead of its orders.
pub(crate) fn take_socket() -> std::io::Result<UnixStream> {
    // When the node dies, so does a task that would otherwise run for ever.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // What a task starts stays below this process whatever it does, so that it can be found and stopped.
    set_child_subreaper(Some(getpid()))?;
    give_up_raising_limits();
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(UnixStream::from(socket))
}

/// As root a process may raise hard limits again; a task must not. For others there is nothing to give up.
fn give_up_raising_limits() {
    let _ = remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE);
    if let Ok(mut sets) = capabilities(None) {
        let kept = !CapabilitySet::SYS_RESOURCE;
        sets.effective &= kept;
        sets.permitted &= kept;
        sets.inheritable &= kept;
        let _ = set_capabilities(None, sets);
    }
}

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
