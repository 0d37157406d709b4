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
    /// Most shared files that are known, of all peers together.
    pub(crate) shared_files_max: usize,
    /// Most of them that one peer may have.
    pub(crate) peer_files_max: usize,
    /// Most owned files in the registry, deleted ones included.
    pub(crate) owned_files_max: u64,
    /// Most of them that one owner may have.
    pub(crate) owner_files_max: u64,
    /// How often some replicas are checked.
    audit_seconds: f64,
    /// How long a holder may be away before its replicas are made anew elsewhere.
    repair_after_seconds: f64,
}

impl Default for TrackerConfig {
    fn default() -> TrackerConfig {
        TrackerConfig {
            heartbeat_seconds: 10.0,
            dead_after_seconds: 30.0,
            peers_max: 200_000,
            watchers_max: 400_000,
            shared_files_max: 1_000_000,
            peer_files_max: 100_000,
            owned_files_max: 100_000,
            owner_files_max: 20_000,
            audit_seconds: 3600.0,
            repair_after_seconds: 86_400.0,
        }
    }
}

impl TrackerConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<TrackerConfig, ProviderError> {
        let config: TrackerConfig = config.parse()?;
        let refuse = |text: String| Err(ProviderError::new(ProviderError::INVALID_CONFIG, text));
        for (key, seconds) in [
            ("heartbeat_seconds", config.heartbeat_seconds),
            ("dead_after_seconds", config.dead_after_seconds),
            ("audit_seconds", config.audit_seconds),
            ("repair_after_seconds", config.repair_after_seconds),
        ] {
            // Timers count in milliseconds.
            if !(0.001..=SECONDS_LIMIT).contains(&seconds) {
                return refuse(format!("key `{key}`: it must be between 0.001 and {SECONDS_LIMIT}"));
            }
        }
        if config.dead_after_seconds <= config.heartbeat_seconds {
            return refuse("key `dead_after_seconds`: it must be longer than heartbeat_seconds".to_owned());
        }
        for (key, number) in [
            ("peers_max", config.peers_max),
            ("watchers_max", config.watchers_max),
            ("shared_files_max", config.shared_files_max),
            ("peer_files_max", config.peer_files_max),
        ] {
            if number == 0 {
                return refuse(format!("key `{key}`: it must be at least 1"));
            }
        }
        Ok(config)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs_f64(self.heartbeat_seconds)
    }

    pub(crate) fn audit(&self) -> Duration {
        Duration::from_secs_f64(self.audit_seconds)
    }

    pub(crate) fn repair_after(&self) -> Duration {
        Duration::from_secs_f64(self.repair_after_seconds)
    }

    pub(crate) fn dead_after(&self) -> Duration {
        Duration::from_secs_f64(self.dead_after_seconds)
    }
}
