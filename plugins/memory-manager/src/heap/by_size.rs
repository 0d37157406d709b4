//! Free blocks in order of their sizes, for best fit and worst fit.

use super::FreeIndex;
use std::collections::BTreeMap;

pub(super) struct BySize {
    /// Slots by size and, among equals, by address: the size is in the upper half of the key.
    blocks: BTreeMap<u64, u32>,
    is_worst_fit: bool,
}

impl BySize {
    pub(super) fn new(is_worst_fit: bool) -> BySize {
        BySize { blocks: BTreeMap::new(), is_worst_fit }
    }
}

fn key(start: u32, size: u32) -> u64 {
    u64::from(size) << 32 | u64::from(start)
}

impl FreeIndex for BySize {
    fn find(&self, size: u32, _cursor: u32) -> Option<u32> {
        let least = if self.is_worst_fit { self.largest().max(size) } else { size };
        self.blocks.range(key(0, least)..).next().map(|(_, slot)| *slot)
    }

    fn insert(&mut self, start: u32, size: u32, slot: u32) {
        self.blocks.insert(key(start, size), slot);
    }

    fn remove(&mut self, start: u32, size: u32) {
        self.blocks.remove(&key(start, size));
    }

    fn change(&mut self, (start, size): (u32, u32), (new_start, new_size): (u32, u32)) {
        if let Some(slot) = self.blocks.remove(&key(start, size)) {
            self.blocks.insert(key(new_start, new_size), slot);
        }
    }

    /// A walk along one edge of the tree, which has four levels for a million blocks.
    fn largest(&self) -> u32 {
        self.blocks.last_key_value().map_or(0, |(key, _)| (key >> 32) as u32)
    }

    fn count(&self) -> usize {
        self.blocks.len()
    }
}
