//! Stopping attempts from outside: for a limit, because somebody wants it so, or because the node stops.

use super::watch::THREADS_MAX;
use super::{Attempt, AttemptId, Effects, Failed, Outcome, Place, State, WorkerId};
use potluck_sdk::ProviderError;
use potluck_sdk::message::cpu::outcome;
use std::time::Instant;

/// Why an attempt is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its wall time is over.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
    /// It has used its processor time.
    CpuLimit,
    /// Its worker, which cannot tell or does not, has far more memory than the task may have.
    MemoryLimit,
    /// It has printed too much.
    OutputLimit,
    /// It has written too many or too large files.
    ScratchLimit,
    /// It has started too many threads.
    ThreadLimit,
    /// It waits, or is to be paused, and so many do already that no more may.
    WaitingLimit(usize),
    /// The node stops.
    NodeStopping,
}

impl Stop {
    /// Whether the worker goes too, although it could stop the order itself: it may be too busy for that, or what the
    /// task has left must go with it.
    fn ends_worker(self) -> bool {
        matches!(self, Stop::MemoryLimit | Stop::ScratchLimit)
    }
}

impl State {
    /// Stops an attempt wherever it is. False when it is over, or its report is on its way.
    pub(super) fn stop(&mut self, id: AttemptId, reason: Stop, now: Instant, effects: &mut Effects) -> bool {
        let Some(entry) = self.attempts.get(&id) else { return false };
        let failed = failure(reason, &entry.attempt);
        let Some(worker_id) = entry.place.worker() else {
            self.finish(id, Outcome::not_run(failed), now, effects);
            return true;
        };
        let Some(worker) = self.workers.get_mut(&worker_id) else { return false };
        let Some(index) = worker.sent.iter().position(|sent| sent.attempt == Some(id)) else { return false };
        if worker.revoke(index).is_some() {
            if index == 0 {
                worker.must_report(reason, now);
            }
            self.finish(id, Outcome::not_run(failed), now, effects);
            return true;
        }
        // Before it is condemned: a worker that stops it by itself clears its output.
        let output = worker.output();
        let used = worker.used_by_head().filter(|_| index == 0);
        let seconds = worker.sent[index].ran(worker.is_off_slot, now).as_secs_f64();
        if !worker.condemn(index) {
            // It has just ended by itself, unless it only says so. A worker that is stopped cannot say so.
            worker.wake_up(now);
            worker.must_report(reason, now);
            self.dequeue(id);
            if let Some(entry) = self.attempts.get_mut(&id) {
                entry.place = Place::Sent(worker_id);
            }
            return false;
        }
        worker.sent[index].attempt = None;
        if worker.stops_orders && !reason.ends_worker() {
            // It does so at once, in a slot or not.
            worker.wake_up(now);
            worker.must_report(reason, now);
        } else {
            worker.kill();
            self.take_back(worker_id, now);
        }
        self.finish(id, Outcome::stopped(failed, seconds, output).with_use(used), now, effects);
        true
    }

    /// Puts everything that a worker was sent and has not begun back into the queue, at its old place.
    pub(super) fn take_back(&mut self, worker_id: WorkerId, now: Instant) {
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        // The last one first: meanwhile the worker may begin the next one, and must not get past one that is back in the
        // queue to one that was behind it.
        let revoked: Vec<AttemptId> = (0..worker.sent.len()).rev().filter_map(|index| worker.revoke(index)).collect();
        if worker.sent.front().is_some_and(|sent| sent.attempt.is_none()) {
            // It is the next one, and is skipped at once.
            worker.must_report(Stop::Cancelled, now);
        }
        for id in revoked {
            self.enqueue(id);
        }
    }

    /// Ends a worker that has not reported what it had to, and answers for the order that it is busy with.
    pub(super) fn end_deaf(&mut self, id: WorkerId, reason: Stop, now: Instant, effects: &mut Effects) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let output = worker.output();
        let (ran, used) = (worker.head_ran(now).as_secs_f64(), worker.used_by_head());
        let head = worker.sent.front_mut().and_then(|sent| sent.attempt.take());
        worker.kill();
        self.take_back(id, now);
        let Some(attempt) = head else { return };
        let Some(failed) = self.attempts.get(&attempt).map(|entry| failure(reason, &entry.attempt)) else {
            return;
        };
        self.finish(attempt, Outcome::stopped(failed, ran, output).with_use(used), now, effects);
    }
}

/// What an attempt is told that was stopped.
pub(super) fn failure(reason: Stop, attempt: &Attempt) -> Failed {
    match reason {
        Stop::Timeout => Failed::new(outcome::TIMEOUT, "Task execution timeout"),
        Stop::Cancelled => Failed::new(outcome::CANCELLED, "Task cancelled"),
        Stop::CpuLimit => {
            let limit = attempt.limits.cpu_seconds.unwrap_or_default();
            Failed::new(
                outcome::CPU_LIMIT,
                format!("the task used more processor time than its limit of {limit} seconds"),
            )
        }
        Stop::MemoryLimit => {
            let limit = attempt.limits.memory_bytes;
            Failed::new(outcome::MEMORY_LIMIT, format!("the task used far more memory than its limit of {limit} bytes"))
        }
        Stop::OutputLimit => {
            let limit = attempt.limits.output_bytes;
            Failed::new(outcome::OUTPUT_LIMIT, format!("the task printed more than its limit of {limit} bytes"))
        }
        Stop::ScratchLimit => Failed::new(
            outcome::SCRATCH_LIMIT,
            "the task wrote more files than it may (scratch_limit_bytes in [plugins.cpu])",
        ),
        Stop::ThreadLimit => Failed::new(
            outcome::THREAD_LIMIT,
            format!("the task has more than the {} threads that it may have", THREADS_MAX),
        ),
        Stop::WaitingLimit(max) => Failed::new(
            ProviderError::LIMIT_REACHED,
            format!(
                "too many tasks wait or are paused on this node, each in a process of its own (waiting_max {max} in [plugins.cpu]; this machine's user may have three quarters of that, another node one); let fewer wait at once, or end some"
            ),
        ),
        Stop::NodeStopping => {
            Failed::new(ProviderError::NODE_STOPPING, "the node is stopping; send the task to another peer")
        }
    }
}
