//! Who waits for the next table, and when it is whose turn.
//!
//! A WATCH_PEERS waits until something changes, and then until it is its turn: never sooner than a pause after it
//! came. So a stream of changes makes few answers, each with all that has changed meanwhile, and an asker is answered at
//! most once in that pause. While nothing changes nobody is woken.

use crate::error::TrackerError;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Pause in a small pool: 20 answers a second to one asker.
const SMALL_POOL_PAUSE: Duration = Duration::from_millis(50);
/// Pause in a large pool, where the answer is a sample of 64 peers.
const LARGE_POOL_PAUSE: Duration = Duration::from_secs(1);
/// Tables that go out in a second at most, to all together: with some 10 KB each, a few percent of a core. The pauses
/// grow with the number of watchers to keep to it.
const TABLES_PER_SECOND_MAX: u32 = 2000;
/// Tables that go out at once at most, so that no message has to wait for many; the next follow a moment later.
const BATCH_MAX: usize = 100;
/// That moment: with full batches it makes [`TABLES_PER_SECOND_MAX`].
const BATCH_PAUSE: Duration = Duration::from_millis(BATCH_MAX as u64 * 1000 / TABLES_PER_SECOND_MAX as u64);

/// Names one waiting WATCH_PEERS; rising in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WatcherId(u64);

/// A WATCH_PEERS that waits. `R` is its reply.
pub(crate) struct Watcher<R> {
    pub(crate) reply: R,
    /// Version of the table that the asker has.
    pub(crate) version: u64,
    arrived: Instant,
}

/// All that wait. A watcher is in exactly one of the three tables, and in none once it was answered or is cancelled.
pub(crate) struct Watchers<R> {
    watchers_max: usize,
    last_id: u64,
    /// Places of those whose reply is still being set up. It needs a name before it can be put in, since the caller may
    /// go away in between.
    reserved: HashSet<WatcherId>,
    /// Those that have the current version.
    settled: BTreeMap<WatcherId, Watcher<R>>,
    /// Those that have an older one and wait for their turn; first come, first served.
    outdated: BTreeMap<WatcherId, Watcher<R>>,
    /// After a full batch, when the next may go out.
    not_before: Option<Instant>,
}

impl<R> Watchers<R> {
    pub(crate) fn new(watchers_max: usize) -> Watchers<R> {
        Watchers {
            watchers_max,
            last_id: 0,
            reserved: HashSet::new(),
            settled: BTreeMap::new(),
            outdated: BTreeMap::new(),
            not_before: None,
        }
    }

    /// Number of those that wait.
    pub(crate) fn len(&self) -> usize {
        self.reserved.len() + self.settled.len() + self.outdated.len()
    }

    /// A place for one more.
    pub(crate) fn reserve(&mut self) -> Result<WatcherId, TrackerError> {
        if self.len() >= self.watchers_max {
            return Err(TrackerError::WatchersFull(self.watchers_max));
        }
        self.last_id += 1;
        let id = WatcherId(self.last_id);
        self.reserved.insert(id);
        Ok(id)
    }

    /// Puts a reply into its place; gives it back if it was cancelled meanwhile.
    pub(crate) fn add(
        &mut self,
        id: WatcherId,
        reply: R,
        version: u64,
        current_version: u64,
        now: Instant,
    ) -> Result<(), R> {
        if !self.reserved.remove(&id) {
            return Err(reply);
        }
        let table = if version == current_version { &mut self.settled } else { &mut self.outdated };
        table.insert(id, Watcher { reply, version, arrived: now });
        Ok(())
    }

    /// Removes one whose caller has gone away; the reply is for the caller of this function to drop.
    pub(crate) fn remove(&mut self, id: WatcherId) -> Option<R> {
        self.reserved.remove(&id);
        self.settled.remove(&id).or_else(|| self.outdated.remove(&id)).map(|watcher| watcher.reply)
    }

    /// Something has changed: nobody has the current version any more.
    pub(crate) fn note_change(&mut self) {
        // The fewer are moved to the more: after a quiet time all are settled, in a busy one hardly any.
        if self.outdated.len() < self.settled.len() {
            std::mem::swap(&mut self.outdated, &mut self.settled);
        }
        for (id, watcher) in std::mem::take(&mut self.settled) {
            self.outdated.insert(id, watcher);
        }
    }

    /// Takes out those whose turn it is.
    pub(crate) fn take_due(&mut self, now: Instant, pool_is_large: bool) -> Vec<Watcher<R>> {
        let mut due = Vec::new();
        while self.next_turn(pool_is_large).is_some_and(|turn| turn <= now) {
            due.extend(self.outdated.pop_first().map(|(_, watcher)| watcher));
            if due.len() == BATCH_MAX {
                self.not_before = Some(now + BATCH_PAUSE);
            }
        }
        due
    }

    /// When it is the next one's turn; nothing when all have the current version.
    pub(crate) fn next_turn(&self, pool_is_large: bool) -> Option<Instant> {
        let (_, first) = self.outdated.first_key_value()?;
        let turn = first.arrived + self.pause(pool_is_large);
        Some(self.not_before.map_or(turn, |not_before| turn.max(not_before)))
    }

    /// Takes out all.
    pub(crate) fn clear(&mut self) -> Vec<R> {
        self.reserved.clear();
        let all =
            std::mem::take(&mut self.settled).into_values().chain(std::mem::take(&mut self.outdated).into_values());
        all.map(|watcher| watcher.reply).collect()
    }

    fn pause(&self, pool_is_large: bool) -> Duration {
        let least = if pool_is_large { LARGE_POOL_PAUSE } else { SMALL_POOL_PAUSE };
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        least.max(Duration::from_secs(1) * count / TABLES_PER_SECOND_MAX)
    }
}
