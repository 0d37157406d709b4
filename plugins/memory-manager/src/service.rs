//! The manager behind its lock, with the replies that wait, the bytes, and the work that may take long.
//!
//! No reply is sent and the host is not called while the lock is held.

use crate::arena::Arena;
use crate::config::Limits;
use crate::error::MemoryManagerError;
use crate::heap::Algorithm;
use crate::manager::{Dirty, Freed, Granted, Manager, Pinned, Place};
use parking_lot::Mutex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::deadlock::WAITING_TOPIC;
use potluck_sdk::message::memory_manager::{MemoryAllocated, MemoryManagerStatus, MemoryMapped};
use potluck_sdk::message::process::{Naming, ProcessEnded};
use potluck_sdk::message::resources::PlacedResources;
use potluck_sdk::{Host, Level, PendingReply, ProviderError, Reply};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Up to here bytes are cleaned, read and written at once; more takes milliseconds and is done on another thread.
pub(crate) const AT_ONCE_BYTES_MAX: u64 = 256 << 10;

struct State {
    manager: Manager,
    replies: HashMap<u64, PendingReply>,
}

pub(crate) struct Service {
    host: Host,
    arena: Arena,
    state: Mutex<State>,
    ticket: AtomicU64,
}

/// Answers to be sent when the lock is released.
type Answers = Vec<(PendingReply, Result<Granted, MemoryManagerError>)>;

impl State {
    fn serve(&mut self) -> Answers {
        let served = self.manager.serve();
        served.into_iter().filter_map(|(ticket, result)| Some((self.replies.remove(&ticket)?, result))).collect()
    }
}

impl Service {
    pub(crate) fn start(host: Host, limits: Limits) -> Result<Arc<Service>, ProviderError> {
        let arena = Arena::new(limits.arena_bytes).map_err(|error| {
            let text = format!("no arena of {} bytes can be made: {error}", limits.arena_bytes);
            ProviderError::new(ProviderError::INTERNAL, text)
        })?;
        let state = State { manager: Manager::new(limits), replies: HashMap::new() };
        Ok(Arc::new(Service { host, arena, state: Mutex::new(state), ticket: AtomicU64::new(1) }))
    }

    pub(crate) fn allocate(&self, pid: &str, size: u64, naming: Naming) -> Result<Granted, MemoryManagerError> {
        let granted = self.state.lock().manager.allocate(pid, size)?;
        naming.is_kept(self.host, pid);
        Ok(granted)
    }

    /// Answers when there is room and nobody comes before it, or after `timeout`.
    pub(crate) fn allocate_or_wait(
        self: &Arc<Self>,
        pid: &str,
        size: u64,
        timeout: Option<Duration>,
        naming: Naming,
        reply: Reply<'_>,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let ticket = self.ticket.fetch_add(1, Ordering::Relaxed);
        let pending = reply.later();
        let service = Arc::downgrade(self);
        // Set before it is in the queue, since it may run at once and takes the lock.
        pending.on_cancel(move || {
            if let Some(service) = service.upgrade() {
                service.call_off(ticket);
            }
        });
        let (answer, is_first) = {
            let mut state = self.state.lock();
            match state.manager.allocate_or_wait(ticket, pid, size, timeout.is_some(), now) {
                Ok(Place::Granted(granted)) => (Some((pending, Ok(granted))), false),
                Err(error) => (Some((pending, Err(error))), false),
                Ok(Place::Waiting { first }) => {
                    state.replies.insert(ticket, pending);
                    (None, first)
                }
            }
        };
        if answer.as_ref().is_none_or(|(_, result)| result.is_ok()) {
            naming.is_kept(self.host, pid);
        }
        if let Some((pending, result)) = answer {
            return self.answer_all(vec![(pending, result)]);
        }
        let is_cancelled = self.state.lock().replies.get(&ticket).is_some_and(PendingReply::is_cancelled);
        if is_cancelled {
            return self.call_off(ticket);
        }
        if is_first {
            self.host.publish(WAITING_TOPIC, &serde_json::json!({"kind": "memory"}));
        }
        if let Some(timeout) = timeout {
            let service = Arc::downgrade(self);
            let waiting = service.clone();
            let still_waits =
                move || waiting.upgrade().is_some_and(|service| service.state.lock().replies.contains_key(&ticket));
            self.host.run_after_if(timeout, still_waits, move || {
                if let Some(service) = service.upgrade() {
                    let seconds = timeout.as_secs_f64().to_string();
                    service.end_waits(|_| vec![ticket], &MemoryManagerError::TimedOut { size, seconds });
                }
            });
        }
    }

    /// Sends blocks, and errors; what was given to a caller that has gone is given back, and goes to the next.
    fn answer_all(self: &Arc<Self>, mut answers: Answers) {
        while !answers.is_empty() {
            let mut orphans = Vec::new();
            for (reply, result) in answers {
                match result {
                    Err(error) => reply.error(&error.into()),
                    Ok(granted) if reply.is_cancelled() => orphans.push(granted),
                    Ok(granted) => reply.send(&allocated(&granted)),
                }
            }
            let mut dirty = Vec::new();
            let mut state = self.state.lock();
            for orphan in &orphans {
                let freed = state.manager.free(&orphan.pid, Some(orphan.address));
                dirty.extend(freed.into_iter().flat_map(|freed| freed.dirty));
            }
            answers = state.serve();
            drop(state);
            if !dirty.is_empty() {
                self.clean(Freed { dirty, ..Freed::default() }, |_| ());
            }
        }
    }

