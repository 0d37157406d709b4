//! The table `[plugins.history]` of plugins.toml.

use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// Most records that can be configured: the search for a task by its name reads four bytes of each.
const RECORDS_LIMIT: u64 = 10_000_000;
/// Longest time that can be configured: a hundred years.
const SECONDS_LIMIT: f64 = 100.0 * 366.0 * 86_400.0;

/// How much is kept, and for how long.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HistoryConfig {
    /// Most records; the oldest go first, up to 1000 at a time.
    records_max: u64,
    /// How long a record is kept; for ever when missing.
    keep_seconds: Option<f64>,
}

impl Default for HistoryConfig {
    fn default() -> HistoryConfig {
        // About 100 MB on the disk.
        HistoryConfig { records_max: 1_000_000, keep_seconds: None }
    }
}

/// When records are removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) records_max: u64,
    pub(crate) keep_ms: Option<u64>,
}

impl HistoryConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<Retention, ProviderError> {
        let config: HistoryConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        if !(1..=RECORDS_LIMIT).contains(&config.records_max) {
            return refuse(format!("key `records_max`: it must be between 1 and {RECORDS_LIMIT}"));
        }
        if config.keep_seconds.is_some_and(|seconds| !(1.0..=SECONDS_LIMIT).contains(&seconds)) {
            return refuse(format!("key `keep_seconds`: it must be between 1 and {SECONDS_LIMIT}"));
        }
        // The range makes the cast exact enough.
        let keep_ms = config.keep_seconds.map(|seconds| (seconds * 1000.0) as u64);
        Ok(Retention { records_max: config.records_max, keep_ms })
    }
}
