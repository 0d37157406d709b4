//! Looks at what runs: limits, workers that do not do what is expected of them, what waits behind a long task.

use super::dispatch::{READY_PATIENCE, STUCK_AFTER};
use super::worker::{Pace, WATCHED_AFTER, Worker};
use super::{AttemptId, Effects, State, Stop, WorkerId};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Threads that a task may have: those of libraries that use all cores of a large machine, and far from all that there may
/// be in a system.
pub(super) const THREADS_MAX: u64 = 256;
/// Memory that a worker which stops orders itself may take beside its task's own: to compile a guest, for what it prints
/// and hands back. One that takes more is too busy to notice.
const MEMORY_BESIDE_BYTES: u64 = 512 << 20;
/// How long a worker that has nothing else to do may take to begin an order. Far longer than it takes on a machine that is
/// busy, since the order is begun anew elsewhere then.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// Processor time that a worker may use while it has nothing to do, between two looks.
const IDLE_CPU_SECONDS_MAX: f64 = 0.5;
/// Attempts without a slot that are looked at in a second, in turn, and at a time: each look costs some reads of /proc with
/// the pool locked, and there may be a thousand of them.
const OFF_SLOT_LOOKS_PER_SECOND: u128 = 800;
const OFF_SLOT_LOOKS_MAX: u128 = 64;
/// How often one of them is looked at.
const OFF_SLOT_LOOK_EVERY: Duration = Duration::from_millis(100);

impl State {
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
        let mut running: Vec<AttemptId> = Vec::new();
        let mut still: Vec<AttemptId> = Vec::new();
        let mut at_work: Vec<(AttemptId, Pace)> = Vec::new();
        let off_slot = self.off_slot_to_look_at(now);
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
            if worker.is_stopped {
                // It does nothing, so it breaks no rule.
                continue;
            }
            if worker.is_off_slot {
                if !off_slot.contains(&worker.id) {
                    continue;
                }
                worker.sent.iter_mut().take(1).for_each(|head| head.checked_at = now);
            }
            let Some(head) = worker.sent.front() else { continue };
            let turn = now.saturating_duration_since(head.head_since);
            // One that waits may have threads that do not; what it is expected to do at once it does in a slot.
            if turn >= STUCK_AFTER && !worker.is_off_slot && worker.sent.len() > 1 {
                stuck.push(worker.id);
            }
            let Some(entry) = head.attempt.and_then(|id| self.attempts.get(&id)) else { continue };
            // Without a slot it may go on as well.
            let ran = if worker.is_off_slot { turn } else { head.ran(false, now) };
            if ran < WATCHED_AFTER || worker.doomed {
                continue;
            }
            if turn >= BEGIN_PATIENCE && !worker.is_off_slot && !worker.has_started(head.slot) {
                // A task that has said that it had ended goes on there, or has spoiled it otherwise.
                unwilling.push(worker.id);
                continue;
            }
            let limits = entry.attempt.limits;
            let attempt = head.attempt;
            let is_untold = !entry.is_told && !worker.is_off_slot && entry.attempt.calls.is_some();
            if is_untold && worker.has_started(head.slot) {
                running.extend(attempt);
            }
            if let (Some(pace), Some(id)) = (worker.look(now), attempt) {
                if worker.is_off_slot && pace.is_at_work() {
                    at_work.push((id, pace));
                } else if !worker.is_off_slot && pace.is_still() {
                    still.push(id);
                }
            }
            if worker.threads() > THREADS_MAX {
                over.extend(attempt.map(|id| (id, Stop::ThreadLimit)));
            } else if worker.stops_orders
                && worker.memory_bytes_taken() > limits.memory_bytes.saturating_add(MEMORY_BESIDE_BYTES)
            {
                over.extend(attempt.map(|id| (id, Stop::MemoryLimit)));
            } else if worker.output_bytes() > limits.output_bytes {
                over.extend(attempt.map(|id| (id, Stop::OutputLimit)));
            } else if let Some(limit) = limits.cpu_seconds
                && worker.cpu_seconds_of_head().is_some_and(|seconds| seconds >= limit)
            {
                over.extend(attempt.map(|id| (id, Stop::CpuLimit)));
            }
        }
        for id in running {
            self.tell(id, effects);
        }
        for (id, reason) in deaf {
            self.end_deaf(id, reason, now, effects);
        }
        for (id, reason) in over {
            self.stop(id, reason, now, effects);
        }
        for id in still {
            self.stands_still(id, now, effects);
        }
        for (id, pace) in at_work {
            self.works_without_slot(id, pace, now, effects);
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

    /// Those without a slot that were looked at the longest ago.
    fn off_slot_to_look_at(&mut self, now: Instant) -> BTreeSet<WorkerId> {
        let time = now.saturating_duration_since(self.off_slot_looked_at).as_millis();
        let count = (time * OFF_SLOT_LOOKS_PER_SECOND / 1000).min(OFF_SLOT_LOOKS_MAX);
        if count == 0 {
            return BTreeSet::new();
        }
        self.off_slot_looked_at = now;
        let off = self.workers.values().filter(|worker| worker.is_off_slot && !worker.is_stopped && !worker.doomed);
        let due = off.filter_map(|worker| Some((worker.sent.front()?.checked_at, worker.id)));
        let mut due: Vec<_> = due.filter(|(checked, _)| now >= *checked + OFF_SLOT_LOOK_EVERY).collect();
        due.sort_unstable();
        due.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        due.into_iter().map(|(_, id)| id).collect()
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
