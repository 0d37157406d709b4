//! What can go wrong, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::files::{HashesError, LanesFull, ManifestError, NameError};
use std::io;

/// Code of the refusal that passes by itself.
pub(crate) const BUSY: &str = "busy";

#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnedError {
    #[error("Filename required for {0}")]
    FilenameRequired(&'static str),
    #[error("{0} needs {1}")]
    MemberRequired(&'static str, &'static str),
    #[error("{0} failed: Invalid filename: {1}")]
    Name(&'static str, NameError),
    #[error("data is not valid base64; encode the bytes with the standard alphabet and padding")]
    Base64,
    #[error("upload must be 1 to 64 letters, digits, hyphens or underscores")]
    UploadName,
    #[error("blob must be 32 lower-case hexadecimal digits")]
    BlobName,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Hashes(#[from] HashesError),
    #[error("the bytes are not those of the block that the owner has signed; send it again")]
    Mismatch,
    #[error("the bytes have the hash {0}, not the one that was sent; nothing was stored, send them again")]
    HashMismatch(String),
    #[error("an upload `with_blake3` ends with both `blake3` and `sha256`; the upload was thrown away, send it again")]
    HashMissing,
    #[error("the file has {0} bytes, not as many as were announced; the upload was thrown away, send it again")]
    SizeMismatch(u64),
    #[error("Access denied: you are not the owner of this file")]
    NotOwner,
    #[error("only the pool's tracker may ask for this")]
    NotTracker,
    #[error("a later version of this file is known, or it was deleted; nothing was stored")]
    Superseded,
    #[error("the upload was ended: the node is stopping, or somebody has aborted it or deleted the file")]
    Ended,
    #[error("File too large (max {0} bytes)")]
    TooLarge(u64),
    #[error("Storage quota exceeded (max {} MB); delete files, or raise {key} in [plugins.owned-files]", bytes >> 20)]
    Quota { bytes: u64, key: &'static str },
    #[error("the node keeps {0} replicas, its limit; raise replicas_max in [plugins.owned-files]")]
    ReplicasFull(usize),
    #[error("{0} uploads are unfinished, the limit; finish or abort some")]
    UploadsFull(usize),
    #[error(transparent)]
    Busy(#[from] LanesFull),
    #[error("the file has become another one meanwhile; begin again")]
    Changed,
    #[error("the blob is not here")]
    NoBlob,
    #[error("another blob has this id, or this revision of the file; upload the file again")]
    Taken,
    #[error("{0} replicas are being brought to other peers, the limit; try again later")]
    ReplicationsFull(usize),
    #[error("Missing required fields")]
    MissingFields,
    #[error("File not found on this peer")]
    NotHere,
    #[error("the replica is damaged; its repair has been asked for")]
    Damaged,
    /// What another node has answered.
    #[error("{0}")]
    Peer(ProviderError),
    #[error("{0}")]
    NoHolders(String),
    #[error("{0} failed: {reason}", reason = sentence(.1))]
    Io(&'static str, io::Error),
    #[error("the list of own files cannot be used: {reason}", reason = database_sentence(.0))]
    Database(#[from] rusqlite::Error),
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn sentence(error: &io::Error) -> String {
    match is_full(error) {
        true => full(error),
        false => error.to_string(),
    }
}

fn is_database_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn database_sentence(error: &rusqlite::Error) -> String {
    match is_database_full(error) {
        true => full(error),
        false => error.to_string(),
    }
}

fn full(error: impl std::fmt::Display) -> String {
    format!("the disk is full ({error}); delete files, or give the node a larger disk")
}

impl From<OwnedError> for ProviderError {
    fn from(error: OwnedError) -> ProviderError {
        use OwnedError::*;
        let code = match error {
            Peer(error) => return error,
            FilenameRequired(_) | MemberRequired(..) | Base64 | UploadName | BlobName | MissingFields => {
                ProviderError::INVALID_MESSAGE
            }
            Name(..) => "invalid_name",
            Manifest(_) => "invalid_manifest",
            Hashes(_) | Mismatch | HashMismatch(_) | HashMissing | SizeMismatch(_) => "hash_mismatch",
            NotOwner | NotTracker => ProviderError::FORBIDDEN,
            Superseded => "superseded",
            Ended => "aborted",
            Taken => "conflict",
            TooLarge(_) => "file_too_large",
            Quota { .. } | ReplicasFull(_) | ReplicationsFull(_) | UploadsFull(_) => ProviderError::LIMIT_REACHED,
            Busy(_) => BUSY,
            Changed => "file_changed",
            NoBlob | NotHere => "not_found",
            Damaged => "damaged",
            NoHolders(_) => "no_holders",
            Io(_, ref error) if is_full(error) => ProviderError::LIMIT_REACHED,
            Database(ref error) if is_database_full(error) => ProviderError::LIMIT_REACHED,
            Io(..) | Database(_) => "disk_failed",
        };
        ProviderError::new(code, error.to_string())
    }
}
