//! The embedded store: a map in memory, for many threads.
//!
//! The map is cut into shards by a hash of the key, each behind a lock of its own, so that a write makes few readers
//! wait and the growth of one table is a short pause. What all shards share are counters ([`Books`]): the limits hold
//! for the sum. Nobody holds two shards at once.
//!
//! Nothing runs by itself. An entry that has expired is invisible at once; its memory is taken back a little at every
//! write, and as far as needed before a write is refused for lack of room.

use super::books::{Books, Growth};
use super::shard::{Entry, Shard, time_left};
use super::{Clock, Found, Limits, Line, Page, Store, Usage};
use crate::error::MemoryError;
use crate::owners::Share;
use parking_lot::RwLock;
use potluck_sdk::message::RawValue;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shards of a store. More threads than this rarely write at once, and a page of keys is merged from all.
const SHARD_COUNT: usize = 16;
/// Expired entries that a write removes on the way. More than the one that a write can add, so that the backlog
/// shrinks; few, so that nobody waits long.
const PURGE_PER_WRITE: usize = 8;
/// Expired entries that STATUS, or a write that needs room, removes under one hold of a lock.
const PURGE_BATCH: usize = 64;
/// Bytes of keys in one page, however many entries it could hold: a page must fit into a frame.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// See the top of this file.
pub(crate) struct ShardedStore {
    pub(super) slots: Vec<Slot>,
    pub(super) books: Books,
    /// Keyed at random: other peers choose the keys, and must not choose the shard with them.
    hasher: RandomState,
    /// The last version given out. One counter for all keys, so that a key that was deleted never gets a version again
    /// that somebody may still remember.
    version: AtomicU64,
    /// Only read where time matters: an entry without a deadline costs no look at it.
    clock: Clock,
}

/// A shard and its lock. Aligned to two cache lines, so that neighbours do not share one.
#[repr(align(128))]
pub(super) struct Slot {
    /// Counted here and not in one place, which would be the cache line that all processors fight for.
    operation_count: AtomicU64,
    pub(super) shard: RwLock<Shard>,
}

impl ShardedStore {
    pub(crate) fn new(limits: Limits, clock: Clock) -> ShardedStore {
        let slot = || Slot { operation_count: AtomicU64::new(0), shard: RwLock::default() };
        ShardedStore {
            slots: std::iter::repeat_with(slot).take(SHARD_COUNT).collect(),
            books: Books::new(limits),
            hasher: RandomState::new(),
            version: AtomicU64::new(0),
            clock,
        }
    }

    fn slot(&self, key: &str) -> &Slot {
        let slot = &self.slots[self.hasher.hash_one(key) as usize % SHARD_COUNT];
        slot.operation_count.fetch_add(1, Ordering::Relaxed);
        slot
    }

    /// Writes an entry if the condition holds and there is room. `Ok(Err(_))` says what it lacks room for.
    fn try_set(
        &self,
        slot: &Slot,
        key: &str,
        entry: Entry,
        if_version: Option<u64>,
        now: Instant,
    ) -> Result<Result<u64, Growth>, MemoryError> {
        // Declared before the lock, so that what is removed is freed after it: giving megabytes back takes its time.
        let mut garbage = Vec::new();
        let mut shard = slot.shard.write();
        shard.purge(now, PURGE_PER_WRITE, &mut garbage);
        // An expired entry under this very key may be behind others that the purge has not reached.
        shard.remove_expired(key, now, &mut garbage);
        self.books.remove(&garbage);
        let old = shard.get(key);
        check_version(old, if_version)?;
        let growth = Growth::new(key, old, &entry);
        if !self.books.reserve(growth) {
            return Ok(Err(growth));
        }
        // Drawn under the lock, so that the versions of one key rise in the order of its writes.
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let share = match old {
            Some(old) => old.share.clone(),
            None => entry.share,
        };
        let replaced = shard.insert(key, Entry { version, share, ..entry });
        drop(shard);
        drop(replaced);
        Ok(Ok(version))
    }

    /// Removes expired entries of all shards until there is room; returns whether there is.
    fn make_room(&self, growth: Growth, now: Instant) -> bool {
        for slot in &self.slots {
            while !self.books.has_room(growth) && self.purge(slot, now) > 0 {}
        }
        self.books.has_room(growth)
    }

    /// Removes a batch of expired entries of one shard; returns their number.
    fn purge(&self, slot: &Slot, now: Instant) -> usize {
        let mut garbage = Vec::new();
        let mut shard = slot.shard.write();
        shard.purge(now, PURGE_BATCH, &mut garbage);
        self.books.remove(&garbage);
        drop(shard);
        garbage.len()
    }

