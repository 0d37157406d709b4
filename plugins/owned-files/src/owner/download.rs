//! DOWNLOAD_OWNED_FILE: pieces of a file, decrypted on the way.
//!
//! The pieces of one file are read one after the other through one reader, so that each block is fetched and decrypted once
//! while a client reads on.

use super::Owner;
use super::call::ANSWER_TIMEOUT;
use super::remote::RemoteBlob;
use super::tracker::{Registered, find_within};
use crate::error::OwnedError;
use age::stream::StreamReader;
use potluck_sdk::files::FileName;
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::message::owned_files::{OwnedFileResponse, ReplicaState};
use potluck_sdk::{PeerId, ProviderError};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// Files that are open at a time; each may hold 16 MiB.
const OPEN_MAX: usize = 3;
/// An open file that nobody reads on is closed after this.
const OPEN_TIME: Duration = Duration::from_secs(30);
/// How old what is known of a file's holders may be.
const FRESH_TIME: Duration = Duration::from_secs(10);
/// How long the tracker may take to say who keeps a file that is known here.
const TRACKER_TIMEOUT: Duration = Duration::from_secs(5);
/// The unit in which the stream is encrypted.
const CHUNK_BYTES: u64 = 64 << 10;

/// A file that is being read.
pub(crate) struct Open {
    name_tag: String,
    revision: u64,
    size: u64,
    sha256: String,
    reader: StreamReader<RemoteBlob>,
    position: u64,
    found_at: Instant,
    used_at: Instant,
}

/// Reads a piece, and what the file is. May block while holders are asked.
pub(crate) fn read_piece(
    owner: &Owner,
    name: &FileName,
    offset: u64,
    length: Option<u64>,
    revision: Option<u64>,
) -> Result<(OwnedFileResponse, Vec<u8>), OwnedError> {
    let name_tag = owner.keys.name_tag(name);
    owner.reading.lock().insert(name_tag.clone());
    let read = read_open(owner, name, &name_tag, offset, length, revision);
    let is_current = owner.reading.lock().remove(&name_tag);
    let Some((open, bytes)) = read? else { return Ok((missing(name), Vec::new())) };
    let response = OwnedFileResponse {
        filename: name.to_string(),
        found: true,
        size: Some(open.size),
        sha256: Some(open.sha256.clone()),
        revision: Some(open.revision),
        ..OwnedFileResponse::default()
    };
    if is_current {
        keep_open(owner, open);
    }
    Ok((response, bytes))
}

fn read_open(
    owner: &Owner,
    name: &FileName,
    name_tag: &str,
    offset: u64,
    length: Option<u64>,
    revision: Option<u64>,
) -> Result<Option<(Open, Vec<u8>)>, OwnedError> {
    let mut bytes = Vec::new();
    let mut try_piece = |open: Option<Open>| -> Result<Option<Open>, OwnedError> {
        let open = match open {
            Some(open) => Some(open),
            None => open_file(owner, name_tag)?,
        };
        let Some(mut open) = open else { return Ok(None) };
        if revision.is_some_and(|revision| revision != open.revision) {
            return Err(OwnedError::Changed);
        }
        let length = length.unwrap_or(ATTACHMENT_BYTES_MAX).min(ATTACHMENT_BYTES_MAX);
        let length = length.min(open.size.saturating_sub(offset));
        open.read(offset, length, &mut bytes).map_err(|error| unreadable(name.as_str(), &error))?;
        Ok(Some(open))
    };
    let open = match try_piece(take_open(owner, name_tag, offset, revision)) {
        Err(OwnedError::Changed) => return Err(OwnedError::Changed),
        // Holders may have moved, or a new version has taken the place of the one that was found: once more.
        Err(_) => try_piece(None)?,
        Ok(open) => open,
    };
    Ok(open.map(|open| (open, bytes)))
}

fn missing(name: &FileName) -> OwnedFileResponse {
    OwnedFileResponse {
        filename: name.to_string(),
        error: Some("File not found".to_owned()),
        ..OwnedFileResponse::default()
    }
}

fn unreadable(name: &str, error: &io::Error) -> OwnedError {
    let code = if error.kind() == io::ErrorKind::NotConnected { "no_holders" } else { "disk_failed" };
    OwnedError::Peer(ProviderError::new(code, format!("{name} cannot be read: {error}")))
}

fn take_open(owner: &Owner, name_tag: &str, offset: u64, revision: Option<u64>) -> Option<Open> {
    let mut all = owner.open.lock();
    all.retain(|open| open.used_at.elapsed() < OPEN_TIME);
    let index = all.iter().position(|open| open.name_tag == name_tag)?;
    let open = all.swap_remove(index);
    let is_wanted = match revision {
        Some(revision) => revision == open.revision,
        // Who does not say which version it wants reads on in one, and begins with the newest.
        None => open.found_at.elapsed() < FRESH_TIME || (open.position > 0 && open.position == offset),
    };
    is_wanted.then_some(open)
}

