//! The bank behind its lock, with the replies that wait.
//!
//! No reply is sent and the host is not called while a lock is held, and no lock is taken while another is held.

use crate::bank::{Bank, Wait};
use crate::banker::{Denial, Refusal, Resource, Units};
use crate::config::Settings;
use crate::error::DeadlockError;
use crate::resolve::Watches;
use crate::search::Searches;
use parking_lot::Mutex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::deadlock::{ProcessDone, UnitsDone};
use potluck_sdk::message::process::{Naming, ProcessEnded};
use potluck_sdk::{Host, PendingReply, ProviderError, Reply};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Units that a message asks for or gives back, for its answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) pid: String,
    /// The member `resource_id`; nothing when there were `requests`.
    pub(crate) resource_id: Option<String>,
    pub(crate) units: Units,
}

impl Asked {
    fn done(self, allocation: Units) -> UnitsDone {
        let units = self.resource_id.as_ref().and_then(|name| self.units.get(name).copied());
        UnitsDone {
            status: STATUS_OK.to_owned(),
            pid: self.pid,
            requests: if self.resource_id.is_some() { Units::new() } else { self.units },
            resource_id: self.resource_id,
            units,
            allocation,
        }
    }
}

struct State {
    bank: Bank,
    replies: HashMap<u64, (PendingReply, Asked)>,
}

/// Answers to be sent when the lock is released: what the process has then, or why not.
type Answers = Vec<(PendingReply, Asked, Result<Units, DeadlockError>)>;

impl State {
    fn allocation(&self, pid: &str) -> Units {
        self.bank.banker.processes.get(pid).map(|process| process.allocation.clone()).unwrap_or_default()
    }

    fn serve(&mut self) -> Answers {
        let mut answers = Vec::new();
        for (ticket, result) in self.bank.serve() {
            if let Some((reply, asked)) = self.replies.remove(&ticket) {
                let result = result.map(|()| self.allocation(&asked.pid)).map_err(DeadlockError::from);
                answers.push((reply, asked, result));
            }
        }
        answers
    }
}

pub(crate) struct Service {
    pub(crate) host: Host,
    pub(crate) check_every: Option<Duration>,
    state: Mutex<State>,
    ticket: AtomicU64,
    pub(crate) searches: Searches,
    pub(crate) watches: Watches,
    pub(crate) is_resolving: AtomicBool,
    /// Whom RESOLVE_DEADLOCK has terminated: not every provider may have heard of it yet.
    pub(crate) gone: Mutex<HashSet<String>>,
}

impl Service {
    pub(crate) fn new(host: Host, settings: Settings) -> Arc<Service> {
        Arc::new(Service {
            host,
            check_every: settings.check_every,
            state: Mutex::new(State { bank: settings.bank, replies: HashMap::new() }),
            ticket: AtomicU64::new(1),
            searches: Searches::default(),
            watches: Watches::default(),
            is_resolving: AtomicBool::new(false),
            gone: Mutex::default(),
        })
    }

    /// Looks at the books, or copies them. No reply is sent and no other lock is taken meanwhile.
    pub(crate) fn with_bank<T>(&self, look: impl FnOnce(&mut Bank) -> T) -> T {
        look(&mut self.state.lock().bank)
    }

    /// Its kind.
    pub(crate) fn set_resource(
        self: &Arc<Self>,
        name: &str,
        kind: Option<&str>,
        total: u64,
    ) -> Result<String, Refusal> {
        let (kind, answers) = {
            let mut state = self.state.lock();
            (state.bank.set_resource(name, kind, total)?, state.serve())
        };
        self.answer_all(answers);
        Ok(kind)
    }

    pub(crate) fn remove_resource(&self, name: &str) -> Result<Resource, Refusal> {
        self.state.lock().bank.banker.remove_resource(name)
    }

    pub(crate) fn set_process(
        self: &Arc<Self>,
        pid: &str,
        max_need: Units,
        naming: Naming,
    ) -> Result<ProcessDone, Refusal> {
        let (allocation, answers) = {
            let mut state = self.state.lock();
            state.bank.set_process(pid, max_need.clone())?;
            (state.allocation(pid), state.serve())
        };
        naming.is_kept(self.host, pid);
        self.answer_all(answers);
        Ok(ProcessDone { status: STATUS_OK.to_owned(), pid: pid.to_owned(), max_need, allocation })
    }

    /// Units at once, or a denial.
    pub(crate) fn request(&self, asked: Asked, naming: Naming) -> Result<UnitsDone, (Denial, Asked)> {
        let granted = {
            let mut state = self.state.lock();
            state.bank.request(&asked.pid, &asked.units).map(|()| state.allocation(&asked.pid))
        };
        match granted {
            Ok(allocation) => {
                naming.is_kept(self.host, &asked.pid);
                Ok(asked.done(allocation))
            }
            Err(denial) => Err((denial, asked)),
        }
    }

