//! Names, folders and hashes of files, for providers that keep some.

mod fetch;
mod folder;
mod hashes;
mod lanes;
mod manifest;
mod name;
mod write;

pub use fetch::{Answer, Block, FetchError, FetchLimits, Fetching, Source, fetch};
pub use folder::{Change, Folder, Found, NewFile, TEMPORARY_FOLDER};
pub use hashes::{BLOCK_BYTES, Blake3, BlockHasher, BlockHashes, HashesError, Sha256, age_identity, from_hex, to_hex};
pub use lanes::{Lanes, LanesFull};
pub use manifest::{CheckedManifest, ManifestError};
pub use name::{Conflict, FileName, NAME_BYTES_MAX, NameError, NameIndex, NameKey, OWN_PREFIX};
pub use write::{write_all, write_all_at};
