//! Giving back attempts that have not begun, because another node would begin them sooner.

use super::{AttemptId, Effects, Entry, Failed, Outcome, State};
use crate::scheduler::Rank;
use std::time::Instant;

/// The code of an attempt that was given back. Only whoever submitted it hears that: it is no end of a task.
const GIVEN_BACK: &str = "given_back";
/// Most that are given back at a time, and looked at in each runtime's queue: the pool is locked meanwhile.
const LOOKED_AT_MAX: usize = 1000;

/// The place among those that wait, which an attempt keeps that is given back and comes back: it has waited since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(super) arrived: Instant,
    /// As its ticket had them.
    pub(super) sequence: u64,
    pub(super) arrival_micros: u64,
}

impl State {
    /// Takes those out of the queue that would begin last, of those that may run elsewhere.
    pub(super) fn give_back(&mut self, count: usize, now: Instant, effects: &mut Effects) {
        let mut last: Vec<(Rank, AttemptId)> = Vec::new();
        for lane in self.lanes.values() {
            let may_leave = |id: &AttemptId| self.attempts.get(id).is_some_and(|entry| entry.attempt.may_leave);
            let backwards = lane.queue.backwards().take(LOOKED_AT_MAX);
            last.extend(backwards.filter(|(_, id)| may_leave(id)).take(count));
        }
        last.sort_unstable_by(|one, other| other.cmp(one));
        last.truncate(count.min(LOOKED_AT_MAX));
        // In the order in which they would have begun.
        for (_, id) in last.into_iter().rev() {
            let Some(Entry { arrived, ticket, .. }) = self.attempts.get(&id) else { continue };
            let (sequence, arrival_micros) = (ticket.sequence, ticket.arrival_micros);
            let turn = Some(Box::new(Turn { arrived: *arrived, sequence, arrival_micros }));
            let why = Failed::new(GIVEN_BACK, "another node would begin it sooner");
            self.finish(id, Outcome { turn, ..Outcome::not_run(why) }, now, effects);
        }
    }
}
