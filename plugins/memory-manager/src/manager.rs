//! Blocks and the processes that have them, and the requests that wait for room. It does no input or output.
//!
//! A block that was written is not free at once: it is *cleaned* first, outside, so that nobody ever sees what another
//! process wrote. Requests that wait are served strictly in their order: those of this node's processes first, then those of
//! other nodes' processes, each in the order in which they came. A request that does not wait takes what is free, so that
//! nobody who waits for more than there will ever be stops all others.

use crate::config::Limits;
use crate::error::MemoryManagerError;
use crate::heap::{Algorithm, GRANULE_BYTES, Heap, Slot};
use potluck_sdk::message::memory_manager::{Allocation, Fragmentation, MapLine, MemoryManagerStatus, MemoryMapped};
use potluck_sdk::message::process::ProcessEnded;
use potluck_sdk::message::resources::{HeldBlock, Holder, PlacedResources, Places, ResourceState, Waiter};
use potluck_sdk::shares::{self, PEER_SHARE_DEFAULT};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Processes in the STATUS reply.
const STATUS_PROCESSES_MAX: usize = 100;
/// Processes that MEMORY_RESOURCES lists while nobody waits: then they cannot be part of a deadlock by memory, and are
/// told only for what they have.
const IDLE_HOLDERS_MAX: usize = 1000;
/// Blocks that MEMORY_RESOURCES lists: about a megabyte of them.
const BLOCKS_TOLD_MAX: usize = 10_000;
/// Requests of one process that wait: a task has no more calls open at a time.
const PROCESS_WAITS_MAX: usize = 64;

/// The arena's name among all resources of the node.
const MEMORY: &str = "memory";

struct Used {
    slot: Slot,
    pid: Arc<str>,
    granules: u32,
    /// Bytes that were asked for.
    size: u64,
    /// From where to where it was written.
    written: Option<(u64, u64)>,
    /// Reads and writes that are under way.
    pins: u32,
    /// It was given back, and is being cleaned or waits for the last pin.
    is_gone: bool,
}

#[derive(Default)]
struct Owner {
    /// First granules of its blocks.
    blocks: BTreeSet<u32>,
    bytes: u64,
}

/// What the processes of one other node have together.
#[derive(Default)]
struct PeerUse {
    bytes: u64,
    blocks: usize,
    processes: usize,
}

struct Wait {
    ticket: u64,
    pid: Arc<str>,
    size: u64,
    since_unix_milliseconds: u64,
    is_bounded: bool,
}

/// A block that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) pid: Arc<str>,
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) block_size: u64,
}

/// A part of the arena that must become zero before [`Manager::cleaned`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dirty {
    /// Where its block begins.
    pub(crate) block: u64,
    pub(crate) address: u64,
    pub(crate) length: u64,
}

/// What was given back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) dirty: Vec<Dirty>,
}

/// What a request to wait has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Granted(Granted),
    /// It waits; `first` if it is the first one without a time-out.
    Waiting {
        first: bool,
    },
}

/// See the module.
pub(crate) struct Manager {
    heap: Heap,
    limits: Limits,
    used: BTreeMap<u32, Used>,
    owners: HashMap<Arc<str>, Owner>,
    peers: HashMap<String, PeerUse>,
    /// In the order in which they are served.
    waits: VecDeque<Wait>,
}

fn granule(address: u64) -> Option<u32> {
    address.is_multiple_of(GRANULE_BYTES).then(|| u32::try_from(address / GRANULE_BYTES).ok())?
}

fn bytes(granules: u32) -> u64 {
    u64::from(granules) * GRANULE_BYTES
}

fn peer_of(pid: &str) -> Option<&str> {
    pid.rsplit_once('@').map(|(_, peer)| peer)
}

/// What one other node may have of the processes, blocks and waits.
fn share(limit: usize) -> usize {
    shares::share(PEER_SHARE_DEFAULT, limit)
}

impl Manager {
    pub(crate) fn new(limits: Limits) -> Manager {
        // `Limits` has checked that it fits.
        let granules = u32::try_from(limits.arena_bytes / GRANULE_BYTES).unwrap_or(u32::MAX - 1);
        Manager {
            heap: Heap::new(granules, limits.algorithm),
            limits,
            used: BTreeMap::new(),
            owners: HashMap::new(),
            peers: HashMap::new(),
            waits: VecDeque::new(),
        }
    }

