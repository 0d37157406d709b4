//! Why a decision was taken, in words.

use super::{Algorithm, Ticket};
use std::time::Duration;

impl Algorithm {
    /// Why the chosen one is next: what puts it ahead of the best of the others. `others` are the rest of the queue, best
    /// first; two of them are enough.
    pub(crate) fn why<'a>(self, chosen: &Ticket, others: impl IntoIterator<Item = &'a Ticket>) -> String {
        let Some(next) = others.into_iter().next() else { return "it is the only one that waits".to_owned() };
        let is_equal = self.urgency(chosen) == self.urgency(next);
        match self {
            Algorithm::Fcfs => "it came first".to_owned(),
            Algorithm::RoundRobin { quantum } => format!("it is its turn, for {}", shown(quantum)),
            Algorithm::Sjf { .. } => {
                let expected = shown(Duration::from_micros(chosen.estimate_micros));
                if is_equal {
                    format!("it is expected to need {expected}, as the next one, and came first")
                } else {
                    let other = shown(Duration::from_micros(next.estimate_micros));
                    format!("it is expected to need {expected}, the next one {other}")
                }
            }
            Algorithm::Priority { ageing, .. } => {
                let (own, other) = (chosen.priority, next.priority);
                match ageing {
                    None if is_equal => format!("it has priority {own}, as the next one, and came first"),
                    None => format!("it has priority {own}, the next one {other}"),
                    Some(_) if own > other => format!("it has priority {own} with its age, the next one {other}"),
                    Some(step) => {
                        let older = next.arrival_micros.saturating_sub(chosen.arrival_micros);
                        let older = shown(Duration::from_micros(older));
                        let step = shown(step);
                        format!("it has priority {own}, the next one {other}, but came {older} earlier ({step} a step)")
                    }
                }
            }
        }
    }

    pub(super) fn preemption_reason(self, newcomer: &Ticket, running: &Ticket) -> String {
        match self {
            Algorithm::Sjf { .. } => format!(
                "{} expected is less than the {} left",
                shown(Duration::from_micros(newcomer.estimate_micros)),
                shown(Duration::from_micros(running.estimate_micros))
            ),
            Algorithm::Priority { ageing: Some(_), .. } => {
                format!("priority {} with its age is above {}", newcomer.priority, running.priority)
            }
            _ => format!("priority {} is above {}", newcomer.priority, running.priority),
        }
    }

    /// Why one that runs gives way when its quantum is over.
    pub(crate) fn quantum_reason(self) -> String {
        let quantum = self.quantum().unwrap_or_default();
        format!("its quantum of {} is over", shown(quantum))
    }
}

/// A time for people, such as `50 ms`.
fn shown(time: Duration) -> String {
    let millis = time.as_micros() as f64 / 1e3;
    if millis < 1e3 { format!("{millis} ms") } else { format!("{} s", millis / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(priority: i64, sequence: u64, arrival_micros: u64, estimate_micros: u64) -> Ticket {
        Ticket { priority, sequence, arrival_micros, estimate_micros }
    }

    #[test]
    fn each_algorithm_says_what_it_looked_at() {
        let (first, second) = (ticket(7, 0, 0, 3_000), ticket(2, 1, 2_500_000, 60_000));
        let priority =
            |seconds: Option<u64>| Algorithm::Priority { preemptive: false, ageing: seconds.map(Duration::from_secs) };
        for (algorithm, expected) in [
            (Algorithm::Fcfs, "it came first"),
            (Algorithm::Sjf { preemptive: false }, "it is expected to need 3 ms, the next one 60 ms"),
            (priority(None), "it has priority 7, the next one 2"),
            (priority(Some(1)), "it has priority 7 with its age, the next one 2"),
            (Algorithm::RoundRobin { quantum: Duration::from_millis(50) }, "it is its turn, for 50 ms"),
        ] {
            assert_eq!(algorithm.why(&first, [&second]), expected);
        }
        assert_eq!(
            priority(Some(1)).why(&ticket(0, 0, 0, 0), [&second]),
            "it has priority 0, the next one 2, but came 2.5 s earlier (1 s a step)"
        );
        assert_eq!(Algorithm::Fcfs.why(&first, []), "it is the only one that waits");
    }

    #[test]
    fn equals_are_told_apart_by_their_arrival() {
        let (first, second) = (ticket(1, 0, 0, 5_000), ticket(1, 1, 0, 5_000));
        let sjf = Algorithm::Sjf { preemptive: true };
        assert!(sjf.why(&first, [&second]).ends_with("came first"));
        let priority = Algorithm::Priority { preemptive: true, ageing: None };
        assert!(priority.why(&first, [&second]).ends_with("came first"));
    }

    #[test]
    fn who_gives_way_is_told_why() {
        let srtf = Algorithm::Sjf { preemptive: true };
        let why = srtf.preempts(&ticket(0, 1, 0, 200_000), &ticket(0, 0, 0, 1_500_000)).unwrap();
        assert_eq!(why, "200 ms expected is less than the 1.5 s left");
        let quantum = Duration::from_millis(50);
        assert_eq!(Algorithm::RoundRobin { quantum }.quantum_reason(), "its quantum of 50 ms is over");
    }
}
