//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::message::cache::CACHE_KEY_BYTES_MAX;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("a key has 1 to {CACHE_KEY_BYTES_MAX} bytes; send the SHA-256 of what names the run")]
    Key,
    #[error("{0} must be above 0 and at most a year")]
    Seconds(&'static str),
}

impl From<CacheError> for ProviderError {
    fn from(error: CacheError) -> ProviderError {
        ProviderError::new(ProviderError::INVALID_MESSAGE, error.to_string())
    }
}
