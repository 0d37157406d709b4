//! Which attempt goes to which worker, and when.

use super::{Attempt, AttemptId, Effects, Outcome, Phase, Place, State, WorkerId};
use crate::runtime::RuntimeKey;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task that runs longer than this is not a short one: what was sent ahead behind it is taken back.
pub(super) const STUCK_AFTER: Duration = Duration::from_millis(10);
/// How long a worker may take until it takes orders: some read a hundred megabytes of code from a cold disk.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Stands for all submitters, whose tasks cannot meet in a worker.
const EVERYBODY: &str = "*";

impl Attempt {
    /// Whether it may wait in a worker behind another one, and others behind it.
    pub(super) fn may_be_sent_ahead(&self) -> bool {
        !self.isolated && self.limits.cpu_seconds.is_none()
    }
}

/// What is to be done next.
enum Next {
    /// An attempt is sent to a worker, which is that submitter's from then on.
    Send(AttemptId, WorkerId, Arc<str>),
    /// An attempt that has begun gets a slot again.
    Enter(AttemptId),
}

impl State {
    /// Gives work to workers as long as there is work and room, and takes slots from those that have to give way. What
    /// waits in several runtimes goes in the order of one queue; a runtime without workers that take orders lets the
    /// others pass.
    pub(super) fn dispatch(&mut self, now: Instant, effects: &mut Effects) {
        self.fill(now, effects);
        // Each takes one slot; there are no more of them.
        for _ in 0..self.sizes.slots {
            if !self.preempt(now, effects) {
                break;
            }
            self.fill(now, effects);
            self.gave_way = None;
        }
        for id in std::mem::take(&mut self.held_back) {
            self.tell(id, effects);
        }
        let keys: Vec<RuntimeKey> = self.lanes.keys().cloned().collect();
        for key in keys {
            self.want_workers(&key, now);
        }
    }

    fn fill(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(next) = self.next(now) {
            match next {
                Next::Enter(id) => {
                    self.decided(id, None, now, effects);
                    self.enter_slot(id, now, effects);
                }
                Next::Send(id, worker, submitter) => {
                    let attempt = self.attempts.get(&id).map(|entry| &entry.attempt);
                    let others = attempt.filter(|attempt| attempt.others_work).map(|attempt| attempt.runtime.clone());
                    if let Some(failed) = others.and_then(|key| self.unprotected(&key)) {
                        self.finish(id, Outcome::not_run(failed), now, effects);
                    } else {
                        let is_busy = self.workers.get(&worker).is_some_and(|worker| !worker.sent.is_empty());
                        self.decided(id, is_busy.then_some(worker), now, effects);
                        self.send(id, worker, submitter, now);
                    }
                }
            }
        }
    }

    /// The next attempt that can be sent, and where to.
    fn next(&mut self, now: Instant) -> Option<Next> {
        if self.queued == 0 {
            return None;
        }
        let mut waiting: Vec<_> = Vec::with_capacity(2 * self.lanes.len());
        for (key, lane) in &self.lanes {
            let begun = lane.begun.rank().zip(lane.begun.peek());
            let queued = lane.queue.rank().zip(lane.queue.peek()).filter(|_| lane.phase == Phase::Ready);
            waiting.extend(begun.map(|(rank, id)| (rank, *id, key.clone(), true)));
            waiting.extend(queued.map(|(rank, id)| (rank, *id, key.clone(), false)));
        }
        waiting.sort_unstable();
        let has_slot = self.busy() < self.sizes.slots;
        for (_, id, key, has_begun) in waiting {
            if has_begun {
                // When there is no room for the first one, those behind it must not take what becomes free.
                return has_slot.then_some(Next::Enter(id));
            }
            let is_held_back = self.suspended() > self.sizes.suspended_max;
            let entry = self.attempts.get_mut(&id)?;
            if is_held_back {
                // Those that have begun must get on first. They need nothing but slots for that.
                if !std::mem::replace(&mut entry.is_held_back, true) {
                    self.held_back.push(id);
                }
                continue;
            }
            let ticket = entry.ticket;
            let ahead_allowed = entry.attempt.may_be_sent_ahead();
            let submitter = self.whose_workers(&key, id)?;
            let worker = if has_slot {
                let found = self.idle_worker(&key, &submitter);
                if found.is_none() {
                    // It gets a worker soon.
                    continue;
                }
                found
            } else if ahead_allowed && !self.would_preempt(&ticket, now) {
                self.busy_worker_with_room(&key, &submitter, now)
            } else {
                None
            };
            // As above.
            return worker.map(|worker| Next::Send(id, worker, submitter));
        }
        None
    }

    /// Whose workers an attempt may use.
    fn whose_workers(&self, key: &RuntimeKey, id: AttemptId) -> Option<Arc<str>> {
        let is_shared = self.lanes.get(key)?.runtime.is_shared();
        let submitter = &self.attempts.get(&id)?.attempt.submitter;
        Some(if is_shared { Arc::from(EVERYBODY) } else { Arc::clone(submitter) })
    }

    /// Whether an attempt could begin at once in the slot of another one.
    pub(super) fn can_begin(&mut self, key: &RuntimeKey, id: AttemptId) -> bool {
        let is_ready = self.lanes.get(key).is_some_and(|lane| lane.phase == Phase::Ready);
        if !is_ready || self.suspended() >= self.sizes.suspended_max {
            return false;
        }
        let submitter = self.whose_workers(key, id);
        submitter.is_some_and(|submitter| self.idle_worker(key, &submitter).is_some())
    }

