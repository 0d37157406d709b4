//! The table `[plugins.tracker]` of plugins.toml.

use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;
use std::time::Duration;

/// Longest time that can be configured: a year.
const SECONDS_LIMIT: f64 = 366.0 * 86_400.0;

/// When a node counts as dead, and how many there may be.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TrackerConfig {
    /// How often nodes report.
    heartbeat_seconds: f64,
    /// A node that has been silent for this long is dead: three heartbeats, so that two may get lost.
    dead_after_seconds: f64,
    /// Most nodes in the directory: twice what one tracker is designed for.
    pub(crate) peers_max: usize,
    /// Most WATCH_PEERS that wait at once: one for each node, and as many again for those that look on.
    pub(crate) watchers_max: usize,
}

impl Default for TrackerConfig {
    fn default() -> TrackerConfig {
        TrackerConfig { heartbeat_seconds: 10.0, dead_after_seconds: 30.0, peers_max: 200_000, watchers_max: 400_000 }
    }
}

impl TrackerConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<TrackerConfig, ProviderError> {
        let config: TrackerConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        for (key, seconds) in
            [("heartbeat_seconds", config.heartbeat_seconds), ("dead_after_seconds", config.dead_after_seconds)]
        {
            // Timers count in milliseconds.
            if !(0.001..=SECONDS_LIMIT).contains(&seconds) {
                return refuse(format!("key `{key}`: it must be between 0.001 and {SECONDS_LIMIT}"));
            }
        }
        if config.dead_after_seconds <= config.heartbeat_seconds {
            return refuse("key `dead_after_seconds`: it must be longer than heartbeat_seconds".to_owned());
        }
        for (key, number) in [("peers_max", config.peers_max), ("watchers_max", config.watchers_max)] {
            if number == 0 {
                return refuse(format!("key `{key}`: it must be at least 1"));
            }
        }
        Ok(config)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs_f64(self.heartbeat_seconds)
    }

    pub(crate) fn dead_after(&self) -> Duration {
        Duration::from_secs_f64(self.dead_after_seconds)
    }
}
