//! Names, folders and hashes of files, for providers that keep some.

mod folder;
mod hashes;
mod name;

pub use folder::{Change, Folder, Found, NewFile, TEMPORARY_FOLDER};
pub use hashes::{BLOCK_BYTES, BlockHashes, HashesError, Sha256, age_identity, to_hex};
pub use name::{Conflict, FileName, NAME_BYTES_MAX, NameError, NameIndex, NameKey, OWN_PREFIX};
