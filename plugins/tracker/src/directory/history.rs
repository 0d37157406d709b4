//! Versions of the table, and what has gone since which.

use crate::address::Address;
use std::collections::VecDeque;

/// Removals that are remembered. A watcher who has missed more gets the whole table, which is hardly larger.
const REMOVALS_MAX: usize = 256;

pub(super) struct History {
    version: u64,
    /// Addresses that are gone, with the version in which they went, oldest first.
    removals: VecDeque<(u64, Address)>,
    /// Watchers with an older version get the whole table: removals were forgotten since, or the pool was large then,
    /// and what they hold is a sample.
    remembered_from: u64,
}

impl Default for History {
    fn default() -> History {
        History { version: 1, removals: VecDeque::new(), remembered_from: 0 }
    }
}

impl History {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn remembers(&self, version: u64) -> bool {
        version >= self.remembered_from
    }

    /// Something has changed; `is_large` is the pool after it.
    pub(super) fn advance(&mut self, is_large: bool) {
        self.version += 1;
        if is_large {
            self.remembered_from = self.version + 1;
            self.removals.clear();
        }
    }

    /// The change of the current version was that an address went.
    pub(super) fn note_removal(&mut self, address: Address) {
        if self.removals.len() == REMOVALS_MAX
            && let Some((version, _)) = self.removals.pop_front()
        {
            self.remembered_from = self.remembered_from.max(version);
        }
        self.removals.push_back((self.version, address));
    }

    pub(super) fn removed_since(&self, version: u64) -> impl Iterator<Item = &Address> {
        self.removals.iter().filter(move |(removed_in, _)| *removed_in > version).map(|(_, address)| address)
    }
}
