//! Attempts that wait for something else than a slot: for the answer to a call, or to be resumed.

use super::{AttemptId, Effects, Place, State};
use crate::scheduler::Return;
use std::time::Instant;

impl State {
    /// An attempt waits for the answer to a call: somebody else gets its slot. Nothing happens when the answer came first.
    pub(super) fn wait_begins(
        &mut self,
        id: AttemptId,
        number: u64,
        what: String,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        let Some(worker_id) = entry.place.worker() else { return };
        let Some(worker) = self.workers.get(&worker_id).filter(|worker| !worker.doomed) else { return };
        let head = worker.sent.front().filter(|sent| sent.attempt == Some(id));
        if !head.is_some_and(|sent| sent.calls.iter().any(|(open, _)| *open == number)) {
            return;
        }
        entry.waits_for = Some(what);
        self.leave(id, now);
        self.tell(id, effects);
    }

    /// An attempt was answered. If it waits it does so for a slot from now on; nothing happens when it does not.
    pub(super) fn woken(&mut self, id: AttemptId, now: Instant) {
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        if entry.waits_for.take().is_some() {
            self.come_back(id, now);
        }
    }

    /// Stops an attempt until it is resumed.
    pub(super) fn pause(&mut self, id: AttemptId, now: Instant, effects: &mut Effects) -> bool {
        let Some(entry) = self.attempts.get_mut(&id) else { return false };
        if std::mem::replace(&mut entry.is_paused, true) {
            return true;
        }
        if let Place::Sent(worker) = entry.place {
            // What it has not begun it has not to stop.
            self.take_back(worker, now);
        }
        self.leave(id, now);
        if let Some(worker) = self.attempts.get(&id).and_then(|entry| entry.place.worker())
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            worker.halt();
        }
        self.tell(id, effects);
        true
    }

    /// Lets an attempt go on that was paused, as soon as it has a slot.
    pub(super) fn resume(&mut self, id: AttemptId, now: Instant, effects: &mut Effects) -> bool {
        let Some(entry) = self.attempts.get_mut(&id) else { return false };
        if std::mem::replace(&mut entry.is_paused, false) {
            if entry.waits_for.is_none() {
                self.come_back(id, now);
            }
            self.tell(id, effects);
        }
        true
    }

    /// Changes an attempt's place among those that wait.
    pub(super) fn set_priority(&mut self, id: AttemptId, priority: i64, now: Instant) -> bool {
        if let Some(Place::Sent(worker)) = self.attempts.get(&id).map(|entry| entry.place) {
            // One that was sent ahead would keep its place.
            self.take_back(worker, now);
        }
        let Some(place) = self.attempts.get(&id).map(|entry| entry.place) else { return false };
        if matches!(place, Place::Queued | Place::Begun(_)) {
            self.dequeue(id);
        }
        if let Some(entry) = self.attempts.get_mut(&id) {
            entry.attempt.priority = priority;
            entry.ticket.priority = priority;
        }
        match place {
            Place::Queued => self.enqueue(id),
            Place::Begun(worker) => self.enqueue_begun(id, worker),
            Place::Parked | Place::Sent(_) | Place::Out(_) => {}
        }
        true
    }

    /// Takes an attempt to where nobody gets a slot from: out of the queue, or out of its slot. Its process goes on.
    fn leave(&mut self, id: AttemptId, now: Instant) {
        let Some(place) = self.attempts.get(&id).map(|entry| entry.place) else { return };
        self.dequeue(id);
        let place = match place {
            Place::Queued | Place::Parked => return self.park(id),
            Place::Begun(worker) | Place::Out(worker) => Place::Out(worker),
            Place::Sent(worker) => {
                self.leave_slot(id, worker, now);
                Place::Out(worker)
            }
        };
        if let Some(entry) = self.attempts.get_mut(&id) {
            entry.place = place;
        }
    }

    /// Puts an attempt back that waits for nothing but a slot any more.
    fn come_back(&mut self, id: AttemptId, now: Instant) {
        let (sequence, now_micros) = (self.next_sequence(), self.micros(now));
        let algorithm = self.algorithm;
        let Some(entry) = self.attempts.get_mut(&id).filter(|entry| !entry.is_paused) else { return };
        entry.ticket = algorithm.put_back(entry.ticket, Return::Woken, sequence, now_micros);
        match entry.place {
            Place::Parked => {
                self.dequeue(id);
                self.enqueue(id);
            }
            Place::Out(worker) => self.enqueue_begun(id, worker),
            Place::Queued | Place::Sent(_) | Place::Begun(_) => {}
        }
    }
}
