//! Those who wait until an entry changes. While nobody does, a write looks at one number, and that is all.

use crate::error::MemoryError;
use crate::store::Store;
use parking_lot::Mutex;
use potluck_sdk::message::RawValue;
use potluck_sdk::shares::{Owner, Place, Shares};
use potluck_sdk::{Alarm, Host, PendingReply};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::store::Found;

/// Watchers that one run of the timer looks at: more would keep the others of that thread waiting.
const WAKE_BATCH: usize = 1024;

/// One who waits.
pub(crate) struct Watcher {
    /// The key as it was sent.
    pub(crate) key: Box<RawValue>,
    pub(crate) reply: PendingReply,
    /// The version that it knows.
    pub(crate) after_version: u64,
    /// When it wants an answer in any case.
    pub(crate) deadline: Option<Instant>,
    /// Whether its caller has gone away.
    pub(crate) gone: Arc<AtomicBool>,
    /// What it counts for at the node that asks.
    pub(crate) _place: Option<Place<1>>,
}

struct Waiting {
    watcher: Watcher,
    /// When it is looked at again: at its deadline, or when the entry that it knows expires.
    wake: Option<Instant>,
}

/// An answer that is due: to whom, and what is there.
pub(crate) struct Due {
    pub(crate) watcher: Watcher,
    pub(crate) found: Option<Found>,
}

#[derive(Default)]
struct Table {
    by_key: HashMap<Arc<str>, BTreeMap<u64, Waiting>>,
    wakes: BTreeMap<(Instant, u64), Arc<str>>,
    last_ticket: u64,
}

/// See the top of this file. Its lock may be held while the store is read, never the other way round.
pub(crate) struct Watchers {
    count: AtomicUsize,
    count_max: usize,
    /// What other nodes have of those.
    shares: Shares<1>,
    table: Mutex<Table>,
    alarm: Alarm,
}

impl Watchers {
    pub(crate) fn new(count_max: usize, peer_share: f64) -> Watchers {
        Watchers {
            count: AtomicUsize::new(0),
            count_max,
            shares: Shares::new(peer_share),
            table: Mutex::default(),
            alarm: Alarm::default(),
        }
    }

    /// What a watcher of another node counts for.
    pub(crate) fn place(&self, owner: Owner<'_>) -> Result<Option<Place<1>>, MemoryError> {
        let taken = self.shares.take(owner, 0, self.count_max, 1);
        taken.map_err(|full| MemoryError::WatcherShareFull { peer: full.peer, share: full.share })
    }