    /// Appends the next lines in order, as many as one look at every shard yields; returns whether there may be more.
    ///
    /// The keys are spread evenly, so twice a shard's share of a page is nearly always enough of it, and far less than
    /// the whole page that it might hold.
    fn append_lines(
        &self,
        lines: &mut Vec<Line>,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: Instant,
    ) -> bool {
        let share = 2 * limit / SHARD_COUNT + 16;
        let mut found = Vec::new();
        // What was found is complete up to here: the least of the last keys of those shards that may hold more.
        let mut complete_to: Option<Arc<str>> = None;
        for slot in &self.slots {
            let before = found.len();
            found.extend(slot.shard.read().lines(prefix, after, now).take(share));
            if found.len() - before == share {
                let last = &found[found.len() - 1].key;
                if complete_to.as_ref().is_none_or(|least| last < least) {
                    complete_to = Some(Arc::clone(last));
                }
            }
        }
        if let Some(least) = &complete_to {
            found.retain(|line| line.key <= *least);
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        lines.append(&mut found);
        complete_to.is_some()
    }

    /// Entries that are visible.
    fn live_entry_count(&self, now: Instant) -> usize {
        let expired_count: usize = self.slots.iter().map(|slot| slot.shard.read().expired_count(now)).sum();
        self.books.entry_count().saturating_sub(expired_count)
    }
}

impl Store for ShardedStore {
    fn set(
        &self,
        key: &str,
        value: Arc<RawValue>,
        time_to_live: Option<Duration>,
        if_version: Option<u64>,
        share: Option<Arc<Share>>,
    ) -> Result<u64, MemoryError> {
        self.books.check_sizes(key, &value)?;
        let now = (self.clock)();
        let slot = self.slot(key);
        let entry = Entry { value, version: 0, deadline: time_to_live.map(|left| now + left), share };
        loop {
            match self.try_set(slot, key, entry.clone(), if_version, now)? {
                Ok(version) => return Ok(version),
                Err(growth) if self.make_room(growth, now) => {}
                Err(growth) => return Err(self.books.refusal(growth)),
            }
        }
    }

    fn get(&self, key: &str) -> Option<Found> {
        let (value, version, deadline) = {
            let shard = self.slot(key).shard.read();
            let entry = shard.get(key)?;
            (Arc::clone(&entry.value), entry.version, entry.deadline)
        };
        let expires_in = match deadline {
            None => None,
            Some(deadline) => Some(time_left(deadline, (self.clock)())?),
        };
        Some(Found { value, version, expires_in })
    }

    fn delete(&self, key: &str, if_version: Option<u64>) -> Result<bool, MemoryError> {
        let now = (self.clock)();
        let mut garbage = Vec::new();
        let mut shard = self.slot(key).shard.write();
        shard.purge(now, PURGE_PER_WRITE, &mut garbage);
        shard.remove_expired(key, now, &mut garbage);
        let checked = check_version(shard.get(key), if_version);
        let removed = if checked.is_ok() { shard.remove(key) } else { None };
        let deleted = removed.is_some();
        garbage.extend(removed);
        self.books.remove(&garbage);
        drop(shard);
        checked.map(|()| deleted)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        let now = (self.clock)();
        self.slots[0].operation_count.fetch_add(1, Ordering::Relaxed);
        let mut lines: Vec<Line> = Vec::new();
        let mut may_have_more = true;
        // One line behind the page tells whether there is another.
        while may_have_more && lines.len() <= limit {
            let last = lines.last().map(|line| Arc::clone(&line.key));
            may_have_more = self.append_lines(&mut lines, prefix, last.as_deref().or(after), limit, now);
        }
        let mut page_bytes = 0;
        let fitting = lines.iter().take(limit).take_while(|line| {
            page_bytes += line.key.len();
            page_bytes <= PAGE_BYTES_MAX
        });
        // One line at least, or the next page would begin where this one did.
        let length = fitting.count().max(1).min(lines.len());
        let has_more = length < lines.len();
        lines.truncate(length);
        Page { lines, has_more, entry_count: self.live_entry_count(now) }
    }

    fn limits(&self) -> Limits {
        self.books.limits()
    }

    fn usage(&self) -> Usage {
        let now = (self.clock)();
        for slot in &self.slots {
            self.purge(slot, now);
        }
        Usage {
            entry_count: self.live_entry_count(now),
            bytes: self.books.bytes(),
            operation_count: self.slots.iter().map(|slot| slot.operation_count.load(Ordering::Relaxed)).sum(),
            limits: self.books.limits(),
        }
    }
}

fn check_version(entry: Option<&Entry>, if_version: Option<u64>) -> Result<(), MemoryError> {
    let current = entry.map_or(0, |entry| entry.version);
    match if_version {
        Some(expected) if expected != current => Err(MemoryError::VersionMismatch { current, expected }),
        _ => Ok(()),
    }
}
