//! One function a message: decode, call the store, make the reply.

mod watch;
mod write;

use crate::key::{canonical, canonical_prefix};
use crate::quota::Quota;
use crate::store::{Clock, Found, Store};
use crate::watchers::Watchers;
use potluck_sdk::message::RawValue;
use potluck_sdk::message::memory::{GetMem, ListMem, MemEntry, MemList, MemResponse};
use potluck_sdk::{Host, ProviderError, Reply, Request};
use serde::Serialize;
use std::sync::Arc;

/// Page of LIST_MEM when the message does not say.
const LIST_LIMIT_DEFAULT: usize = 100;
/// Longest page of LIST_MEM.
const LIST_LIMIT_MAX: usize = 1000;
/// Bytes of an answer to GET_MEM beside key and value; one that is exceeded costs a second allocation, no more.
const RESPONSE_BYTES: usize = 128;

/// What the provider is made of.
pub(crate) struct Room {
    pub(crate) host: Host,
    pub(crate) own_id: String,
    pub(crate) store: Box<dyn Store>,
    pub(crate) watchers: Watchers,
    pub(crate) quota: Quota,
    pub(crate) clock: Clock,
}

/// Answers one message, at once or later.
pub(crate) fn answer(room: &Arc<Room>, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "GET_MEM" | "GET_MEM_REMOTE" => match get(&*room.store, request) {
            Ok(json) => reply.send_json(json),
            Err(error) => reply.error(&error),
        },
        "SET_MEM" | "SET_MEM_REMOTE" => write::set(room, request, reply),
        "DELETE_MEM" => reply.result(write::delete(room, request)),
        "LIST_MEM" => reply.result(list(&*room.store, request)),
        "HELD_MEMORY_KEYS" => reply.send(&room.quota.held(room.store.usage().entry_count)),
        "WATCH_MEM" => watch::watch(room, request, reply),
        other => {
            let text = format!("memory does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

/// Writes its own reply, at its final size: a value of megabytes is copied once, and no lock is held meanwhile.
fn get(store: &dyn Store, request: Request<'_>) -> Result<Vec<u8>, ProviderError> {
    let message: GetMem<'_> = request.parse()?;
    let text = canonical(message.key, "GET_MEM")?;
    let key = sent(message.key);
    let found = store.get(&text);
    response(key, found.as_ref())
}

/// The reply to GET_MEM and WATCH_MEM.
fn response(key: &RawValue, found: Option<&Found>) -> Result<Vec<u8>, ProviderError> {
    let response = match found {
        Some(Found { value, version, expires_in }) => MemResponse {
            key,
            value: Some(value),
            found: true,
            version: Some(*version),
            expires_in_seconds: expires_in.map(|left| left.as_secs_f64()),
        },
        None => MemResponse { key, value: None, found: false, version: None, expires_in_seconds: None },
    };
    let value_bytes = response.value.map_or(0, |value| value.get().len());
    let mut json = Vec::with_capacity(RESPONSE_BYTES + key.get().len() + value_bytes);
    serde_json::to_writer(&mut json, &response)
        .map_err(|error| ProviderError::new(ProviderError::INTERNAL, error.to_string()))?;
    Ok(json)
}

fn list(store: &dyn Store, request: Request<'_>) -> Result<MemList, ProviderError> {
    let message: ListMem = request.parse()?;
    let after = message.after.as_deref().map(|after| canonical(Some(after), "LIST_MEM")).transpose()?;
    let limit = message.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX);
    let page = store.list(&canonical_prefix(&message.prefix), after.as_deref(), limit);
    let next = match page.lines.last() {
        Some(last) if page.has_more => Some(raw(&last.key)?),
        _ => None,
    };
    let entries: Result<Vec<MemEntry>, ProviderError> = page
        .lines
        .iter()
        .map(|line| {
            Ok(MemEntry {
                key: raw(&line.key)?,
                value_bytes: line.value_bytes,
                version: line.version,
                expires_in_seconds: line.expires_in.map(|left| left.as_secs_f64()),
            })
        })
        .collect();
    Ok(MemList { entries: entries?, next, key_count: page.entry_count })
}

/// The member `memory` of the node's STATUS reply.
pub(crate) fn status(room: &Room) -> impl Serialize {
    #[derive(Serialize)]
    struct MemoryStatus {
        key_count: usize,
        operation_count: u64,
        bytes: usize,
        entries_max: usize,
        bytes_max: usize,
        watchers: usize,
    }
    let usage = room.store.usage();
    MemoryStatus {
        key_count: usage.entry_count,
        operation_count: usage.operation_count,
        bytes: usage.bytes,
        entries_max: usage.limits.entries_max,
        bytes_max: usage.limits.bytes_max,
        watchers: room.watchers.count(),
    }
}

/// The key as it was sent; `canonical` has refused a message without one.
fn sent(key: Option<&RawValue>) -> &RawValue {
    key.unwrap_or(RawValue::NULL)
}

fn raw(key: &str) -> Result<Box<RawValue>, ProviderError> {
    RawValue::from_string(key.to_owned())
        .map_err(|error| ProviderError::new(ProviderError::INTERNAL, error.to_string()))
}
