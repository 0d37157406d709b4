//! RESOLVE_DEADLOCK: ends one process after the other, until no deadlock is left.

use crate::error::DeadlockError;
use crate::explain::choose;
use crate::search::Found;
use crate::service::Service;
use parking_lot::Mutex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::deadlock::{
    DEADLOCK_VICTIM, DeadlockResolved, EndedVictim, RESOLVED_TOPIC, ResolveDeadlock, VICTIM_TOPIC, Victim, VictimChosen,
};
use potluck_sdk::message::process::{ENDED_TOPIC, ProcessEnded};
use potluck_sdk::{PendingReply, ProviderError};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A process that was terminated has given back what it had after this time, or it never will.
const END_TIME_MAX: Duration = Duration::from_secs(5);
/// Processes that one RESOLVE_DEADLOCK ends at most.
const VICTIMS_MAX: usize = 1000;
/// Code of an answer: the process has ended already, though somebody keeps something in its name.
const HAS_ENDED: &str = "process_ended";
/// Why it is ended, for whoever waits for it.
const REASON: &str = "it was chosen to end a deadlock";

/// How a process was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It was told to, and has.
    Terminated,
    /// It is a process of another node: it goes on, without what it waited for.
    Cancelled,
    /// No process of this node has the name.
    Unknown,
    /// The process that had the name has ended before.
    EndedBefore,
    /// It was told to end, and nobody has heard that it has.
    Silent,
}

impl How {
    /// Its word on the wire.
    const fn word(self) -> &'static str {
        match self {
            How::Terminated => "terminated",
            How::Cancelled => "waits_cancelled",
            How::Unknown | How::EndedBefore | How::Silent => "released",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            How::Terminated => "was terminated",
            How::Cancelled => "is a process of another node: its waits were ended, and what it had here was released",
            How::Unknown => "is no process of this node: its waits were ended, and what it had was released",
            How::EndedBefore => "has ended before: what was still kept in its name was released",
            How::Silent => {
                "was told to end, and has not said that it has: its waits were ended, and what it had was released"
            }
        }
    }
}

/// What is called when a process has ended; or with `false` when that was not heard in time.
type Then = Box<dyn FnOnce(bool) + Send>;

/// Processes whose end is waited for.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<String, Watch>>);

#[derive(Default)]
struct Watch {
    has_ended: bool,
    then: Option<Then>,
}

impl Watches {
    fn begin(&self, pid: &str) {
        self.0.lock().insert(pid.to_owned(), Watch::default());
    }

    fn forget(&self, pid: &str) {
        self.0.lock().remove(pid);
    }

    /// Calls `then` when the process has ended, or at once when it has.
    fn then(&self, pid: &str, then: Then) {
        let now = {
            let mut watches = self.0.lock();
            match watches.get_mut(pid) {
                Some(watch) if !watch.has_ended => {
                    watch.then = Some(then);
                    None
                }
                _ => {
                    watches.remove(pid);
                    Some(then)
                }
            }
        };
        if let Some(then) = now {
            then(true);
        }
    }

    fn is_waited_for(&self, pid: &str) -> bool {
        self.0.lock().contains_key(pid)
    }

    /// It is not waited for any longer.
    fn give_up(&self, pid: &str) {
        let then = self.0.lock().remove(pid).and_then(|watch| watch.then);
        if let Some(then) = then {
            then(false);
        }
    }

    /// The process has ended.
    pub(crate) fn ended(&self, pid: &str) {
        let then = {
            let mut watches = self.0.lock();
            let Some(watch) = watches.get_mut(pid) else { return };
            watch.has_ended = true;
            let then = watch.then.take();
            if then.is_some() {
                watches.remove(pid);
            }
            then
        };
        if let Some(then) = then {
            then(true);
        }
    }
}

/// One RESOLVE_DEADLOCK at work. There is one at a time, so that two do not end more than they must.
struct Resolution {
    service: Arc<Service>,
    reply: Option<PendingReply>,
    /// Whom the message names.
    first: Option<String>,
    once: bool,
    ended: Vec<(EndedVictim, How)>,
    /// Whom it has tried to end.
    tried: HashSet<String>,
    failures: Vec<String>,
}

impl Drop for Resolution {
    fn drop(&mut self) {
        self.service.gone.lock().clear();
        self.service.is_resolving.store(false, Ordering::SeqCst);
    }
}

pub(crate) fn resolve(service: &Arc<Service>, message: ResolveDeadlock, reply: PendingReply) {
    if service.is_resolving.swap(true, Ordering::SeqCst) {
        return reply.error(&DeadlockError::Resolving.into());
    }
    Resolution {
        service: Arc::clone(service),
        reply: Some(reply),
        first: message.pid,
        once: message.once,
        ended: Vec::new(),
        tried: HashSet::new(),
        failures: Vec::new(),
    }
    .step();
}

impl Resolution {
    fn step(self) {
        let service = Arc::clone(&self.service);
        // The error is for a queue that is full; the dropped reply says that it did not work.
        let _ = service.search(Box::new(move |found| self.decide(found)));
    }