    /// A block at once, or an error.
    pub(crate) fn allocate(&mut self, pid: &str, size: u64) -> Result<Granted, MemoryManagerError> {
        self.check(pid, size)?;
        self.take(&Arc::from(pid), size)
    }

    /// Requests that wait and come before a new one of this process.
    fn ahead_of(&self, pid: &str) -> usize {
        if peer_of(pid).is_some() {
            self.waits.len()
        } else {
            self.waits.partition_point(|wait| peer_of(&wait.pid).is_none())
        }
    }

    /// A block at once or later: then the request waits under `ticket`, behind those that come before it.
    pub(crate) fn allocate_or_wait(
        &mut self,
        ticket: u64,
        pid: &str,
        size: u64,
        is_bounded: bool,
        now_unix_milliseconds: u64,
    ) -> Result<Place, MemoryManagerError> {
        self.check(pid, size)?;
        let ahead = self.ahead_of(pid);
        if ahead == 0 {
            match self.take(&Arc::from(pid), size) {
                Err(MemoryManagerError::NoRoom { .. }) => {}
                other => return other.map(Place::Granted),
            }
        }
        if self.waits.len() >= self.limits.waits_max {
            return Err(MemoryManagerError::Waits(self.limits.waits_max));
        }
        if self.waits.iter().filter(|wait| &*wait.pid == pid).count() >= PROCESS_WAITS_MAX {
            return Err(MemoryManagerError::Waits(PROCESS_WAITS_MAX));
        }
        if let Some(peer) = peer_of(pid)
            && self.waits.iter().filter(|wait| peer_of(&wait.pid) == Some(peer)).count() >= share(self.limits.waits_max)
        {
            return Err(MemoryManagerError::Waits(share(self.limits.waits_max)));
        }
        let first = !is_bounded && self.waits.iter().all(|wait| wait.is_bounded);
        let since_unix_milliseconds = now_unix_milliseconds;
        self.waits.insert(ahead, Wait { ticket, pid: Arc::from(pid), size, since_unix_milliseconds, is_bounded });
        Ok(Place::Waiting { first })
    }

    /// What no waiting would change.
    fn check(&self, pid: &str, size: u64) -> Result<(), MemoryManagerError> {
        let limits = &self.limits;
        if size > limits.arena_bytes {
            return Err(MemoryManagerError::TooLarge { size, arena: limits.arena_bytes });
        }
        if self.used.len() >= limits.blocks_max {
            return Err(MemoryManagerError::Blocks(limits.blocks_max));
        }
        if self.owners.len() >= limits.processes_max && !self.owners.contains_key(pid) {
            return Err(MemoryManagerError::Processes(limits.processes_max));
        }
        if let Some(peer) = peer_of(pid) {
            let none = PeerUse::default();
            let used = self.peers.get(peer).unwrap_or(&none);
            if used.bytes + size > limits.peer_bytes_max {
                return Err(MemoryManagerError::PeerBytes { peer: peer.to_owned(), max: limits.peer_bytes_max });
            }
            let is_new = !self.owners.contains_key(pid);
            let (blocks, processes) = (share(limits.blocks_max), share(limits.processes_max));
            if used.blocks >= blocks || (is_new && used.processes >= processes) {
                return Err(MemoryManagerError::PeerShare { peer: peer.to_owned(), blocks, processes });
            }
        }
        Ok(())
    }

    fn take(&mut self, pid: &Arc<str>, size: u64) -> Result<Granted, MemoryManagerError> {
        let no_room = |heap: &Heap| MemoryManagerError::NoRoom {
            size,
            largest: bytes(heap.largest_free()),
            free: bytes(heap.free_granules()),
        };
        let granules = u32::try_from(size.div_ceil(GRANULE_BYTES)).map_err(|_| no_room(&self.heap))?;
        let found = self.heap.allocate(granules).ok_or_else(|| no_room(&self.heap))?;
        let used =
            Used { slot: found.slot, pid: Arc::clone(pid), granules, size, written: None, pins: 0, is_gone: false };
        self.used.insert(found.start, used);
        let owner = self.owners.entry(Arc::clone(pid)).or_default();
        owner.blocks.insert(found.start);
        owner.bytes += bytes(granules);
        if let Some(peer) = peer_of(pid) {
            let used = self.peers.entry(peer.to_owned()).or_default();
            used.bytes += bytes(granules);
            used.blocks += 1;
            used.processes += usize::from(owner.blocks.len() == 1);
        }
        Ok(Granted { pid: Arc::clone(pid), address: bytes(found.start), size, block_size: bytes(granules) })
    }

