//! What can go wrong in the registry, and the codes that programs see.

use potluck_sdk::ProviderError;
use potluck_sdk::files::{HashesError, ManifestError, NameError};
use potluck_sdk::message::owned_files::{ENTRIES_MAX, REPLICAS_MAX};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("{0} required")]
    Required(&'static str),
    #[error("Missing required fields")]
    Missing,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("Invalid filename: {0}")]
    Name(NameError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Hashes(#[from] HashesError),
    #[error("Access denied: you are not the owner of this file")]
    NotOwner,
    #[error("a task has no owned files; ask as the node that runs it")]
    NoOwner,
    #[error("a later version of this file is registered, or it was deleted; sign one with a higher revision")]
    Superseded,
    #[error("a message may name {ENTRIES_MAX} entries of a kind and {REPLICAS_MAX} holders of a file; send several")]
    TooMany,
    #[error("the registry holds {0} files, its limit; raise owned_files_max in [plugins.tracker]")]
    Full(u64),
    #[error("half of the registry is full of files that their owners have not confirmed; see who reports them")]
    UnconfirmedFull,
    #[error("you have {0} files here, deleted ones included, the limit; raise owner_files_max in [plugins.tracker]")]
    OwnerFull(u64),
    #[error("{0}")]
    NoPeers(&'static str),
    #[error("no file has an owner {0:?}; owned_files.json shows what the registry has")]
    UnknownOwner(String),
    #[error("the registry has too much to do; try again in a moment")]
    Busy,
    #[error("the registry cannot be used: it is of version {found} and this node knows {known}; update Potluck")]
    Version { found: i64, known: i64 },
    #[error("the registry cannot be used: {0}; see whether the disk is full or damaged")]
    Io(#[from] std::io::Error),
    #[error(
        "the registry cannot be used: {0}; see whether the disk is full. If tracker_state/registry.sqlite is damaged, \
         move it away: holders and owners report all that was in it"
    )]
    Database(#[from] rusqlite::Error),
    /// The transaction that it was part of.
    #[error("the registry could not be written: {0}; nothing was changed, try again")]
    NotCommitted(String),
    #[error("something broke while the registry did this; nothing was changed")]
    Panicked,
}

impl From<RegistryError> for ProviderError {
    fn from(error: RegistryError) -> ProviderError {
        use RegistryError::*;
        let code = match error {
            Required(_) | Missing | Invalid(_) => ProviderError::INVALID_MESSAGE,
            Name(_) => "invalid_name",
            Manifest(_) => "invalid_manifest",
            Hashes(_) => "hash_mismatch",
            NotOwner | NoOwner => ProviderError::FORBIDDEN,
            Superseded => "superseded",
            TooMany | Full(_) | UnconfirmedFull | OwnerFull(_) => ProviderError::LIMIT_REACHED,
            NoPeers(_) => "no_peers",
            UnknownOwner(_) => "not_found",
            Busy => "busy",
            Version { .. } | Io(_) | Database(_) | NotCommitted(_) => "disk_failed",
            Panicked => ProviderError::PROVIDER_PANICKED,
        };
        ProviderError::new(code, error.to_string())
    }
}
