//! UPLOAD_OWNED_FILE: pieces are encrypted as they come; after the last one the file is sealed and signed.

use super::Owner;
use super::database::Outgoing;
use super::delivery::{checked_outgoing, complete};
use super::staging::{ContentHash, Growing, Grown};
use super::tracker::find;
use crate::error::OwnedError;
use potluck_sdk::files::{BlockHashes, CheckedManifest, FileName, from_hex, to_hex};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{Blob, Manifest, OwnedFileUploaded, REPLICAS_MAX, Sealed};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) const OPERATION: &str = "UPLOAD_OWNED_FILE";
/// An upload that nobody has gone on with for so long makes room for another.
const IDLE_TIME: Duration = Duration::from_secs(600);

/// A piece of an upload, decoded.
pub(crate) struct Piece {
    pub(crate) name: FileName,
    pub(crate) upload: String,
    /// Names the upload here: another file under the same `upload` is another one.
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) size: Option<u64>,
    pub(crate) data: Vec<u8>,
    pub(crate) is_final: bool,
    pub(crate) sha256: Option<String>,
    pub(crate) with_blake3: bool,
    pub(crate) blake3: Option<String>,
    pub(crate) replicas: Option<u32>,
    pub(crate) holders: Vec<String>,
    pub(crate) abort: bool,
}

/// What became of a piece.
pub(crate) enum Taken {
    /// The answer.
    Answer(OwnedFileUploaded),
    /// The whole file is encrypted, and is to be brought to its holders.
    Whole,
}

/// Takes a piece.
pub(crate) fn take_piece(owner: &Arc<Owner>, piece: &Piece) -> Result<Taken, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    if piece.abort {
        return abort(owner, piece).map(Taken::Answer);
    }
    let growing = owner.growing.lock().remove(&piece.key);
    let mut growing = match growing {
        Some(growing) => growing,
        None => {
            if let Some(file) = owner.database.file_of_upload(&piece.key)? {
                let replicas = file.manifest.manifest.replicas;
                let other = format!(
                    "the file is stored already, for {replicas} replicas; to change that, delete it and upload it again"
                );
                let errors = if piece.wanted_replicas() == replicas { Vec::new() } else { vec![other] };
                return Ok(Taken::Answer(complete(owner, &piece.upload, &file, errors)));
            }
            if let Some(outgoing) = checked_outgoing(owner, &piece.key)? {
                let size = owner.keys.unseal(&outgoing.manifest.manifest).map_or(0, |(_, sealed)| sealed.size);
                if !piece.is_final || piece.end() < size {
                    return Ok(Taken::Answer(state(piece, size, false)));
                }
                renew(owner, piece, outgoing)?;
                return Ok(Taken::Whole);
            }
            let is_question = piece.data.is_empty() && !piece.is_final;
            if (is_question || piece.offset > 0) && !owner.staging.has(&piece.key) {
                return Ok(Taken::Answer(state(piece, 0, false)));
            }
            make_room(owner)?;
            owner.tidy_later();
            owner.staging.grow(&piece.key, &owner.keys, piece.size.unwrap_or(0), piece.with_blake3).map_err(io)?
        }
    };
    match grow(owner, piece, &mut growing) {
        Ok(true) => {}
        Ok(false) => {
            let received_bytes = growing.received_bytes;
            let stored = piece.end() == received_bytes && !piece.data.is_empty();
            owner.growing.lock().insert(piece.key.clone(), growing);
            return Ok(Taken::Answer(state(piece, received_bytes, stored)));
        }
        // What the disk has of a piece is not known after an error; what it has of those before is read anew.
        Err(error) => return Err(error),
    }
    seal(owner, piece, growing)?;
    Ok(Taken::Whole)
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }

    fn wanted_replicas(&self) -> u32 {
        let named = u32::try_from(self.holders.len()).unwrap_or(REPLICAS_MAX);
        self.replicas.unwrap_or(1).max(named).clamp(1, REPLICAS_MAX)
    }
}

