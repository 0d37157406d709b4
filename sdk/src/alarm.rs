//! One waiting job of the host for any number of deadlines.

use crate::Host;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Jobs that wait for exact times. Beyond them a job comes early and is asked for again, so that deadlines which each
/// fall before the last do not pile up jobs: a job that is asked for cannot be taken back.
const EXACT_JOBS_MAX: usize = 8;

/// Wakes a provider for the first of its deadlines. It keeps the deadlines itself, in order; when it is woken it does
/// what is due, and calls [`Alarm::set`] again with the next.
///
/// However many deadlines there are, and in whatever order they come, only a few jobs wait at the host.
#[derive(Default)]
pub struct Alarm {
    /// When the jobs that wait run, the latest first.
    jobs: Arc<Mutex<Vec<Instant>>>,
}

impl Alarm {
    /// Sees to it that `ring` runs at `deadline`, or some job of this alarm at or before it. It may run before any deadline. Call
    /// it without a lock that `ring` takes.
    pub fn set(&self, host: &Host, now: Instant, deadline: Instant, ring: impl FnOnce() + Send + 'static) {
        let left = deadline.saturating_duration_since(now);
        // Rounded up: the host counts milliseconds, and a job that comes before its deadline has nothing to do.
        let mut milliseconds = u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let mut jobs = self.jobs.lock();
        if jobs.last().is_some_and(|first| *first <= deadline) {
            return;
        }
        if jobs.len() >= EXACT_JOBS_MAX && milliseconds > 0 {
            // Each further job is due within half the time of the one before, so there are never more than 64.
            milliseconds = 1 << milliseconds.ilog2();
        }
        let delay = Duration::from_millis(milliseconds);
        let Some(due) = now.checked_add(delay) else { return };
        jobs.push(due);
        drop(jobs);
        let jobs = Arc::clone(&self.jobs);
        host.run_after(delay, move || {
            let mut waiting = jobs.lock();
            if let Some(place) = waiting.iter().rposition(|job| *job == due) {
                waiting.remove(place);
            }
            drop(waiting);
            ring();
        });
    }
}
