//! What is done to a task while it waits or runs, wherever that is.

use super::Jobs;
use super::remote;
use crate::job::{Job, JobId, Whereabouts};
use crate::pool::{AttemptId, Failed};
use potluck_sdk::message::cpu::{
    SetTaskPriority, SignalTask, TASK_PROGRESS_TOPIC, TaskProgress, TaskProgressed, outcome,
};
use potluck_sdk::message::process::{ProcessState, Signal};
use potluck_sdk::message::to_json;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Which tasks are meant.
pub(crate) enum Meant<'a> {
    /// The one that is this process.
    Process(&'a str),
    /// All that their submitter calls so: of the peer, when one is named.
    Named(&'a str, Option<&'a str>),
}

impl Jobs {
    /// Does to tasks what a signal says; how many there were.
    pub(crate) fn signal(self: &Arc<Jobs>, meant: &Meant<'_>, signal: Signal) -> usize {
        let ids = self.meant(meant);
        ids.into_iter().filter(|id| self.signal_one(*id, signal)).count()
    }

    /// Changes the priority of tasks; how many there were.
    pub(crate) fn set_priority(self: &Arc<Jobs>, meant: &Meant<'_>, priority: i64) -> usize {
        let ids = self.meant(meant);
        ids.into_iter().filter(|id| self.set_priority_of(*id, priority)).count()
    }

    fn meant(&self, meant: &Meant<'_>) -> Vec<JobId> {
        let running = self.running.lock();
        match meant {
            Meant::Process(pid) => running.pids.get(*pid).copied().into_iter().collect(),
            Meant::Named(task_id, peer) => running.named(task_id, *peer),
        }
    }

