//! How much all shards hold together, and how much they may.
//!
//! The counters are changed while the shard that they speak of is locked, so they are never less than what is stored.

use super::Limits;
use super::shard::{Entry, Removed};
use crate::error::MemoryError;
use potluck_sdk::message::RawValue;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Books {
    limits: Limits,
    entry_count: AtomicUsize,
    bytes: AtomicUsize,
}

/// What a write adds to the books, and takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    entries: usize,
    bytes: usize,
    bytes_freed: usize,
}

impl Growth {
    /// Of putting `new` in the place of `old`.
    pub(super) fn new(key: &str, old: Option<&Entry>, new: &Entry) -> Growth {
        let (old_bytes, new_bytes) = (old.map_or(0, |old| old.bytes(key)), new.bytes(key));
        Growth {
            entries: usize::from(old.is_none()),
            bytes: new_bytes.saturating_sub(old_bytes),
            bytes_freed: old_bytes.saturating_sub(new_bytes),
        }
    }
}

impl Books {
    pub(super) fn new(limits: Limits) -> Books {
        Books { limits, entry_count: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn entry_count(&self) -> usize {
        self.entry_count.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a single entry is small enough.
    pub(super) fn check_sizes(&self, key: &str, value: &RawValue) -> Result<(), MemoryError> {
        let (key_bytes, value_bytes) = (key.len(), value.get().len());
        if key_bytes > self.limits.key_bytes_max {
            return Err(MemoryError::KeyTooLong { bytes: key_bytes, max: self.limits.key_bytes_max });
        }
        if value_bytes > self.limits.value_bytes_max {
            return Err(MemoryError::ValueTooLarge { bytes: value_bytes, max: self.limits.value_bytes_max });
        }
        Ok(())
    }

    /// Enters a write, if there is room for it. Two writers may each see the last bit of room, so it is taken, not
    /// looked at.
    pub(super) fn reserve(&self, growth: Growth) -> bool {
        if !add_up_to(&self.entry_count, growth.entries, self.limits.entries_max) {
            return false;
        }
        if !add_up_to(&self.bytes, growth.bytes, self.limits.bytes_max) {
            self.entry_count.fetch_sub(growth.entries, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_sub(growth.bytes_freed, Ordering::Relaxed);
        true
    }

    /// Whether [`Books::reserve`] would succeed now.
    pub(super) fn has_room(&self, growth: Growth) -> bool {
        fits(self.entry_count(), growth.entries, self.limits.entries_max)
            && fits(self.bytes(), growth.bytes, self.limits.bytes_max)
    }

    /// The error for a write that has no room.
    pub(super) fn refusal(&self, growth: Growth) -> MemoryError {
        if fits(self.entry_count(), growth.entries, self.limits.entries_max) {
            MemoryError::BytesFull { bytes: growth.bytes, max: self.limits.bytes_max }
        } else {
            MemoryError::EntriesFull(self.limits.entries_max)
        }
    }

    /// Strikes out what was removed from a shard.
    pub(super) fn remove(&self, removed: &[Removed]) {
        if !removed.is_empty() {
            let bytes = removed.iter().map(|(key, entry)| entry.bytes(key)).sum();
            self.entry_count.fetch_sub(removed.len(), Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// An entry that shrinks adds nothing, and is let through even where nothing fits.
fn fits(used: usize, more: usize, max: usize) -> bool {
    more == 0 || used.checked_add(more).is_some_and(|sum| sum <= max)
}

fn add_up_to(counter: &AtomicUsize, more: usize, max: usize) -> bool {
    let add = |used| fits(used, more, max).then(|| used + more);
    more == 0 || counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}
