//! Replicas come block by block, are mended, and are deleted; each function here runs in the lane of their file.
//!
//! The sidecar is on the disk before the first block. Which blocks of a part are there is found by hashing it; nothing
//! else is kept of that, and blocks are not synced one by one. The whole is, before it gets its name.

use super::Holder;
use super::index::{Admission, BlobId, Deletion, FileKey, Replica, State, Wanted};
use super::storage::now_unix_seconds;
use crate::error::OwnedError;
use potluck_sdk::files::{BlockHashes, CheckedManifest, write_all_at};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::UploadedToPeer;
use potluck_sdk::{Level, PeerId};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Most ranges of missing blocks in an answer.
const RANGES_MAX: usize = 1000;
/// Bytes of hashes of unfinished replicas that are kept at hand: those of 1.5 TiB.
const PARTS_BYTES_MAX: usize = 48 << 20;

/// What is known of a replica with missing blocks.
pub(super) struct Part {
    hashes: BlockHashes,
    missing: Vec<bool>,
    missing_count: usize,
    stored_bytes: u64,
}

impl Part {
    /// Finds out which blocks are there.
    fn read(hashes: BlockHashes, file: Option<&File>) -> io::Result<Part> {
        let count = hashes.count();
        let mut part = Part { hashes, missing: vec![true; count], missing_count: count, stored_bytes: 0 };
        let Some(file) = file else { return Ok(part) };
        let length = file.metadata()?.len();
        let mut block = Vec::new();
        for index in 0..count {
            let (begin, bytes) = part.place(index);
            if begin >= length {
                break;
            }
            block.resize(bytes, 0);
            // A block that cannot be read is missing.
            if file.read_exact_at(&mut block, begin).is_ok() && part.hashes.check(index, &block) {
                part.found(index);
            }
        }
        Ok(part)
    }

    /// Where a block begins, and how long it is.
    fn place(&self, index: usize) -> (u64, usize) {
        let begin = (index as u64).saturating_mul(self.hashes.block_bytes());
        let length = self.hashes.file_bytes().saturating_sub(begin).min(self.hashes.block_bytes());
        (begin, usize::try_from(length).unwrap_or(0))
    }

    fn found(&mut self, index: usize) {
        if std::mem::replace(&mut self.missing[index], false) {
            self.missing_count -= 1;
            self.stored_bytes += self.place(index).1 as u64;
        }
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for index in (0..self.missing.len()).filter(|index| self.missing[*index]).map(|index| index as u64) {
            let count = ranges.len();
            match ranges.last_mut() {
                Some((_, end)) if *end == index => *end += 1,
                _ if count == RANGES_MAX => break,
                _ => ranges.push((index, index + 1)),
            }
        }
        ranges
    }

    fn memory_bytes(&self) -> usize {
        33 * self.missing.len() + 256
    }
}

/// Parts at hand. One that is worked on is taken out; only its lane does that.
#[derive(Default)]
pub(super) struct Parts {
    parts: HashMap<BlobId, (u64, Part)>,
    bytes: usize,
    use_count: u64,
}

impl Parts {
    fn take(&mut self, blob: BlobId) -> Option<Part> {
        let (_, part) = self.parts.remove(&blob)?;
        self.bytes -= part.memory_bytes();
        Some(part)
    }

    fn put(&mut self, blob: BlobId, part: Part) {
        self.take(blob);
        self.use_count += 1;
        self.bytes += part.memory_bytes();
        self.parts.insert(blob, (self.use_count, part));
        while self.bytes > PARTS_BYTES_MAX && self.parts.len() > 1 {
            let oldest = self.parts.iter().min_by_key(|(_, (used, _))| *used).map(|(blob, _)| *blob);
            let Some(oldest) = oldest else { return };
            self.take(oldest);
        }
    }
}

fn io(error: io::Error) -> OwnedError {
    OwnedError::Io("UPLOAD_TO_PEER", error)
}

fn answer(size: u64, complete: bool, missing: Vec<(u64, u64)>) -> UploadedToPeer {
    UploadedToPeer { status: STATUS_OK.to_owned(), filename: String::new(), size, complete, missing }
}