    /// Answers when the request is granted, or after `timeout`.
    pub(crate) fn wait(self: &Arc<Self>, asked: Asked, timeout: Option<Duration>, naming: Naming, reply: Reply<'_>) {
        let pid = asked.pid.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_unix_milliseconds = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
        let pending = reply.later();
        let service = Arc::downgrade(self);
        // Set before it is in the queue, since it may run at once and takes the lock.
        pending.on_cancel(move || {
            if let Some(service) = service.upgrade() {
                let reason = "the caller has gone".to_owned();
                service.end_wait(ticket, |_| DeadlockError::Ended { code: ProviderError::INTERNAL.to_owned(), reason });
            }
        });
        let wait = Wait {
            ticket,
            pid: asked.pid.clone(),
            units: asked.units.clone(),
            since_unix_milliseconds,
            is_bounded: timeout.is_some(),
        };
        let (is_first, is_gone, answers) = {
            let mut state = self.state.lock();
            // Something may have been released, or asked for, since it was denied.
            match state.bank.request(&asked.pid, &asked.units) {
                Err(denial) if denial.may_pass() => match state.bank.wait(wait) {
                    Ok(is_first) => {
                        let is_gone = pending.is_cancelled();
                        state.replies.insert(ticket, (pending, asked));
                        (is_first, is_gone, Vec::new())
                    }
                    Err(refusal) => (false, false, vec![(pending, asked, Err(refusal.into()))]),
                },
                result => {
                    let result = result.map(|()| state.allocation(&asked.pid)).map_err(DeadlockError::from);
                    (false, false, vec![(pending, asked, result)])
                }
            }
        };
        let waits = answers.is_empty();
        if answers.iter().all(|(_, _, result)| result.is_ok()) {
            naming.is_kept(self.host, &pid);
        }
        self.answer_all(answers);
        if is_gone {
            let reason = "the caller has gone".to_owned();
            self.end_wait(ticket, |_| DeadlockError::Ended { code: ProviderError::INTERNAL.to_owned(), reason });
            return;
        }
        if is_first {
            self.somebody_waits();
        }
        if let Some(timeout) = timeout.filter(|_| waits) {
            let service = Arc::downgrade(self);
            let waiting = service.clone();
            let still_waits =
                move || waiting.upgrade().is_some_and(|service| service.state.lock().replies.contains_key(&ticket));
            self.host.run_after_if(timeout, still_waits, move || {
                if let Some(service) = service.upgrade() {
                    let seconds = timeout.as_secs_f64().to_string();
                    service.end_wait(ticket, |why| DeadlockError::TimedOut { why, seconds });
                }
            });
        }
    }

    fn end_wait(self: &Arc<Self>, ticket: u64, error: impl FnOnce(Denial) -> DeadlockError) {
        let (ended, answers) = {
            let mut state = self.state.lock();
            if !state.replies.contains_key(&ticket) {
                return;
            }
            let why = state.bank.why(ticket);
            state.bank.cancel(ticket);
            (state.replies.remove(&ticket).map(|(reply, _)| (reply, why)), state.serve())
        };
        if let Some((reply, why)) = ended {
            reply.error(&error(why).into());
        }
        self.answer_all(answers);
    }

    pub(crate) fn release(self: &Arc<Self>, asked: Asked) -> Result<UnitsDone, Refusal> {
        let (allocation, answers) = {
            let mut state = self.state.lock();
            state.bank.banker.release(&asked.pid, &asked.units)?;
            (state.allocation(&asked.pid), state.serve())
        };
        self.answer_all(answers);
        Ok(asked.done(allocation))
    }

    /// Releases all of the processes that are meant, answers their waits with an error, and forgets them. What they had,
    /// and may have needed.
    pub(crate) fn end(self: &Arc<Self>, ended: &ProcessEnded<'_>, code: &str, reason: &str) -> Option<ProcessDone> {
        let mut replies = Vec::new();
        let (last, answers) = {
            let mut state = self.state.lock();
            let processes = &state.bank.banker.processes;
            let pids: Vec<String> = if ended.pid.starts_with('*') {
                processes.keys().filter(|pid| ended.is_meant(pid)).cloned().collect()
            } else {
                processes.get_key_value(&*ended.pid).map(|(pid, _)| pid.clone()).into_iter().collect()
            };
            let mut last = None;
            for pid in pids {
                let (waits, customer) = state.bank.end(&pid);
                replies.extend(waits.iter().filter_map(|wait| state.replies.remove(&wait.ticket)));
                let customer = customer.unwrap_or_default();
                let (max_need, allocation) = (customer.max_need, customer.allocation);
                last = Some(ProcessDone { status: STATUS_OK.to_owned(), pid, max_need, allocation });
            }
            (last, state.serve())
        };
        for (reply, _) in replies {
            reply.error(&DeadlockError::Ended { code: code.to_owned(), reason: reason.to_owned() }.into());
        }
        self.answer_all(answers);
        last
    }

    /// Sends grants and errors; what was granted to a caller that has gone is taken back, and goes to the next.
    fn answer_all(self: &Arc<Self>, mut answers: Answers) {
        while !answers.is_empty() {
            let mut orphans = Vec::new();
            for (reply, asked, result) in answers {
                match result {
                    Err(error) => reply.error(&error.into()),
                    Ok(_) if reply.is_cancelled() => orphans.push(asked),
                    Ok(allocation) => reply.send(&asked.done(allocation)),
                }
            }
            let mut state = self.state.lock();
            for orphan in &orphans {
                // It may have released them itself.
                let _ = state.bank.banker.release(&orphan.pid, &orphan.units);
            }
            answers = if orphans.is_empty() { Vec::new() } else { state.serve() };
        }
    }

    pub(crate) fn stop(&self) {
        let replies = std::mem::take(&mut self.state.lock().replies);
        for (reply, _) in replies.into_values() {
            reply.error(&ProviderError::new(ProviderError::NODE_STOPPING, "the node is stopping"));
        }
    }
}
