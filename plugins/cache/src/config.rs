//! The table `[plugins.cache]` of plugins.toml.

use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;
use std::time::Duration;

/// Longest time that can be configured: a year.
const SECONDS_LIMIT: f64 = 366.0 * 86_400.0;

/// How much is kept, and for how long.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheConfig {
    /// Most values.
    entries_max: usize,
    /// Most bytes of keys and values together.
    bytes_max: usize,
    /// Largest value.
    value_bytes_max: usize,
    /// How long a value is kept.
    ttl_seconds: f64,
    /// How long a run may take before somebody else who waits for its value begins one too.
    lease_seconds: f64,
    /// Most lookups that wait for somebody else's run, and most runs that they can wait for.
    waiting_max: usize,
    /// Whether every run that does not say otherwise counts as depending on its program and arguments alone.
    pub(crate) assume_pure: bool,
}

impl Default for CacheConfig {
    fn default() -> CacheConfig {
        CacheConfig {
            entries_max: 100,
            bytes_max: 64 << 20,
            value_bytes_max: 4 << 20,
            ttl_seconds: 3600.0,
            lease_seconds: 300.0,
            // About 5 MB of tables.
            waiting_max: 10_000,
            assume_pure: false,
        }
    }
}

/// What the store keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) time_to_live: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) waiting_max: usize,
}

impl CacheConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<CacheConfig, ProviderError> {
        let config: CacheConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        for (key, number) in [
            ("entries_max", config.entries_max),
            ("bytes_max", config.bytes_max),
            ("value_bytes_max", config.value_bytes_max),
            ("waiting_max", config.waiting_max),
        ] {
            if number == 0 {
                return refuse(format!("key `{key}`: it must be at least 1"));
            }
        }
        for (key, seconds) in [("ttl_seconds", config.ttl_seconds), ("lease_seconds", config.lease_seconds)] {
            if !(0.001..=SECONDS_LIMIT).contains(&seconds) {
                return refuse(format!("key `{key}`: it must be between 0.001 and {SECONDS_LIMIT}"));
            }
        }
        Ok(config)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            entries_max: self.entries_max,
            bytes_max: self.bytes_max,
            value_bytes_max: self.value_bytes_max,
            time_to_live: Duration::from_secs_f64(self.ttl_seconds),
            lease_time: Duration::from_secs_f64(self.lease_seconds),
            waiting_max: self.waiting_max,
        }
    }
}
