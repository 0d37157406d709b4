//! Averages that are measured, not derived.

use parking_lot::Mutex;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Counts and sums since the start.
#[derive(Default)]
pub(crate) struct Statistics {
    /// A leaf lock.
    sums: Mutex<Sums>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    total: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    forwarded: u64,
    waiting_seconds: f64,
    turnaround_seconds: f64,
    first_arrival: Option<Instant>,
    last_end: Option<Instant>,
}

/// As STATUS shows them.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) total_tasks: u64,
    pub(crate) completed_tasks: u64,
    pub(crate) failed_tasks: u64,
    pub(crate) cancelled_tasks: u64,
    pub(crate) forwarded_tasks: u64,
    pub(crate) average_waiting_time: f64,
    pub(crate) average_turnaround_time: f64,
    pub(crate) throughput: f64,
}

impl Statistics {
    pub(crate) fn arrived(&self, now: Instant) {
        let mut sums = self.sums.lock();
        sums.total += 1;
        sums.first_arrival.get_or_insert(now);
    }

    pub(crate) fn forwarded(&self) {
        self.sums.lock().forwarded += 1;
    }

    /// A task has ended; `code` says why it failed.
    pub(crate) fn finished(&self, turnaround: Duration, waiting_seconds: f64, code: Option<&str>, now: Instant) {
        let mut sums = self.sums.lock();
        match code {
            None => sums.succeeded += 1,
            Some(potluck_sdk::message::cpu::outcome::CANCELLED) => sums.cancelled += 1,
            Some(_) => sums.failed += 1,
        }
        sums.turnaround_seconds += turnaround.as_secs_f64();
        sums.waiting_seconds += waiting_seconds;
        sums.last_end = Some(now);
    }

    pub(crate) fn summary(&self) -> Summary {
        let sums = *self.sums.lock();
        let ended = sums.succeeded + sums.failed + sums.cancelled;
        let average = |sum: f64| if ended == 0 { 0.0 } else { sum / ended as f64 };
        let span = match (sums.first_arrival, sums.last_end) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        Summary {
            total_tasks: sums.total,
            completed_tasks: sums.succeeded,
            failed_tasks: sums.failed,
            cancelled_tasks: sums.cancelled,
            forwarded_tasks: sums.forwarded,
            average_waiting_time: average(sums.waiting_seconds),
            average_turnaround_time: average(sums.turnaround_seconds),
            throughput: if span > 0.0 { sums.succeeded as f64 / span } else { 0.0 },
        }
    }
}
