//! Which attempt goes to which worker, and when.

use super::{AttemptId, Effects, Place, State, Stop, WorkerId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task that runs longer than this is not a short one: what was sent ahead behind it is taken back.
const STUCK_AFTER: Duration = Duration::from_millis(10);
/// A task is looked at for its limits once it has run this long; shorter ones cannot have done much.
const WATCHED_AFTER: Duration = Duration::from_millis(15);

impl State {
    /// Gives work to workers as long as there is work and room.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while let Some(&id) = self.queue.peek() {
            let Some(entry) = self.attempts.get(&id) else { break };
            let submitter = Arc::clone(&entry.attempt.submitter);
            let ahead_allowed = !entry.attempt.isolated && entry.attempt.limits.cpu_seconds.is_none();
            let worker = if self.busy() < self.sizes.slots {
                self.idle_worker(&submitter)
            } else if ahead_allowed {
                self.busy_worker_with_room(&submitter, now)
            } else {
                None
            };
            let Some(worker) = worker else { break };
            self.send(id, worker, submitter, now);
        }
        self.want_spares();
    }

    fn send(&mut self, id: AttemptId, worker_id: WorkerId, submitter: Arc<str>, now: Instant) {
        self.dequeue(id);
        let (Some(entry), Some(worker)) = (self.attempts.get_mut(&id), self.workers.get_mut(&worker_id)) else {
            return;
        };
        entry.place = Place::Sent(worker_id);
        worker.submitter = Some(submitter);
        worker.send(id, &entry.attempt.body, entry.attempt.limits.cpu_seconds.is_some(), now);
        let announced = !entry.attempt.confidential;
        self.touch(announced, now);
    }

    /// A worker that can start at once: one of the submitter's own, else a spare. When there is none, room is made for a
    /// new one.
    fn idle_worker(&mut self, submitter: &Arc<str>) -> Option<WorkerId> {
        let own = |worker: &&super::Worker| worker.is_idle() && worker.submitter.as_ref() == Some(submitter);
        let spare = |worker: &&super::Worker| worker.is_idle() && worker.submitter.is_none();
        let found =
            self.workers.values().find(own).or_else(|| self.workers.values().find(spare)).map(|worker| worker.id);
        if found.is_none() {
            self.make_room();
        }
        found
    }

    /// Lets the warm worker go that has been idle the longest, if there are as many processes as there may be.
    fn make_room(&mut self) {
        let alive = self.workers.values().filter(|worker| !worker.doomed);
        let (alive, starting) =
            alive.fold((0, 0), |(alive, starting), worker| (alive + 1, starting + usize::from(!worker.ready)));
        if starting + self.spawns_wanted > 0 || alive < self.sizes.processes_max {
            return;
        }
        let idle = self.workers.values_mut().filter(|worker| worker.is_idle()).min_by_key(|worker| worker.last_used);
        if let Some(worker) = idle {
            worker.kill();
        }
    }

    fn busy_worker_with_room(&self, submitter: &Arc<str>, now: Instant) -> Option<WorkerId> {
        self.workers
            .values()
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
                    .is_some_and(|entry| entry.attempt.limits.cpu_seconds.is_none() && !entry.attempt.isolated)
            })
            .min_by_key(|worker| worker.sent.len())
            .map(|worker| worker.id)
    }

    /// Keeps enough workers without a submitter, as far as there may be processes.
    fn want_spares(&mut self) {
        if self.stopping || self.unavailable.is_some() {
            self.spawns_wanted = 0;
            return;
        }
        let spares = self.workers.values().filter(|worker| worker.submitter.is_none() && !worker.doomed).count();
        let alive = self.workers.values().filter(|worker| !worker.doomed).count();
        let missing = self.sizes.spares.saturating_sub(spares);
        self.spawns_wanted = missing.min(self.sizes.processes_max.saturating_sub(alive));
    }

    /// Stops what is over a limit, and takes back what waits behind a task that turned out long.
    pub(super) fn watch(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            if !self.stop(id, Stop::Timeout, now, effects) {
                // Its report is on its way; nothing is left to be watched.
                self.deadlines.remove(&(deadline, id));
            }
        }
        let mut over: Vec<(AttemptId, Stop)> = Vec::new();
        let mut stuck: Vec<WorkerId> = Vec::new();
        for worker in self.workers.values() {
            let Some(head) = worker.sent.front() else { continue };
            let ran = now.saturating_duration_since(head.head_since);
            if ran >= STUCK_AFTER && worker.sent.len() > 1 {
                stuck.push(worker.id);
            }
            let Some(entry) = head.attempt.and_then(|id| self.attempts.get(&id)) else { continue };
            if ran < WATCHED_AFTER || worker.doomed {
                continue;
            }
            let limits = &entry.attempt.limits;
            if worker.output_bytes() > limits.output_bytes {
                over.extend(head.attempt.map(|id| (id, Stop::OutputLimit)));
            } else if let Some(limit) = limits.cpu_seconds
                && worker.cpu_seconds() - head.cpu_seconds_before >= limit
            {
                over.extend(head.attempt.map(|id| (id, Stop::CpuLimit)));
            }
        }
        for (id, reason) in over {
            self.stop(id, reason, now, effects);
        }
        for worker in stuck {
            self.take_back(worker);
        }
    }
}