/// The client may want other holders than before, when those it has named are away for good, or another number of them.
fn renew(owner: &Owner, piece: &Piece, outgoing: Outgoing) -> Result<(), OwnedError> {
    let before = &outgoing.manifest.manifest;
    let replicas = piece.wanted_replicas();
    if replicas == before.replicas && piece.holders == outgoing.named_holders {
        return Ok(());
    }
    let _one_at_a_time = owner.sealing.lock();
    let mut signed = outgoing.manifest.signed;
    if replicas != before.replicas {
        let revision = known_revision(owner, &before.name_tag)?.saturating_add(1);
        let manifest = Manifest { revision, replicas, ..before.clone() };
        signed = CheckedManifest::sign(&owner.host, &manifest)?.signed;
    }
    owner.database.renew(&piece.key, &signed, &piece.holders)
}

/// Forgets an upload, and takes it back where it has been brought to.
fn abort(owner: &Owner, piece: &Piece) -> Result<OwnedFileUploaded, OwnedError> {
    owner.growing.lock().remove(&piece.key);
    if let Some(outgoing) = owner.database.outgoing(&piece.key)? {
        super::list::withdraw(owner, outgoing)?;
    }
    owner.staging.remove(&piece.key).map_err(|error| OwnedError::Io(OPERATION, error))?;
    match owner.database.file_of_upload(&piece.key)? {
        // Too late: only a deletion takes it back now.
        Some(file) => Ok(complete(owner, &piece.upload, &file, Vec::new())),
        None => Ok(state(piece, 0, false)),
    }
}

/// Makes room for one more upload in the making, in place of one that nobody has gone on with for long. What the disk has
/// of that stays, and is read anew when somebody does go on.
fn make_room(owner: &Owner) -> Result<(), OwnedError> {
    let mut growing = owner.growing.lock();
    if growing.len() < owner.config.uploads_max {
        return Ok(());
    }
    let longest = growing.iter().min_by_key(|(_, growing)| growing.used_at);
    match longest.filter(|(_, growing)| growing.used_at.elapsed() > IDLE_TIME).map(|(key, _)| key.clone()) {
        Some(key) => drop(growing.remove(&key)),
        None => return Err(OwnedError::UploadsFull(owner.config.uploads_max)),
    }
    Ok(())
}

/// Writes a piece where it belongs. Says whether the file ends with it.
fn grow(owner: &Owner, piece: &Piece, growing: &mut Growing) -> Result<bool, OwnedError> {
    if piece.offset != growing.received_bytes {
        // The last piece comes again when the node has ended between it and the answer.
        return Ok(piece.is_final && piece.end() == growing.received_bytes);
    }
    let total = growing.received_bytes + piece.data.len() as u64;
    let size = total.max(piece.size.unwrap_or(0));
    if size > owner.config.file_bytes_max {
        owner.staging.remove(&piece.key).map_err(|error| OwnedError::Io(OPERATION, error))?;
        return Err(OwnedError::TooLarge(owner.config.file_bytes_max));
    }
    growing.write(&piece.data).map_err(|error| OwnedError::Io(OPERATION, error))?;
    Ok(piece.is_final)
}

fn state(piece: &Piece, received_bytes: u64, stored: bool) -> OwnedFileUploaded {
    OwnedFileUploaded {
        status: STATUS_OK.to_owned(),
        filename: piece.name.to_string(),
        upload: piece.upload.clone(),
        received_bytes,
        stored,
        complete: false,
        sha256: None,
        storage_peers: Vec::new(),
        errors: Vec::new(),
    }
}