    /// Gives the block at `address` back, or all blocks of the process.
    pub(crate) fn free(&mut self, pid: &str, address: Option<u64>) -> Result<Freed, MemoryManagerError> {
        let Some(owner) = self.owners.get(pid) else {
            return Err(match address {
                None => MemoryManagerError::NoBlocks(pid.to_owned()),
                Some(address) => MemoryManagerError::NotFound { pid: pid.to_owned(), address },
            });
        };
        let starts: Vec<u32> = match address {
            None => owner.blocks.iter().copied().collect(),
            Some(address) => match granule(address).filter(|start| owner.blocks.contains(start)) {
                Some(start) => vec![start],
                None => return Err(MemoryManagerError::NotFound { pid: pid.to_owned(), address }),
            },
        };
        let mut freed = Freed::default();
        for start in starts {
            self.free_block(start, &mut freed);
        }
        Ok(freed)
    }

    fn free_block(&mut self, start: u32, freed: &mut Freed) {
        let Some(used) = self.used.get_mut(&start) else { return };
        let (pid, block_bytes) = (Arc::clone(&used.pid), bytes(used.granules));
        used.is_gone = true;
        let mut processes = 0;
        if let Some(owner) = self.owners.get_mut(&pid) {
            owner.blocks.remove(&start);
            owner.bytes -= block_bytes;
            if owner.blocks.is_empty() {
                self.owners.remove(&pid);
                processes = 1;
            }
        }
        if let Some(peer) = peer_of(&pid)
            && let Some(used) = self.peers.get_mut(peer)
        {
            used.bytes -= block_bytes;
            used.blocks -= 1;
            used.processes -= processes;
            if used.blocks == 0 {
                self.peers.remove(peer);
            }
        }
        freed.blocks += 1;
        freed.bytes += block_bytes;
        freed.dirty.extend(self.retire(start));
    }

    /// A block that nobody has any more is free at once when it was never written; else it is cleaned when nobody
    /// reads or writes it any more.
    fn retire(&mut self, start: u32) -> Option<Dirty> {
        let used = self.used.get(&start).filter(|used| used.is_gone && used.pins == 0)?;
        match used.written {
            Some((from, to)) => {
                let block = bytes(start);
                Some(Dirty { block, address: block + from, length: to - from })
            }
            None => {
                self.heap.free(used.slot);
                self.used.remove(&start);
                None
            }
        }
    }

    /// These parts are zero again.
    pub(crate) fn cleaned(&mut self, parts: &[Dirty]) {
        for part in parts {
            let start = granule(part.block);
            if let Some(used) = start.and_then(|start| self.used.remove(&start)) {
                self.heap.free(used.slot);
            }
        }
    }

    /// Gives room to the requests that wait, in their order, until there is none for the first of them.
    pub(crate) fn serve(&mut self) -> Vec<(u64, Result<Granted, MemoryManagerError>)> {
        let mut served = Vec::new();
        while let Some(wait) = self.waits.front() {
            let (ticket, pid, size) = (wait.ticket, Arc::clone(&wait.pid), wait.size);
            let result = self.check(&pid, size).and_then(|()| self.take(&pid, size));
            if matches!(result, Err(MemoryManagerError::NoRoom { .. })) {
                break;
            }
            self.waits.pop_front();
            served.push((ticket, result));
        }
        served
    }

    /// Takes a request out of the queue; whether it was there.
    pub(crate) fn cancel(&mut self, ticket: u64) -> bool {
        let found = self.waits.iter().position(|wait| wait.ticket == ticket);
        found.and_then(|index| self.waits.remove(index)).is_some()
    }

