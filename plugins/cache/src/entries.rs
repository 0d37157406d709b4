//! The values: the least recently used goes first when there is no room, and none is kept for longer than its time.

use crate::config::Limits;
use potluck_sdk::message::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Entry {
    value: Arc<RawValue>,
    expires: Instant,
    /// When it was last used, by a count that never repeats.
    used: u64,
}

/// What has been dropped so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// To make room.
    pub(crate) evictions: u64,
    /// Since it was too old.
    pub(crate) expirations: u64,
}

/// Values by key, within [`Limits`].
pub(crate) struct Entries {
    limits: Limits,
    entries: HashMap<Arc<str>, Entry>,
    by_use: BTreeMap<u64, Arc<str>>,
    by_expiry: BTreeSet<(Instant, Arc<str>)>,
    bytes: usize,
    uses: u64,
    dropped: Dropped,
}

impl Entries {
    pub(crate) fn new(limits: Limits) -> Entries {
        Entries {
            limits,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            bytes: 0,
            uses: 0,
            dropped: Dropped::default(),
        }
    }

    pub(crate) fn get(&mut self, now: Instant, key: &str) -> Option<Arc<RawValue>> {
        self.drop_expired(now);
        let (name, entry) = self.entries.get_key_value(key)?;
        let (name, value, used) = (Arc::clone(name), Arc::clone(&entry.value), entry.used);
        self.uses += 1;
        self.by_use.remove(&used);
        self.by_use.insert(self.uses, name);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.used = self.uses;
        }
        Some(value)
    }

    /// Keeps a value in place of the one before, for no longer than the configured time; false when it is too large.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        key: &Arc<str>,
        value: Arc<RawValue>,
        time_to_live: Option<Duration>,
    ) -> bool {
        self.drop_expired(now);
        let bytes = size(key, &value);
        if value.get().len() > self.limits.value_bytes_max || bytes > self.limits.bytes_max {
            return false;
        }
        self.remove(key);
        while self.entries.len() >= self.limits.entries_max || self.bytes + bytes > self.limits.bytes_max {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            let oldest = Arc::clone(oldest);
            self.remove(&oldest);
            self.dropped.evictions += 1;
        }
        let longest = self.limits.time_to_live;
        let expires = now + time_to_live.map_or(longest, |wanted| wanted.min(longest));
        self.uses += 1;
        self.by_use.insert(self.uses, Arc::clone(key));
        self.by_expiry.insert((expires, Arc::clone(key)));
        self.bytes += bytes;
        self.entries.insert(Arc::clone(key), Entry { value, expires, used: self.uses });
        true
    }

    /// Forgets all; returns how many there were.
    pub(crate) fn clear(&mut self, now: Instant) -> usize {
        self.drop_expired(now);
        let count = self.entries.len();
        self.entries.clear();
        self.by_use.clear();
        self.by_expiry.clear();
        self.bytes = 0;
        count
    }

    pub(crate) fn drop_expired(&mut self, now: Instant) {
        while let Some((expires, key)) = self.by_expiry.first() {
            if *expires > now {
                return;
            }
            let key = Arc::clone(key);
            self.remove(&key);
            self.dropped.expirations += 1;
        }
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= size(key, &entry.value);
            self.by_use.remove(&entry.used);
            self.by_expiry.remove(&(entry.expires, Arc::clone(key)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }
}

fn size(key: &str, value: &RawValue) -> usize {
    key.len() + value.get().len()
}