fn keep_open(owner: &Owner, mut open: Open) {
    open.used_at = Instant::now();
    if open.position >= open.size {
        // The next one reads from the beginning, and of the newest version.
        return;
    }
    let mut all = owner.open.lock();
    all.push(open);
    if all.len() > OPEN_MAX
        && let Some(oldest) = (0..all.len()).min_by_key(|index| all[*index].used_at)
    {
        all.swap_remove(oldest);
    }
}

/// Forgets an open file, since there is another version; also one that is being read just now.
pub(super) fn forget(owner: &Owner, name_tag: &str) {
    owner.reading.lock().remove(name_tag);
    owner.open.lock().retain(|open| open.name_tag != name_tag);
}

fn open_file(owner: &Owner, name_tag: &str) -> Result<Option<Open>, OwnedError> {
    let here = owner.database.file(name_tag)?;
    // What is known here is enough to begin with.
    let timeout = if here.is_some() { TRACKER_TIMEOUT } else { ANSWER_TIMEOUT };
    let found = match find_within(owner, name_tag, timeout) {
        // A holder has told of it, and it is not stored as it is to be.
        Ok(Some(found)) if owner.database.is_outgoing(&found.manifest)? => Ok(None),
        found => found,
    };
    let (manifest, hashes, holders) = match (found, here) {
        (Ok(Some(Registered { manifest, block_hashes, peers })), here)
            if here.as_ref().is_none_or(|here| manifest.manifest.revision >= here.manifest.manifest.revision) =>
        {
            let mut holders: Vec<PeerId> = usable(&peers);
            let mut hashes = block_hashes;
            if let Some(here) = here.filter(|here| here.manifest.signed == manifest.signed) {
                // The tracker may have just begun, and not have heard of all.
                holders
                    .extend(here.holders.into_iter().filter(|id| !peers.iter().any(|peer| peer.peer_id == Some(*id))));
                hashes = here.block_hashes;
            }
            (manifest, hashes, holders)
        }
        (_, Some(here)) => (here.manifest, here.block_hashes, here.holders),
        (Ok(_), None) => return Ok(None),
        (Err(error), None) => return Err(error),
    };
    let Some(blob) = manifest.manifest.blob.clone() else { return Ok(None) };
    let Some((_, sealed)) = owner.keys.unseal(&manifest.manifest) else { return Ok(None) };
    let hashes = match manifest.block_hashes(&hashes) {
        Ok(hashes) => hashes,
        Err(_) => super::list::hashes_from_holders(owner, &manifest, &holders)?,
    };
    let remote = RemoteBlob::new(owner.host, owner.id, &blob.id, hashes, &holders);
    let reader = owner.keys.decrypt(remote).map_err(|error| unreadable(&sealed.filename, &error))?;
    let now = Instant::now();
    Ok(Some(Open {
        name_tag: name_tag.to_owned(),
        revision: manifest.manifest.revision,
        size: sealed.size,
        sha256: sealed.sha256,
        reader,
        position: 0,
        found_at: now,
        used_at: now,
    }))
}

/// Those that may have it, the best first.
fn usable(peers: &[potluck_sdk::message::owned_files::StoragePeer]) -> Vec<PeerId> {
    let rank = |state: ReplicaState| match state {
        ReplicaState::Ok => 0,
        ReplicaState::Unchecked => 1,
        ReplicaState::Away => 2,
        ReplicaState::Damaged => 3,
        ReplicaState::Missing => 4,
    };
    let mut usable: Vec<_> = peers.iter().filter_map(|peer| Some((rank(peer.state), peer.peer_id?))).collect();
    usable.sort_by_key(|(rank, _)| *rank);
    usable.into_iter().map(|(_, id)| id).collect()
}

impl Open {
    fn read(&mut self, offset: u64, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        bytes.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        if length == 0 {
            return Ok(());
        }
        if offset != self.position {
            // At the very beginning of a chunk the library would look for the end of the file first.
            let is_boundary = offset > 0 && offset.is_multiple_of(CHUNK_BYTES);
            self.position = u64::MAX;
            self.reader.seek(SeekFrom::Start(offset - u64::from(is_boundary)))?;
            if is_boundary {
                self.reader.read_exact(&mut [0])?;
            }
        }
        // Unknown until it has succeeded.
        self.position = u64::MAX;
        self.reader.read_exact(bytes)?;
        self.position = offset + length;
        Ok(())
    }
}
