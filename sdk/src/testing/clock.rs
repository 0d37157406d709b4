//! Time that stands still until the test moves it.

use super::job::Job;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock of a [`super::Harness`]: it stands still until [`super::Harness::advance`] moves it. Copies show the same
/// time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    start: Instant,
    elapsed_nanoseconds: Arc<AtomicU64>,
}

impl ManualClock {
    pub(super) fn new() -> ManualClock {
        ManualClock { start: Instant::now(), elapsed_nanoseconds: Arc::default() }
    }

    /// The time that it shows.
    pub fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanoseconds.load(Ordering::SeqCst))
    }

    /// Moves it forward to a time; never back, though several threads may move it.
    pub(super) fn forward_to(&self, elapsed: Duration) {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanoseconds.fetch_max(nanoseconds, Ordering::SeqCst);
    }
}

/// The jobs of `run_after`, by the time at which they are due; jobs of one time in the order in which they came.
#[derive(Default)]
pub(super) struct Timers {
    jobs: BTreeMap<(Duration, u64), Job>,
    sequence: u64,
    closed: bool,
}

impl Timers {
    /// Keeps the job; gives it back when the node has stopped.
    pub(super) fn add(&mut self, due: Duration, job: Job) -> Result<(), Job> {
        if self.closed {
            return Err(job);
        }
        self.sequence += 1;
        self.jobs.insert((due, self.sequence), job);
        Ok(())
    }

    /// The first job that is due at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(Duration, Job)> {
        let first = self.jobs.first_entry().filter(|first| first.key().0 <= now)?;
        let ((due, _), job) = first.remove_entry();
        Some((due, job))
    }

    pub(super) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// All jobs that wait; later ones are not taken.
    pub(super) fn close(&mut self) -> Vec<Job> {
        self.closed = true;
        std::mem::take(&mut self.jobs).into_values().collect()
    }
}
