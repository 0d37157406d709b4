//! One shard: entries by key, the keys in order, and the deadlines in order. It knows no lock and no limit.

use super::Line;
use crate::owners::Share;
use potluck_sdk::message::RawValue;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A value and what is known of it.
#[derive(Clone)]
pub(super) struct Entry {
    /// Shared, so that a reader can copy it after the lock is released.
    pub(super) value: Arc<RawValue>,
    pub(super) version: u64,
    /// When it expires.
    pub(super) deadline: Option<Instant>,
    /// What it counts for on the account of the node that has made it.
    pub(super) share: Option<Arc<Share>>,
}

impl Entry {
    /// What it counts for, under `key`.
    pub(super) fn bytes(&self, key: &str) -> usize {
        key.len() + self.value.get().len()
    }
}

/// An entry that was taken out, with its key.
pub(super) type Removed = (Arc<str>, Entry);

/// How long an entry is still visible; nothing when it has expired.
pub(super) fn time_left(deadline: Instant, now: Instant) -> Option<Duration> {
    deadline.checked_duration_since(now).filter(|left| !left.is_zero())
}

/// Every key stands in `entries` and in `order`, and in `deadlines` exactly if its entry has one. The three share one
/// allocation of the key's text.
#[derive(Default)]
pub(super) struct Shard {
    entries: HashMap<Arc<str>, Entry>,
    /// For pages of keys; reading an entry does not touch it.
    order: BTreeSet<Arc<str>>,
    /// What expires next comes first.
    deadlines: BTreeSet<(Instant, Arc<str>)>,
}

impl Shard {
    /// The entry, even when it has expired.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Puts an entry in and returns the one that had its place.
    pub(super) fn insert(&mut self, key: &str, entry: Entry) -> Option<Removed> {
        let old = match self.entries.get_key_value(key) {
            Some((shared, old)) => Some((Arc::clone(shared), old.deadline)),
            None => None,
        };
        let Some((shared, old_deadline)) = old else {
            let shared: Arc<str> = Arc::from(key);
            self.order.insert(Arc::clone(&shared));
            self.note_deadline(&shared, entry.deadline);
            self.entries.insert(shared, entry);
            return None;
        };
        self.forget_deadline(&shared, old_deadline);
        self.note_deadline(&shared, entry.deadline);
        let old = self.entries.insert(Arc::clone(&shared), entry);
        old.map(|old| (shared, old))
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Removed> {
        let (shared, entry) = self.entries.remove_entry(key)?;
        self.order.remove(&shared);
        self.forget_deadline(&shared, entry.deadline);
        Some((shared, entry))
    }

    /// Takes out the entry of one key if it has expired.
    pub(super) fn remove_expired(&mut self, key: &str, now: Instant, garbage: &mut Vec<Removed>) {
        let deadline = self.entries.get(key).and_then(|entry| entry.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            garbage.extend(self.remove(key));
        }
    }

    /// Takes out up to `count_max` entries that have expired, oldest deadline first.
    pub(super) fn purge(&mut self, now: Instant, count_max: usize, garbage: &mut Vec<Removed>) {
        for _ in 0..count_max {
            let Some((deadline, key)) = self.deadlines.first() else { return };
            if *deadline > now {
                return;
            }
            let key = Arc::clone(key);
            garbage.extend(self.remove(&key));
        }
    }

    /// Number of entries that have expired and are still here.
    pub(super) fn expired_count(&self, now: Instant) -> usize {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).count()
    }

    /// The entries whose keys begin with `prefix` and stand behind `after`, in order, without those that have expired.
    pub(super) fn lines<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        now: Instant,
    ) -> impl Iterator<Item = Line> + 'a {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.order.range::<str, _>((start, Bound::Unbounded)).take_while(move |key| key.starts_with(prefix)).filter_map(
            move |key| {
                let entry = self.entries.get(key)?;
                let expires_in = match entry.deadline {
                    None => None,
                    Some(deadline) => Some(time_left(deadline, now)?),
                };
                let value_bytes = entry.value.get().len();
                Some(Line { key: Arc::clone(key), value_bytes, version: entry.version, expires_in })
            },
        )
    }

    fn note_deadline(&mut self, key: &Arc<str>, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, Arc::clone(key)));
        }
    }

    fn forget_deadline(&mut self, key: &Arc<str>, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, Arc::clone(key)));
        }
    }

    /// Checks that the three tables agree; returns the number of entries and of their bytes.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) -> (usize, usize) {
        assert_eq!(self.entries.len(), self.order.len());
        assert!(self.order.iter().all(|key| self.entries.contains_key(key)));
        let expiring = self.entries.iter().filter_map(|(key, entry)| Some((entry.deadline?, Arc::clone(key))));
        assert_eq!(expiring.collect::<BTreeSet<_>>(), self.deadlines);
        (self.entries.len(), self.entries.iter().map(|(key, entry)| entry.bytes(key)).sum())
    }
}
