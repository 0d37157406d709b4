//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far above what is needed, also on a machine that is busy.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// When it still does not after [`LIMIT`]; `what` completes the sentence "gave up waiting for".
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for_some(what, || condition().then_some(()));
}

/// Waits until `find` finds something.
///
/// # Panics
/// As [`wait_for`].
pub fn wait_for_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what} after {} s", LIMIT.as_secs());
        thread::sleep(POLL);
    }
}
