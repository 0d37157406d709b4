//! Watches real processes: who had a slot when.

use super::trace::{Piece, Trace};
use crate::pool::{AttemptId, Moved, Outcome, Pool, TaskCalls, is_unbegun};
use crate::scheduler::micros;
use parking_lot::{Condvar, Mutex};
use potluck_sdk::message::RawValue;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What a system call of a process gets: a comparison measures processors, and must not change what others see.
const NO_CALLS: &str =
    r#"{"type":"ERROR","code":"unavailable","error":"programs of a comparison have no system calls"}"#;
/// Changes of place that are kept for each process; with the shortest quantum as many as fit in the longest comparison.
const MOVES_MAX: usize = 200_000;

/// What is seen of the processes of a workload, and whether anybody still wants to know.
pub(super) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    running: usize,
    is_called_off: bool,
}

/// What is seen of a process.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Number, whether it has a slot since then, and when.
    moves: Vec<(u64, bool, Instant)>,
    ended: Option<Ended>,
}

#[derive(Clone, Debug)]
struct Ended {
    at: Instant,
    /// How long it had slots.
    seconds: f64,
    used_micros: Option<u64>,
    error: Option<String>,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch { state: Mutex::default(), changed: Condvar::new() }
    }

    /// Nobody wants to know any more.
    pub(super) fn call_off(&self) {
        self.state.lock().is_called_off = true;
        self.changed.notify_all();
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.state.lock().is_called_off
    }

    /// Forgets what was seen, before a number of processes is begun.
    pub(super) fn begin(&self, processes: usize) {
        let mut state = self.state.lock();
        state.seen = vec![Seen::default(); processes];
        state.running = processes;
    }

    /// Waits for a time; false when the comparison was called off.
    pub(super) fn wait_until(&self, time: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.is_called_off && Instant::now() < time {
            self.changed.wait_until(&mut state, time);
        }
        !state.is_called_off
    }

    /// Waits until all processes have ended; false when that takes too long or the comparison was called off.
    pub(super) fn wait_for_all(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.is_called_off && state.running > 0 {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.running == 0
    }

    /// A process has ended, or could not be begun. One that `counts` returns the microseconds that it has used.
    pub(super) fn ended(&self, process: usize, counts: bool, outcome: Result<&Outcome, &str>) {
        let at = Instant::now();
        let ended = match outcome {
            Ok(outcome) => {
                let result = outcome.verdict.as_ref().ok().filter(|_| counts);
                let returned = result.and_then(|result| result.get().parse().ok());
                let measured = outcome.cpu_seconds.map(micros);
                let error = outcome.verdict.as_ref().err().map(|failed| failed.error.clone());
                Ended { at, seconds: outcome.seconds, used_micros: returned.or(measured), error }
            }
            Err(error) => Ended { at, seconds: 0.0, used_micros: None, error: Some(error.to_owned()) },
        };
        let mut state = self.state.lock();
        let Some(seen) = state.seen.get_mut(process).filter(|seen| seen.ended.is_none()) else { return };
        seen.ended = Some(ended);
        state.running -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn moved(&self, process: usize, number: u64, has_slot: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(seen) = state.seen.get_mut(process).filter(|seen| seen.moves.len() < MOVES_MAX) {
            seen.moves.push((number, has_slot, now));
        }
    }

    /// What happened after `begin`.
    pub(super) fn trace(&self, begin: Instant, slots: usize) -> Trace {
        let seen = std::mem::take(&mut self.state.lock().seen);
        let mut trace = Trace::default();
        let mut pieces: Vec<Piece> = Vec::new();
        for (process, seen) in seen.into_iter().enumerate() {
            let since =
                |time: Instant| u64::try_from(time.saturating_duration_since(begin).as_micros()).unwrap_or(u64::MAX);
            let ended = seen.ended.as_ref();
            pieces.extend(
                seen.intervals().into_iter().map(|(from, to)| (since(from), since(to))).map(|(from, to)| Piece {
                    slot: 0,
                    process,
                    from,
                    to,
                }),
            );
            trace.used.push(ended.and_then(|ended| ended.used_micros));
            trace.errors.push(ended.and_then(|ended| ended.error.clone()));
        }
        trace.pieces = in_slots(pieces, slots);
        trace
    }
}

impl Seen {
    /// When it had a slot. The pool does not tell the beginning of the first run, only for how long there were slots
    /// altogether: the first one began as much before its end as the others leave of that.
    fn intervals(&self) -> Vec<(Instant, Instant)> {
        let Some(ended) = &self.ended else { return Vec::new() };
        let mut moves = self.moves.clone();
        moves.sort_by_key(|(number, ..)| *number);
        let (mut intervals, mut first_end, mut since) = (Vec::new(), None, None);
        for (_, has_slot, at) in moves {
            match (has_slot, first_end) {
                (true, None) => {}
                (true, Some(_)) => since = since.or(Some(at)),
                (false, None) => first_end = Some(at),
                (false, Some(_)) => intervals.extend(since.take().map(|since| (since, at))),
            }
        }
        if first_end.is_some() {
            intervals.extend(since.map(|since| (since, ended.at)));
        }
        let later: f64 = intervals.iter().map(|(from, to)| to.saturating_duration_since(*from).as_secs_f64()).sum();
        let first_end = first_end.unwrap_or(ended.at);
        let first = std::time::Duration::try_from_secs_f64((ended.seconds - later).max(0.0)).unwrap_or_default();
        if let Some(from) = first_end.checked_sub(first).filter(|_| ended.seconds > 0.0) {
            intervals.insert(0, (from, first_end));
        }
        intervals
    }
}

/// Gives each piece a slot: that in which the process was before, else the one that has been free for the longest. A
/// process that is stopped runs on for some moments in which the next one has begun, so slots may overlap a little.
fn in_slots(mut pieces: Vec<Piece>, slots: usize) -> Vec<Piece> {
    pieces.sort_by_key(|piece| (piece.from, piece.to));
    let mut free_since = vec![(0, None); slots];
    for piece in &mut pieces {
        let own =
            free_since.iter().position(|(since, process)| *process == Some(piece.process) && *since <= piece.from);
        let first = || free_since.iter().enumerate().min_by_key(|(_, (since, _))| *since).map(|(slot, _)| slot);
        piece.slot = own.or_else(first).unwrap_or(0);
        if let Some(slot) = free_since.get_mut(piece.slot) {
            *slot = (piece.to, Some(piece.process));
        }
    }
    pieces
}

/// Serves one process for the pool.
pub(super) struct Observer {
    pub(super) watch: Arc<Watch>,
    pub(super) process: usize,
    pub(super) pool: Weak<Pool>,
}

impl TaskCalls for Observer {
    fn call(&self, attempt: AttemptId, number: u64, _message: Box<RawValue>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.answer(attempt, number, NO_CALLS);
        }
    }

    fn moved(&self, number: u64, place: Moved) {
        // One that was never in a slot is where it was.
        if !matches!(place, Moved::Ready(reason) if is_unbegun(reason)) {
            self.watch.moved(self.process, number, place == Moved::Running);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    fn seen(begin: Instant, moves: &[(u64, bool, u64)], end: u64, seconds: f64) -> Seen {
        let moves = moves.iter().map(|(number, has_slot, at)| (*number, *has_slot, after(begin, *at))).collect();
        Seen { moves, ended: Some(Ended { at: after(begin, end), seconds, used_micros: None, error: None }) }
    }

    fn millis(begin: Instant, seen: &Seen) -> Vec<(u128, u128)> {
        let since = |time: Instant| (time - begin).as_micros().div_ceil(1000);
        seen.intervals().into_iter().map(|(from, to)| (since(from), since(to))).collect()
    }

    #[test]
    fn the_first_run_is_told_late_and_found_by_what_is_left() {
        let begin = Instant::now();
        assert_eq!(millis(begin, &seen(begin, &[(1, true, 25)], 60, 0.05)), [(10, 60)]);
        assert_eq!(millis(begin, &seen(begin, &[], 60, 0.002)), [(58, 60)]);
        let stopped = [(3, true, 50), (2, false, 30), (1, true, 25), (4, false, 60), (5, true, 80)];
        assert_eq!(millis(begin, &seen(begin, &stopped, 100, 0.05)), [(10, 30), (50, 60), (80, 100)]);
    }

    #[test]
    fn a_program_that_makes_a_system_call_is_told_why_it_cannot() {
        let error = potluck_sdk::ProviderError::from_json(NO_CALLS);
        let text = "programs of a comparison have no system calls";
        assert_eq!((&*error.code, &*error.message), ("unavailable", text));
    }

    #[test]
    fn one_that_never_ran_has_no_pieces() {
        let begin = Instant::now();
        assert!(millis(begin, &seen(begin, &[], 60, 0.0)).is_empty());
        assert!(Seen::default().intervals().is_empty());
    }

    #[test]
    fn a_process_goes_on_in_its_slot_when_that_is_free() {
        let piece = |process, from, to| Piece { slot: 0, process, from, to };
        let pieces = vec![piece(0, 0, 10), piece(1, 0, 20), piece(2, 11, 30), piece(1, 21, 30), piece(0, 31, 40)];
        let slots: Vec<usize> = in_slots(pieces, 2).iter().map(|piece| piece.slot).collect();
        assert_eq!(slots, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn who_waits_for_all_is_told_when_it_is_called_off() {
        let watch = Arc::new(Watch::new());
        watch.begin(2);
        let other = Arc::clone(&watch);
        let waiting = std::thread::spawn(move || other.wait_for_all(Instant::now() + Duration::from_secs(60)));
        watch.ended(0, true, Err("it could not be begun"));
        watch.ended(0, true, Err("twice"));
        watch.call_off();
        assert!(!waiting.join().unwrap());
        assert!(!watch.wait_until(Instant::now() + Duration::from_secs(60)));
        watch.ended(1, true, Err("so it ended after all"));
        assert_eq!(watch.trace(Instant::now(), 1).errors[1].as_deref(), Some("so it ended after all"));
    }
}