/// Ends a file, and signs what it is.
fn seal(owner: &Owner, piece: &Piece, growing: Growing) -> Result<(), OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    let size = growing.received_bytes;
    let Grown { blob_bytes, hashes, content } = growing.finish().map_err(io)?;
    let sha256 = match sha256(piece, size, content) {
        Ok(sha256) => sha256,
        Err(refusal) => {
            owner.staging.remove(&piece.key).map_err(io)?;
            return Err(refusal);
        }
    };
    let hashes = match hashes {
        Some(hashes) => hashes,
        None => BlockHashes::read(blob_bytes, owner.staging.read(&piece.key).map_err(io)?).map_err(io)?,
    };
    let name_tag = owner.keys.name_tag(&piece.name);
    let least = least_revision(owner, &name_tag);
    let sealed = Sealed { filename: piece.name.to_string(), size, sha256, uploaded_unix_seconds: unix_seconds() };
    let blob = Blob {
        id: random_blob_id()?,
        size: blob_bytes,
        block_bytes: hashes.block_bytes(),
        root: to_hex(&hashes.root()),
    };
    // Two uploads of one file get revisions of their own.
    let _one_at_a_time = owner.sealing.lock();
    let revision = known_revision(owner, &name_tag)?.saturating_add(1).max(least);
    let manifest = owner.keys.manifest(&name_tag, revision, piece.wanted_replicas(), Some((blob, &sealed)))?;
    let outgoing = Outgoing {
        upload: piece.key.clone(),
        name: piece.name.to_string(),
        manifest,
        block_hashes: hashes.to_bytes(),
        named_holders: piece.holders.clone(),
        holders: Vec::new(),
    };
    owner.database.put_outgoing(&outgoing)?;
    owner.checked.lock().insert(piece.key.clone());
    Ok(())
}

/// The SHA-256 of a file that has come whole, once it is known to be what the client meant.
fn sha256(piece: &Piece, size: u64, content: ContentHash) -> Result<String, OwnedError> {
    if piece.size.is_some_and(|expected| expected != size) {
        return Err(OwnedError::SizeMismatch(size));
    }
    let is = |expected: &Option<String>, hash: &str| match expected {
        Some(expected) => expected.eq_ignore_ascii_case(hash),
        None => false,
    };
    match content {
        ContentHash::Sha256(hash) => {
            let hash = hash.finish();
            let fits = piece.sha256.is_none() || is(&piece.sha256, &hash);
            if fits { Ok(hash) } else { Err(OwnedError::HashMismatch(hash)) }
        }
        ContentHash::Blake3(hash) => {
            let hash = hash.finish();
            let stated = piece.sha256.as_deref().map(str::to_ascii_lowercase);
            let stated = stated.filter(|text| from_hex::<32>(text).is_some()).ok_or(OwnedError::HashMissing)?;
            if is(&piece.blake3, &hash) { Ok(stated) } else { Err(OwnedError::HashMismatch(hash)) }
        }
    }
}

fn random_blob_id() -> Result<String, OwnedError> {
    let mut id = [0; 16];
    let failed = |_| OwnedError::Io(OPERATION, io::Error::other("the system gives no random numbers"));
    SystemRandom::new().fill(&mut id).map_err(failed)?;
    Ok(to_hex(&id))
}

/// The highest revision of a file that this node knows, on its way or stored.
pub(super) fn known_revision(owner: &Owner, name_tag: &str) -> Result<u64, OwnedError> {
    // In this order, since what is on its way becomes a stored version, and not the other way round.
    let outgoing = owner.database.outgoing_of(name_tag)?;
    let outgoing = outgoing.iter().map(|outgoing| outgoing.manifest.manifest.revision);
    let stored = owner.database.file(name_tag)?.map_or(0, |file| file.manifest.manifest.revision);
    Ok(outgoing.fold(stored, u64::max))
}

/// The least revision that a new version may have, as far as the tracker knows. When it is away and this node has lost its
/// list, no later manifest than those that are out may be made up by counting; the time is later than any count.
fn least_revision(owner: &Owner, name_tag: &str) -> u64 {
    match find(owner, name_tag) {
        Ok(found) => found.map_or(1, |found| found.manifest.manifest.revision.saturating_add(1)),
        Err(_) => unix_seconds(),
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Removes what nobody goes on with; returns how many files remain.
pub(crate) fn forget_old(owner: &Owner) -> io::Result<usize> {
    let outgoing: HashSet<String> = owner.database.outgoing_uploads().map_err(io::Error::other)?.into_iter().collect();
    let patience = Duration::from_secs(owner.config.unfinished_seconds);
    owner.growing.lock().retain(|_, growing| growing.used_at.elapsed() <= patience);
    owner.staging.forget_old(patience, |key| outgoing.contains(key) || owner.growing.lock().contains_key(key))
}
