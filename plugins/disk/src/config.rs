//! The table `[plugins.disk]` of plugins.toml.

use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// How much the node keeps for the pool.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DiskConfig {
    /// Largest file.
    pub(crate) file_bytes_max: u64,
    /// Most bytes of all files.
    pub(crate) capacity_bytes: u64,
    /// Most bytes of one other node's files.
    pub(crate) peer_bytes_max: u64,
    /// Most files.
    pub(crate) files_max: usize,
    /// Most unfinished uploads.
    pub(crate) uploads_max: usize,
    /// Unfinished uploads that nobody goes on with are removed after this, when the node starts.
    pub(crate) unfinished_seconds: u64,
    /// Where the files are; `peer_storage` in the data directory when empty.
    pub(crate) folder: String,
}

impl Default for DiskConfig {
    fn default() -> DiskConfig {
        DiskConfig {
            file_bytes_max: 100 << 20,
            capacity_bytes: 10 << 30,
            peer_bytes_max: 1 << 30,
            files_max: 100_000,
            uploads_max: 256,
            unfinished_seconds: 86_400,
            folder: String::new(),
        }
    }
}

impl DiskConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<DiskConfig, ProviderError> {
        let config: DiskConfig = config.parse()?;
        let zero = [
            ("file_bytes_max", config.file_bytes_max == 0),
            ("capacity_bytes", config.capacity_bytes == 0),
            ("files_max", config.files_max == 0),
            ("uploads_max", config.uploads_max == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((key, _)) => {
                Err(ProviderError::new(ProviderError::INVALID_CONFIG, format!("key `{key}`: it must be at least 1")))
            }
            None => Ok(config),
        }
    }
}
