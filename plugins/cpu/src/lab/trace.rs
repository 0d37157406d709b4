//! Who had which slot when, and the classic figures that follow from it: computed in the same way for what was simulated
//! and what was measured.

use super::workload::Plan;
use potluck_sdk::message::scheduler::{ProcessTimes, Schedule, Segment};

/// Segments that an answer holds; more than anybody looks at.
const SEGMENTS_MAX: usize = 4096;

/// A process has a slot for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) slot: usize,
    pub(super) process: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// What happened, in microseconds after the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Without two pieces of one process in one slot that follow upon each other at once.
    pub(super) pieces: Vec<Piece>,
    /// For each process the processor time that it used, where that was measured and is not just the sum of its pieces.
    pub(super) used: Vec<Option<u64>>,
    /// For each process why it failed, if it did.
    pub(super) errors: Vec<Option<String>>,
}

/// The times of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) completion: u64,
    /// Time in slots.
    pub(super) running: u64,
    pub(super) pieces: usize,
}

impl Trace {
    /// Adds a piece, to the one before it when nothing lies between.
    pub(super) fn push(&mut self, piece: Piece) {
        if piece.to <= piece.from {
            return;
        }
        let before = self.pieces.iter_mut().rev().find(|before| before.slot == piece.slot);
        match before {
            Some(before) if before.process == piece.process && before.to == piece.from => before.to = piece.to,
            _ => self.pieces.push(piece),
        }
    }

    /// The times of a process; nothing when it never ran.
    pub(super) fn times(&self, process: usize) -> Option<Times> {
        let mut own = self.pieces.iter().filter(|piece| piece.process == process).peekable();
        own.peek()?;
        let start = Times { start: u64::MAX, ..Times::default() };
        Some(own.fold(start, |times, piece| Times {
            start: times.start.min(piece.from),
            completion: times.completion.max(piece.to),
            running: times.running + (piece.to - piece.from),
            pieces: times.pieces + 1,
        }))
    }

    /// Times that a slot went from one process to another one.
    pub(super) fn context_switches(&self) -> usize {
        let slots = self.pieces.iter().map(|piece| piece.slot + 1).max().unwrap_or(0);
        let mut last = vec![None; slots];
        let mut ordered = self.pieces.clone();
        ordered.sort_by_key(|piece| (piece.from, piece.slot));
        let switched = |piece: &&Piece| last[piece.slot].replace(piece.process).is_some_and(|old| old != piece.process);
        ordered.iter().filter(switched).count()
    }

    /// The last end.
    pub(super) fn end(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.to).max().unwrap_or(0)
    }

    /// Time of all slots together in which something ran.
    pub(super) fn busy(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.to - piece.from).sum()
    }

    /// The table and the chart.
    pub(super) fn schedule(&self, plan: &Plan) -> Schedule {
        let mut processes = Vec::with_capacity(plan.processes.len());
        let (mut waiting, mut turnaround, mut response, mut ended) = (0, 0, 0, 0);
        for (index, planned) in plan.processes.iter().enumerate() {
            let arrival = planned.arrival_micros;
            let error = self.errors.get(index).cloned().flatten();
            let common = ProcessTimes {
                name: planned.name.clone(),
                arrival_ms: millis(arrival),
                priority: planned.priority,
                error,
                ..ProcessTimes::default()
            };
            let Some(times) = self.times(index) else {
                processes.push(common);
                continue;
            };
            // What is measured may be some microseconds earlier than it can be.
            let own_turnaround = times.completion.saturating_sub(arrival);
            let own_waiting = own_turnaround.saturating_sub(times.running);
            let own_response = times.start.saturating_sub(arrival);
            waiting += own_waiting;
            turnaround += own_turnaround;
            response += own_response;
            ended += 1;
            processes.push(ProcessTimes {
                burst_ms: millis(self.used.get(index).copied().flatten().unwrap_or(times.running)),
                start_ms: millis(times.start),
                completion_ms: millis(times.completion),
                waiting_ms: millis(own_waiting),
                turnaround_ms: millis(own_turnaround),
                response_ms: millis(own_response),
                preemptions: times.pieces - 1,
                ..common
            });
        }
        let mut ordered = self.pieces.clone();
        ordered.sort_by_key(|piece| (piece.from, piece.slot));
        let segment = |piece: &Piece| Segment {
            slot: piece.slot,
            name: plan.processes[piece.process].name.clone(),
            from_ms: millis(piece.from),
            to_ms: millis(piece.to),
        };
        let first_arrival = plan.processes.iter().map(|process| process.arrival_micros).min().unwrap_or(0);
        let span = self.end().saturating_sub(first_arrival);
        let mean = |sum: u64| if ended == 0 { 0.0 } else { millis(sum) / ended as f64 };
        Schedule {
            processes,
            segments: ordered.iter().take(SEGMENTS_MAX).map(segment).collect(),
            segments_left_out: ordered.len().saturating_sub(SEGMENTS_MAX),
            average_waiting_ms: mean(waiting),
            average_turnaround_ms: mean(turnaround),
            average_response_ms: mean(response),
            throughput_per_second: if span == 0 { 0.0 } else { ended as f64 * 1e6 / span as f64 },
            context_switches: self.context_switches(),
            utilization: if span == 0 { 0.0 } else { self.busy() as f64 / (span as f64 * plan.slots as f64) },
            end_ms: millis(self.end()),
        }
    }
}

/// Exact for all times of workloads.
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(slot: usize, process: usize, from: u64, to: u64) -> Piece {
        Piece { slot, process, from, to }
    }

    #[test]
    fn what_follows_at_once_is_one_piece() {
        let mut trace = Trace::default();
        for next in [piece(0, 1, 0, 5), piece(1, 2, 0, 9), piece(0, 1, 5, 7), piece(0, 1, 8, 9), piece(0, 3, 9, 9)] {
            trace.push(next);
        }
        assert_eq!(trace.pieces, [piece(0, 1, 0, 7), piece(1, 2, 0, 9), piece(0, 1, 8, 9)]);
        assert_eq!(trace.times(1), Some(Times { start: 0, completion: 9, running: 8, pieces: 2 }));
        assert_eq!((trace.times(3), trace.context_switches(), trace.end(), trace.busy()), (None, 0, 9, 17));
    }

    #[test]
    fn a_switch_is_from_one_process_to_another_also_over_a_gap() {
        let pieces = vec![piece(0, 1, 0, 5), piece(1, 0, 3, 4), piece(0, 2, 6, 7), piece(0, 2, 9, 10)];
        assert_eq!(Trace { pieces, ..Trace::default() }.context_switches(), 1);
    }
}
