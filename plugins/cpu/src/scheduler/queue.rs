//! The ready queue: which task is next.

use super::{Algorithm, Rank, Ticket};
use std::collections::BTreeMap;

/// The queue.
#[derive(Debug)]
pub(crate) struct ReadyQueue<T> {
    algorithm: Algorithm,
    entries: BTreeMap<Rank, (Ticket, T)>,
}

impl<T> ReadyQueue<T> {
    pub(crate) fn new(algorithm: Algorithm) -> ReadyQueue<T> {
        ReadyQueue { algorithm, entries: BTreeMap::new() }
    }

    /// Switches the order; everything that waits is sorted anew and nothing is lost.
    pub(crate) fn set_algorithm(&mut self, algorithm: Algorithm) {
        self.algorithm = algorithm;
        for (ticket, item) in std::mem::take(&mut self.entries).into_values() {
            self.push(ticket, item);
        }
    }

    pub(crate) fn push(&mut self, ticket: Ticket, item: T) {
        self.entries.insert(self.algorithm.rank(&ticket), (ticket, item));
    }

    pub(crate) fn peek(&self) -> Option<&T> {
        self.entries.values().next().map(|(_, item)| item)
    }

    /// The rank of the first: of two queues of one algorithm, the one with the lower rank is next.
    pub(crate) fn rank(&self) -> Option<Rank> {
        self.entries.keys().next().copied()
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.entries.remove(&self.algorithm.rank(&ticket)).map(|(_, item)| item)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Those that will be served last come first.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = (Rank, T)>
    where
        T: Copy,
    {
        self.entries.iter().rev().map(|(rank, (_, item))| (*rank, *item))
    }

    /// In the order in which they will be served.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|(_, item)| item)
    }

    /// In the order in which they will be served, with their tickets: [`Algorithm::why`] explains the first by the next.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = (&Ticket, &T)> {
        self.entries.values().map(|(ticket, item)| (ticket, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::QUANTUM_DEFAULT;
    use std::time::Duration;

    const PRIORITY: Algorithm = Algorithm::Priority { preemptive: false, ageing: None };
    const SJF: Algorithm = Algorithm::Sjf { preemptive: false };

    fn order(queue: &ReadyQueue<char>) -> String {
        queue.iter().collect()
    }

    fn filled(algorithm: Algorithm) -> ReadyQueue<char> {
        let mut queue = ReadyQueue::new(algorithm);
        let entries = [(0, 30, 'a'), (5, 20, 'b'), (0, 20, 'c'), (i64::MIN, 10, 'd'), (5, 40, 'e')];
        for (sequence, (priority, estimate_micros, item)) in (0_u64..).zip(entries) {
            queue.push(Ticket { priority, sequence, arrival_micros: sequence * 10, estimate_micros }, item);
        }
        queue
    }

    #[test]
    fn first_come_is_first_served() {
        assert_eq!(order(&filled(Algorithm::Fcfs)), "abcde");
        assert_eq!(order(&filled(Algorithm::RoundRobin { quantum: QUANTUM_DEFAULT })), "abcde");
    }

    #[test]
    fn priority_is_stable_among_equals() {
        assert_eq!(order(&filled(PRIORITY)), "beacd");
    }

    #[test]
    fn the_shortest_is_first_and_equals_keep_their_order() {
        assert_eq!(order(&filled(SJF)), "dbcae");
    }

    #[test]
    fn those_who_waited_long_overtake_with_ageing() {
        let fast = Algorithm::Priority { preemptive: false, ageing: Some(Duration::from_micros(1)) };
        assert_eq!(order(&filled(fast)), "abced");
    }

    #[test]
    fn switching_sorts_anew_and_strands_nothing() {
        let mut queue = filled(Algorithm::Fcfs);
        for (algorithm, expected) in [(PRIORITY, "beacd"), (SJF, "dbcae"), (Algorithm::Fcfs, "abcde")] {
            queue.set_algorithm(algorithm);
            assert_eq!((order(&queue).as_str(), queue.tickets().count()), (expected, 5));
        }
    }

    #[test]
    fn a_task_that_is_put_back_keeps_its_turn() {
        let mut queue = filled(PRIORITY);
        let ticket = Ticket { priority: 5, sequence: 1, arrival_micros: 10, estimate_micros: 20 };
        assert_eq!(queue.remove(ticket), Some('b'));
        queue.push(ticket, 'b');
        assert_eq!((order(&queue).as_str(), queue.len(), queue.peek()), ("beacd", 5, Some(&'b')));
        assert_eq!(queue.rank(), Some(PRIORITY.rank(&ticket)));
    }
}