/// The first message of an upload, or of going on with one: room is made, and the answer says what is missing.
pub(super) fn begin(
    holder: &Arc<Holder>,
    manifest: &CheckedManifest,
    hashes: &[u8],
    bringer: Option<PeerId>,
) -> Result<UploadedToPeer, OwnedError> {
    let Some(mut wanted) = Wanted::of(manifest)? else {
        delete(holder, manifest)?;
        return Ok(answer(0, true, Vec::new()));
    };
    wanted.replica.brought_by = bringer.filter(|bringer| *bringer != manifest.owner);
    let blob = wanted.blob;
    let hashes = manifest.block_hashes(hashes)?;
    let admitted = holder.index.lock().admit(&holder.config, &wanted);
    if matches!(admitted, Err(OwnedError::Quota { .. } | OwnedError::ReplicasFull(_) | OwnedError::UploadsFull(_))) {
        // There may be room when it is asked for again.
        forget_abandoned(holder);
    }
    let admission = admitted?;
    if admission == Admission::New {
        if let Err(error) = prepare(holder, manifest, blob, &hashes) {
            // What was written of it is found at the next start, and forgotten when it is old.
            holder.index.lock().remove(blob);
            return Err(io(error));
        }
        let now = now_unix_seconds();
        holder.index.lock().update(blob, |replica| replica.touched_unix_seconds = now);
    }
    let Some(known) = holder.index.lock().replica(blob) else { return Err(OwnedError::NoBlob) };
    let is_unreadable = || known.state != State::Whole && holder.storage.read_hashes(manifest.owner, blob).is_err();
    if admission == Admission::Known && (known.revision != wanted.replica.revision || is_unreadable()) {
        holder.storage.write_sidecar(manifest, blob, &hashes).map_err(io)?;
        holder.index.lock().update(blob, |replica| replica.revision = wanted.replica.revision);
    }
    if known.state == State::Whole {
        return Ok(answer(known.size, true, Vec::new()));
    }
    let part = holder.parts.lock().take(blob);
    let part = match part {
        Some(part) => part,
        None => read_part(holder, blob, &known, hashes)?,
    };
    settle(holder, blob, known, part, true)
}

/// Writes down what will come.
fn prepare(holder: &Holder, manifest: &CheckedManifest, blob: BlobId, hashes: &BlockHashes) -> io::Result<()> {
    if holder.storage.free_bytes()? < hashes.file_bytes() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    holder.storage.write_sidecar(manifest, blob, hashes)?;
    holder.storage.adopt(manifest.owner, blob)
}

fn read_part(holder: &Holder, blob: BlobId, known: &Replica, hashes: BlockHashes) -> Result<Part, OwnedError> {
    let file = match holder.storage.open_replica(known.file.owner, blob) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(error)),
    };
    Part::read(hashes, file.as_ref()).map_err(io)
}

/// A block comes.
pub(super) fn block(
    holder: &Arc<Holder>,
    blob: BlobId,
    number: u64,
    bytes: &[u8],
) -> Result<UploadedToPeer, OwnedError> {
    let known = holder.index.lock().replica(blob).ok_or(OwnedError::NoBlob)?;
    if known.state == State::Whole {
        return Ok(answer(known.size, true, Vec::new()));
    }
    let part = holder.parts.lock().take(blob);
    let mut part = match part {
        Some(part) => part,
        None => {
            let hashes = holder.storage.read_hashes(known.file.owner, blob).map_err(io)?;
            read_part(holder, blob, &known, hashes)?
        }
    };
    match store(holder, blob, &known, &mut part, number, bytes) {
        // A block that is here already keeps no part from being abandoned.
        Ok(false) => {}
        Ok(true) => {
            let now = now_unix_seconds();
            holder.index.lock().update(blob, |replica| replica.touched_unix_seconds = now);
        }
        Err(error) => {
            holder.parts.lock().put(blob, part);
            return Err(error);
        }
    }
    settle(holder, blob, known, part, false)
}