    fn decide(mut self, found: &Found) {
        let stuck = &found.detection.stuck;
        let is_enough = (self.once && !self.ended.is_empty()) || self.ended.len() >= VICTIMS_MAX;
        if stuck.is_empty() || is_enough {
            return self.finish(found);
        }
        let victim = match self.first.take() {
            Some(pid) if stuck.iter().any(|stuck| stuck.pid == pid) => {
                Some(Victim { pid, why: "it was named in the message".to_owned() })
            }
            Some(pid) => {
                let names: Vec<&str> = stuck.iter().take(20).map(|stuck| stuck.pid.as_str()).collect();
                let error = DeadlockError::NotDeadlocked { pid, deadlocked: names.join(", ") };
                if let Some(reply) = self.reply.take() {
                    drop(self);
                    reply.error(&error.into());
                }
                return;
            }
            None => choose(&found.detection, &found.facts, &self.tried),
        };
        match victim {
            Some(victim) => self.end(victim),
            None => self.finish(found),
        }
    }

    fn end(mut self, victim: Victim) {
        self.tried.insert(victim.pid.clone());
        if victim.pid.contains('@') {
            return self.cancel_waits(victim);
        }
        let service = Arc::clone(&self.service);
        service.watches.begin(&victim.pid);
        let message = json!({ "type": "TERMINATE_PROCESS", "pid": victim.pid }).to_string();
        service.host.call_with(&message, &[], move |answer| match answer {
            Ok(_) => self.await_end(victim),
            Err(error) if error.code == HAS_ENDED => self.release(victim, How::EndedBefore),
            Err(error) if is_unknown(&error) => self.release(victim, How::Unknown),
            Err(error) => {
                self.service.watches.forget(&victim.pid);
                self.failures.push(format!("{} could not be ended: {error}", victim.pid));
                self.step();
            }
        });
    }

    /// What it had is given back when `process.ended` has been published.
    fn await_end(self, victim: Victim) {
        let (service, pid) = (Arc::clone(&self.service), victim.pid.clone());
        let then = move |was_heard| {
            if was_heard { self.has_ended(victim, How::Terminated) } else { self.release(victim, How::Silent) }
        };
        service.watches.then(&pid, Box::new(then));
        let (late, waiting) = (Arc::downgrade(&service), Arc::downgrade(&service));
        let watched = pid.clone();
        let still_waits = move || waiting.upgrade().is_some_and(|service| service.watches.is_waited_for(&watched));
        service.host.run_after_if(END_TIME_MAX, still_waits, move || {
            if let Some(service) = late.upgrade() {
                service.watches.give_up(&pid);
            }
        });
    }

    /// A name of which nobody will say that it has ended: whoever keeps something in it hears that from here, before the
    /// publishing is over.
    fn release(self, victim: Victim, how: How) {
        self.service.watches.forget(&victim.pid);
        let ended = ProcessEnded { pid: victim.pid.as_str().into(), reason: REASON.into() };
        self.service.host.publish(ENDED_TOPIC, &ended);
        self.has_ended(victim, how);
    }

    /// A process of another node cannot be ended from here, but its waits can, with all that it has here.
    fn cancel_waits(self, victim: Victim) {
        let service = Arc::clone(&self.service);
        let reason = format!("{REASON}: {}", victim.why);
        let ended = ProcessEnded { pid: victim.pid.as_str().into(), reason: REASON.into() };
        service.end(&ended, DEADLOCK_VICTIM, &reason);
        let chosen = VictimChosen { pid: victim.pid.clone(), code: DEADLOCK_VICTIM.to_owned(), reason: reason.clone() };
        service.host.publish(VICTIM_TOPIC, &chosen);
        let message =
            json!({ "type": "CANCEL_WAITS", "process_id": victim.pid, "code": DEADLOCK_VICTIM, "reason": reason });
        service.host.call_with(&message.to_string(), &[], move |_| self.has_ended(victim, How::Cancelled));
    }

    fn has_ended(mut self, victim: Victim, how: How) {
        let ended = EndedVictim { pid: victim.pid, why: victim.why, how: how.word().to_owned() };
        if how == How::Terminated {
            // Only its end has been heard of, so others may be just about to; after all else everybody has heard.
            self.service.gone.lock().insert(ended.pid.clone());
        }
        self.service.host.publish(RESOLVED_TOPIC, &ended);
        self.ended.push((ended, how));
        self.step();
    }

    fn finish(mut self, found: &Found) {
        let Some(reply) = self.reply.take() else { return };
        let stuck = &found.detection.stuck;
        let mut sentences: Vec<String> = Vec::new();
        for (ended, how) in &self.ended {
            sentences.push(format!("{} {}, because {}.", ended.pid, how.sentence(), ended.why));
        }
        let failures = std::mem::take(&mut self.failures);
        sentences.extend(failures.iter().map(|failure| format!("{failure}.")));
        sentences.push(match (self.ended.is_empty(), stuck.is_empty()) {
            (true, true) => "There is no deadlock, so nobody was ended.".to_owned(),
            (false, true) => "No deadlock is left.".to_owned(),
            (_, false) if stuck.len() == 1 => "1 process is still deadlocked.".to_owned(),
            (_, false) => format!("{} processes are still deadlocked.", stuck.len()),
        });
        let resolved = DeadlockResolved {
            status: STATUS_OK.to_owned(),
            ended: std::mem::take(&mut self.ended).into_iter().map(|(ended, _)| ended).collect(),
            deadlock: !stuck.is_empty(),
            deadlocked_processes: stuck.iter().take(VICTIMS_MAX).map(|stuck| stuck.pid.clone()).collect(),
            failures,
            explanation: sentences.join(" "),
        };
        // The next one may begin when this answer is read.
        drop(self);
        reply.send(&resolved);
    }
}

/// Whether the process table does not have it, or there is none.
fn is_unknown(error: &ProviderError) -> bool {
    error.code == ProviderError::NO_PROVIDER || error.code == "not_found"
}
