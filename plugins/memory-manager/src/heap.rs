//! The books of the arena: which parts are used and which are free. It deals in granules of 16 bytes and touches no memory.
//!
//! Blocks lie in address order without gaps, and two free ones are never neighbours: a block that becomes free is merged
//! with both its neighbours. How a free block is chosen is the business of a [`FreeIndex`]; every algorithm finds, splits
//! and merges in a number of steps that grows with the logarithm of the number of free blocks.

mod by_address;
mod by_size;
#[cfg(test)]
mod tests;

use by_address::ByAddress;
use by_size::BySize;
use std::str::FromStr;

/// Bytes of a granule: every block begins at a multiple of it, which suits any type.
pub(crate) const GRANULE_BYTES: u64 = 16;
/// No block.
const NONE: u32 = u32::MAX;

/// How a free block is chosen.
#[allow(clippy::enum_variant_names, reason = "these are their names in every book")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// The first one in the arena that is large enough.
    FirstFit,
    /// The smallest one that is large enough; among equals the first in the arena.
    BestFit,
    /// The largest one; among equals the first in the arena.
    WorstFit,
    /// The first one behind the block that was allocated last, and from the beginning of the arena when there is none.
    NextFit,
}

impl Algorithm {
    pub(crate) const ALL: [Algorithm; 4] =
        [Algorithm::FirstFit, Algorithm::BestFit, Algorithm::WorstFit, Algorithm::NextFit];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Algorithm::FirstFit => "FIRST_FIT",
            Algorithm::BestFit => "BEST_FIT",
            Algorithm::WorstFit => "WORST_FIT",
            Algorithm::NextFit => "NEXT_FIT",
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    /// `FIRST_FIT`, `first-fit` and `FirstFit` are the same.
    fn from_str(text: &str) -> Result<Algorithm, ()> {
        let plain = |text: &str| text.replace(['_', '-', ' '], "").to_ascii_uppercase();
        let wanted = plain(text);
        Algorithm::ALL.into_iter().find(|algorithm| plain(algorithm.name()) == wanted).ok_or(())
    }
}

/// The free blocks, in the order that an algorithm needs.
trait FreeIndex: Send {
    /// The block to take for `size` granules; `cursor` is where the block ends that was allocated last.
    fn find(&self, size: u32, cursor: u32) -> Option<u32>;
    fn insert(&mut self, start: u32, size: u32, slot: u32);
    fn remove(&mut self, start: u32, size: u32);
    /// A block has grown or shrunk, at either end; its place among the addresses of the others is the same.
    fn change(&mut self, from: (u32, u32), to: (u32, u32));
    /// Size of the largest block, 0 when nothing is free.
    fn largest(&self) -> u32;
    fn count(&self) -> usize;
}

impl Algorithm {
    fn index(self) -> Box<dyn FreeIndex> {
        match self {
            Algorithm::FirstFit => Box::new(ByAddress::new(false)),
            Algorithm::NextFit => Box::new(ByAddress::new(true)),
            Algorithm::BestFit => Box::new(BySize::new(false)),
            Algorithm::WorstFit => Box::new(BySize::new(true)),
        }
    }
}

#[derive(Clone, Copy)]
struct Part {
    start: u32,
    size: u32,
    /// Neighbours in the arena.
    before: u32,
    behind: u32,
    is_free: bool,
}

/// A used block, until it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// What [`Heap::allocate`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    /// First granule.
    pub(crate) start: u32,
}

/// See the module.
pub(crate) struct Heap {
    parts: Vec<Part>,
    /// Places in `parts` that are not in use.
    vacant: Vec<u32>,
    free: Box<dyn FreeIndex>,
    algorithm: Algorithm,
    cursor: u32,
    total: u32,
    free_granules: u32,
}

impl Heap {
    /// A heap of `total` granules, all of them free.
    pub(crate) fn new(total: u32, algorithm: Algorithm) -> Heap {
        let mut free = algorithm.index();
        let mut parts = Vec::new();
        if total > 0 {
            free.insert(0, total, 0);
            parts.push(Part { start: 0, size: total, before: NONE, behind: NONE, is_free: true });
        }
        Heap { parts, vacant: Vec::new(), free, algorithm, cursor: 0, total, free_granules: total }
    }

