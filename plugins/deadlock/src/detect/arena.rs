//! Units that lie side by side and are given out in one piece only, such as memory: how large a piece can be had.

use potluck_sdk::message::resources::HeldBlock;
use std::collections::{BTreeMap, HashMap};

/// Its free pieces, which only ever grow: whoever gets a block in the search can end, and gives it back. A process that gets
/// one and still waits for something else keeps it, but where it lies depends on who was served when, so it is counted and
/// not placed: then the pieces look larger than they may be, and no deadlock is seen where there is none.
pub(super) struct Arena<'a> {
    /// Blocks of those who have not ended: address and size.
    held: HashMap<&'a str, Vec<(u64, u64)>>,
    /// Where a free piece begins, and where it ends.
    free: BTreeMap<u64, u64>,
    largest: u64,
}

impl<'a> Arena<'a> {
    /// Whatever is not in `blocks` is free.
    pub(super) fn new(total: u64, blocks: &'a [HeldBlock]) -> Arena<'a> {
        let mut arena = Arena { held: HashMap::new(), free: BTreeMap::new(), largest: 0 };
        let mut order: Vec<&HeldBlock> = blocks.iter().collect();
        order.sort_by_key(|block| block.address);
        let mut end = 0;
        for block in order {
            arena.release(end, block.address);
            end = end.max(block.address.saturating_add(block.size));
            arena.held.entry(&block.pid).or_default().push((block.address, block.size));
        }
        arena.release(end, total);
        arena
    }

    /// The largest piece that is free.
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    /// Gives back the blocks of a process.
    pub(super) fn end(&mut self, pid: &str) {
        for (address, size) in self.held.remove(pid).unwrap_or_default() {
            self.release(address, address.saturating_add(size));
        }
    }

    /// Makes a piece free, one with its free neighbours.
    fn release(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        if let Some((&before, _)) =
            self.free.range(..start).next_back().filter(|(_, before_ends)| **before_ends == start)
        {
            start = before;
        }
        if let Some(behind_ends) = self.free.remove(&end) {
            end = behind_ends;
        }
        self.free.insert(start, end);
        self.largest = self.largest.max(end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_together_as_blocks_are_given_back() {
        let block = |pid: &str, address, size| HeldBlock { pid: pid.to_owned(), address, size };
        let blocks = [block("P3", 8, 2), block("P1", 0, 2), block("P2", 4, 2), block("P1", 6, 1)];
        let mut arena = Arena::new(12, &blocks);
        assert_eq!((arena.largest(), arena.free.len()), (2, 3));
        arena.end("P1");
        assert_eq!(arena.free, BTreeMap::from([(0, 4), (6, 8), (10, 12)]));
        arena.end("P1");
        arena.end("P2");
        assert_eq!((arena.largest(), arena.free.len()), (8, 2));
        arena.end("P3");
        assert_eq!(arena.free, BTreeMap::from([(0, 12)]));
        assert_eq!(Arena::new(5, &[]).largest(), 5);
    }
}
