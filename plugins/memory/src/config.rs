//! The table `[plugins.memory]` of plugins.toml.

use crate::store::Limits;
use potluck_sdk::message::FRAME_BYTES_MAX;
use potluck_sdk::shares::{PEER_SHARE_DEFAULT, check_peer_share};
use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// Longest key that can be configured, in bytes: a page of LIST_MEM carries whole keys.
const KEY_BYTES_LIMIT: usize = 64 << 10;
/// Largest value that can be configured, in bytes: the answer to GET_MEM carries key and value in one frame, and 4 KiB
/// are more than enough for the other members.
const VALUE_BYTES_LIMIT: usize = FRAME_BYTES_MAX - KEY_BYTES_LIMIT - (4 << 10);

/// How much the node keeps for the pool.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoryConfig {
    /// Most entries.
    entries_max: usize,
    /// Most bytes of keys and values, as JSON text, added up.
    bytes_max: usize,
    /// Longest key.
    key_bytes_max: usize,
    /// Largest value.
    value_bytes_max: usize,
    /// Most requests that wait for a change of an entry.
    watchers_max: usize,
    /// The part of those that one other node may have with its tasks.
    peer_share: f64,
}

impl Default for MemoryConfig {
    fn default() -> MemoryConfig {
        MemoryConfig {
            // About 300 MB of tables, were every entry small.
            entries_max: 1_000_000,
            bytes_max: 1 << 30,
            key_bytes_max: 1024,
            value_bytes_max: 8 << 20,
            // About 50 MB, were there as many.
            watchers_max: 100_000,
            peer_share: PEER_SHARE_DEFAULT,
        }
    }
}

impl MemoryConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<MemoryConfig, ProviderError> {
        let config: MemoryConfig = config.parse()?;
        check_peer_share(config.peer_share)?;
        let ranges = [
            ("entries_max", config.entries_max, usize::MAX),
            ("bytes_max", config.bytes_max, usize::MAX),
            ("key_bytes_max", config.key_bytes_max, KEY_BYTES_LIMIT),
            ("value_bytes_max", config.value_bytes_max, VALUE_BYTES_LIMIT),
            ("watchers_max", config.watchers_max, usize::MAX),
        ];
        for (key, value, limit) in ranges {
            if value == 0 {
                let text = format!("key `{key}`: it must be at least 1");
                return Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
            }
            if value > limit {
                let text = format!("key `{key}`: {value} is too much, it may be at most {limit}");
                return Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
            }
        }
        Ok(config)
    }

    pub(crate) fn watchers_max(&self) -> usize {
        self.watchers_max
    }

    pub(crate) fn peer_share(&self) -> f64 {
        self.peer_share
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            entries_max: self.entries_max,
            bytes_max: self.bytes_max,
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
        }
    }
}
