//! Which attempt goes to which worker, and when.

use super::worker::Worker;
use super::{AttemptId, Effects, Outcome, Phase, Place, State, Stop, WorkerId};
use crate::runtime::RuntimeKey;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task that runs longer than this is not a short one: what was sent ahead behind it is taken back.
const STUCK_AFTER: Duration = Duration::from_millis(10);
/// A task is looked at for its limits once it has run this long; shorter ones cannot have done much.
const WATCHED_AFTER: Duration = Duration::from_millis(15);
/// Threads that a task may have: those of libraries that use all cores of a large machine, and far from all that there may
/// be in a system.
pub(super) const THREADS_MAX: u64 = 256;
/// Memory that a worker which stops orders itself may take beside its task's own: to compile a guest, for what it prints
/// and hands back. One that takes more is too busy to notice.
const MEMORY_BESIDE_BYTES: u64 = 512 << 20;
/// How long a worker may take until it takes orders: some read a hundred megabytes of code from a cold disk.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a worker that has nothing else to do may take to begin an order. Far longer than it takes on a machine that is
/// busy, since the order is begun anew elsewhere then.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// Processor time that a worker may use while it has nothing to do, between two looks.
const IDLE_CPU_SECONDS_MAX: f64 = 0.5;
/// Stands for all submitters, whose tasks cannot meet in a worker.
const EVERYBODY: &str = "*";

impl State {
    /// Gives work to workers as long as there is work and room. What waits in several runtimes goes in the order of one
    /// queue; a runtime without workers that take orders lets the others pass.
    pub(super) fn dispatch(&mut self, now: Instant, effects: &mut Effects) {
        while let Some((id, worker, submitter)) = self.next(now) {
            let attempt = self.attempts.get(&id).map(|entry| &entry.attempt);
            let others = attempt.filter(|attempt| attempt.others_work).map(|attempt| attempt.runtime.clone());
            if let Some(failed) = others.and_then(|key| self.unprotected(&key)) {
                self.dequeue(id);
                self.finish(id, Outcome::not_run(failed), now, effects);
            } else {
                self.send(id, worker, submitter, now);
            }
        }
        let keys: Vec<RuntimeKey> = self.lanes.keys().cloned().collect();
        for key in keys {
            self.want_workers(&key, now);
        }
    }

