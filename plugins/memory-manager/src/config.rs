//! The table `[plugins.memory-manager]` of plugins.toml.

use crate::heap::{Algorithm, GRANULE_BYTES};
use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// Largest arena: its granules are counted with 32 bits.
const ARENA_BYTES_LIMIT: u64 = (u32::MAX as u64 - 1) * GRANULE_BYTES;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoryManagerConfig {
    /// Size of the arena.
    arena_bytes: u64,
    /// How a free block is chosen, until SET_ALLOCATOR says otherwise.
    algorithm: String,
    /// Most blocks in use.
    blocks_max: usize,
    /// Most processes that have blocks.
    processes_max: usize,
    /// Most bytes for the processes of one other node.
    peer_bytes_max: u64,
    /// Most requests that wait for room.
    waits_max: usize,
}

impl Default for MemoryManagerConfig {
    fn default() -> MemoryManagerConfig {
        MemoryManagerConfig {
            arena_bytes: 1 << 30,
            algorithm: Algorithm::FirstFit.name().to_owned(),
            // About 50 MB of books.
            blocks_max: 200_000,
            processes_max: 10_000,
            peer_bytes_max: 512 << 20,
            waits_max: 10_000,
        }
    }
}

/// What was configured, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) arena_bytes: u64,
    pub(crate) algorithm: Algorithm,
    pub(crate) blocks_max: usize,
    pub(crate) processes_max: usize,
    pub(crate) peer_bytes_max: u64,
    pub(crate) waits_max: usize,
}

impl Limits {
    pub(crate) fn read(config: Config<'_>) -> Result<Limits, ProviderError> {
        let config: MemoryManagerConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        if !(GRANULE_BYTES..=ARENA_BYTES_LIMIT).contains(&config.arena_bytes) {
            return refuse(format!(
                "key `arena_bytes`: it must be from {GRANULE_BYTES} to {ARENA_BYTES_LIMIT}, not {}",
                config.arena_bytes
            ));
        }
        let Ok(algorithm) = config.algorithm.parse() else {
            let names = Algorithm::ALL.map(Algorithm::name).join(", ");
            return refuse(format!("key `algorithm`: {} is none of {names}", config.algorithm));
        };
        for (key, value) in [("blocks_max", config.blocks_max), ("processes_max", config.processes_max)] {
            if value == 0 {
                return refuse(format!("key `{key}`: it must be at least 1"));
            }
        }
        Ok(Limits {
            arena_bytes: config.arena_bytes / GRANULE_BYTES * GRANULE_BYTES,
            algorithm,
            blocks_max: config.blocks_max,
            processes_max: config.processes_max,
            peer_bytes_max: config.peer_bytes_max,
            waits_max: config.waits_max,
        })
    }
}
