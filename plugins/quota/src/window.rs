//! What was used over a sliding time.

use std::collections::VecDeque;

/// Up to this limit every use is kept at its own millisecond, so that the window is exact.
const EXACT_MAX: u64 = 1_000;
/// Above it, uses are kept in so many parts of the window. A part counts until all in it is old enough: somewhat too long,
/// never too short.
const PARTS: u64 = 256;

/// How finely the uses of a resource are kept, in milliseconds.
pub(crate) fn grain_milliseconds(largest_limit: u64, window_milliseconds: u64) -> u64 {
    if largest_limit <= EXACT_MAX { 1 } else { (window_milliseconds / PARTS).max(1) }
}

/// The uses of one caller that still count: at most as many slots as the limit has units, or a few more than [`PARTS`].
#[derive(Default)]
pub(crate) struct Window {
    /// Until which millisecond each began to count, oldest first, and how much.
    slots: VecDeque<(u64, u64)>,
    used: u64,
}

impl Window {
    /// Forgets what is older than the window.
    pub(crate) fn expire(&mut self, now: u64, window: u64) {
        while let Some((stamp, amount)) = self.slots.front().copied() {
            if stamp.saturating_add(window) > now {
                break;
            }
            self.slots.pop_front();
            self.used -= amount;
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Counts a use; stamps come in order.
    pub(crate) fn add(&mut self, stamp: u64, amount: u64) {
        if amount == 0 {
            return;
        }
        self.used = self.used.saturating_add(amount);
        match self.slots.back_mut() {
            Some((last, sum)) if *last >= stamp => *sum = sum.saturating_add(amount),
            _ => self.slots.push_back((stamp, amount)),
        }
    }

    /// Milliseconds until so much is no longer counted.
    pub(crate) fn frees_in(&self, amount: u64, now: u64, window: u64) -> Option<u64> {
        let mut freed = 0_u64;
        let slot = self.slots.iter().find(|(_, units)| {
            freed = freed.saturating_add(*units);
            freed >= amount
        });
        slot.map(|(stamp, _)| stamp.saturating_add(window).saturating_sub(now))
    }

    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// The stamp of a use: the end of the grain that it falls into.
pub(crate) fn stamp(now: u64, grain: u64) -> u64 {
    if grain <= 1 { now } else { (now / grain + 1) * grain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: u64 = 1_000;

    proptest! {
        /// Whatever comes when: no stretch of the window's length has more than the limit in it, and the window is exact
        /// where it says so.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            limit in 1_u64..3_000,
            steps in prop::collection::vec((0_u64..400, 1_u64..400), 1..200),
        ) {
            let grain = grain_milliseconds(limit, WINDOW);
            let mut window = Window::default();
            let mut granted: Vec<(u64, u64)> = Vec::new();
            let mut now = 5;
            for (pause, amount) in steps {
                now += pause;
                window.expire(now, WINDOW);
                let in_window = |granted: &[(u64, u64)]| {
                    granted.iter().filter(|(at, _)| at + WINDOW > now).map(|(_, amount)| amount).sum::<u64>()
                };
                let allowed = window.used() + amount <= limit;
                if grain == 1 {
                    prop_assert_eq!(allowed, in_window(&granted) + amount <= limit, "exact up to {}", EXACT_MAX);
                }
                if allowed {
                    window.add(stamp(now, grain), amount);
                    granted.push((now, amount));
                }
                prop_assert!(in_window(&granted) <= limit);
                prop_assert!(window.slots() as u64 <= PARTS.max(EXACT_MAX) + 2);
                if !allowed && amount <= limit {
                    let needed = window.used() + amount - limit;
                    let wait = window.frees_in(needed, now, WINDOW).unwrap();
                    let mut later = Window { slots: window.slots.clone(), used: window.used };
                    later.expire(now + wait, WINDOW);
                    prop_assert!(later.used() + amount <= limit, "what it says is enough");
                    let mut sooner = Window { slots: window.slots.clone(), used: window.used };
                    sooner.expire(now + wait - 1, WINDOW);
                    prop_assert!(sooner.used() + amount > limit, "and no more than that");
                }
            }
        }
    }
}
