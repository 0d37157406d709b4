//! One function a message: decode, call the store, make the reply.

use crate::error::MemoryError;
use crate::key::{canonical, canonical_prefix};
use crate::store::{Found, Store};
use potluck_sdk::message::RawValue;
use potluck_sdk::message::memory::{
    DeleteMem, GetMem, ListMem, MemDeleted, MemEntry, MemList, MemResponse, MemStored, SetMem,
};
use potluck_sdk::{ProviderError, Reply, Request};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Ten years: longer is for ever, and far from where adding to a point in time overflows.
const TTL_SECONDS_MAX: u64 = 10 * 365 * 86_400;
/// Page of LIST_MEM when the message does not say.
const LIST_LIMIT_DEFAULT: usize = 100;
/// Longest page of LIST_MEM.
const LIST_LIMIT_MAX: usize = 1000;
/// Bytes of an answer to GET_MEM beside key and value; one that is exceeded costs a second allocation, no more.
const RESPONSE_BYTES: usize = 128;

/// Answers one message.
pub(crate) fn answer(store: &dyn Store, request: Request<'_>, reply: Reply<'_>) {
    match request.message_type {
        "GET_MEM" | "GET_MEM_REMOTE" => match get(store, request) {
            Ok(json) => reply.send_json(json),
            Err(error) => reply.error(&error),
        },
        "SET_MEM" | "SET_MEM_REMOTE" => reply.result(set(store, request)),
        "DELETE_MEM" => reply.result(delete(store, request)),
        "LIST_MEM" => reply.result(list(store, request)),
        other => {
            let text = format!("memory does not answer {other}");
            reply.error(&ProviderError::new(ProviderError::NO_PROVIDER, text));
        }
    }
}

fn set<'a>(store: &dyn Store, request: Request<'a>) -> Result<MemStored<'a>, ProviderError> {
    let message: SetMem<'a> = request.parse()?;
    let text = canonical(message.key, "SET_MEM")?;
    let time_to_live = message.ttl_seconds.map(time_to_live).transpose()?;
    let value: Arc<RawValue> = Arc::from(message.value.unwrap_or(RawValue::NULL).to_owned());
    let version = store.set(&text, value, time_to_live, message.if_version)?;
    Ok(MemStored { status: "OK", operation: "SET_MEM", key: sent(message.key), version })
}

/// Writes its own reply, at its final size: a value of megabytes is copied once, and no lock is held meanwhile.
fn get(store: &dyn Store, request: Request<'_>) -> Result<Vec<u8>, ProviderError> {
    let message: GetMem<'_> = request.parse()?;
    let text = canonical(message.key, "GET_MEM")?;
    let key = sent(message.key);
    let found = store.get(&text);
    let response = match &found {
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

fn delete<'a>(store: &dyn Store, request: Request<'a>) -> Result<MemDeleted<'a>, ProviderError> {
    let message: DeleteMem<'a> = request.parse()?;
    let text = canonical(message.key, "DELETE_MEM")?;
    let deleted = store.delete(&text, message.if_version)?;
    Ok(MemDeleted { status: "OK", operation: "DELETE_MEM", key: sent(message.key), deleted })
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
pub(crate) fn status(store: &dyn Store) -> impl Serialize {
    #[derive(Serialize)]
    struct MemoryStatus {
        key_count: usize,
        operation_count: u64,
        bytes: usize,
        entries_max: usize,
        bytes_max: usize,
    }
    let usage = store.usage();
    MemoryStatus {
        key_count: usage.entry_count,
        operation_count: usage.operation_count,
        bytes: usage.bytes,
        entries_max: usage.limits.entries_max,
        bytes_max: usage.limits.bytes_max,
    }
}

fn time_to_live(seconds: f64) -> Result<Duration, MemoryError> {
    // Less than a nanosecond would be no time at all.
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() && duration.as_secs() < TTL_SECONDS_MAX => Ok(duration),
        _ => Err(MemoryError::TimeToLive(TTL_SECONDS_MAX)),
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