    /// The attempts of those processes that are in this node's pool.
    pub(crate) fn attempts_here<'a>(&self, pids: impl Iterator<Item = &'a str>) -> Vec<(Arc<str>, AttemptId)> {
        let running = self.running.lock();
        let jobs = pids.filter_map(|pid| {
            let (pid, id) = running.pids.get_key_value(pid)?;
            Some((Arc::clone(pid), running.jobs.get(id)?))
        });
        let attempts = jobs.filter_map(|(pid, job)| match job.state.lock().whereabouts {
            Whereabouts::Here(attempt) => Some((pid, attempt)),
            Whereabouts::Nowhere | Whereabouts::There { .. } => None,
        });
        attempts.collect()
    }

    fn job(&self, id: JobId) -> Option<Arc<Job>> {
        self.running.lock().jobs.get(&id).map(Arc::clone)
    }

    fn signal_one(self: &Arc<Jobs>, id: JobId, signal: Signal) -> bool {
        match signal {
            Signal::Pause => self.job(id).is_some_and(|job| self.pause(&job)),
            Signal::Resume => self.job(id).is_some_and(|job| self.resume(&job)),
            Signal::Terminate | Signal::Kill => {
                if let Some(job) = self.job(id) {
                    // It has to be there when the end of the task is told.
                    job.state.lock().signal.get_or_insert(signal);
                }
                self.cancel(id)
            }
        }
    }

    fn pause(self: &Arc<Jobs>, job: &Arc<Job>) -> bool {
        let at = {
            let mut state = job.state.lock();
            if state.answer.is_none() {
                return false;
            }
            state.is_paused = true;
            At::of(&state.whereabouts)
        };
        match at {
            // An attempt that is over need not be all: a retry, or a place elsewhere, is held back from now on.
            At::Here(attempt) => return self.tell_pool_whether_paused(job, attempt) || job.is_unanswered(),
            At::There { address, remote_id } => {
                self.signal_there(&address, &remote_id, Signal::Pause);
                self.life.is_elsewhere(&job.card, ProcessState::Waiting, "paused", &address);
            }
            At::Nowhere => self.life.is_elsewhere(&job.card, ProcessState::Waiting, "paused", ""),
        }
        true
    }

    fn resume(self: &Arc<Jobs>, job: &Arc<Job>) -> bool {
        let (at, held_back) = {
            let mut state = job.state.lock();
            if state.answer.is_none() {
                return false;
            }
            state.is_paused = false;
            (At::of(&state.whereabouts), state.held_back.take())
        };
        if let Some(unreachable) = held_back {
            self.life.is_elsewhere(&job.card, ProcessState::Ready, "", "");
            self.launch(job, unreachable);
            return true;
        }
        match at {
            At::Here(attempt) => return self.tell_pool_whether_paused(job, attempt) || job.is_unanswered(),
            At::There { address, remote_id } => {
                self.signal_there(&address, &remote_id, Signal::Resume);
                self.life.is_elsewhere(&job.card, ProcessState::Running, "", &address);
            }
            At::Nowhere => self.life.is_elsewhere(&job.card, ProcessState::Ready, "", ""),
        }
        true
    }

    /// Makes an attempt in the pool wait or go on as its task is to. Whoever changes that comes here afterwards, and looks
    /// again once it is done: so the last of them leaves both alike. False when the attempt is over.
    pub(super) fn tell_pool_whether_paused(&self, job: &Job, attempt: AttemptId) -> bool {
        let mut is_paused = job.state.lock().is_paused;
        loop {
            let is_there = if is_paused { self.pool.pause(attempt) } else { self.pool.resume(attempt) };
            let meant = job.state.lock().is_paused;
            if !is_there || meant == is_paused {
                return is_there;
            }
            is_paused = meant;
        }
    }

    /// Nobody else watches the time of a task that is held back: it is nowhere.
    pub(super) fn watch_held_back(self: &Arc<Jobs>, job: &Arc<Job>) {
        let left = job.deadline.saturating_duration_since(Instant::now());
        // Its program and its arguments need not be kept for as long as it might have taken.
        let (jobs, job) = (Arc::clone(self), Arc::downgrade(job));
        let waiting = job.clone();
        let is_held_back = move || waiting.upgrade().is_some_and(|job| job.state.lock().held_back.is_some());
        self.host.run_after_if(left, is_held_back, move || {
            let Some(job) = job.upgrade() else { return };
            // Whoever resumes it takes that too, so it either goes on or ends.
            let is_over = job.state.lock().held_back.take().is_some();
            if is_over {
                jobs.refuse(&job, Failed::new(outcome::TIMEOUT, "Task execution timeout"));
            }
        });
    }

    fn set_priority_of(self: &Arc<Jobs>, id: JobId, priority: i64) -> bool {
        let Some(job) = self.job(id) else { return false };
        job.card.priority.store(priority, Ordering::Relaxed);
        let at = {
            let state = job.state.lock();
            if state.answer.is_none() {
                return false;
            }
            At::of(&state.whereabouts)
        };
        match at {
            At::Here(attempt) => return self.pool.set_priority(attempt, priority),
            At::There { address, remote_id } => {
                let message = SetTaskPriority { pid: None, task_id: Some(Cow::Borrowed(&remote_id)), priority };
                self.host.call_with(&remote::addressed(&address, &to_json(&message), false), b"", drop);
            }
            // The next attempt has it.
            At::Nowhere => {}
        }
        true
    }

    /// Tells the peer that runs a task what is done to it. It may just have ended, so an error means nothing.
    pub(super) fn signal_there(&self, address: &str, remote_id: &str, signal: Signal) {
        let message = SignalTask { pid: None, task_id: Some(Cow::Borrowed(remote_id)), signal };
        self.host.call_with(&remote::addressed(address, &to_json(&message), false), b"", drop);
    }

    /// A task says how far it is: its submitter is told.
    pub(crate) fn progressed(&self, job: &Job, progress: &TaskProgress<'_>) {
        let card = &job.card;
        // Events are kept for a while, and others may read them.
        let text = progress.text.as_deref().filter(|_| !card.confidential);
        self.host.publish(
            TASK_PROGRESS_TOPIC,
            &TaskProgressed {
                task_id: Cow::Borrowed(&card.task_id),
                pid: card.pid_on_wire(),
                fraction: progress.fraction,
                text: text.map(Cow::Borrowed),
            },
        );
        if let Some(peer) = job.task.peer.as_deref() {
            let message = TaskProgress {
                task_id: Some(Cow::Borrowed(&card.task_id)),
                fraction: progress.fraction,
                text: progress.text.as_deref().map(Cow::Borrowed),
            };
            self.host.call_with(&remote::addressed(peer, &to_json(&message), false), b"", drop);
        }
    }

    /// A peer says how far a task is that was sent there. False when this peer has no such task.
    pub(crate) fn progressed_there(&self, peer: &str, remote_id: &str, progress: &TaskProgress<'_>) -> bool {
        let Some(job) = remote::job_id(remote_id).and_then(|id| self.job(id)) else { return false };
        let is_there = match &job.state.lock().whereabouts {
            Whereabouts::There { placed, remote_id: current } => {
                current == remote_id && placed.peer.is_some_and(|placed| placed.to_string() == peer)
            }
            _ => false,
        };
        if is_there {
            self.progressed(&job, progress);
        }
        is_there
    }
}

/// Where a task is, without what belongs to its state.
enum At {
    Nowhere,
    Here(AttemptId),
    There { address: String, remote_id: String },
}

impl At {
    fn of(whereabouts: &Whereabouts) -> At {
        match whereabouts {
            Whereabouts::Nowhere => At::Nowhere,
            Whereabouts::Here(attempt) => At::Here(*attempt),
            Whereabouts::There { placed, remote_id } => {
                At::There { address: placed.address.clone(), remote_id: remote_id.clone() }
            }
        }
    }
}
