//! Attempts that wait for something else than a slot: for the answer to a call, or to be resumed.
//!
//! Each holds its process meanwhile, and keeps nobody from beginning. There may be so many of them; one more is ended with
//! a text that says so, because those it would have to wait for may be the very ones that wait.

use super::worker::{Pace, Worker};
use super::{AttemptId, Effects, Place, State, Stop, WorkerId};
use crate::scheduler::{Return, micros};
use std::collections::BTreeMap;
use std::time::Instant;

/// One part in so many of those that may wait is what one other node may have, what is kept for this machine's user, and what
/// is kept for all others together.
const SHARES: usize = 4;

impl State {
    /// Whether one more attempt may hold a process while it waits for something else than a slot, or is paused. Neither
    /// this machine's user nor the others can have all of that, and one other node can have a quarter.
    fn may_wait(&self, id: AttemptId) -> bool {
        let max = self.sizes.waiting_max;
        let share = max.div_ceil(SHARES);
        let off_slot = self.off_slot();
        if off_slot < share {
            return true;
        }
        let Some(attempt) = self.attempts.get(&id).map(|entry| &entry.attempt) else { return true };
        let (mut all, mut side, mut own) = (0, 0, 0);
        for worker in self.workers.values().filter(|worker| worker.is_off_slot && !worker.doomed) {
            let head = worker.sent.front().and_then(|sent| self.attempts.get(&sent.attempt?));
            let Some(entry) = head.filter(|entry| matches!(entry.place, Place::Out(_))) else { continue };
            all += 1;
            side += usize::from(entry.attempt.others_work == attempt.others_work);
            own += usize::from(entry.attempt.peer == attempt.peer);
        }
        all < max && side < (max - share).max(1) && (!attempt.others_work || own < share)
    }

    /// An attempt waits for the answer to a call: somebody else gets its slot. Nothing happens when the answer came first.
    /// When too many wait already it keeps its slot for a moment: most calls are answered soon, and [`State::stands_still`]
    /// ends it when this one is not.
    pub(super) fn wait_begins(
        &mut self,
        id: AttemptId,
        number: u64,
        what: String,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(place) = self.attempts.get(&id).map(|entry| entry.place) else { return };
        let Some(worker) = worker_of(&mut self.workers, place) else { return };
        let head = worker.sent.front_mut().filter(|sent| sent.attempt == Some(id));
        let call = head.and_then(|sent| sent.calls.iter_mut().find(|open| open.number == number));
        let Some(call) = call else { return };
        call.waits_for = Some(what.clone());
        if !worker.doomed && (matches!(place, Place::Out(_)) || self.may_wait(id)) {
            self.wait(id, what, now, effects);
        } else {
            // What it did before it called says nothing of whether this is answered soon.
            worker_of(&mut self.workers, place).into_iter().for_each(Worker::forget_pace);
        }
    }

    /// Takes an attempt out of its slot until it is answered. Its process goes on: it may have threads that do not wait.
    fn wait(&mut self, id: AttemptId, what: String, now: Instant, effects: &mut Effects) {
        self.leave(id, now);
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        entry.waits_for = Some(what);
        if !entry.is_paused
            && let Some(worker) = entry.place.worker().and_then(|worker| self.workers.get_mut(&worker))
        {
            worker.go_on();
        }
        self.tell(id, effects);
    }

    /// An attempt has done nothing in its slot for a while, and a call of it is open that takes time: one of its threads
    /// was answered, or went on, and the others wait as before.
    pub(super) fn stands_still(&mut self, id: AttemptId, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.attempts.get(&id).filter(|entry| matches!(entry.place, Place::Sent(_))) else { return };
        let worker = entry.place.worker().and_then(|worker| self.workers.get(&worker));
        let head = worker.and_then(|worker| worker.sent.front()).filter(|sent| sent.attempt == Some(id));
        let Some(what) = head.and_then(|sent| sent.waits_for()).map(str::to_owned) else { return };
        if self.may_wait(id) {
            self.wait(id, what, now, effects);
        } else {
            self.stop(id, Stop::WaitingLimit(self.sizes.waiting_max), now, effects);
        }
    }

    /// An attempt without a slot is at work: some of its threads do not wait. That was part of its run, and it goes on when
    /// it has a slot.
    pub(super) fn works_without_slot(&mut self, id: AttemptId, pace: Pace, now: Instant, effects: &mut Effects) {
        let Some(place) = self.attempts.get(&id).map(|entry| entry.place) else { return };
        let (Place::Out(worker_id) | Place::Begun(worker_id)) = place else { return };
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        let ran = pace.used.min(pace.time);
        worker.has_run(ran);
        worker.halt();
        self.dequeue(id);
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        entry.ticket = entry.ticket.having_run(micros(ran.as_secs_f64()));
        entry.waits_for = None;
        if matches!(place, Place::Begun(_)) {
            return self.enqueue_begun(id, worker_id);
        }
        self.come_back(id, now);
        if let Some(entry) = self.attempts.get_mut(&id) {
            entry.blocked = entry.blocked.saturating_sub(ran);
        }
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
        let has_begun = |entry: &super::Entry| matches!(entry.place, Place::Sent(_) | Place::Begun(_));
        if self.attempts.get(&id).is_some_and(has_begun) && !self.may_wait(id) {
            return self.stop(id, Stop::WaitingLimit(self.sizes.waiting_max), now, effects);
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
            } else if let Some(worker) = entry.place.worker().and_then(|worker| self.workers.get_mut(&worker)) {
                // Its other threads need not wait.
                worker.go_on();
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
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        entry.blocked_since.get_or_insert(now);
        let place = entry.place;
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
        entry.blocked = entry.blocked(now);
        entry.blocked_since = None;
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

fn worker_of(workers: &mut BTreeMap<WorkerId, Worker>, place: Place) -> Option<&mut Worker> {
    workers.get_mut(&place.worker()?)
}
