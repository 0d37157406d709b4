//! What a worker does to its own process.

use crate::{on_or_off, protection};
use potluck_worker_protocol::{Protection, ProtectionState};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getpgrp, getpid, set_child_subreaper, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Takes the socket to the provider away from standard input, so that a task that reads finds an empty file instead of
/// its orders. The process ends with its provider, and what it starts stays below it, where it can be found and stopped.
pub fn take_socket() -> std::io::Result<UnixStream> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_child_subreaper(Some(getpid()))?;
    // Even a worker that keeps everything else must not raise its limits again.
    let _ = remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE);
    if let Ok(mut sets) = rustix::thread::capabilities(None) {
        let kept = !CapabilitySet::SYS_RESOURCE;
        sets.effective &= kept;
        sets.permitted &= kept;
        sets.inheritable &= kept;
        let _ = set_capabilities(None, sets);
    }
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(UnixStream::from(socket))
}

/// Root without capabilities is a user like others.
pub(crate) fn drop_capabilities() -> Protection {
    for capability in CapabilitySet::all().iter() {
        // Those that the kernel does not know, and all of them for whoever is not root.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    on_or_off(
        "capabilities",
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }),
    )
}

/// No program that the process starts has more rights than it.
pub(crate) fn forbid_new_privileges() -> Protection {
    on_or_off("no_new_privs", set_no_new_privs(true))
}

/// Whether the provider has put the process into a group of its own, by which it is stopped.
pub(crate) fn group() -> Protection {
    if getpgrp() == getpid() {
        protection("process_group", ProtectionState::On, "")
    } else {
        protection("process_group", ProtectionState::Off, "the process was started in its parent's group")
    }
}
