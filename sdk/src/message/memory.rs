//! Shared values: SET_MEM, GET_MEM, DELETE_MEM, LIST_MEM, WATCH_MEM and the `_REMOTE` forms of the first two.

use super::RawValue;
use serde::{Deserialize, Serialize};

/// SET_MEM, SET_MEM_REMOTE: stores a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_MEM")]
pub struct SetMem<'a> {
    /// A string, number or boolean.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a RawValue>,
    /// Any value; null when missing.
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
    /// Seconds until the entry is gone; for ever when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<f64>,
    /// Store only if the entry has this version; 0 means that there must be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

/// Reply to SET_MEM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MemStored<'a> {
    /// `OK`.
    pub status: &'a str,
    /// `SET_MEM`.
    pub operation: &'a str,
    /// The key as sent.
    #[serde(borrow)]
    pub key: &'a RawValue,
    /// The entry's new version; larger than any that it had before.
    pub version: u64,
}

/// GET_MEM, GET_MEM_REMOTE: reads a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "GET_MEM")]
pub struct GetMem<'a> {
    /// The key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a RawValue>,
}

/// Reply to GET_MEM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "MEM_RESPONSE")]
pub struct MemResponse<'a> {
    /// The key as sent.
    #[serde(borrow)]
    pub key: &'a RawValue,
    /// The value; null when there is none.
    #[serde(borrow)]
    pub value: Option<&'a RawValue>,
    /// Whether there is an entry; its value may be null.
    pub found: bool,
    /// The entry's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Seconds until the entry is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<f64>,
}

/// WATCH_MEM: the answer, a [`MemResponse`], comes when the entry has changed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WATCH_MEM")]
pub struct WatchMem<'a> {
    /// The key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a RawValue>,
    /// The version that the caller knows; 0 when it knows that there is no entry. The answer comes as soon as the entry has another
    /// one, at once if it has it already. When missing, the version that the entry has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_version: Option<u64>,
    /// Seconds to wait; then the answer is what is there, changed or not. As long as the caller is there when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// DELETE_MEM: removes an entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DELETE_MEM")]
pub struct DeleteMem<'a> {
    /// The key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a RawValue>,
    /// Remove only if the entry has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
}

/// Reply to DELETE_MEM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MemDeleted<'a> {
    /// `OK`.
    pub status: &'a str,
    /// `DELETE_MEM`.
    pub operation: &'a str,
    /// The key as sent.
    #[serde(borrow)]
    pub key: &'a RawValue,
    /// Whether there was an entry.
    pub deleted: bool,
}

/// LIST_MEM: the keys in order, a page at a time.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_MEM")]
pub struct ListMem {
    /// Only keys that are strings and begin with this.
    #[serde(default)]
    pub prefix: String,
    /// Continue behind this key: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<RawValue>>,
    /// Most entries to return; 100 when missing, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Reply to LIST_MEM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "MEM_LIST")]
pub struct MemList {
    /// The page.
    pub entries: Vec<MemEntry>,
    /// Pass as `after` for the next page; null on the last.
    pub next: Option<Box<RawValue>>,
    /// Number of entries that the node holds in all.
    pub key_count: usize,
}

/// One line of LIST_MEM.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemEntry {
    /// The key.
    pub key: Box<RawValue>,
    /// Size of the value's JSON text.
    pub value_bytes: usize,
    /// The entry's version.
    pub version: u64,
    /// Seconds until the entry is gone; null for ever.
    pub expires_in_seconds: Option<f64>,
}
