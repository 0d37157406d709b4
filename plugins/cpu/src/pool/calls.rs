//! System calls of running tasks: what a worker asks for goes to whoever serves its attempt, and the answer back.

use super::{AttemptId, Effects, Place, State, WorkerId};
use potluck_sdk::message::RawValue;
use potluck_worker_protocol::{CALL_BYTES_MAX, CALLS_MAX};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of messages that an order may have open together: some of the longest.
const OPEN_BYTES_MAX: usize = 64 << 20;
/// What a call gets whose answer is too long for a frame.
const TOO_LARGE: &str =
    r#"{"type":"ERROR","code":"too_large","error":"the answer is larger than a task can be sent; ask for less"}"#;
/// What a call gets that nobody serves.
const UNAVAILABLE: &str =
    r#"{"type":"ERROR","code":"unavailable","error":"this task has no node that answers it; submit it to one"}"#;

/// Serves the calls of an attempt, and is told where the pool has put it. Called without the pool's lock.
pub(crate) trait TaskCalls: Send + Sync {
    /// The task sends a message to its node; [`super::Pool::answer`] follows, once, unless the attempt is over before.
    fn call(&self, attempt: AttemptId, number: u64, message: Box<RawValue>);

    /// The pool has changed where the attempt is. This may come from several threads at once: what has a smaller number
    /// than something that came before is old. That an attempt runs for the first time is told once it has run for some
    /// 15 ms; most end before.
    fn moved(&self, number: u64, place: Moved);
}

/// Where an attempt is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It has a slot.
    Running,
    /// It waits for a slot: why it has none.
    Ready(&'static str),
    /// It waits for something else: what that is.
    Waiting(String),
}

/// Why an attempt has no slot that has not begun.
const QUEUED: &str = "queued";
/// Why the first one has none, when one is free.
const HELD_BACK: &str = "queued until some of those have ended that are stopped (suspended_max)";

/// Whether an attempt has not begun that waits for a slot for this reason.
pub(crate) fn is_unbegun(reason: &str) -> bool {
    [QUEUED, HELD_BACK].contains(&reason)
}

/// A call that has not been answered.
pub(super) struct OpenCall {
    pub(super) number: u64,
    /// Of its message.
    pub(super) bytes: usize,
    /// What its answer waits for, once that is known to take time.
    pub(super) waits_for: Option<String>,
}

/// A call on its way to whoever serves it.
pub(super) struct Called {
    pub(super) calls: Arc<dyn TaskCalls>,
    pub(super) attempt: AttemptId,
    pub(super) number: u64,
    pub(super) message: Box<RawValue>,
}

impl State {
    /// A worker asks for something in the name of its oldest order.
    pub(super) fn called(
        &mut self,
        id: WorkerId,
        slot: usize,
        number: u64,
        message: Box<RawValue>,
        effects: &mut Effects,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let has_started = worker.has_started(slot);
        let Some(head) = worker.sent.front_mut().filter(|sent| sent.slot == slot && has_started) else {
            // No worker asks for what it does not run: a task has got hold of the socket.
            return worker.misused();
        };
        // It was given up: its worker does not know yet, or is about to end.
        let Some(attempt) = head.attempt else { return };
        let bytes = message.get().len();
        let open_bytes: usize = head.calls.iter().map(|open| open.bytes).sum();
        let is_open = head.calls.iter().any(|open| open.number == number);
        if is_open || head.calls.len() >= CALLS_MAX || open_bytes + bytes > OPEN_BYTES_MAX {
            return worker.misused();
        }
        let calls = self.attempts.get(&attempt).and_then(|entry| entry.attempt.calls.clone());
        match calls {
            Some(calls) => {
                head.calls.push(OpenCall { number, bytes, waits_for: None });
                effects.called.push(Called { calls, attempt, number, message });
            }
            None if !worker.answer(number, UNAVAILABLE.as_bytes()) => worker.hang_up(),
            None => {}
        }
    }

    /// Answers a call: the worker gets it when the attempt has a slot.
    pub(super) fn answer(&mut self, id: AttemptId, number: u64, json: &str, now: Instant) {
        let Some(worker) = self.attempts.get(&id).and_then(|entry| entry.place.worker()) else { return };
        let Some(worker) = self.workers.get_mut(&worker) else { return };
        let Some(head) = worker.sent.front_mut().filter(|sent| sent.attempt == Some(id)) else { return };
        let Some(index) = head.calls.iter().position(|open| open.number == number) else { return };
        head.calls.remove(index);
        let json = if json.len() > CALL_BYTES_MAX { TOO_LARGE } else { json };
        if worker.answer(number, json.as_bytes()) {
            self.woken(id, now);
        } else {
            // It does not read what it asked for; its exit follows, and with it what becomes of its task.
            worker.hang_up();
        }
    }

    /// Whoever serves an attempt is told where it is now.
    pub(super) fn tell(&mut self, id: AttemptId, effects: &mut Effects) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        let Some(calls) = entry.attempt.calls.clone() else { return };
        let moved = match entry.place {
            Place::Sent(_) => Moved::Running,
            Place::Queued if entry.is_held_back => Moved::Ready(HELD_BACK),
            Place::Queued | Place::Begun(_) if entry.switches == 0 => Moved::Ready(QUEUED),
            Place::Queued | Place::Begun(_) => Moved::Ready("preempted"),
            Place::Parked | Place::Out(_) if entry.is_paused => Moved::Waiting("paused".to_owned()),
            Place::Parked | Place::Out(_) => Moved::Waiting(entry.waits_for.clone().unwrap_or_default()),
        };
        entry.is_told = moved == Moved::Running;
        entry.moves += 1;
        effects.moved.push((calls, entry.moves, moved));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::ProviderError;

    #[test]
    fn what_the_pool_answers_itself_is_read_as_an_error() {
        for (json, code, text) in [
            (TOO_LARGE, "too_large", "the answer is larger than a task can be sent; ask for less"),
            (UNAVAILABLE, "unavailable", "this task has no node that answers it; submit it to one"),
        ] {
            let error = ProviderError::from_json(json);
            assert_eq!((&*error.code, &*error.message), (code, text));
        }
    }
}