    /// Takes all requests of the processes that are meant out of the queue.
    pub(crate) fn cancel_waits(&mut self, ended: &ProcessEnded<'_>) -> Vec<u64> {
        let mut tickets = Vec::new();
        self.waits.retain(|wait| {
            let is_meant = ended.is_meant(&wait.pid);
            if is_meant {
                tickets.push(wait.ticket);
            }
            !is_meant
        });
        tickets
    }

    /// Gives back everything of the processes that are meant.
    pub(crate) fn free_all(&mut self, ended: &ProcessEnded<'_>) -> Freed {
        let pids: Vec<Arc<str>> = if ended.pid.starts_with('*') {
            self.owners.keys().filter(|pid| ended.is_meant(pid)).cloned().collect()
        } else {
            self.owners.get_key_value(&*ended.pid).map(|(pid, _)| Arc::clone(pid)).into_iter().collect()
        };
        let starts: Vec<u32> =
            pids.iter().filter_map(|pid| self.owners.get(pid)).flat_map(|o| o.blocks.clone()).collect();
        let mut freed = Freed::default();
        for start in starts {
            self.free_block(start, &mut freed);
        }
        freed
    }

    /// Where bytes of a block lie; they stay there until [`Manager::unpin`]. A `length` of nothing means to the block's end.
    pub(crate) fn pin(
        &mut self,
        pid: &str,
        address: u64,
        offset: u64,
        length: Option<u64>,
        is_write: bool,
    ) -> Result<Pinned, MemoryManagerError> {
        let used = granule(address)
            .and_then(|start| self.used.get_mut(&start))
            .filter(|used| !used.is_gone && &*used.pid == pid)
            .ok_or_else(|| MemoryManagerError::NoBlock { pid: pid.to_owned(), address })?;
        let length = length.unwrap_or_else(|| used.size.saturating_sub(offset));
        let end = offset.checked_add(length).filter(|end| *end <= used.size && offset <= used.size);
        let Some(end) = end else {
            return Err(MemoryManagerError::OutOfBounds { offset, length, size: used.size });
        };
        if is_write && length > 0 {
            let (from, to) = used.written.unwrap_or((offset, end));
            used.written = Some((from.min(offset), to.max(end)));
        }
        used.pins += 1;
        Ok(Pinned { block: address, address: address + offset, length, size: used.size })
    }

    /// The read or write is over. The block may have been given back meanwhile: then it must be cleaned now.
    pub(crate) fn unpin(&mut self, pinned: &Pinned) -> Option<Dirty> {
        let start = granule(pinned.block)?;
        let used = self.used.get_mut(&start)?;
        used.pins = used.pins.saturating_sub(1);
        self.retire(start)
    }

    pub(crate) fn set_algorithm(&mut self, algorithm: Algorithm) -> Algorithm {
        let previous = self.heap.algorithm();
        self.heap.set_algorithm(algorithm);
        previous
    }

    fn fragmentation(&self) -> Fragmentation {
        let (free, largest) = (bytes(self.heap.free_granules()), bytes(self.heap.largest_free()));
        let external = if free == 0 { 0.0 } else { 1.0 - largest as f64 / free as f64 };
        let total = bytes(self.heap.total());
        Fragmentation {
            total_memory: total,
            allocated_memory: total - free,
            free_memory: free,
            largest_free_block: largest,
            free_blocks_count: self.heap.free_count(),
            external_fragmentation: external,
            fragmentation_percentage: external * 100.0,
        }
    }

    pub(crate) fn status(&self) -> MemoryManagerStatus {
        let line = |(pid, owner): (&Arc<str>, &Owner)| {
            let start = *owner.blocks.first()?;
            let size = self.used.get(&start).map_or(0, |used| bytes(used.granules));
            let allocation = Allocation { start: bytes(start), size, blocks: owner.blocks.len(), bytes: owner.bytes };
            Some((pid.to_string(), allocation))
        };
        MemoryManagerStatus {
            algorithm: self.heap.algorithm().name().to_owned(),
            fragmentation: self.fragmentation(),
            allocated_processes: self.owners.len(),
            allocations: self.owners.iter().filter_map(line).take(STATUS_PROCESSES_MAX).collect(),
            allocated_blocks: self.used.len(),
            waiting: self.waits.len(),
        }
    }