    /// The next attempt that can be sent, and where to.
    fn next(&mut self, now: Instant) -> Option<(AttemptId, WorkerId, Arc<str>)> {
        let mut waiting: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.phase == Phase::Ready)
            .filter_map(|(key, lane)| Some((lane.queue.rank()?, *lane.queue.peek()?, key.clone())))
            .collect();
        waiting.sort_unstable();
        for (_, id, key) in waiting {
            let entry = self.attempts.get(&id)?;
            let is_shared = self.lanes.get(&key)?.runtime.is_shared();
            let submitter = if is_shared { Arc::from(EVERYBODY) } else { Arc::clone(&entry.attempt.submitter) };
            let ahead_allowed = !entry.attempt.isolated && entry.attempt.limits.cpu_seconds.is_none();
            let worker = if self.busy() < self.sizes.slots {
                let found = self.idle_worker(&key, &submitter);
                if found.is_none() {
                    // It gets a worker soon.
                    continue;
                }
                found
            } else if ahead_allowed {
                self.busy_worker_with_room(&key, &submitter, now)
            } else {
                None
            };
            // When there is no room for the first one, those behind it must not take what becomes free.
            return worker.map(|worker| (id, worker, submitter));
        }
        None
    }

    fn send(&mut self, id: AttemptId, worker_id: WorkerId, submitter: Arc<str>, now: Instant) {
        self.dequeue(id);
        let (Some(entry), Some(worker)) = (self.attempts.get_mut(&id), self.workers.get_mut(&worker_id)) else {
            return;
        };
        entry.place = Place::Sent(worker_id);
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

    /// Lets the warm worker go that has been idle the longest, if there are as many processes as there may be.
    fn make_room(&mut self, key: &RuntimeKey) {
        let wanted = self.lanes.get(key).map_or(0, |lane| lane.spawns_wanted);
        let alive = self.workers.values().filter(|worker| worker.runtime == *key && !worker.doomed);
        let (alive, starting) =
            alive.fold((0, 0), |(alive, starting), worker| (alive + 1, starting + usize::from(!worker.ready)));
        if starting + wanted > 0 || alive < self.sizes.processes_max {
            return;
        }
        let own = self.workers.values_mut().filter(|worker| worker.runtime == *key);
        let idle = own.filter(|worker| worker.is_idle()).min_by_key(|worker| worker.last_used);
        if let Some(worker) = idle {
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
                    .is_some_and(|entry| entry.attempt.limits.cpu_seconds.is_none() && !entry.attempt.isolated)
            })
            .min_by_key(|worker| worker.sent.len())
            .map(|worker| worker.id)
    }

    /// Keeps enough workers: one for each slot that serve everybody, or some without a submitter, as far as there may be
    /// processes.
    fn want_workers(&mut self, key: &RuntimeKey, now: Instant) {
        let sizes = self.sizes;
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if self.stopping || lane.phase != Phase::Ready || lane.spawn_after.is_some_and(|after| now < after) {
            lane.spawns_wanted = 0;
            return;
        }
        let own = self.workers.values().filter(|worker| worker.runtime == *key);
        let alive = own.filter(|worker| !worker.doomed && !worker.is_retiring);
        let (alive, spares) =
            alive.fold((0, 0), |(alive, spares), worker| (alive + 1, spares + usize::from(worker.submitter.is_none())));
        lane.spawns_wanted = if lane.runtime.is_shared() {
            sizes.slots.saturating_sub(alive)
        } else {
            sizes.spares.saturating_sub(spares).min(sizes.processes_max.saturating_sub(alive))
        };
    }

    /// Stops what is over a limit, and takes back what waits behind a task that turned out long.
    pub(super) fn watch(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            if !self.stop(id, Stop::Timeout, now, effects) {
                // Its report is on its way, or its worker is ended for it.
                self.deadlines.remove(&(deadline, id));
            }
        }
        let mut over: Vec<(AttemptId, Stop)> = Vec::new();
        let mut stuck: Vec<WorkerId> = Vec::new();
        let mut deaf: Vec<(WorkerId, Stop)> = Vec::new();
        let mut unwilling: Vec<WorkerId> = Vec::new();
        for worker in self.workers.values_mut() {
            if worker.is_retiring && worker.sent.is_empty() && !worker.doomed {
                worker.kill();
            }
            if !worker.ready && !worker.doomed && worker.started + READY_PATIENCE <= now {
                // As if it had ended by itself, which counts as a start that has failed.
                worker.hang_up();
            }
            if let Some((by, reason)) = worker.stop_by
                && by <= now
                && !worker.doomed
            {
                deaf.push((worker.id, reason));
            }
            let Some(head) = worker.sent.front() else { continue };
            let ran = now.saturating_duration_since(head.head_since);
            if ran >= STUCK_AFTER && worker.sent.len() > 1 {
                stuck.push(worker.id);
            }
            let Some(entry) = head.attempt.and_then(|id| self.attempts.get(&id)) else { continue };
            if ran < WATCHED_AFTER || worker.doomed {
                continue;
            }
            if ran >= BEGIN_PATIENCE && !worker.has_started(head.slot) {
                // A task that has said that it had ended goes on there, or has spoiled it otherwise.
                unwilling.push(worker.id);
                continue;
            }
            let limits = entry.attempt.limits;
            let attempt = head.attempt;
            let cpu_seconds_before = head.cpu_seconds_before;
            if worker.threads() > THREADS_MAX {
                over.extend(attempt.map(|id| (id, Stop::ThreadLimit)));
            } else if worker.stops_orders
                && worker.memory_bytes_taken() > limits.memory_bytes.saturating_add(MEMORY_BESIDE_BYTES)
            {
                over.extend(attempt.map(|id| (id, Stop::MemoryLimit)));
            } else if worker.output_bytes() > limits.output_bytes {
                over.extend(attempt.map(|id| (id, Stop::OutputLimit)));
            } else if let Some(limit) = limits.cpu_seconds
                && worker.cpu_seconds() - cpu_seconds_before >= limit
            {
                over.extend(attempt.map(|id| (id, Stop::CpuLimit)));
            }
        }
        for (id, reason) in deaf {
            self.end_deaf(id, reason, now, effects);
        }
        for (id, reason) in over {
            self.stop(id, reason, now, effects);
        }
        for id in unwilling {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.kill();
            }
            self.take_back(id, now);
        }
        for worker in stuck {
            self.take_back(worker, now);
        }
    }

    /// The files that it is time to look at, which is done without the lock.
    pub(super) fn files_to_look_at(&mut self, now: Instant) -> Vec<(WorkerId, PathBuf, u32)> {
        let due = |worker: &mut Worker| worker.files_to_look_at(now).map(|(folder, pid)| (worker.id, folder, pid));
        self.workers.values_mut().filter_map(due).collect()
    }

    /// The files of a worker were too many or too large: stops the task that runs there, or ends the worker with them.
    pub(super) fn has_too_many_files(&mut self, id: WorkerId, now: Instant, effects: &mut Effects) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // One that has not begun has written nothing.
        let running = worker.sent.front().filter(|sent| worker.has_started(sent.slot));
        match running.and_then(|sent| sent.attempt) {
            Some(attempt) => {
                self.stop(attempt, Stop::ScratchLimit, now, effects);
            }
            None => {
                worker.kill();
                self.take_back(id, now);
            }
        }
    }

    /// Ends workers that are busy although they have nothing to do: a task has left something behind, or has answered
    /// before it had ended.
    pub(super) fn end_restless_workers(&mut self) {
        for worker in self.workers.values_mut().filter(|worker| worker.is_idle() && worker.submitter.is_some()) {
            if worker.idle_cpu_seconds().is_some_and(|seconds| seconds > IDLE_CPU_SECONDS_MAX) {
                worker.kill();
            }
        }
    }
}