/// Says whether the block was missing.
fn store(
    holder: &Holder,
    blob: BlobId,
    known: &Replica,
    part: &mut Part,
    number: u64,
    bytes: &[u8],
) -> Result<bool, OwnedError> {
    let index = usize::try_from(number).map_err(|_| OwnedError::Mismatch)?;
    if !part.hashes.check(index, bytes) {
        return Err(OwnedError::Mismatch);
    }
    let was_missing = part.missing[index];
    if was_missing {
        let file = holder.storage.open_to_write(known.file.owner, blob, known.state).map_err(io)?;
        write_all_at(&file, bytes, part.place(index).0).map_err(io)?;
        part.found(index);
    }
    Ok(was_missing)
}

/// Ends an upload whose last block is there, or says what is missing.
fn settle(
    holder: &Arc<Holder>,
    blob: BlobId,
    known: Replica,
    part: Part,
    tell_missing: bool,
) -> Result<UploadedToPeer, OwnedError> {
    if part.missing_count > 0 {
        let told = answer(part.stored_bytes, false, if tell_missing { part.ranges() } else { Vec::new() });
        holder.parts.lock().put(blob, part);
        return Ok(told);
    }
    let owner = known.file.owner;
    let file = holder.storage.open_to_write(owner, blob, known.state).map_err(io)?;
    if let Err(error) = file.set_len(known.size).and_then(|()| file.sync_all()) {
        // The next sync may succeed without having written what this one could not, so all blocks have to come again.
        let _ = holder.storage.discard(owner, blob);
        return Err(io(error));
    }
    // When this fails, what is there is found again by hashing it, under either name.
    holder.storage.name_whole(owner, blob, known.state).map_err(io)?;
    holder.index.lock().update(blob, |replica| replica.state = State::Whole);
    // What it replaces stays until its owner, or the tracker, says that the new version counts: the owner may have been
    // killed before it could register that.
    if known.state == State::Damaged {
        super::report::report_one(holder, blob);
    }
    Ok(answer(known.size, true, Vec::new()))
}

fn remove(holder: &Holder, blob: BlobId) -> io::Result<()> {
    let removed = holder.index.lock().remove(blob);
    holder.parts.lock().take(blob);
    let Some(replica) = removed else { return Ok(()) };
    let gone = holder.storage.remove(replica.file.owner, blob);
    if gone.is_err() {
        // It still takes room, and is there to be deleted again.
        holder.index.lock().insert(blob, replica);
    }
    gone
}

/// Deletes all that a manifest has replaced, and remembers it, so that no older one brings it back. Returns whether
/// there was something.
pub(super) fn delete(holder: &Arc<Holder>, manifest: &CheckedManifest) -> Result<bool, OwnedError> {
    let io = |error| OwnedError::Io("DELETE_OWNED_FILE", error);
    let (file, deletion) = (FileKey::of(manifest)?, Deletion::of(manifest)?);
    let (replaced, known) = {
        let index = holder.index.lock();
        (index.replaced(&file, &deletion), index.deletion(&file))
    };
    if replaced.is_empty() {
        return Ok(false);
    }
    if known.is_none_or(|known| known.revision < deletion.revision) {
        holder.storage.write_deletion(&file, manifest).map_err(io)?;
        let forgotten = holder.index.lock().remember(holder.config.replicas_max, file, deletion);
        if let Some(forgotten) = forgotten {
            let _ = holder.storage.remove_deletion(&forgotten);
        }
    }
    for blob in replaced {
        remove(holder, blob).map_err(io)?;
    }
    Ok(true)
}

/// Removes the parts that nobody has gone on with for too long.
pub(super) fn forget_abandoned(holder: &Arc<Holder>) {
    let limit = now_unix_seconds().saturating_sub(holder.config.unfinished_seconds);
    let is_old = move |replica: &Replica| replica.state == State::Part && replica.touched_unix_seconds < limit;
    let abandoned: Vec<(BlobId, FileKey)> = {
        let index = holder.index.lock();
        index.replicas().filter(|(_, replica)| is_old(replica)).map(|(blob, replica)| (blob, replica.file)).collect()
    };
    for (blob, file) in abandoned {
        holder.in_lane(&file, move |holder| {
            let is_still_old = holder.index.lock().replica(blob).is_some_and(|replica| is_old(&replica));
            if is_still_old && let Err(error) = remove(holder, blob) {
                holder.host.log(Level::Warn, &format!("An abandoned replica could not be removed: {error}"));
            }
        });
    }
}
