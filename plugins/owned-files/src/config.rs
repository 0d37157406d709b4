//! The table `[plugins.owned-files]` of plugins.toml.

use potluck_sdk::{Config, ProviderError};
use serde::Deserialize;

/// How much the node keeps for others, and how large its own files may be.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OwnedFilesConfig {
    /// Largest file.
    pub(crate) file_bytes_max: u64,
    /// As holder: most bytes of all replicas.
    pub(crate) capacity_bytes: u64,
    /// As holder: most bytes of one owner's replicas.
    pub(crate) owner_bytes_max: u64,
    /// As holder: most replicas.
    pub(crate) replicas_max: usize,
    /// As owner: most uploads at a time.
    pub(crate) uploads_max: usize,
    /// Uploads and replicas that nobody goes on with are removed after this.
    pub(crate) unfinished_seconds: u64,
    /// As holder: all replicas are read and checked once in this time; 0 for never.
    pub(crate) scrub_seconds: u64,
}

impl Default for OwnedFilesConfig {
    fn default() -> OwnedFilesConfig {
        OwnedFilesConfig {
            file_bytes_max: 10 << 30,
            capacity_bytes: 20 << 30,
            owner_bytes_max: 10 << 30,
            replicas_max: 100_000,
            uploads_max: 16,
            unfinished_seconds: 86_400,
            scrub_seconds: 604_800,
        }
    }
}

impl OwnedFilesConfig {
    pub(crate) fn read(config: Config<'_>) -> Result<OwnedFilesConfig, ProviderError> {
        let config: OwnedFilesConfig = config.parse()?;
        let zero = [
            ("file_bytes_max", config.file_bytes_max == 0),
            ("replicas_max", config.replicas_max == 0),
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