    /// Takes `size` granules, at least one. The lower part of the block that was found is given out, the rest stays free.
    pub(crate) fn allocate(&mut self, size: u32) -> Option<Found> {
        if size == 0 {
            return None;
        }
        let found = self.free.find(size, self.cursor)?;
        let Part { start, size: found_size, before, .. } = self.parts[found as usize];
        let slot = if found_size == size {
            self.free.remove(start, size);
            self.parts[found as usize].is_free = false;
            found
        } else {
            // The rest keeps its place in the books, so that the index need not be reordered.
            let slot = self.place(Part { start, size, before, behind: found, is_free: false });
            if before != NONE {
                self.parts[before as usize].behind = slot;
            }
            let rest = &mut self.parts[found as usize];
            (rest.start, rest.size, rest.before) = (start + size, found_size - size, slot);
            self.free.change((start, found_size), (start + size, found_size - size));
            slot
        };
        self.free_granules -= size;
        self.cursor = start + size;
        Some(Found { slot: Slot(slot), start })
    }

    /// Gives a block back and merges it with the free blocks on both sides.
    pub(crate) fn free(&mut self, Slot(slot): Slot) {
        let Part { start, size, before, behind, .. } = self.parts[slot as usize];
        self.free_granules += size;
        let is_free = |other: u32| other != NONE && self.parts[other as usize].is_free;
        let merged = match (is_free(before), is_free(behind)) {
            (false, false) => {
                self.parts[slot as usize].is_free = true;
                self.free.insert(start, size, slot);
                slot
            }
            (true, false) => {
                self.grow(before, size);
                self.unlink(slot);
                before
            }
            (false, true) => {
                let old = self.parts[behind as usize];
                let next = &mut self.parts[behind as usize];
                (next.start, next.size) = (start, old.size + size);
                self.free.change((old.start, old.size), (start, old.size + size));
                self.unlink(slot);
                behind
            }
            (true, true) => {
                let next = self.parts[behind as usize];
                self.free.remove(next.start, next.size);
                self.grow(before, size + next.size);
                self.unlink(slot);
                self.unlink(behind);
                before
            }
        };
        // Next fit goes on with the block that the cursor has fallen into, not behind it.
        let Part { start, size, .. } = self.parts[merged as usize];
        if start < self.cursor && self.cursor < start + size {
            self.cursor = start;
        }
    }

    fn grow(&mut self, slot: u32, by: u32) {
        let part = &mut self.parts[slot as usize];
        let (start, size) = (part.start, part.size);
        part.size += by;
        self.free.change((start, size), (start, size + by));
    }

    fn place(&mut self, part: Part) -> u32 {
        match self.vacant.pop() {
            Some(slot) => {
                self.parts[slot as usize] = part;
                slot
            }
            None => {
                self.parts.push(part);
                // An arena has fewer than u32::MAX granules, hence fewer blocks.
                u32::try_from(self.parts.len() - 1).unwrap_or(NONE)
            }
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Part { before, behind, .. } = self.parts[slot as usize];
        if before != NONE {
            self.parts[before as usize].behind = behind;
        }
        if behind != NONE {
            self.parts[behind as usize].before = before;
        }
        self.parts[slot as usize].is_free = false;
        self.vacant.push(slot);
    }

    /// Chooses by another algorithm from now on. All blocks stay where they are; it takes a step for each block.
    pub(crate) fn set_algorithm(&mut self, algorithm: Algorithm) {
        let mut free = algorithm.index();
        for (slot, part) in (0_u32..).zip(&self.parts).filter(|(_, part)| part.is_free) {
            free.insert(part.start, part.size, slot);
        }
        self.free = free;
        self.algorithm = algorithm;
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    pub(crate) fn free_granules(&self) -> u32 {
        self.free_granules
    }

    pub(crate) fn largest_free(&self) -> u32 {
        self.free.largest()
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free.count()
    }
}
