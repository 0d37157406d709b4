//! SET_MEM and DELETE_MEM.

use super::{Room, sent};
use crate::error::MemoryError;
use crate::key::canonical;
use crate::owners::Share;
use potluck_sdk::message::memory::{DeleteMem, MemDeleted, MemStored, SetMem};
use potluck_sdk::message::{RawValue, STATUS_OK};
use potluck_sdk::{PendingReply, ProviderError, Reply, Request};
use std::sync::Arc;
use std::time::Duration;

/// Ten years: longer is for ever, and far from where adding to a point in time overflows.
const TTL_SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// A value that is to be stored.
struct Write {
    value: Arc<RawValue>,
    time_to_live: Option<Duration>,
    if_version: Option<u64>,
    share: Option<Arc<Share>>,
}

pub(super) fn set(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    let message: SetMem<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let read = || -> Result<_, MemoryError> {
        let text = canonical(message.key, "SET_MEM")?;
        let time_to_live = message.ttl_seconds.map(time_to_live).transpose()?;
        let value = Arc::from(message.value.unwrap_or(RawValue::NULL).to_owned());
        let share = room.quota.share(&request.caller);
        Ok((text, Write { value, time_to_live, if_version: message.if_version, share }))
    };
    let (text, write) = match read() {
        Ok(read) => read,
        Err(error) => return reply.error(&error.into()),
    };
    // Only what is not there yet counts.
    if room.quota.is_unlimited(&request.caller) || room.store.get(&text).is_some() {
        let stored = room.store(&text, write);
        return reply.result(stored.map(|version| stored_reply(sent(message.key), version)));
    }
    let (text, key) = (text.into_owned(), sent(message.key).to_owned());
    room.set_if_allowed(&request, text, key, write, reply.later());
}

pub(super) fn delete<'a>(room: &Room, request: Request<'a>) -> Result<MemDeleted<'a>, ProviderError> {
    let message: DeleteMem<'a> = request.parse()?;
    let text = canonical(message.key, "DELETE_MEM")?;
    let deleted = room.store.delete(&text, message.if_version)?;
    if deleted {
        room.tell_watchers(&text);
    }
    Ok(MemDeleted { status: STATUS_OK, operation: "DELETE_MEM", key: sent(message.key), deleted })
}

impl Room {
    /// Stores a value and tells those who wait for it.
    fn store(&self, text: &str, write: Write) -> Result<u64, ProviderError> {
        let Write { value, time_to_live, if_version, share } = write;
        let version = self.store.set(text, value, time_to_live, if_version, share)?;
        self.tell_watchers(text);
        Ok(version)
    }

    /// Stores a value under a new key when quota allows its caller one more.
    fn set_if_allowed(
        self: &Arc<Room>,
        request: &Request<'_>,
        text: String,
        key: Box<RawValue>,
        write: Write,
        reply: PendingReply,
    ) {
        let entry_count = self.store.usage().entry_count;
        let (room, share) = (Arc::clone(self), write.share.clone());
        self.quota.ask(&request.caller, share.as_deref(), entry_count, move |allowed| {
            match allowed.and_then(|()| room.store(&text, write)) {
                Ok(version) => reply.send(&stored_reply(&key, version)),
                Err(error) => reply.error(&error),
            }
        });
    }
}

fn stored_reply(key: &RawValue, version: u64) -> MemStored<'_> {
    MemStored { status: STATUS_OK, operation: "SET_MEM", key, version }
}

fn time_to_live(seconds: f64) -> Result<Duration, MemoryError> {
    // Less than a nanosecond would be no time at all.
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && duration.as_secs() < TTL_SECONDS_MAX => Ok(duration),
        _ => Err(MemoryError::TimeToLive(TTL_SECONDS_MAX)),
    }
}
