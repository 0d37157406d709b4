//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::files::{Conflict, LanesFull, NameError};
use std::io;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("Filename required for {0}")]
    FilenameRequired(&'static str),
    #[error("Data required for {0}")]
    DataRequired(&'static str),
    #[error("{0} failed: Invalid filename: {1}")]
    Name(&'static str, NameError),
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("data is not valid base64; encode the bytes with the standard alphabet and padding")]
    Base64,
    #[error("upload must be 1 to 64 letters, digits, hyphens or underscores")]
    UploadName,
    #[error("File too large (max {0} bytes)")]
    TooLarge(u64),
    #[error("Storage quota exceeded (max {} MB); delete files, or raise {key} in [plugins.disk]", bytes >> 20)]
    Quota { bytes: u64, key: &'static str },
    #[error("the node keeps {0} files, its limit; delete some, or raise files_max in [plugins.disk]")]
    FilesFull(usize),
    #[error("{0} uploads are unfinished, the limit; finish or abort some")]
    UploadsFull(usize),
    #[error(transparent)]
    Busy(#[from] LanesFull),
    #[error("the file belongs to somebody else; only its owner and the node's user can change it; choose another name")]
    NotOwner,
    #[error("the bytes have SHA-256 {0}, not the one that was sent; nothing was stored, send them again")]
    Mismatch(String),
    #[error("the file has {0} bytes, not as many as were announced; the upload was thrown away, send it again")]
    SizeMismatch(u64),
    #[error("the file has become another one meanwhile; begin again")]
    Changed,
    #[error("the file is larger than 8 MiB; read it with GET_FILE_CHUNK")]
    UseChunks,
    /// The words of quota.
    #[error(transparent)]
    Refused(ProviderError),
    #[error("{0} failed: {reason}", reason = sentence(.1))]
    Io(&'static str, io::Error),
    #[error("{0} is done, but the disk does not promise that it stays done after a loss of power ({1}); repeat it")]
    NotSettled(&'static str, io::Error),
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn sentence(error: &io::Error) -> String {
    match is_full(error) {
        true => format!("the disk is full ({error}); delete files, or give the node a larger disk"),
        false => error.to_string(),
    }
}

impl From<DiskError> for ProviderError {
    fn from(error: DiskError) -> ProviderError {
        use DiskError::*;
        if let Refused(error) = error {
            return error;
        }
        let code = match error {
            FilenameRequired(_) | DataRequired(_) | Base64 | UploadName => ProviderError::INVALID_MESSAGE,
            Name(..) => "invalid_name",
            Conflict(_) => "name_conflict",
            TooLarge(_) | UseChunks => "file_too_large",
            Quota { .. } | FilesFull(_) | UploadsFull(_) | Busy(_) => ProviderError::LIMIT_REACHED,
            NotOwner => ProviderError::FORBIDDEN,
            Mismatch(_) | SizeMismatch(_) => "hash_mismatch",
            Changed => "file_changed",
            Io(_, ref error) if is_full(error) => ProviderError::LIMIT_REACHED,
            Io(..) | NotSettled(..) | Refused(_) => "disk_failed",
        };
        ProviderError::new(code, error.to_string())
    }
}