    /// Whether there are any. A writer asks after its write: who began to watch before that write is counted by then, since
    /// both have held the lock of the entry's shard.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn count_max(&self) -> usize {
        self.count_max
    }

    /// A number for the next watcher, by which it can be taken back.
    pub(crate) fn next_ticket(&self) -> u64 {
        let mut table = self.table.lock();
        table.last_ticket += 1;
        table.last_ticket
    }

    /// Keeps a watcher, unless there is something to answer at once. The error gives it back when there is no room.
    pub(crate) fn add(
        &self,
        store: &dyn Store,
        now: Instant,
        key: &str,
        ticket: u64,
        watcher: Watcher,
    ) -> Result<Option<Due>, Watcher> {
        let mut table = self.table.lock();
        if self.count.load(Ordering::Relaxed) >= self.count_max {
            return Err(watcher);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let found = store.get(key);
        let wake = next_wake(&watcher, found.as_ref(), now);
        let is_due = watcher.deadline.is_some_and(|deadline| deadline <= now);
        if watcher.gone.load(Ordering::Acquire) || is_due || version(found.as_ref()) != watcher.after_version {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Ok(Some(Due { watcher, found }));
        }
        let key = match table.by_key.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        if let Some(wake) = wake {
            table.wakes.insert((wake, ticket), Arc::clone(&key));
        }
        table.by_key.entry(key).or_default().insert(ticket, Waiting { watcher, wake });
        Ok(None)
    }

    /// Takes a watcher back.
    pub(crate) fn remove(&self, key: &str, ticket: u64) -> Option<Watcher> {
        self.table.lock().remove(key, ticket, &self.count)
    }

    /// Those who are to be told that an entry has changed.
    pub(crate) fn changed(&self, store: &dyn Store, key: &str) -> Vec<Due> {
        let mut table = self.table.lock();
        let Some(waiting) = table.by_key.get(key) else { return Vec::new() };
        let found = store.get(key);
        let version = version(found.as_ref());
        let due: Vec<u64> = waiting
            .iter()
            .filter(|(_, waiting)| waiting.watcher.after_version != version)
            .map(|(ticket, _)| *ticket)
            .collect();
        due.into_iter()
            .filter_map(|ticket| table.remove(key, ticket, &self.count))
            .map(|watcher| Due { watcher, found: found.clone() })
            .collect()
    }

    /// Those whose time is over, or whose entry has expired.
    pub(crate) fn due(&self, store: &dyn Store, now: Instant) -> Vec<Due> {
        let mut table = self.table.lock();
        let mut all = Vec::new();
        for _ in 0..WAKE_BATCH {
            let Some(first) = table.wakes.first_entry().filter(|first| first.key().0 <= now) else { break };
            let ((_, ticket), key) = first.remove_entry();
            let found = store.get(&key);
            let Some(waiting) = table.by_key.get_mut(&key).and_then(|waiting| waiting.get_mut(&ticket)) else {
                continue;
            };
            let is_over = waiting.watcher.deadline.is_some_and(|deadline| deadline <= now);
            waiting.wake = None;
            if !is_over && version(found.as_ref()) == waiting.watcher.after_version {
                waiting.wake = next_wake(&waiting.watcher, found.as_ref(), now);
                if let Some(wake) = waiting.wake {
                    table.wakes.insert((wake, ticket), key);
                }
                continue;
            }
            let watcher = table.remove(&key, ticket, &self.count);
            all.extend(watcher.map(|watcher| Due { watcher, found }));
        }
        all
    }

    /// Sees to it that `ring` runs when the next is due.
    pub(crate) fn arm(&self, host: &Host, now: Instant, ring: impl FnOnce() + Send + 'static) {
        let next = self.table.lock().wakes.keys().next().map(|(wake, _)| *wake);
        if let Some(next) = next {
            self.alarm.set(host, now, next, ring);
        }
    }

    /// Takes out all: the node stops.
    pub(crate) fn close(&self) -> Vec<Watcher> {
        let mut table = self.table.lock();
        table.wakes.clear();
        let all = std::mem::take(&mut table.by_key);
        self.count.store(0, Ordering::Relaxed);
        all.into_values().flat_map(BTreeMap::into_values).map(|waiting| waiting.watcher).collect()
    }
}

impl Table {
    fn remove(&mut self, key: &str, ticket: u64, count: &AtomicUsize) -> Option<Watcher> {
        let of_key = self.by_key.get_mut(key)?;
        let waiting = of_key.remove(&ticket)?;
        if of_key.is_empty() {
            self.by_key.remove(key);
        }
        if let Some(wake) = waiting.wake {
            self.wakes.remove(&(wake, ticket));
        }
        count.fetch_sub(1, Ordering::Relaxed);
        Some(waiting.watcher)
    }
}

/// The version of an entry; 0 when there is none.
fn version(found: Option<&Found>) -> u64 {
    found.map_or(0, |found| found.version)
}

fn next_wake(watcher: &Watcher, found: Option<&Found>, now: Instant) -> Option<Instant> {
    // Not before the next millisecond: an entry that is about to expire must not be looked at again and again.
    let left = found.and_then(|found| found.expires_in).map(|left| left.max(Duration::from_millis(1)));
    let expiry = left.and_then(|left| now.checked_add(left));
    [watcher.deadline, expiry].into_iter().flatten().min()
}
