//! How much of one topic is recorded: so much of each caller or stranger, and so much in all. The rest is counted.

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;

/// How many refusals a second one caller or one stranger has recorded; a flood of them tells nothing new.
const REFUSALS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
const REFUSALS_BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// The same for all of a topic together, so that many strangers cannot keep the disk busy.
const TOPIC_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).unwrap();
pub(super) const TOPIC_BURST: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// How many budgets a topic has. The next caller or stranger shares one with all others that come too late.
const BUDGETS_MAX: usize = 1024;
/// How often all budgets are searched for some to drop; strangers must not cause that with every connection.
const SEARCHES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Lets so many events of one topic through, and counts the others.
pub(super) struct Flood<C: Clock = DefaultClock> {
    clock: C,
    /// For all budgets together.
    topic: Limiter<C>,
    searches: Limiter<C>,
    budgets: HashMap<u64, Budget<C>>,
    /// For whom there is no room in `budgets`; it also tells what dropped budgets had still to tell.
    common: Budget<C>,
}

/// What one caller or stranger may still have recorded.
struct Budget<C: Clock> {
    limiter: Limiter<C>,
    suppressed: u64,
}

impl<C: Clock + Clone> Flood<C> {
    pub(super) fn new(clock: C) -> Flood<C> {
        let topic = Quota::per_second(TOPIC_PER_SECOND).allow_burst(TOPIC_BURST);
        let searches = Quota::per_second(SEARCHES_PER_SECOND).allow_burst(NonZeroU32::MIN);
        Flood {
            topic: RateLimiter::direct_with_clock(topic, clock.clone()),
            searches: RateLimiter::direct_with_clock(searches, clock.clone()),
            budgets: HashMap::new(),
            common: Budget::new(clock.clone()),
            clock,
        }
    }

    /// Lets an event through and returns how many of its budget were held back before it, or nothing when it is held back
    /// too.
    pub(super) fn admit(&mut self, key: u64) -> Option<u64> {
        if self.budgets.len() >= BUDGETS_MAX && !self.budgets.contains_key(&key) && self.searches.check().is_ok() {
            self.drop_full();
        }
        let has_room = self.budgets.len() < BUDGETS_MAX;
        let budget = match self.budgets.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if has_room => entry.insert(Budget::new(self.clock.clone())),
            Entry::Vacant(_) => &mut self.common,
        };
        // In this order: what its own budget holds back takes nothing from the others.
        if budget.limiter.check().is_ok() && self.topic.check().is_ok() {
            return Some(std::mem::take(&mut budget.suppressed));
        }
        budget.suppressed += 1;
        None
    }

    /// A full budget is as good as a new one.
    fn drop_full(&mut self) {
        let common = &mut self.common;
        self.budgets.retain(|_, budget| {
            let is_full = matches!(budget.limiter.check_n(REFUSALS_BURST), Ok(Ok(())));
            if is_full {
                common.suppressed += budget.suppressed;
            }
            !is_full
        });
    }

    /// Takes back a count that could not be told.
    pub(super) fn give_back(&mut self, key: u64, suppressed: u64) {
        self.budgets.get_mut(&key).unwrap_or(&mut self.common).suppressed += suppressed;
    }

    /// Takes what no budget has told.
    pub(super) fn held_back(&mut self) -> u64 {
        let budgets = self.budgets.values_mut().chain([&mut self.common]);
        budgets.map(|budget| std::mem::take(&mut budget.suppressed)).sum()
    }
}

impl<C: Clock> Budget<C> {
    fn new(clock: C) -> Budget<C> {
        let quota = Quota::per_second(REFUSALS_PER_SECOND).allow_burst(REFUSALS_BURST);
        Budget { limiter: RateLimiter::direct_with_clock(quota, clock), suppressed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use std::time::Duration;

    #[test]
    fn each_budget_counts_for_itself_and_all_of_them_have_a_limit() {
        let clock = FakeRelativeClock::default();
        let mut flood = Flood::new(clock.clone());
        assert_eq!((0..150).filter(|_| flood.admit(0).is_some()).count(), 100);
        assert_eq!(flood.admit(1), Some(0));
        clock.advance(Duration::from_millis(50));
        assert_eq!((flood.admit(0), flood.admit(0)), (Some(50), None));
        flood.give_back(0, 50);
        assert_eq!(flood.held_back(), 51);
        // 102 of the burst are gone, and ten came back in fifty milliseconds.
        let admitted = (0..2000).filter(|number| flood.admit(2 + number % 100).is_some()).count();
        assert_eq!(admitted, 1000 + 10 - 102);
        assert_eq!(flood.held_back(), 2000 - admitted as u64);
        clock.advance(Duration::from_millis(5));
        assert_eq!((flood.admit(5000), flood.admit(5001)), (Some(0), None));
    }

    #[test]
    fn budgets_are_bounded_and_who_comes_too_late_shares_one() {
        let clock = FakeRelativeClock::default();
        let mut flood = Flood::new(clock.clone());
        let keys = 0..BUDGETS_MAX as u64;
        let held_back = keys.clone().filter(|key| flood.admit(*key).is_none()).count() as u64;
        assert_eq!(held_back, keys.end - 1000);
        // Everybody's budget lacks one, so none is dropped.
        assert_eq!(flood.admit(keys.end), None);
        clock.advance(Duration::from_millis(40));
        assert_eq!(flood.admit(keys.end + 1), Some(1));
        assert_eq!(flood.admit(0), Some(0));
        assert_eq!(flood.budgets.len(), BUDGETS_MAX);
        // Now all but one are full again; what they had to tell is not forgotten.
        clock.advance(Duration::from_millis(60));
        flood.admit(0).unwrap();
        assert_eq!(flood.admit(keys.end), Some(0));
        assert_eq!(flood.budgets.len(), 2);
        assert_eq!((flood.common.suppressed, flood.held_back()), (held_back, held_back));
    }
}
