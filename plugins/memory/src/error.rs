//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MemoryError {
    #[error("Key required for {0}")]
    KeyRequired(&'static str),
    #[error("A key must be a string, a number or a boolean, not {0}")]
    KeyType(&'static str),
    #[error("A key must be valid Unicode text: it has half of a surrogate pair")]
    KeyUnicode,
    #[error("ttl_seconds must be above 0 and at most {0}; leave it out to keep the entry for ever")]
    TimeToLive(u64),
    #[error("timeout must be 0 or more seconds, and at most {0}; leave it out to wait for as long as it takes")]
    Timeout(u64),
    #[error("{0} requests wait for changes, the limit; try again later, or raise watchers_max in [plugins.memory]")]
    WatchersFull(usize),
    #[error(
        "the share of the node {peer} is full, at most {share} of its requests wait for changes; try again when one has been answered, or ask for a larger peer_share in [plugins.memory]"
    )]
    WatcherShareFull { peer: String, share: usize },
    #[error(
        "the entry has changed, but so many wait for its {0} bytes that it was not sent to all; read it with GET_MEM"
    )]
    TooManyBytes(usize),
    #[error("the node is stopping")]
    Stopping,
    #[error("the entry has version {current} (0: there is none), not {expected}; read it again and repeat the change")]
    VersionMismatch { current: u64, expected: u64 },
    #[error("the key has {bytes} bytes, at most {max} are allowed; raise key_bytes_max in [plugins.memory]")]
    KeyTooLong { bytes: usize, max: usize },
    #[error(
        "the value has {bytes} bytes, at most {max} are allowed; store it as a file, or raise value_bytes_max in [plugins.memory]"
    )]
    ValueTooLarge { bytes: usize, max: usize },
    #[error("memory holds {0} entries, its limit; delete some, or raise entries_max in [plugins.memory]")]
    EntriesFull(usize),
    #[error(
        "memory has no room for {bytes} bytes more, its limit is {max}; delete some, or raise bytes_max in [plugins.memory]"
    )]
    BytesFull { bytes: usize, max: usize },
}

impl From<MemoryError> for ProviderError {
    fn from(error: MemoryError) -> ProviderError {
        use MemoryError::*;
        let code = match error {
            KeyRequired(_) | KeyType(_) | KeyUnicode | TimeToLive(_) | Timeout(_) => ProviderError::INVALID_MESSAGE,
            VersionMismatch { .. } => "version_mismatch",
            Stopping => ProviderError::NODE_STOPPING,
            WatchersFull(_) | WatcherShareFull { .. } | TooManyBytes(_) => ProviderError::LIMIT_REACHED,
            KeyTooLong { .. } | ValueTooLarge { .. } | EntriesFull(_) | BytesFull { .. } => {
                ProviderError::LIMIT_REACHED
            }
        };
        ProviderError::new(code, error.to_string())
    }
}
