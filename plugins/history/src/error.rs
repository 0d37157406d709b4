//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::message::history::RECORDS_PER_BATCH_MAX;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("limit must be 0 or more; 0 is as many as one answer holds")]
    Limit,
    #[error("{0:?} is no status; there are SUCCESS, FAILED and CANCELLED")]
    Status(String),
    #[error("{0:?} is no time; send seconds since 1970, or ISO 8601 such as 2026-01-31T12:00:00")]
    Time(String),
    #[error("a batch has a name of 1 to 64 bytes, which no other batch has")]
    Batch,
    #[error("a batch has at most {RECORDS_PER_BATCH_MAX} records; send several")]
    TooMany,
    #[error("the history has too much to do; try again in a moment")]
    Busy,
    #[error("the record lies behind too many of others with the same name; look for it with `text` instead")]
    TooLong,
    #[error("history.sqlite is of version {found} and this node knows {known}; update Potluck, or move the file away")]
    Version { found: i64, known: i64 },
    #[error("history.sqlite is damaged ({0}); HISTORY_CLEAR puts it aside and begins a new one")]
    Damaged(String),
    #[error("history.sqlite cannot be used: {0}; see whether the disk is full")]
    Database(rusqlite::Error),
    #[error("history.sqlite cannot be used: {0}; see whether the disk is full")]
    Io(#[from] std::io::Error),
    #[error("something broke while this was done; nothing was changed")]
    Panicked,
}

impl HistoryError {
    /// Whether the file is beyond help.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, HistoryError::Damaged(_))
    }
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> HistoryError {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => HistoryError::Damaged(error.to_string()),
            _ => HistoryError::Database(error),
        }
    }
}

impl From<&HistoryError> for ProviderError {
    fn from(error: &HistoryError) -> ProviderError {
        use HistoryError::*;
        let code = match error {
            Limit | Status(_) | Time(_) | Batch | TooMany => ProviderError::INVALID_MESSAGE,
            Busy | TooLong => "busy",
            Version { .. } | Damaged(_) | Database(_) | Io(_) => "disk_failed",
            Panicked => ProviderError::PROVIDER_PANICKED,
        };
        ProviderError::new(code, error.to_string())
    }
}

impl From<HistoryError> for ProviderError {
    fn from(error: HistoryError) -> ProviderError {
        ProviderError::from(&error)
    }
}
