//! A hook that the provider handed over, used exactly once.

use crate::abi::Hook;

/// A [`Hook`] that is released when it is dropped without having run.
pub(super) struct Job(Option<Hook>);

impl Job {
    pub(super) fn new(hook: Hook) -> Job {
        Job(Some(hook))
    }

    pub(super) fn run(mut self) {
        if let Some(hook) = self.0.take() {
            // SAFETY: `take` makes this the only use of the hook.
            unsafe { (hook.run)(hook.context) }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(hook) = self.0.take() {
            // SAFETY: as in `run`.
            unsafe { (hook.release)(hook.context) }
        }
    }
}
