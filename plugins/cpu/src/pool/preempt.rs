//! Taking a slot from one attempt for another.

use super::{AttemptId, Effects, Place, State, WorkerId};
use crate::scheduler::{Rank, Return, Ticket, micros};
use std::time::{Duration, Instant};

/// What it takes to let a process go on is not its own time: a turn is this much longer than the quantum, so that who needs
/// a whole number of quanta needs no further turn. A process that is let go on runs some 50 to 200 microseconds later.
const GOING_ON: Duration = Duration::from_micros(500);

impl State {
    /// Takes the slot from one attempt that has to give way, if there is one, to somebody who can run at once.
    pub(super) fn preempt(&mut self, now: Instant, effects: &mut Effects) -> bool {
        let algorithm = self.algorithm;
        if self.queued == 0 || (algorithm.quantum().is_none() && !algorithm.preempts_on_arrival()) {
            return false;
        }
        let in_slots = || self.workers.values().filter(|worker| !worker.doomed && !worker.is_off_slot);
        let is_ending = |sent: &super::worker::Sent| sent.attempt.is_none();
        // Where something has been given up there is a slot soon, and where one is free whoever can run has it.
        if in_slots().any(|worker| worker.sent.front().is_some_and(is_ending)) || self.busy() < self.sizes.slots {
            return false;
        }
        let Some(newcomer) = self.first_that_can_run() else { return false };
        let running = self.stoppable(now);
        let chosen = match algorithm.quantum() {
            Some(quantum) => {
                let over = running.iter().filter(|run| now >= run.since + quantum + GOING_ON);
                over.min_by_key(|run| run.since).map(|run| (run.id, algorithm.quantum_reason(), Return::QuantumOver))
            }
            None => {
                let victim = algorithm.victim(&newcomer, running.iter().map(|run| (run.id, run.ticket)));
                victim.map(|(id, why)| (id, why, Return::Preempted))
            }
        };
        let Some((id, why, how)) = chosen else { return false };
        let Some(Place::Sent(worker)) = self.attempts.get(&id).map(|entry| entry.place) else { return false };
        self.suspend(id, worker, how, now, effects);
        self.gave_way = self.attempts.get(&id).map(|entry| (entry.attempt.name.to_string(), why));
        true
    }

    /// When, after `looked_at`, the next attempt has had its slot for as long as it may while others wait. Also while nobody
    /// does: who comes later does not wake the supervisor for it.
    pub(super) fn quantum_over(&self, looked_at: Instant) -> Option<Instant> {
        let quantum = self.algorithm.quantum()?;
        let in_slots = self.workers.values().filter(|worker| !worker.doomed && !worker.is_off_slot);
        let over = in_slots.filter_map(|worker| Some(worker.sent.front()?.head_since + quantum + GOING_ON));
        // One that is over already goes on because nobody else can run: that is looked at every tick.
        over.filter(|over| *over > looked_at).min()
    }

    /// Whether an attempt takes a slot from another one, instead of waiting behind it in a worker.
    pub(super) fn would_preempt(&self, newcomer: &Ticket, now: Instant) -> bool {
        let algorithm = self.algorithm;
        algorithm.preempts_on_arrival()
            && algorithm.victim(newcomer, self.stoppable(now).iter().map(|run| (run.id, run.ticket))).is_some()
    }

    /// Attempts that have a slot and can be stopped; they run, or are about to.
    fn stoppable(&self, now: Instant) -> Vec<Running> {
        let workers = self.workers.values().filter(|worker| !worker.doomed && !worker.is_off_slot);
        workers
            // One that must report has ended, or says so.
            .filter(|worker| worker.stop_by.is_none())
            .filter_map(|worker| {
                let head = worker.sent.front()?;
                let id = head.attempt?;
                let turn = now.saturating_duration_since(head.head_since).as_secs_f64();
                let ticket = self.attempts.get(&id)?.ticket.having_run(micros(turn));
                Some(Running { id, since: head.head_since, ticket })
            })
            .collect()
    }

    /// The first of those that wait which could begin or go on now.
    fn first_that_can_run(&mut self) -> Option<Ticket> {
        let keys: Vec<_> = self.lanes.keys().cloned().collect();
        let mut best: Option<(Rank, Ticket)> = None;
        for key in keys {
            let begun = self.lanes.get(&key).and_then(|lane| Some((lane.begun.rank()?, *lane.begun.peek()?)));
            let first = self.lanes.get(&key).and_then(|lane| Some((lane.queue.rank()?, *lane.queue.peek()?)));
            let can_begin = first.is_some_and(|(_, id)| self.can_begin(&key, id));
            for (rank, id) in begun.into_iter().chain(first.filter(|_| can_begin)) {
                if best.is_none_or(|(best, _)| rank < best)
                    && let Some(entry) = self.attempts.get(&id)
                {
                    best = Some((rank, entry.ticket));
                }
            }
        }
        best.map(|(_, ticket)| ticket)
    }

    /// Takes the slot from an attempt: it waits for the next one with its process stopped.
    fn suspend(&mut self, id: AttemptId, worker_id: WorkerId, how: Return, now: Instant, effects: &mut Effects) {
        self.take_back(worker_id, now);
        if self.attempts.get(&id).is_none_or(|entry| entry.place != Place::Sent(worker_id)) {
            // It had not begun, and waits at its old place.
            return;
        }
        self.leave_slot(id, worker_id, now);
        self.measures.preempted();
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.halt();
        }
        let (sequence, now_micros) = (self.next_sequence(), self.micros(now));
        let algorithm = self.algorithm;
        if let Some(entry) = self.attempts.get_mut(&id) {
            entry.ticket = algorithm.put_back(entry.ticket, how, sequence, now_micros);
        }
        self.enqueue_begun(id, worker_id);
        self.tell(id, effects);
    }

    /// The books of an attempt that loses its slot; where it is from now on is the caller's to say.
    pub(super) fn leave_slot(&mut self, id: AttemptId, worker_id: WorkerId, now: Instant) {
        self.take_back(worker_id, now);
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        let begun_at = worker.sent.front().map(|sent| sent.head_since);
        let turn = worker.leave_slot(now);
        self.measures.switched();
        if let Some(entry) = self.attempts.get_mut(&id) {
            entry.first_run = entry.first_run.or(begun_at);
            entry.switches = entry.switches.saturating_add(1);
            entry.ticket = entry.ticket.having_run(micros(turn.as_secs_f64()));
        }
        self.touch(false, now);
    }

    /// Gives a slot to an attempt that has begun.
    pub(super) fn enter_slot(&mut self, id: AttemptId, now: Instant, effects: &mut Effects) {
        self.dequeue(id);
        let Some(entry) = self.attempts.get_mut(&id) else { return };
        let Place::Begun(worker_id) = entry.place else { return };
        entry.place = Place::Sent(worker_id);
        let announced = !entry.attempt.confidential;
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.enter_slot(now);
        }
        self.tell(id, effects);
        self.touch(announced, now);
    }
}

/// An attempt that has a slot.
struct Running {
    id: AttemptId,
    /// When it got the slot.
    since: Instant,
    ticket: Ticket,
}