    fn call_off(self: &Arc<Self>, ticket: u64) {
        let error = MemoryManagerError::Ended {
            code: ProviderError::PROVIDER_DROPPED.to_owned(),
            reason: "the caller has gone".to_owned(),
        };
        self.end_waits(|_| vec![ticket], &error);
    }

    /// Ends waits with an error, and serves those behind them.
    fn end_waits(self: &Arc<Self>, which: impl FnOnce(&mut Manager) -> Vec<u64>, error: &MemoryManagerError) {
        let (ended, served) = {
            let mut state = self.state.lock();
            let tickets = which(&mut state.manager);
            let mut ended = Vec::new();
            for ticket in tickets {
                state.manager.cancel(ticket);
                ended.extend(state.replies.remove(&ticket));
            }
            (ended, state.serve())
        };
        for reply in ended {
            reply.error(&error.clone().into());
        }
        self.answer_all(served);
    }

    /// Gives blocks back; `done` learns what was freed, at once or when it has been cleaned, on any thread.
    pub(crate) fn free(
        self: &Arc<Self>,
        pid: &str,
        address: Option<u64>,
        done: impl FnOnce(Result<Freed, MemoryManagerError>) + Send + 'static,
    ) {
        let (freed, answers) = {
            let mut state = self.state.lock();
            (state.manager.free(pid, address), state.serve())
        };
        self.answer_all(answers);
        match freed {
            Ok(freed) => self.clean(freed, |freed| done(Ok(freed))),
            Err(error) => done(Err(error)),
        }
    }

    /// Everything of a process that has ended, or has to give up.
    pub(crate) fn end(self: &Arc<Self>, ended: &ProcessEnded<'_>, code: &str) {
        let reason = format!("process {} has ended: {}", ended.pid, ended.reason);
        let error = MemoryManagerError::Ended { code: code.to_owned(), reason };
        self.end_waits(|manager| manager.cancel_waits(ended), &error);
        let (freed, answers) = {
            let mut state = self.state.lock();
            (state.manager.free_all(ended), state.serve())
        };
        self.answer_all(answers);
        self.clean(freed, |_| ());
    }

    fn clean(self: &Arc<Self>, freed: Freed, done: impl FnOnce(Freed) + Send + 'static) {
        let service = Arc::clone(self);
        let is_long =
            freed.dirty.iter().map(|part| part.length).sum::<u64>() > AT_ONCE_BYTES_MAX || freed.dirty.len() > 64;
        let work = move || {
            service.clean_now(&freed.dirty);
            done(freed);
        };
        if is_long { self.host.spawn_blocking(work) } else { work() }
    }

    fn clean_now(self: &Arc<Self>, parts: &[Dirty]) {
        // What cannot be cleaned is never given out again.
        let (clean, failed): (Vec<Dirty>, Vec<Dirty>) =
            parts.iter().copied().partition(|part| self.arena.clear(part.address, part.length).is_ok());
        if !failed.is_empty() {
            let text =
                format!("{} blocks could not be cleaned and stay out of use until the node restarts", failed.len());
            self.host.log(Level::Error, &text);
        }
        if clean.is_empty() {
            return;
        }
        let answers = {
            let mut state = self.state.lock();
            state.manager.cleaned(&clean);
            state.serve()
        };
        self.answer_all(answers);
    }

    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.host.spawn_blocking(work);
    }

    pub(crate) fn pin(
        &self,
        pid: &str,
        address: u64,
        offset: u64,
        length: Option<u64>,
        is_write: bool,
    ) -> Result<Pinned, MemoryManagerError> {
        self.state.lock().manager.pin(pid, address, offset, length, is_write)
    }

    pub(crate) fn unpin(self: &Arc<Self>, pinned: &Pinned) {
        let (dirty, answers) = {
            let mut state = self.state.lock();
            (state.manager.unpin(pinned), state.serve())
        };
        self.answer_all(answers);
        if let Some(dirty) = dirty {
            self.clean(Freed { dirty: vec![dirty], ..Freed::default() }, |_| ());
        }
    }

    /// The bytes of a pinned part.
    pub(crate) fn read(&self, pinned: &Pinned) -> Result<Vec<u8>, MemoryManagerError> {
        let length = usize::try_from(pinned.length).unwrap_or(usize::MAX);
        self.arena.read(pinned.address, length).map_err(|error| MemoryManagerError::Arena(error.to_string()))
    }

    pub(crate) fn write(&self, pinned: &Pinned, bytes: &[u8]) -> Result<(), MemoryManagerError> {
        self.arena.write(pinned.address, bytes).map_err(|error| MemoryManagerError::Arena(error.to_string()))
    }

    pub(crate) fn set_algorithm(&self, algorithm: Algorithm) -> Algorithm {
        self.state.lock().manager.set_algorithm(algorithm)
    }

    pub(crate) fn status(&self) -> MemoryManagerStatus {
        self.state.lock().manager.status()
    }

    pub(crate) fn map(&self, from: u64, limit: usize) -> MemoryMapped {
        self.state.lock().manager.map(from, limit)
    }

    pub(crate) fn resources(&self) -> PlacedResources {
        self.state.lock().manager.resources()
    }

    pub(crate) fn stop(&self) {
        let replies = std::mem::take(&mut self.state.lock().replies);
        for reply in replies.into_values() {
            reply.error(&ProviderError::new(ProviderError::NODE_STOPPING, "the node is stopping"));
        }
    }
}

pub(crate) fn allocated(granted: &Granted) -> MemoryAllocated {
    MemoryAllocated {
        status: STATUS_OK.to_owned(),
        pid: granted.pid.to_string(),
        address: granted.address,
        size: granted.size,
        block_size: granted.block_size,
    }
}
