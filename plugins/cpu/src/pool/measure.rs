//! What is measured of scheduling, for each algorithm while it was in force.

use super::{Entry, Outcome, Place, Pool};
use crate::scheduler::Algorithm;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Sums for each algorithm that has been in force, by label. One that is chosen again begins anew.
pub(super) struct Measures {
    past: Vec<Sums>,
    current: Sums,
}

#[derive(Clone)]
struct Sums {
    label: &'static str,
    since: Instant,
    /// Until when, for one that is no longer in force.
    until: Option<Instant>,
    completed: u64,
    waiting_seconds: f64,
    response_seconds: f64,
    turnaround_seconds: f64,
    switches: u64,
    preemptions: u64,
    first_arrival: Option<Instant>,
    last_end: Option<Instant>,
    queue: usize,
    queue_since: Instant,
    /// Integral of the queue's length.
    queue_seconds: f64,
    queue_max: usize,
}

impl Measures {
    pub(super) fn new(algorithm: Algorithm, now: Instant) -> Measures {
        Measures { past: Vec::new(), current: Sums::new(algorithm.label(), 0, now) }
    }

    /// Another algorithm is in force.
    pub(super) fn chosen(&mut self, algorithm: Algorithm, now: Instant) {
        self.current.note_queue(self.current.queue, now);
        let new = Sums::new(algorithm.label(), self.current.queue, now);
        let mut old = std::mem::replace(&mut self.current, new);
        old.until = Some(now);
        self.past.retain(|past| past.label != old.label && past.label != algorithm.label());
        if old.label != algorithm.label() {
            self.past.push(old);
        }
    }

    /// An attempt has lost its slot before it had ended.
    pub(super) fn switched(&mut self) {
        self.current.switches += 1;
    }

    /// That was for another attempt.
    pub(super) fn preempted(&mut self) {
        self.current.preemptions += 1;
    }

    /// How many wait now.
    pub(super) fn note_queue(&mut self, queue: usize, now: Instant) {
        self.current.note_queue(queue, now);
    }

    /// An attempt has ended that had begun.
    pub(super) fn ended(&mut self, entry: &Entry, outcome: &Outcome, now: Instant) {
        let turnaround = now.saturating_duration_since(entry.arrived).as_secs_f64();
        // What waits for a semaphore, or is paused, is not in the queue.
        let waiting = (turnaround - outcome.seconds - outcome.blocked_seconds).max(0.0);
        // One that has never lost its slot has waited only before it began.
        let response =
            entry.first_run.map_or(waiting, |first| first.saturating_duration_since(entry.arrived).as_secs_f64());
        let sums = &mut self.current;
        sums.completed += 1;
        sums.turnaround_seconds += turnaround;
        sums.waiting_seconds += waiting;
        sums.response_seconds += response;
        sums.first_arrival = Some(sums.first_arrival.map_or(entry.arrived, |first| first.min(entry.arrived)));
        sums.last_end = Some(now);
    }

    pub(super) fn statistics(&self, now: Instant) -> Vec<AlgorithmStatistics> {
        std::iter::once(&self.current).chain(self.past.iter().rev()).map(|sums| sums.statistics(now)).collect()
    }
}

impl Sums {
    fn new(label: &'static str, queue: usize, now: Instant) -> Sums {
        Sums {
            label,
            since: now,
            until: None,
            completed: 0,
            waiting_seconds: 0.0,
            response_seconds: 0.0,
            turnaround_seconds: 0.0,
            switches: 0,
            preemptions: 0,
            first_arrival: None,
            last_end: None,
            queue,
            queue_since: now,
            queue_seconds: 0.0,
            queue_max: queue,
        }
    }

    fn note_queue(&mut self, queue: usize, now: Instant) {
        let time = now.saturating_duration_since(self.queue_since);
        if self.queue > 0 {
            self.queue_seconds += self.queue as f64 * time.as_secs_f64();
        }
        self.queue_since = self.queue_since.max(now);
        self.queue = queue;
        self.queue_max = self.queue_max.max(queue);
    }