    /// A page of at most `limit` blocks. What lies between used blocks is free.
    pub(crate) fn map(&self, from: u64, limit: usize) -> MemoryMapped {
        let free = |start: u32, end: u32| MapLine {
            address: bytes(start),
            size: bytes(end - start),
            state: "free".to_owned(),
            pid: None,
        };
        let begin = u32::try_from(from / GRANULE_BYTES).unwrap_or(u32::MAX).min(self.heap.total());
        // A page begins where a block does, or within one that is shown from its beginning.
        let before = self.used.range(..begin).next_back();
        let mut end = match before {
            _ if self.used.contains_key(&begin) => begin,
            Some((start, used)) if *start + used.granules > begin => *start,
            Some((start, used)) => *start + used.granules,
            None => 0,
        };
        let mut blocks = Vec::new();
        for (&start, used) in self.used.range(end..) {
            if blocks.len() >= limit {
                break;
            }
            if start > end {
                blocks.push(free(end, start));
            }
            end = start;
            if blocks.len() >= limit {
                break;
            }
            let state = if used.is_gone { "cleaning" } else { "used" };
            let pid = (!used.is_gone).then(|| used.pid.to_string());
            blocks.push(MapLine { address: bytes(start), size: bytes(used.granules), state: state.to_owned(), pid });
            end = start + used.granules;
        }
        if blocks.len() < limit && end < self.heap.total() && self.used.range(end..).next().is_none() {
            blocks.push(free(end, self.heap.total()));
            end = self.heap.total();
        }
        MemoryMapped {
            algorithm: self.heap.algorithm().name().to_owned(),
            blocks,
            block_count: self.used.len() + self.heap.free_count(),
            waiting: self.waits.len(),
            fragmentation: self.fragmentation(),
            next: (end < self.heap.total()).then(|| bytes(end)),
        }
    }

    /// The arena as one resource, for the search for deadlocks.
    pub(crate) fn resources(&self) -> PlacedResources {
        if self.owners.is_empty() && self.waits.is_empty() {
            return PlacedResources::default();
        }
        let most = if self.waits.is_empty() { IDLE_HOLDERS_MAX } else { usize::MAX };
        let holders =
            self.owners.iter().take(most).map(|(pid, owner)| Holder { pid: pid.to_string(), units: owner.bytes });
        let waiters = self.waits.iter().map(|wait| Waiter {
            pid: wait.pid.to_string(),
            units: wait.size.div_ceil(GRANULE_BYTES) * GRANULE_BYTES,
            since_unix_milliseconds: wait.since_unix_milliseconds,
            bounded: wait.is_bounded,
        });
        let memory = ResourceState {
            resource_id: MEMORY.to_owned(),
            kind: "memory".to_owned(),
            total_units: bytes(self.heap.total()),
            // Blocks that are being cleaned belong to nobody and will be free in a moment.
            available_units: bytes(self.heap.total()) - self.owners.values().map(|owner| owner.bytes).sum::<u64>(),
            owned: true,
            holders: holders.collect(),
            waiters: waiters.collect(),
        };
        let places = if self.waits.is_empty() { Vec::new() } else { vec![self.places()] };
        PlacedResources { resources: vec![memory], places }
    }

    /// Where the blocks lie. Of too many, those of processes that wait for room: they are the ones that may lie there for ever.
    fn places(&self) -> Places {
        let is_many = self.used.len() > BLOCKS_TOLD_MAX;
        let waiting: BTreeSet<&str> =
            if is_many { self.waits.iter().map(|wait| &*wait.pid).collect() } else { BTreeSet::new() };
        let kept = self.used.iter().filter(|(_, used)| !used.is_gone && (!is_many || waiting.contains(&*used.pid)));
        let block = |(start, used): (&u32, &Used)| HeldBlock {
            pid: used.pid.to_string(),
            address: bytes(*start),
            size: bytes(used.granules),
        };
        Places { resource_id: MEMORY.to_owned(), blocks: kept.map(block).take(BLOCKS_TOLD_MAX).collect() }
    }
}

/// Bytes of a block that are being read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    /// Where the block begins.
    block: u64,
    /// Where the bytes begin.
    pub(crate) address: u64,
    pub(crate) length: u64,
    /// Bytes of the block, as it was asked for.
    pub(crate) size: u64,
}