    fn send(&mut self, id: AttemptId, worker_id: WorkerId, submitter: Arc<str>, now: Instant) {
        self.dequeue(id);
        let (Some(entry), Some(worker)) = (self.attempts.get_mut(&id), self.workers.get_mut(&worker_id)) else {
            return;
        };
        entry.place = Place::Sent(worker_id);
        entry.is_held_back = false;
        worker.submitter = Some(submitter);
        let announced = !entry.attempt.confidential;
        if !worker.send(id, &entry.attempt.body, entry.attempt.limits.cpu_seconds.is_some(), now) {
            worker.hang_up();
            self.enqueue(id);
        }
        self.touch(announced, now);
    }

    /// A worker that can start at once: one of the submitter's own, else a spare. When there is none, room is made for a
    /// new one.
    fn idle_worker(&mut self, key: &RuntimeKey, submitter: &Arc<str>) -> Option<WorkerId> {
        let idle = || self.workers.values().filter(|worker| worker.runtime == *key && worker.is_idle());
        let found = if **submitter == *EVERYBODY {
            // The one that has been idle the longest: it has had the most time to make new instances ready.
            idle().min_by_key(|worker| worker.last_used)
        } else {
            let own = idle().find(|worker| worker.submitter.as_ref() == Some(submitter));
            own.or_else(|| idle().find(|worker| worker.submitter.is_none()))
        };
        let found = found.map(|worker| worker.id);
        if found.is_none() {
            self.make_room(key);
        }
        found
    }

    /// Lets the warm workers go that have been idle the longest, if there are as many processes as there may be, or more:
    /// those that waited come back.
    fn make_room(&mut self, key: &RuntimeKey) {
        let wanted = self.lanes.get(key).map_or(0, |lane| lane.spawns_wanted);
        let own = self.workers.values().filter(|worker| worker.runtime == *key);
        let alive = own.filter(|worker| !worker.doomed && !worker.is_off_slot);
        let (alive, starting) =
            alive.fold((0, 0), |(alive, starting), worker| (alive + 1, starting + usize::from(!worker.ready)));
        if starting + wanted > 0 || alive < self.sizes.processes_max {
            return;
        }
        let surplus = alive + 1 - self.sizes.processes_max;
        let own = self.workers.values_mut().filter(|worker| worker.runtime == *key);
        let mut idle: Vec<_> = own.filter(|worker| worker.is_idle()).collect();
        idle.sort_by_key(|worker| worker.last_used);
        for worker in idle.into_iter().take(surplus) {
            worker.kill();
        }
    }

    fn busy_worker_with_room(&self, key: &RuntimeKey, submitter: &Arc<str>, now: Instant) -> Option<WorkerId> {
        self.workers
            .values()
            .filter(|worker| worker.runtime == *key)
            .filter(|worker| worker.has_room() && worker.submitter.as_ref() == Some(submitter))
            // What would be sent to one that is stuck would be taken back at the next look, again and again.
            .filter(|worker| {
                worker.sent.front().is_none_or(|head| now.saturating_duration_since(head.head_since) < STUCK_AFTER)
            })
            // A task with a limit on its processor time is alone with its worker, so that what it uses can be told.
            .filter(|worker| {
                worker
                    .sent
                    .front()
                    .and_then(|sent| self.attempts.get(&sent.attempt?))
                    .is_some_and(|entry| entry.attempt.may_be_sent_ahead())
            })
            .min_by_key(|worker| worker.sent.len())
            .map(|worker| worker.id)
    }

    /// Keeps enough workers: one for each slot that serve everybody, and one for whoever takes a slot from another, or some
    /// without a submitter, as far as there may be processes. Those whose attempt has no slot are beside that.
    fn want_workers(&mut self, key: &RuntimeKey, now: Instant) {
        let (sizes, shared) = (self.sizes, self.shared_workers());
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if self.stopping || lane.phase != Phase::Ready || lane.spawn_after.is_some_and(|after| now < after) {
            lane.spawns_wanted = 0;
            return;
        }
        let own = self.workers.values().filter(|worker| worker.runtime == *key);
        let alive = own.filter(|worker| !worker.doomed && !worker.is_retiring && !worker.is_off_slot);
        let (alive, spares) =
            alive.fold((0, 0), |(alive, spares), worker| (alive + 1, spares + usize::from(worker.submitter.is_none())));
        lane.spawns_wanted = if lane.runtime.is_shared() {
            shared.saturating_sub(alive)
        } else {
            sizes.spares.saturating_sub(spares).min(sizes.processes_max.saturating_sub(alive))
        };
    }

    /// Workers of a runtime that serve everybody: so many can be busy at once.
    fn shared_workers(&self) -> usize {
        let takes_slots = self.algorithm.quantum().is_some() || self.algorithm.preempts_on_arrival();
        self.sizes.slots + usize::from(takes_slots)
    }

    /// Ends idle workers beyond those that are kept: attempts that had no slot for a while have left them behind.
    pub(super) fn end_surplus_workers(&mut self) {
        let keys: Vec<(RuntimeKey, bool)> =
            self.lanes.iter().map(|(key, lane)| (key.clone(), lane.runtime.is_shared())).collect();
        for (key, is_shared) in keys {
            let kept = if is_shared { self.shared_workers() } else { self.sizes.processes_max };
            let own = || self.workers.values().filter(|worker| worker.runtime == key && !worker.doomed);
            let alive = own().filter(|worker| !worker.is_off_slot && !worker.is_retiring).count();
            let mut idle: Vec<_> = own().filter(|worker| worker.is_idle()).collect();
            idle.sort_by_key(|worker| worker.last_used);
            let surplus: Vec<WorkerId> = idle.iter().take(alive.saturating_sub(kept)).map(|worker| worker.id).collect();
            for id in surplus {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.kill();
                }
            }
        }
    }
}
