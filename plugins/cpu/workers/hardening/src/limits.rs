//! Limits of the kernel on a process. The one on memory is a task's own, set with it.

use crate::on_or_off;
use potluck_worker_protocol::Protection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a process may have open: enough for any task, too few to exhaust the machine's.
const DESCRIPTORS_MAX: u64 = 256;
/// Memory that may be kept from being swapped out.
const LOCKED_BYTES_MAX: u64 = 64 << 10;
/// Signals that may wait, which are counted over all processes of a user.
const SIGNALS_MAX: u64 = 256;

/// Lowers the limits, hard, so that they cannot be raised again.
pub(crate) fn apply(file_bytes_max: u64) -> Protection {
    let lowered = [
        // A dump would be a file outside the scratch folder, with everything that was in memory.
        (Resource::Core, 0),
        (Resource::Nofile, DESCRIPTORS_MAX),
        (Resource::Fsize, file_bytes_max),
        (Resource::Memlock, LOCKED_BYTES_MAX),
        (Resource::Msgqueue, 0),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
        (Resource::Sigpending, SIGNALS_MAX),
    ];
    // One that cannot be lowered is no reason to leave the others as they are.
    let refused: Vec<String> = lowered
        .into_iter()
        .filter_map(|(resource, most)| {
            let now = getrlimit(resource).maximum;
            let most = now.map_or(most, |now| now.min(most));
            let lowered = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
            lowered.err().map(|error| format!("{resource:?}: {error}"))
        })
        .collect();
    on_or_off("rlimits", if refused.is_empty() { Ok(()) } else { Err(refused.join(", ")) })
}
