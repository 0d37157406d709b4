//! What workers report, and what becomes of what they had when they end.

use super::channel::{Done, Said};
use super::dispatch::READY_PATIENCE;
use super::supervisor::RETRY_START_AFTER;
use super::{Effects, Failed, Outcome, Phase, Place, State, WorkerId};
use crate::runtime::RuntimeKey;
use potluck_sdk::message::cpu::outcome;
use potluck_worker_protocol::Ready;
use std::time::{Duration, Instant};

/// Longest run that is believed, in seconds, so that it can be calculated with.
const SECONDS_MAX: f64 = 1e7;
/// Workers that end one after the other when they are given an order, until it is taken for the reason.
const UNBEGUN_MAX: u32 = 3;
/// What a task is told that was run by a worker which has said what no worker says.
const MISUSED: &str = "the task has written to the socket between its worker process and the node, which is not for tasks, so the process was ended; leave descriptors alone that the task has not opened";

impl State {
    /// A worker takes orders now.
    fn is_ready(&mut self, id: WorkerId, ready: Ready) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.ready = true;
        worker.stops_orders = ready.stops_orders;
        if let Some(lane) = self.lanes.get_mut(&worker.runtime) {
            lane.description = ready.description;
            lane.protections = ready.protections;
        }
    }

    /// Acts on what a worker has said.
    pub(super) fn heard(&mut self, id: WorkerId, message: Said, now: Instant, effects: &mut Effects) {
        match message {
            Said::Ready(ready) => self.is_ready(id, ready),
            Said::Skipped { slot } => {
                if let Some(worker) = self.workers.get_mut(&id)
                    && !worker.skipped(slot, now)
                {
                    // It was to be run: a task has got hold of the socket, or of the claims.
                    worker.misused();
                }
            }
            Said::Call { slot, number, message } => self.called(id, slot, number, message, effects),
            Said::Done(done) => self.reported(id, *done, now, effects),
        }
    }

    fn reported(&mut self, id: WorkerId, done: Done, now: Instant, effects: &mut Effects) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Done { slot, mut outcome, retire } = done;
        // Only images of the sandbox have files to hand back.
        let is_possible = worker.stops_orders || outcome.files.list.is_empty();
        let was_off_slot = worker.is_off_slot;
        let Some(sent) = is_possible.then(|| worker.reported(slot, now)).flatten() else {
            // An answer to a question that was not asked, or none that it could have: a task has got hold of the socket.
            worker.misused();
            return;
        };
        // What it says is believed as far as it is possible: others plan with it. A worker does not know when it was stopped.
        let is_whole = sent.ran_before.is_zero();
        let possible = if is_whole { now - sent.since } else { sent.ran(was_off_slot, now) };
        outcome.seconds = outcome.seconds.min(possible.as_secs_f64()).min(SECONDS_MAX);
        worker.learn(Duration::from_secs_f64(outcome.seconds));
        outcome = outcome.with_use(worker.used_by(&sent));
        // Of a native task nobody can tell.
        outcome.deterministic = outcome.deterministic.filter(|_| worker.stops_orders);
        let key = worker.runtime.clone();
        let isolated = sent.attempt.and_then(|id| self.attempts.get(&id)).is_some_and(|entry| entry.attempt.isolated);
        if (retire || isolated) && !worker.doomed {
            // A worker that says so itself starts nothing more; an isolated task has nothing sent ahead behind it.
            worker.kill();
            self.take_back(id, now);
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.failed_starts = 0;
        }
        self.keep_off_slot(id);
        if let Some(attempt) = sent.attempt {
            self.finish(attempt, outcome, now, effects);
        }
    }

    /// The next order of a worker may have been begun and paused before the report of the last one was read.
    fn keep_off_slot(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let next = worker.sent.front().and_then(|sent| self.attempts.get(&sent.attempt?));
        if next.is_some_and(|entry| matches!(entry.place, Place::Begun(_) | Place::Out(_))) {
            worker.is_off_slot = true;
            worker.halt();
        }
    }

    /// A worker's process has ended: what it had begun has failed, what it had not goes back. Returns what is wrong with
    /// its runtime when nobody had asked for that and it had nothing to do.
    pub(super) fn died(&mut self, id: WorkerId, now: Instant, effects: &mut Effects) -> Option<(RuntimeKey, String)> {
        let mut worker = self.workers.remove(&id)?;
        let asked = worker.dismissed;
        let (stdout, stderr) = worker.output();
        worker.hang_up();
        let key = worker.runtime.clone();
        let (ready, ran, used) = (worker.ready, worker.head_ran(now).as_secs_f64(), worker.used_by_head());
        let (was_busy, is_misused) = (!worker.sent.is_empty(), worker.is_misused);
        let is_late = worker.started + READY_PATIENCE <= now;
        let mut victims = Vec::new();
        let mut unharmed = Vec::new();
        for sent in &worker.sent {
            let Some(attempt) = sent.attempt else { continue };
            if worker.has_started(sent.slot) { victims.push(attempt) } else { unharmed.push(attempt) }
        }
        // The process has ended, so this does not wait.
        let (end, folder) = worker.bury();
        self.remover.remove(folder);
        // The first one may be what ends them.
        let suspect = if victims.is_empty() { unharmed.first().copied() } else { None };
        for attempt in unharmed {
            self.enqueue(attempt);
        }
        if let Some(id) = suspect.filter(|_| ready && !asked)
            && let Some(entry) = self.attempts.get_mut(&id)
        {
            entry.unbegun += 1;
            if entry.unbegun >= UNBEGUN_MAX {
                let text = format!("{UNBEGUN_MAX} worker processes ended when they were given the task ({end})");
                self.finish(id, Outcome::not_run(Failed::new(outcome::WORKER_DIED, text)), now, effects);
            }
        }
        for attempt in victims {
            let text = if is_misused {
                format!("{MISUSED} ({end})")
            } else {
                format!("the task ended its worker process ({end})")
            };
            let failed = Failed::new(outcome::WORKER_DIED, text);
            let output = (stdout.clone(), stderr.clone());
            self.finish(attempt, Outcome::stopped(failed, ran, output).with_use(used), now, effects);
        }
        if !asked {
            self.counts.workers_died += 1;
        }
        self.touch(false, now);
        // One that ends while it runs something has been ended by that.
        (!asked && !was_busy).then(|| {
            let complaint = stderr.lines().last().unwrap_or("it printed nothing").to_owned();
            let what = if ready {
                "end although they have nothing to do"
            } else if is_late {
                "are not ready after a minute"
            } else {
                "end before they are ready"
            };
            (key, format!("the worker processes {what} ({end}): {complaint}"))
        })
    }

    /// A worker could not be started: those that there are go on, and another try is made later.
    pub(super) fn cannot_start(&mut self, key: &RuntimeKey, reason: String, now: Instant, effects: &mut Effects) {
        let mut own = self.workers.values().filter(|worker| worker.runtime == *key);
        if !own.any(|worker| !worker.doomed && !worker.is_retiring) {
            return self.give_up(key, reason, now, effects);
        }
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.spawns_wanted = 0;
            lane.spawn_after = Some(now + RETRY_START_AFTER);
        }
    }

    /// No worker of a runtime can be started: whoever waits is told why, instead of waiting until the time is over.
    pub(super) fn give_up(&mut self, key: &RuntimeKey, reason: String, now: Instant, effects: &mut Effects) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.spawns_wanted = 0;
        lane.failed_starts = 0;
        // Those that have begun have their workers.
        let waiting: Vec<super::AttemptId> = lane.queue.iter().copied().collect();
        for id in waiting {
            self.finish(id, Outcome::not_run(Failed::new(outcome::RUNTIME_UNAVAILABLE, reason.clone())), now, effects);
        }
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.phase = Phase::Unavailable(reason, now);
        }
    }
}
