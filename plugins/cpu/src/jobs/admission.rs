//! What is asked before a task may run: whether an earlier result will do, and whether its submitter may run another one.

use super::Jobs;
use crate::job::{Ended, Job};
use crate::pool::Failed;
use crate::reuse::Found;
use potluck_sdk::message::cpu::outcome;
use potluck_sdk::{Caller, ProviderError};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

impl Jobs {
    /// Asks what has to be asked, then places the task. Most need not ask anybody.
    pub(super) fn admit(self: &Arc<Jobs>, job: &Arc<Job>) {
        let Some(place) = self.reuse.place(&job.task) else { return self.charge(job, false) };
        let (jobs, asking) = (Arc::clone(self), Arc::clone(job));
        self.reuse.look_up(place, job.task.timeout, move |found| jobs.looked_up(&asking, found));
        if !job.state.lock().is_admitted {
            self.watch_admission(job);
        }
    }

    fn looked_up(self: &Arc<Jobs>, job: &Arc<Job>, found: Found) {
        let lease = match found {
            Found::Result(reused) => {
                job.state.lock().is_admitted = true;
                return self.finish(job, &Ended::earlier(*reused, &self.own_address()));
            }
            Found::Nothing(lease) => lease,
        };
        let Some(lease) = lease else { return self.charge(job, false) };
        // Whoever waits for it would have to run it anyway, and so would the next one.
        let is_useless = !lease.is_declared_pure() && self.reuse.is_impure(job.task.function_key);
        let refused = {
            let mut state = job.state.lock();
            if is_useless || state.answer.is_none() {
                Some(lease)
            } else {
                state.lease = Some(lease);
                None
            }
        };
        if let Some(lease) = refused {
            self.reuse.abandon(&lease);
        }
        self.charge(job, true);
    }

    /// Counts a task for its submitter, if that has a limit. `is_late` when the task may have waited.
    fn charge(self: &Arc<Jobs>, job: &Arc<Job>, is_late: bool) {
        {
            let mut state = job.state.lock();
            if state.answer.is_none() {
                // It was cancelled while an earlier result was looked for, and costs nothing.
                state.is_admitted = true;
                return;
            }
        }
        let caller = job.task.peer.as_deref().map_or(Caller::Local, Caller::Member);
        if self.allowance.is_unlimited(&caller) {
            return self.let_in(job);
        }
        let (jobs, asking) = (Arc::clone(self), Arc::clone(job));
        self.allowance.take(&caller, 1, None, move |allowed| match allowed {
            Ok(()) => jobs.let_in(&asking),
            Err(error) => jobs.refuse_admission(&asking, error),
        });
        if !is_late && !job.state.lock().is_admitted {
            self.watch_admission(job);
        }
    }

    fn let_in(self: &Arc<Jobs>, job: &Arc<Job>) {
        {
            let mut state = job.state.lock();
            state.is_admitted = true;
            if state.answer.is_none() {
                return;
            }
        }
        self.launch(job, 0);
    }

    fn refuse_admission(self: &Arc<Jobs>, job: &Arc<Job>, error: ProviderError) {
        job.state.lock().is_admitted = true;
        let failed = Failed { code: error.code, error: error.message, error_type: None, traceback: None };
        self.refuse(job, failed);
    }

    /// The pool, which watches the time of tasks, does not know of this one yet.
    fn watch_admission(self: &Arc<Jobs>, job: &Arc<Job>) {
        let left = job.deadline.saturating_duration_since(Instant::now());
        // Its program and its arguments need not be kept for as long as it might have taken.
        let (jobs, job) = (Arc::clone(self), Arc::downgrade(job));
        let asking = job.clone();
        let still_asks = move || asking.upgrade().is_some_and(|job| !job.state.lock().is_admitted);
        self.host.run_after_if(left, still_asks, move || {
            let Some(job) = job.upgrade() else { return };
            let is_over = std::mem::replace(&mut job.state.lock().is_admitted, true);
            if !is_over {
                let failed = Failed {
                    code: Cow::Borrowed(outcome::TIMEOUT),
                    error: "Task execution timeout".to_owned(),
                    error_type: None,
                    traceback: None,
                };
                jobs.refuse(&job, failed);
            }
        });
    }
}
