//! Which peer to use: the one with the least expected wait.
//!
//! Peers stand in an ordered index, so a choice costs the same in a pool of ten and of a hundred thousand. A choice
//! counts as load until the chosen peer reports again; without that, all who ask between two heartbeats would be sent
//! to the same peer.

use crate::directory::PeerKey;
use potluck_sdk::message::tracker::Load;
use std::collections::BTreeSet;

/// A peer's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Expected wait as the bits of a number that is not negative: those are ordered as the numbers are.
    wait_bits: u64,
    /// Among equals, the one whose turn is longest ago.
    turn: u64,
    key: PeerKey,
}

/// The peers in the order in which they should be used.
#[derive(Default)]
pub(crate) struct Selection {
    order: BTreeSet<Rank>,
    turn: u64,
}

impl Selection {
    /// Adds a peer behind its equals; the caller keeps the rank.
    pub(crate) fn add(&mut self, key: PeerKey, wait: f64) -> Rank {
        self.turn += 1;
        let rank = Rank { wait_bits: wait.to_bits(), turn: self.turn, key };
        self.order.insert(rank);
        rank
    }

    /// Removes a peer.
    pub(crate) fn remove(&mut self, rank: Rank) {
        self.order.remove(&rank);
    }

    /// Moves a peer whose load has changed. Among equals it keeps its turn.
    pub(crate) fn reload(&mut self, rank: Rank, wait: f64) -> Rank {
        self.order.remove(&rank);
        let rank = Rank { wait_bits: wait.to_bits(), ..rank };
        self.order.insert(rank);
        rank
    }

    /// Moves a peer that was chosen behind its equals.
    pub(crate) fn chosen(&mut self, rank: Rank, wait: f64) -> Rank {
        self.order.remove(&rank);
        self.add(rank.key, wait)
    }

    /// The peer to use.
    pub(crate) fn first(&self) -> Option<PeerKey> {
        self.order.first().map(|rank| rank.key)
    }

    #[cfg(test)]
    pub(crate) fn ranks(&self) -> impl Iterator<Item = &Rank> {
        self.order.iter()
    }
}

/// Tasks for each worker, those counted that were sent there since the peer's last report. A peer that tells no more
/// than `cpu_load` counts as one worker.
pub(crate) fn expected_wait(load: &Load, in_flight: u32) -> f64 {
    let workers = f64::from(load.workers.max(1));
    let tasks = f64::from(load.running) + f64::from(load.queued);
    let busy = if tasks > 0.0 { tasks } else { load.cpu_load * workers };
    (busy + f64::from(in_flight)) / workers
}

/// A source of numbers that differ from one tracker to the next; nothing secret depends on them.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % bound as u64) as usize
    }

    /// `count` different positions of a list of `length`, by Floyd's method: its cost does not depend on the length.
    pub(crate) fn sample(&mut self, length: usize, count: usize) -> Vec<usize> {
        let mut positions = Vec::with_capacity(count);
        for last in length.saturating_sub(count)..length {
            let position = self.below(last + 1);
            positions.push(if positions.contains(&position) { last } else { position });
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_tasks_for_each_worker() {
        let load = |cpu_load, workers, running, queued| Load { cpu_load, workers, running, queued, ..Load::default() };
        assert_eq!(expected_wait(&load(0.0, 4, 3, 5), 0), 2.0);
        assert_eq!(expected_wait(&load(0.0, 4, 3, 5), 4), 3.0);
        assert_eq!(expected_wait(&load(0.5, 4, 0, 0), 0), 0.5);
        assert_eq!(expected_wait(&load(0.95, 0, 0, 0), 1), 1.95);
        assert_eq!(expected_wait(&Load::default(), 0), 0.0);
    }

    #[test]
    fn equals_take_turns_and_less_wait_goes_first() {
        let mut selection = Selection::default();
        let key = PeerKey::for_test;
        let first = selection.add(key(1), 0.0);
        let second = selection.add(key(2), 0.0);
        let third = selection.add(key(3), 0.25);
        assert_eq!(selection.first(), Some(key(1)));
        let first = selection.chosen(first, 0.0);
        assert_eq!(selection.first(), Some(key(2)));
        let second = selection.chosen(second, 0.5);
        assert_eq!(selection.first(), Some(key(1)));
        selection.chosen(first, 0.5);
        assert_eq!(selection.first(), Some(key(3)));
        selection.remove(third);
        assert_eq!(selection.first(), Some(key(2)));
        selection.reload(second, 0.75);
        assert_eq!(selection.first(), Some(key(1)));
    }

    #[test]
    fn a_sample_has_no_position_twice_and_reaches_all() {
        let mut random = Random::new(3);
        let mut seen = vec![0; 100];
        for _ in 0..200 {
            let mut sample = random.sample(100, 64);
            sample.iter().for_each(|position| seen[*position] += 1);
            sample.sort_unstable();
            sample.dedup();
            assert_eq!(sample.len(), 64);
        }
        assert!(seen.iter().all(|count| (64..192).contains(count)), "{seen:?}");
        assert!(random.sample(0, 0).is_empty());
        assert_eq!(random.sample(3, 3).len(), 3);
    }
}
