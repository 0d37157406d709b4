//! Messages of the provider `memory-manager`: blocks of an arena of the node's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Code: no free block is large enough now.
pub const ALLOCATION_FAILED: &str = "allocation_failed";
/// Code: there is no block of that process at that address.
pub const BLOCK_NOT_FOUND: &str = "block_not_found";
/// Code: the bytes lie outside of the block.
pub const OUT_OF_BOUNDS: &str = "out_of_bounds";

/// ALLOCATE_MEMORY: a block of the arena.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "ALLOCATE_MEMORY")]
pub struct AllocateMemory {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Bytes, above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Seconds to wait for room; without it and `wait` the answer comes at once, and whoever waits is overtaken. Those who
    /// wait are served first come first served, and this node's processes before those of other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Wait as long as it takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
}

/// Reply to ALLOCATE_MEMORY.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MemoryAllocated {
    /// `OK`.
    pub status: String,
    /// The process.
    pub pid: String,
    /// Where the block begins, in bytes from the beginning of the arena.
    pub address: u64,
    /// Bytes, as asked for; they are zero.
    pub size: u64,
    /// Bytes that the block takes of the arena: `size`, rounded up to a multiple of 16.
    pub block_size: u64,
}

/// DEALLOCATE_MEMORY: gives one block back, or without `address` all of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "DEALLOCATE_MEMORY")]
pub struct DeallocateMemory {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Where the block begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
}

/// Reply to DEALLOCATE_MEMORY.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct MemoryDeallocated {
    /// `OK`.
    pub status: String,
    /// The process.
    pub pid: String,
    /// Blocks that were given back.
    pub blocks: u64,
    /// Bytes of the arena that they took.
    pub bytes: u64,
}

/// READ_BLOCK: bytes of a block of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "READ_BLOCK")]
pub struct ReadBlock {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Where the block begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// First byte, from the beginning of the block.
    #[serde(default)]
    pub offset: u64,
    /// Bytes; to the end of the block when missing. 8 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// Reply to READ_BLOCK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "BLOCK")]
pub struct Block {
    /// The process.
    pub pid: String,
    /// Where the block begins.
    pub address: u64,
    /// First byte, from the beginning of the block.
    pub offset: u64,
    /// Bytes of the block in all, as it was asked for.
    pub size: u64,
    /// The bytes, as Base64.
    pub data: String,
}

/// WRITE_BLOCK: changes bytes of a block of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WRITE_BLOCK")]
pub struct WriteBlock {
    /// The process; a task leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Where the block begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// First byte, from the beginning of the block.
    #[serde(default)]
    pub offset: u64,
    /// The bytes, as Base64; 8 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Reply to WRITE_BLOCK.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct BlockWritten {
    /// `OK`.
    pub status: String,
    /// The process.
    pub pid: String,
    /// Where the block begins.
    pub address: u64,
    /// Bytes that were written.
    pub written: u64,
}

/// SET_ALLOCATOR: another way to choose among the free blocks; all blocks stay where they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "SET_ALLOCATOR")]
pub struct SetAllocator {
    /// `FIRST_FIT`, `BEST_FIT`, `WORST_FIT` or `NEXT_FIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// Reply to SET_ALLOCATOR.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct AllocatorSet {
    /// `OK`.
    pub status: String,
    /// The algorithm that is in use now.
    pub algorithm: String,
    /// The one before.
    pub previous: String,
}

/// MEMORY_MAP: the blocks of the arena, used and free, in order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "MEMORY_MAP")]
pub struct MemoryMap {
    /// Most blocks to list; 1000 when missing, 10,000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Continue here: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// Reply to MEMORY_MAP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "MEMORY_MAP")]
pub struct MemoryMapped {
    /// The algorithm in use.
    pub algorithm: String,
    /// The page.
    pub blocks: Vec<MapLine>,
    /// Blocks there are in all, used and free.
    pub block_count: usize,
    /// Requests that wait for room.
    pub waiting: usize,
    /// How much is free, and in how many pieces.
    pub fragmentation: Fragmentation,
    /// Pass as `from` for the next page; null on the last.
    pub next: Option<u64>,
}

/// One block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapLine {
    /// Where it begins.
    pub address: u64,
    /// Bytes that it takes.
    pub size: u64,
    /// `used`, `free`, or `cleaning`: given back, and about to be free.
    pub state: String,
    /// Whose it is; null for a free one.
    pub pid: Option<String>,
}

/// How much is free, and in how many pieces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fragmentation {
    /// Bytes of the arena.
    pub total_memory: u64,
    /// Bytes in blocks that are used.
    pub allocated_memory: u64,
    /// Bytes in free blocks.
    pub free_memory: u64,
    /// Bytes of the largest free block.
    pub largest_free_block: u64,
    /// Free blocks.
    pub free_blocks_count: usize,
    /// 1 - largest free block / free bytes; 0 when nothing is free.
    pub external_fragmentation: f64,
    /// The same in per cent.
    pub fragmentation_percentage: f64,
}

/// The member `memory_manager` of the node's STATUS reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryManagerStatus {
    /// The algorithm in use.
    pub algorithm: String,
    /// How much is free, and in how many pieces.
    pub fragmentation: Fragmentation,
    /// Processes that have blocks.
    pub allocated_processes: usize,
    /// The first block of each process; 100 processes at most.
    pub allocations: BTreeMap<String, Allocation>,
    /// Blocks that are used.
    pub allocated_blocks: usize,
    /// Requests that wait for room.
    pub waiting: usize,
}

/// What a process has, in the STATUS reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// Where its first block begins.
    pub start: u64,
    /// Bytes that it takes.
    pub size: u64,
    /// Blocks that it has.
    pub blocks: usize,
    /// Bytes of all its blocks.
    pub bytes: u64,
}
