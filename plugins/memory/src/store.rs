//! Where the entries are kept: the small trait that the handlers know, and the engine behind it.

mod books;
mod shard;
mod sharded;

#[cfg(test)]
mod tests;

pub(crate) use sharded::ShardedStore;

use crate::error::MemoryError;
use crate::owners::Share;
use potluck_sdk::message::RawValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tells the time.
pub(crate) type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// A bounded map. Another engine takes the embedded one's place by implementing this. Keys are canonical texts (see
/// `key`); no function blocks.
pub(crate) trait Store: Send + Sync {
    /// Stores a value and returns the entry's version, which is larger than any before. With `if_version` only when the
    /// entry has that version; 0 means that there must be none. `share` goes with the entry if it is new.
    fn set(
        &self,
        key: &str,
        value: Arc<RawValue>,
        time_to_live: Option<Duration>,
        if_version: Option<u64>,
        share: Option<Arc<Share>>,
    ) -> Result<u64, MemoryError>;

    /// The entry, if there is one.
    fn get(&self, key: &str) -> Option<Found>;

    /// Removes an entry, with `if_version` only when it has that version; returns whether there was one.
    fn delete(&self, key: &str, if_version: Option<u64>) -> Result<bool, MemoryError>;

    /// Up to `limit` entries whose keys begin with `prefix` and stand behind `after`, in the order of the keys.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page;

    /// How full the store is.
    fn usage(&self) -> Usage;

    /// What it may hold.
    fn limits(&self) -> Limits;
}

/// What a store may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries_max: usize,
    /// Of keys and values together.
    pub(crate) bytes_max: usize,
    pub(crate) key_bytes_max: usize,
    pub(crate) value_bytes_max: usize,
}

/// An entry that was read.
#[derive(Clone)]
pub(crate) struct Found {
    /// Shared with the store, so that it can be copied while nobody waits.
    pub(crate) value: Arc<RawValue>,
    pub(crate) version: u64,
    pub(crate) expires_in: Option<Duration>,
}

/// A part of the keys.
pub(crate) struct Page {
    pub(crate) lines: Vec<Line>,
    /// Whether there are keys behind the last line.
    pub(crate) has_more: bool,
    /// Entries of the whole store.
    pub(crate) entry_count: usize,
}

/// One entry of a [`Page`].
pub(crate) struct Line {
    pub(crate) key: Arc<str>,
    pub(crate) value_bytes: usize,
    pub(crate) version: u64,
    pub(crate) expires_in: Option<Duration>,
}

/// How full a store is.
pub(crate) struct Usage {
    pub(crate) entry_count: usize,
    /// Of keys and values together; entries that have expired count until their memory is taken back.
    pub(crate) bytes: usize,
    /// Reads, writes, deletions and listings so far.
    pub(crate) operation_count: u64,
    pub(crate) limits: Limits,
}
