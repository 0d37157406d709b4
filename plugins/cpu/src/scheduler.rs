//! The ready queue: which task is next.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// First come, first served.
    Fcfs,
    /// The highest priority first; among equals the one that came first.
    Priority,
}

impl Algorithm {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Algorithm::Fcfs => "FCFS",
            Algorithm::Priority => "PRIORITY",
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Algorithm, String> {
        match text.to_ascii_uppercase().as_str() {
            "FCFS" => Ok(Algorithm::Fcfs),
            "PRIORITY" => Ok(Algorithm::Priority),
            _ => {
                let shown: String = text.chars().take(32).collect();
                Err(format!("Unknown algorithm: {shown}. Available: FCFS, PRIORITY"))
            }
        }
    }
}

/// A place in the queue. It is kept while a task is taken out and put back, so that the task does not lose its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// Higher first, under [`Algorithm::Priority`].
    pub priority: i64,
    /// Number of the arrival.
    pub sequence: u64,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct ReadyQueue<T> {
    algorithm: Algorithm,
    /// By rank, then arrival. The rank is the negated priority, one wider so that it cannot overflow.
    entries: BTreeMap<(i128, u64), (Ticket, T)>,
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
        self.entries.insert(self.key(ticket), (ticket, item));
    }

    pub(crate) fn peek(&self) -> Option<&T> {
        self.entries.values().next().map(|(_, item)| item)
    }

    /// The rank of the first: of two queues of one algorithm, the one with the lower rank is next.
    pub(crate) fn rank(&self) -> Option<(i128, u64)> {
        self.entries.keys().next().copied()
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        self.entries.remove(&self.key(ticket)).map(|(_, item)| item)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|(_, item)| item)
    }

    fn key(&self, ticket: Ticket) -> (i128, u64) {
        match self.algorithm {
            Algorithm::Fcfs => (0, ticket.sequence),
            Algorithm::Priority => (-i128::from(ticket.priority), ticket.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(queue: &ReadyQueue<char>) -> String {
        queue.iter().collect()
    }

    fn filled(algorithm: Algorithm) -> ReadyQueue<char> {
        let mut queue = ReadyQueue::new(algorithm);
        for (sequence, (priority, item)) in
            [(0, 'a'), (5, 'b'), (0, 'c'), (i64::MIN, 'd'), (5, 'e')].into_iter().enumerate()
        {
            queue.push(Ticket { priority, sequence: sequence as u64 }, item);
        }
        queue
    }

    #[test]
    fn first_come_is_first_served() {
        assert_eq!(order(&filled(Algorithm::Fcfs)), "abcde");
    }

    #[test]
    fn priority_is_stable_among_equals() {
        assert_eq!(order(&filled(Algorithm::Priority)), "beacd");
    }

    #[test]
    fn switching_sorts_anew_and_strands_nothing() {
        let mut queue = filled(Algorithm::Fcfs);
        queue.set_algorithm(Algorithm::Priority);
        assert_eq!(order(&queue), "beacd");
        queue.set_algorithm(Algorithm::Fcfs);
        assert_eq!(order(&queue), "abcde");
    }

    #[test]
    fn a_task_that_is_put_back_keeps_its_turn() {
        let mut queue = filled(Algorithm::Priority);
        let ticket = Ticket { priority: 5, sequence: 1 };
        assert_eq!(queue.remove(ticket), Some('b'));
        queue.push(ticket, 'b');
        assert_eq!((order(&queue).as_str(), queue.len(), queue.peek()), ("beacd", 5, Some(&'b')));
    }

    #[test]
    fn an_unknown_algorithm_is_refused_with_those_there_are() {
        assert_eq!("fcfs".parse(), Ok(Algorithm::Fcfs));
        assert_eq!("LIFO".parse::<Algorithm>().unwrap_err(), "Unknown algorithm: LIFO. Available: FCFS, PRIORITY");
    }
}
