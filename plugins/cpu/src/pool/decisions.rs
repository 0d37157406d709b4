//! What the scheduler decides, and why, for those who want to watch it.

use super::worker::Worker;
use super::{AttemptId, Effects, Entry, Phase, State, WorkerId};
use crate::scheduler::{Rank, Ticket};
use serde::Serialize;
use std::time::{Duration, Instant, SystemTime};

/// One decision, as the event `scheduler.decision` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Decision {
    pub(crate) unix_ms: u64,
    pub(crate) algorithm: &'static str,
    /// Who got the slot, or was sent ahead.
    pub(crate) chosen: String,
    /// Who had to leave it for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instead_of: Option<String>,
    /// Those that could have been chosen, in the order in which they would be; not more than [`CANDIDATES_MAX`].
    pub(crate) candidates: Vec<Candidate>,
    /// Attempts that waited in the queue, with the chosen one.
    pub(crate) queue: usize,
    pub(crate) why: String,
    /// Decisions since the last one shown that were too many to show.
    pub(crate) skipped: u64,
}

/// Somebody who waits for a slot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Candidate {
    pub(crate) pid: String,
    pub(crate) priority: i64,
    /// How long it is still expected to run.
    pub(crate) estimate_seconds: f64,
    /// It has run before, and holds its worker.
    pub(crate) begun: bool,
}

/// Candidates that are listed.
const CANDIDATES_MAX: usize = 8;
/// Decisions that are shown in a second. More than anybody reads, and few enough that short tasks do not suffer.
const SHOWN_MAX: u32 = 1000;

/// Counts decisions, so that not too many are shown.
pub(super) struct Budget {
    since: Instant,
    shown: u32,
    skipped: u64,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Budget {
        Budget { since: now, shown: 0, skipped: 0 }
    }

    /// Whether one more is shown; then how many were not since the last one.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.shown) = (now, 0);
        }
        if self.shown >= SHOWN_MAX {
            self.skipped += 1;
            return None;
        }
        self.shown += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

impl State {
    /// An attempt in the queue is about to get a slot, or to be sent ahead to a worker that is busy. Nothing is shown where
    /// nobody had to wait.
    pub(super) fn decided(&mut self, id: AttemptId, ahead: Option<WorkerId>, now: Instant, effects: &mut Effects) {
        let gave_way = self.gave_way.take();
        let Some(entry) = self.attempts.get(&id) else { return };
        if gave_way.is_none() && self.queued == 1 && entry.arrived >= now {
            return;
        }
        let Some(skipped) = self.budget.take(now) else { return };
        let chosen = entry.attempt.name.to_string();
        let ticket = entry.ticket;
        let candidates = self.candidates(ahead);
        let mut others = candidates.iter().filter(|(_, _, other, _)| *other != id).map(|(_, ticket, _, _)| ticket);
        let next = others.next();
        let (instead_of, why) = match gave_way {
            Some((name, why)) => (Some(name), why),
            None if next.is_none() && self.queued > 1 => {
                (None, format!("of {} that wait it is the only one for which a worker is ready", self.queued))
            }
            None => (None, self.algorithm.why(&ticket, next)),
        };
        let shown = candidates.iter().filter_map(|(_, ticket, id, begun)| {
            Some(Candidate {
                pid: self.attempts.get(id)?.attempt.name.to_string(),
                priority: ticket.priority,
                estimate_seconds: ticket.estimate_micros as f64 / 1e6,
                begun: *begun,
            })
        });
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        effects.decisions.push(Decision {
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            algorithm: self.algorithm.label(),
            chosen,
            instead_of,
            candidates: shown.collect(),
            queue: self.queued,
            why,
            skipped,
        });
    }

    /// The first of those that could get the slot, over all runtimes; or, where that is to be sent ahead, the place in
    /// that worker.
    fn candidates(&self, ahead: Option<WorkerId>) -> Vec<(Rank, Ticket, AttemptId, bool)> {
        let mut first = Vec::with_capacity(2 * CANDIDATES_MAX);
        let takes = |worker: &&Worker| ahead.map_or_else(|| worker.is_idle(), |ahead| worker.id == ahead);
        let takers: Vec<&Worker> = self.workers.values().filter(takes).collect();
        // As in `next`.
        let may_begin = ahead.is_some() || self.suspended() <= self.sizes.suspended_max;
        for (key, lane) in &self.lanes {
            let rank = |ticket: &Ticket| self.algorithm.rank(ticket);
            if ahead.is_none() {
                let begun = lane.begun.tickets().take(CANDIDATES_MAX);
                first.extend(begun.map(|(ticket, id)| (rank(ticket), *ticket, *id, true)));
            }
            if !may_begin || lane.phase != Phase::Ready {
                continue;
            }
            let is_shared = lane.runtime.is_shared();
            let serves = |worker: &Worker, entry: &Entry| {
                let is_theirs = || worker.submitter.as_ref().is_none_or(|whose| *whose == entry.attempt.submitter);
                worker.runtime == *key && (is_shared || is_theirs())
            };
            let could = |id: &AttemptId| {
                self.attempts.get(id).is_some_and(|entry| {
                    (ahead.is_none() || entry.attempt.may_be_sent_ahead())
                        && takers.iter().any(|worker| serves(worker, entry))
                })
            };
            // Nobody passes one of the same runtime that has no worker.
            let queued = lane.queue.tickets().take_while(|(_, id)| could(id)).take(CANDIDATES_MAX);
            first.extend(queued.map(|(ticket, id)| (rank(ticket), *ticket, *id, false)));
        }
        first.sort_unstable_by_key(|(rank, ..)| *rank);
        first.truncate(CANDIDATES_MAX);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_show_is_counted() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let shown = (0..SHOWN_MAX + 7).filter(|_| budget.take(now) == Some(0)).count();
        assert_eq!(shown, SHOWN_MAX as usize);
        let later = now + Duration::from_secs(1);
        assert_eq!((budget.take(later), budget.take(later)), (Some(7), Some(0)));
    }
}
