//! Counts and durations of a provider's answers, without a lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Buckets for each doubling of the duration: percentiles are right to about 12 %.
const STEPS_PER_DOUBLING: u64 = 8;
/// From 0 nanoseconds to far over an hour.
const BUCKETS: usize = 48 * STEPS_PER_DOUBLING as usize;

/// Of the answers that are given at once, one in this many is timed.
const SAMPLED_EVERY: u32 = 8;
/// Threads that count in places of their own; more share them.
const SHARDS: usize = 16;

thread_local! {
    static CALLS_OF_THREAD: Cell<u32> = const { Cell::new(0) };
    static SHARD_OF_THREAD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

/// Counters of some threads, alone in their cache lines: threads that count in one place make each other wait.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    calls: AtomicU64,
    /// Calls that are inside the provider's library.
    inside: AtomicUsize,
}

/// What a provider has answered: counts, and durations as a histogram whose buckets grow with the value.
pub struct Account {
    /// The provider's id.
    pub provider: String,
    shards: [Shard; SHARDS],
    errors: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Account {
    /// An empty account.
    pub fn new(provider: &str) -> Account {
        Account {
            provider: provider.to_owned(),
            shards: Default::default(),
            errors: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// Whether the next answer should be timed: looking at the clock twice costs as much as a short answer itself.
    pub fn is_sampled() -> bool {
        CALLS_OF_THREAD.with(|calls| {
            let number = calls.get().wrapping_add(1);
            calls.set(number);
            number.is_multiple_of(SAMPLED_EVERY)
        })
    }

    /// Counts an answer whose time was not taken.
    pub fn count(&self, ok: bool) {
        self.shard().calls.fetch_add(1, Ordering::Relaxed);
        if !ok {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one answer.
    pub fn record(&self, duration: Duration, ok: bool) {
        self.count(ok);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that this thread enters the provider's library; returns where it has to be noted that it has left.
    pub fn enter(&self) -> &AtomicUsize {
        let inside = &self.shard().inside;
        inside.fetch_add(1, Ordering::SeqCst);
        inside
    }

    /// Calls that are inside the library.
    pub fn inside(&self) -> usize {
        self.shards.iter().map(|shard| shard.inside.load(Ordering::SeqCst)).sum()
    }

    fn shard(&self) -> &Shard {
        &self.shards[SHARD_OF_THREAD.with(|shard| *shard)]
    }

    /// Answers given.
    pub fn calls(&self) -> u64 {
        self.shards.iter().map(|shard| shard.calls.load(Ordering::Relaxed)).sum()
    }

    /// How many of them were errors.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Median and 99th percentile in microseconds; 0 before the first answer.
    pub fn percentiles(&self) -> (f64, f64) {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let percentile = |share: f64| {
            let wanted = (total as f64 * share).ceil() as u64;
            let mut seen = 0;
            for (index, count) in counts.iter().enumerate() {
                seen += count;
                if seen >= wanted && seen > 0 {
                    return upper_bound(index) as f64 / 1000.0;
                }
            }
            0.0
        };
        (percentile(0.50), percentile(0.99))
    }
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < STEPS_PER_DOUBLING {
        return nanoseconds as usize;
    }
    let doubling = u64::from(nanoseconds.ilog2());
    let step = (nanoseconds >> (doubling - 3)) & (STEPS_PER_DOUBLING - 1);
    (((doubling - 2) * STEPS_PER_DOUBLING + step) as usize).min(BUCKETS - 1)
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS_PER_DOUBLING {
        return index;
    }
    let doubling = index / STEPS_PER_DOUBLING + 2;
    let step = index % STEPS_PER_DOUBLING;
    (1 << doubling) + ((step + 1) << (doubling - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_a_bucket_that_reaches_it_closely() {
        for exponent in 0..40 {
            for nanoseconds in [1_u64 << exponent, (1 << exponent) + 1, (1 << exponent) * 3 / 2] {
                let bound = upper_bound(bucket(nanoseconds));
                assert!(
                    bound >= nanoseconds && bound as f64 <= nanoseconds as f64 * 1.13 + 1.0,
                    "{nanoseconds} {bound}"
                );
            }
        }
        bucket(u64::MAX);
    }

    #[test]
    fn percentiles_follow_the_counts() {
        let stats = Account::new("memory");
        assert_eq!(stats.percentiles(), (0.0, 0.0));
        for microseconds in 1..=100 {
            stats.record(Duration::from_micros(microseconds), microseconds != 7);
        }
        let (p50, p99) = stats.percentiles();
        assert!((50.0..58.0).contains(&p50) && (99.0..113.0).contains(&p99), "{p50} {p99}");
        assert_eq!((stats.calls(), stats.errors()), (100, 1));
    }
}
