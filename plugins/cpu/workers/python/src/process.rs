//! What the worker does to its own process.

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Takes the socket away from standard input, so that a task that reads finds an empty file instead of its orders.
pub(crate) fn take_socket() -> std::io::Result<UnixStream> {
    // When the node dies, so does a task that would otherwise run for ever.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(UnixStream::from(socket))
}

/// The limit on address space, changed only when a task wants another than the one before.
pub(crate) struct MemoryLimit {
    hard: Option<u64>,
    current: Option<u64>,
}

impl MemoryLimit {
    pub(crate) fn new() -> MemoryLimit {
        let limit = getrlimit(Resource::As);
        MemoryLimit { hard: limit.maximum, current: limit.current }
    }

    /// Sets the limit; 0 for none but the process's own hard one.
    pub(crate) fn set(&mut self, bytes: u64) {
        let wanted = match (bytes, self.hard) {
            (0, hard) => hard,
            (bytes, Some(hard)) => Some(bytes.min(hard)),
            (bytes, None) => Some(bytes),
        };
        if wanted != self.current && setrlimit(Resource::As, Rlimit { current: wanted, maximum: self.hard }).is_ok() {
            self.current = wanted;
        }
    }

    /// Lifts the limit for the moment, so that a failure for want of memory can be reported.
    pub(crate) fn lift(&mut self) {
        self.set(0);
    }
}
