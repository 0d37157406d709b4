//! WATCH_MEM, and how those who wait are told.

use super::{Room, response, sent};
use crate::error::MemoryError;
use crate::key::canonical;
use crate::watchers::{Due, Watcher};
use potluck_sdk::message::memory::WatchMem;
use potluck_sdk::shares::owner;
use potluck_sdk::{ProviderError, Reply, Request};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ten years: longer is for ever, and far from where adding to a point in time overflows.
const TIMEOUT_SECONDS_MAX: u64 = 10 * 365 * 86_400;
/// Bytes of answers that one change of an entry may cause: a large value, and very many who wait for it, must not fill
/// the node's memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

pub(super) fn watch(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    let read = || -> Result<_, ProviderError> {
        let message: WatchMem<'_> = request.parse()?;
        let text = canonical(message.key, "WATCH_MEM")?;
        let key_bytes_max = room.store.limits().key_bytes_max;
        if text.len() > key_bytes_max {
            return Err(MemoryError::KeyTooLong { bytes: text.len(), max: key_bytes_max }.into());
        }
        let timeout = message.timeout.map(timeout).transpose()?;
        let place = room.watchers.place(owner(&request.caller, &room.own_id))?;
        Ok((Arc::<str>::from(text), timeout, message, place))
    };
    let (text, timeout, message, place) = match read() {
        Ok(read) => read,
        Err(error) => return reply.error(&error),
    };
    let now = (room.clock)();
    let known = || room.store.get(&text).map_or(0, |found| found.version);
    let after_version = message.after_version.unwrap_or_else(known);
    let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
    let (ticket, gone) = (room.watchers.next_ticket(), Arc::new(AtomicBool::new(false)));
    let reply = reply.later();
    let (caller_gone, weak, key) = (Arc::clone(&gone), Arc::downgrade(room), Arc::clone(&text));
    reply.on_cancel(move || {
        // First the mark, for a watcher that is not in the table yet.
        caller_gone.store(true, Ordering::Release);
        if let Some(room) = weak.upgrade() {
            drop(room.watchers.remove(&key, ticket));
        }
    });
    let watcher = Watcher { key: sent(message.key).to_owned(), reply, after_version, deadline, gone, _place: place };
    match room.watchers.add(&*room.store, now, &text, ticket, watcher) {
        Ok(None) => room.arm(),
        Ok(Some(due)) => answer(due),
        Err(watcher) => watcher.reply.error(&MemoryError::WatchersFull(room.watchers.count_max()).into()),
    }
}

impl Room {
    /// Answers those who wait for a change of an entry.
    pub(super) fn tell_watchers(&self, text: &str) {
        if self.watchers.any() {
            answer_all(self.watchers.changed(&*self.store, text));
        }
    }

    fn arm(self: &Arc<Room>) {
        let room = Arc::downgrade(self);
        self.watchers.arm(&self.host, (self.clock)(), move || {
            if let Some(room) = room.upgrade() {
                answer_all(room.watchers.due(&*room.store, (room.clock)()));
                room.arm();
            }
        });
    }

    /// Answers everybody who waits: the node stops.
    pub(crate) fn close(&self) {
        for watcher in self.watchers.close() {
            watcher.reply.error(&MemoryError::Stopping.into());
        }
    }
}

fn answer_all(due: Vec<Due>) {
    let mut bytes = 0_usize;
    for due in due {
        let value_bytes = due.found.as_ref().map_or(0, |found| found.value.get().len());
        bytes = bytes.saturating_add(value_bytes);
        if bytes > ANSWER_BYTES_MAX && value_bytes > 0 {
            due.watcher.reply.error(&MemoryError::TooManyBytes(value_bytes).into());
        } else {
            answer(due);
        }
    }
}

fn answer(due: Due) {
    let Due { watcher, found } = due;
    match response(&watcher.key, found.as_ref()) {
        Ok(json) => watcher.reply.send_json(json),
        Err(error) => watcher.reply.error(&error),
    }
}

fn timeout(seconds: f64) -> Result<Duration, MemoryError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration.as_secs() < TIMEOUT_SECONDS_MAX => Ok(duration),
        _ => Err(MemoryError::Timeout(TIMEOUT_SECONDS_MAX)),
    }
}