    fn statistics(&self, now: Instant) -> AlgorithmStatistics {
        let mut sums = self.clone();
        let now = self.until.unwrap_or(now);
        sums.note_queue(self.queue, now);
        let per = |sum: f64, count: f64| if count > 0.0 { sum / count } else { 0.0 };
        let completed = self.completed as f64;
        let span = match (self.first_arrival, self.last_end) {
            // What came before it was in force was not its own.
            (Some(first), Some(last)) => last.saturating_duration_since(first.max(self.since)),
            _ => Duration::ZERO,
        };
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        AlgorithmStatistics {
            algorithm: self.label,
            seconds,
            completed: self.completed,
            average_waiting_seconds: per(self.waiting_seconds, completed),
            average_response_seconds: per(self.response_seconds, completed),
            average_turnaround_seconds: per(self.turnaround_seconds, completed),
            throughput_per_second: per(completed, span.as_secs_f64()),
            context_switches: self.switches,
            preemptions: self.preemptions,
            average_queue: per(sums.queue_seconds, seconds),
            queue_max: self.queue_max,
        }
    }
}

impl Pool {
    /// What was measured, and what waits.
    pub(crate) fn scheduling(&self) -> Scheduling {
        let now = Instant::now();
        let state = self.state.lock();
        let algorithm = state.algorithm;
        let count = |is_it: &dyn Fn(&Entry) -> bool| state.attempts.values().filter(|entry| is_it(entry)).count();
        Scheduling {
            algorithm: algorithm.label(),
            quantum_ms: algorithm.quantum().map(|quantum| u64::try_from(quantum.as_millis()).unwrap_or(u64::MAX)),
            preemptive: algorithm.quantum().is_some() || algorithm.preempts_on_arrival(),
            ageing_seconds: match algorithm {
                Algorithm::Priority { ageing, .. } => ageing.map(|step| step.as_secs_f64()),
                _ => None,
            },
            queue: state.queued,
            suspended: state.lanes.values().map(|lane| lane.begun.len()).sum(),
            waiting: count(&|entry| entry.waits_for.is_some() && matches!(entry.place, Place::Out(_))),
            paused: count(&|entry| entry.is_paused),
            statistics: state.measures.statistics(now),
        }
    }
}

/// What GET_SCHEDULER and STATUS tell of the scheduler.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scheduling {
    /// The algorithm's label.
    pub(crate) algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quantum_ms: Option<u64>,
    pub(crate) preemptive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ageing_seconds: Option<f64>,
    /// Attempts that wait for a slot: those that have not begun, and those that have.
    pub(crate) queue: usize,
    /// Of them, those that have begun.
    pub(crate) suspended: usize,
    /// Attempts that wait for something else than a slot.
    pub(crate) waiting: usize,
    pub(crate) paused: usize,
    pub(crate) statistics: Vec<AlgorithmStatistics>,
}

/// What was measured while one algorithm was in force.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AlgorithmStatistics {
    pub(crate) algorithm: &'static str,
    /// How long it has been in force.
    pub(crate) seconds: f64,
    /// Attempts that ended meanwhile, having begun.
    pub(crate) completed: u64,
    /// In the queue: turnaround less the time that it ran, waited for something else than a slot, or was paused.
    pub(crate) average_waiting_seconds: f64,
    /// From the arrival to the first run.
    pub(crate) average_response_seconds: f64,
    pub(crate) average_turnaround_seconds: f64,
    /// Attempts completed in a second, from the first arrival to the last end.
    pub(crate) throughput_per_second: f64,
    /// Attempts that lost their slot before they had ended.
    pub(crate) context_switches: u64,
    /// Of them, those that lost it to another one.
    pub(crate) preemptions: u64,
    pub(crate) average_queue: f64,
    pub(crate) queue_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_has_its_own_figures_and_begins_anew_when_it_is_chosen_again() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let rr = Algorithm::RoundRobin { quantum: Duration::from_millis(50) };
        let mut measures = Measures::new(Algorithm::Fcfs, begin);
        measures.note_queue(4, at(1));
        measures.note_queue(0, at(2));
        measures.switched();
        measures.chosen(rr, at(4));
        measures.switched();
        measures.switched();
        let statistics = measures.statistics(at(5));
        let shown: Vec<_> =
            statistics.iter().map(|one| (one.algorithm, one.seconds, one.context_switches, one.queue_max)).collect();
        assert_eq!(shown, [("RR", 1.0, 2, 0), ("FCFS", 4.0, 1, 4)]);
        assert_eq!(statistics[1].average_queue, 1.0);
        measures.chosen(Algorithm::Fcfs, at(6));
        let labels: Vec<_> =
            measures.statistics(at(7)).iter().map(|one| (one.algorithm, one.context_switches)).collect();
        assert_eq!(labels, [("FCFS", 0), ("RR", 2)]);
    }
}
