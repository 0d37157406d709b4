//! How long functions ran before: what placement expects of the next run.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Seconds that a function is expected to take of which nothing is known; the original system's default.
const UNKNOWN_SECONDS: f64 = 1.0;
/// Functions that are remembered; when there are more, all are forgotten.
const FUNCTIONS_MAX: usize = 4096;
/// Weight of the newest run: after four runs of a new duration three quarters of the estimate are due to it.
const NEWEST_WEIGHT: f64 = 0.3;

/// Names a function of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionKey(u64);

/// Exponentially weighted durations by function.
#[derive(Default)]
pub(crate) struct Estimates {
    hasher: RandomState,
    /// A leaf lock.
    seconds: Mutex<HashMap<FunctionKey, f64>>,
}

impl Estimates {
    /// The key of a function. Seeded anew with each start, so nobody can make functions collide.
    pub(crate) fn key(&self, program: &str, function: &str) -> FunctionKey {
        FunctionKey(self.hasher.hash_one((program, function)))
    }

    /// What the next run is expected to take.
    pub(crate) fn seconds(&self, key: FunctionKey) -> f64 {
        self.known_seconds(key).unwrap_or(UNKNOWN_SECONDS)
    }

    /// The same; nothing for a function that was not run yet.
    pub(crate) fn known_seconds(&self, key: FunctionKey) -> Option<f64> {
        self.seconds.lock().get(&key).copied()
    }

    /// Learns from a run.
    pub(crate) fn learn(&self, key: FunctionKey, seconds: f64) {
        let mut known = self.seconds.lock();
        if known.len() >= FUNCTIONS_MAX && !known.contains_key(&key) {
            known.clear();
        }
        known.entry(key).and_modify(|old| *old += NEWEST_WEIGHT * (seconds - *old)).or_insert(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_the_runs_of_its_function() {
        let estimates = Estimates::default();
        let key = estimates.key("def main(): pass", "main");
        assert_eq!(estimates.seconds(key), 1.0);
        estimates.learn(key, 0.002);
        assert_eq!(estimates.seconds(key), 0.002);
        for _ in 0..20 {
            estimates.learn(key, 3.0);
        }
        assert!((2.9..3.0).contains(&estimates.seconds(key)));
        assert_eq!(estimates.seconds(estimates.key("def main(): pass", "other")), 1.0);
    }

    #[test]
    fn memory_is_bounded() {
        let estimates = Estimates::default();
        for number in 0..3 * FUNCTIONS_MAX {
            estimates.learn(estimates.key(&number.to_string(), "main"), 1.0);
        }
        assert!(estimates.seconds.lock().len() <= FUNCTIONS_MAX);
    }
}
