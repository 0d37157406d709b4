//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::message::memory_manager::{ALLOCATION_FAILED, BLOCK_NOT_FOUND, OUT_OF_BOUNDS};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MemoryManagerError {
    #[error("{0} required")]
    Missing(&'static str),
    #[error("size must be above 0, not {0}")]
    Size(i64),
    #[error("timeout must be a number of seconds from 0 to {0}; use `wait` to wait as long as it takes")]
    Timeout(u64),
    #[error("data is no Base64: {0}")]
    Data(String),
    #[error("Unknown algorithm: {0}. Available: FIRST_FIT, BEST_FIT, WORST_FIT, NEXT_FIT")]
    Algorithm(String),
    #[error(
        "Memory allocation failed: {size} bytes are more than the whole arena of {arena} bytes; raise arena_bytes in [plugins.memory-manager]"
    )]
    TooLarge { size: u64, arena: u64 },
    #[error(
        "Memory allocation failed: {size} bytes fit into no free block, the largest has {largest} of {free} free bytes; free some, or wait with `timeout` or `wait`"
    )]
    NoRoom { size: u64, largest: u64, free: u64 },
    #[error(
        "Memory allocation failed: there was no room for {size} bytes within {seconds} s; free some, or wait longer"
    )]
    TimedOut { size: u64, seconds: String },
    #[error("there are {0} blocks, the limit; free some, or raise blocks_max in [plugins.memory-manager]")]
    Blocks(usize),
    #[error("{0} processes have blocks, the limit; end some, or raise processes_max in [plugins.memory-manager]")]
    Processes(usize),
    #[error(
        "the processes of {peer} would have more than {max} bytes here; free some, or raise peer_bytes_max in [plugins.memory-manager]"
    )]
    PeerBytes { peer: String, max: u64 },
    #[error(
        "the processes of {peer} have as much as one other node may have, {blocks} blocks or {processes} processes; free some, or raise blocks_max and processes_max in [plugins.memory-manager]"
    )]
    PeerShare { peer: String, blocks: usize, processes: usize },
    #[error("{0} requests wait for room, the limit; try again later, or raise waits_max in [plugins.memory-manager]")]
    Waits(usize),
    #[error("Memory deallocation failed: process {0} has no blocks")]
    NoBlocks(String),
    #[error(
        "Memory deallocation failed: process {pid} has no block at {address}; MEMORY_MAP shows where its blocks begin"
    )]
    NotFound { pid: String, address: u64 },
    #[error("process {pid} has no block at {address}; MEMORY_MAP shows where its blocks begin")]
    NoBlock { pid: String, address: u64 },
    #[error("{length} bytes from {offset} on are not within the block, which has {size} bytes")]
    OutOfBounds { offset: u64, length: u64, size: u64 },
    #[error("{0} bytes are too many at once, at most {1} are possible; take several steps")]
    TooMuchAtOnce(u64, u64),
    #[error("the arena cannot be used: {0}")]
    Arena(String),
    #[error("{reason}")]
    Ended { code: String, reason: String },
}

impl From<MemoryManagerError> for ProviderError {
    fn from(error: MemoryManagerError) -> ProviderError {
        use MemoryManagerError::*;
        let code = match &error {
            Missing(_) | Size(_) | Timeout(_) | Data(_) | Algorithm(_) | TooMuchAtOnce(..) => {
                ProviderError::INVALID_MESSAGE
            }
            TooLarge { .. } | NoRoom { .. } | TimedOut { .. } => ALLOCATION_FAILED,
            Blocks(_) | Processes(_) | PeerBytes { .. } | PeerShare { .. } | Waits(_) => ProviderError::LIMIT_REACHED,
            NoBlocks(_) | NotFound { .. } | NoBlock { .. } => BLOCK_NOT_FOUND,
            OutOfBounds { .. } => OUT_OF_BOUNDS,
            Arena(_) => ProviderError::INTERNAL,
            Ended { code, reason } => return ProviderError { code: code.clone().into(), message: reason.clone() },
        };
        ProviderError::new(code, error.to_string())
    }
}
