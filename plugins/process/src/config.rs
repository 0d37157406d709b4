//! The table `[plugins.process]` of plugins.toml.

use potluck_sdk::shares::{PEER_SHARE_DEFAULT, check_peer_share};
use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// How much the table of processes holds.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessConfig {
    /// Most processes that have not ended; a quarter of that is kept for tasks.
    pub(crate) entries_max: usize,
    /// Most entries without a task of one peer, of those.
    pub(crate) entries_per_peer_max: usize,
    /// Most bytes that all entries may have as `task_data` together, until they end.
    pub(crate) task_data_bytes_max: usize,
    /// Most processes that have ended and are remembered; the oldest go.
    pub(crate) finished_max: usize,
    /// Most processes that have ended and whose parent has not asked how; the oldest are taken from it.
    pub(crate) zombies_max: usize,
    /// Most groups.
    pub(crate) groups_max: usize,
    /// Most groups of one peer, of those.
    pub(crate) groups_per_peer_max: usize,
    /// Most callers that wait for the end of a process.
    pub(crate) waits_max: usize,
    /// The part of those, and of all `task_data`, that one other node may have with its tasks.
    pub(crate) peer_share: f64,
}

impl Default for ProcessConfig {
    fn default() -> ProcessConfig {
        ProcessConfig {
            // About 100 MB, were all of them there: the queue of cpu holds no more tasks.
            entries_max: 200_000,
            entries_per_peer_max: 10_000,
            task_data_bytes_max: 64 << 20,
            finished_max: 1_000,
            zombies_max: 10_000,
            groups_max: 10_000,
            groups_per_peer_max: 2_500,
            waits_max: 100_000,
            peer_share: PEER_SHARE_DEFAULT,
        }
    }
}

impl ProcessConfig {
    /// Most entries without a task: the rest is for tasks, which are to be in the table whatever else somebody puts there.
    pub(crate) fn taskless_max(&self) -> usize {
        self.entries_max - self.entries_max / 4
    }

    pub(crate) fn read(config: Config<'_>) -> Result<ProcessConfig, ProviderError> {
        let config: ProcessConfig = config.parse()?;
        check_peer_share(config.peer_share)?;
        let keys = [
            ("entries_max", config.entries_max),
            ("entries_per_peer_max", config.entries_per_peer_max),
            ("task_data_bytes_max", config.task_data_bytes_max),
            ("finished_max", config.finished_max),
            ("zombies_max", config.zombies_max),
            ("groups_max", config.groups_max),
            ("groups_per_peer_max", config.groups_per_peer_max),
            ("waits_max", config.waits_max),
        ];
        match keys.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => {
                let text = format!("key `{key}`: it must be at least 1");
                Err(ProviderError::new(ProviderError::INVALID_CONFIG, text))
            }
            None => Ok(config),
        }
    }
}
