//! What a worker process gives up before it runs anything of others.
//!
//! A worker calls [`take_socket`] first, opens whatever it needs, and then [`harden`], while it has one thread and none of
//! a task's code in it. From then on the kernel refuses, for every thread and whatever the process is talked into: files
//! outside its scratch folder and the installation that it runs from, sockets, other programs, other processes. Nothing of
//! it costs anything per task.

mod files;
mod limits;
mod process;
mod syscalls;

pub use process::take_socket;

use potluck_worker_protocol::{Protection, ProtectionState};
use std::path::{Path, PathBuf};

/// What the worker is, which decides the system calls that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An interpreter that runs tasks itself.
    Python,
    /// An engine that runs tasks in WebAssembly.
    Wasm,
}

/// What a worker keeps.
#[derive(Debug)]
pub struct Policy<'a> {
    /// What the worker is.
    pub kind: Kind,
    /// Files and folders that it may read and execute. What does not exist is passed over.
    pub readable: &'a [PathBuf],
    /// The folder in which it may do what it likes.
    pub scratch: &'a Path,
    /// Largest file that it may write.
    pub file_bytes_max: u64,
}

/// Gives up everything else, for good. Must be called by the only thread of the process.
///
/// Never fails: what the kernel does not have, or refuses, is in the list with the reason, and whoever started the worker
/// decides whether that is enough.
pub fn harden(policy: &Policy<'_>) -> Vec<Protection> {
    let mut protections = vec![limits::apply(policy.file_bytes_max), process::drop_capabilities(), process::group()];
    // Landlock before the filter of system calls, which refuses Landlock's own.
    let (files, covers_tcp) = files::restrict(policy);
    let no_new_privileges = process::forbid_new_privileges();
    let calls = syscalls::filter(policy.kind);
    protections.extend([no_new_privileges, files, network(&calls, covers_tcp), calls]);
    protections.sort_by(|left, right| left.name.cmp(&right.name));
    protections
}

/// The same list for a worker that keeps everything, with the reason.
pub fn unhardened(reason: &str) -> Vec<Protection> {
    ["capabilities", "landlock", "network", "no_new_privs", "process_group", "rlimits", "seccomp"]
        .map(|name| protection(name, ProtectionState::Off, reason))
        .into()
}

/// The filter refuses sockets of every family; Landlock knows of TCP alone.
fn network(calls: &Protection, covers_tcp: bool) -> Protection {
    match (calls.state, covers_tcp) {
        (ProtectionState::On, _) => protection("network", ProtectionState::On, ""),
        (_, true) => protection("network", ProtectionState::On, "TCP alone: without seccomp other sockets are open"),
        (state, false) => protection("network", state, "it takes seccomp, or a newer Landlock"),
    }
}

fn protection(name: &str, state: ProtectionState, reason: impl Into<String>) -> Protection {
    Protection { name: name.to_owned(), state, reason: reason.into() }
}

fn on_or_off<E: std::fmt::Display>(name: &str, result: Result<(), E>) -> Protection {
    match result {
        Ok(()) => protection(name, ProtectionState::On, ""),
        Err(error) => protection(name, ProtectionState::Off, error.to_string()),
    }
}
