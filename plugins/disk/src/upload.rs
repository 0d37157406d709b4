//! Uploads in pieces: what is here of each, and the room that is kept for it.
//!
//! The bytes are in an unfinished file of the folder, whose length says where to go on. It is removed when the upload ends,
//! is aborted, is abandoned, or turns out to be another file than announced; never because a disk has failed, since its pieces were
//! acknowledged. Pieces are not synced one by one: what a loss of power takes of them is asked for again, since the length
//! says so, and the whole is synced and checked at the end.

use crate::error::DiskError;
use crate::store::{Store, hash};
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::files::{FileName, NewFile};
use potluck_sdk::message::disk::ChunkPut;
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Another node may have this part of all uploads, so that one alone cannot keep the others out.
const PEER_SHARE: usize = 4;

/// A piece of an upload, decoded.
pub(crate) struct Chunk {
    pub(crate) name: FileName,
    pub(crate) owner: Option<PeerId>,
    pub(crate) upload: String,
    /// Names the unfinished file: other senders, names and uploads have others.
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) size: Option<u64>,
    pub(crate) data: Vec<u8>,
    pub(crate) is_final: bool,
    pub(crate) sha256: Option<String>,
    pub(crate) abort: bool,
}

struct Upload {
    owner: Option<PeerId>,
    reserved_bytes: u64,
    last_piece: Instant,
}

/// The uploads that are not finished, by their keys. The lock of the index may be taken under theirs.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Upload>>);

impl Uploads {
    /// Keeps room for all that an upload will have.
    fn reserve(&self, store: &Store, chunk: &Chunk, size: u64) -> Result<(), DiskError> {
        let now = Instant::now();
        let mut uploads = self.0.lock();
        if let Some(upload) = uploads.get_mut(&chunk.key) {
            let size = size.max(upload.reserved_bytes);
            let mut index = store.index.lock();
            index.reserve_more(&store.config, &chunk.name, chunk.owner, upload.reserved_bytes, size)?;
            (upload.reserved_bytes, upload.last_piece) = (size, now);
            return Ok(());
        }
        let of_owner = uploads.values().filter(|upload| upload.owner == chunk.owner).count();
        let share = (store.config.uploads_max / PEER_SHARE).max(1);
        if uploads.len() >= store.config.uploads_max || (chunk.owner.is_some() && of_owner >= share) {
            return Err(DiskError::UploadsFull(uploads.len()));
        }
        store.index.lock().reserve(&store.config, &chunk.name, chunk.owner, size)?;
        let upload = Upload { owner: chunk.owner, reserved_bytes: size, last_piece: now };
        uploads.insert(chunk.key.clone(), upload);
        Ok(())
    }

    fn end(&self, store: &Store, key: &str) {
        if let Some(upload) = self.0.lock().remove(key) {
            store.index.lock().release(upload.owner, upload.reserved_bytes);
        }
    }

    /// Forgets the uploads that nobody has gone on with for too long.
    fn forget_abandoned(&self, store: &Store) {
        let patience = Duration::from_secs(store.config.unfinished_seconds);
        let abandoned: Vec<String> = {
            let uploads = self.0.lock();
            let old = uploads.iter().filter(|(_, upload)| upload.last_piece.elapsed() > patience);
            old.map(|(key, _)| key.clone()).collect()
        };
        for key in abandoned {
            if let Ok(part) = store.folder.unfinished(&key) {
                part.discard();
            }
            self.end(store, &key);
        }
    }
}

/// Stores a piece.
pub(crate) fn store_chunk(store: &Store, chunk: Chunk) -> Result<ChunkPut, DiskError> {
    let io = |error| DiskError::Io("PUT_FILE_CHUNK", error);
    if chunk.offset == 0 {
        store.uploads.forget_abandoned(store);
    }
    let mut part = store.folder.unfinished(&chunk.key).map_err(io)?;
    let received = part.file().metadata().map_err(io)?.len();
    let state = |received_bytes, stored, sha256: Option<String>| ChunkPut {
        status: "OK".to_owned(),
        operation: "PUT_FILE_CHUNK".to_owned(),
        filename: chunk.name.to_string(),
        upload: chunk.upload.clone(),
        received_bytes,
        stored,
        complete: sha256.is_some(),
        sha256,
    };
    if chunk.abort {
        part.discard();
        store.uploads.end(store, &chunk.key);
        return Ok(state(0, false, None));
    }
    // Nothing of it is here yet, and nothing will be by this piece: it leaves no trace.
    let discard_empty = |part: NewFile| {
        if received == 0 {
            part.discard();
        }
    };
    if chunk.offset != received {
        discard_empty(part);
        return Ok(state(received, false, None));
    }
    let total = received + chunk.data.len() as u64;
    if let Err(refusal) = store.uploads.reserve(store, &chunk, total.max(chunk.size.unwrap_or(0))) {
        discard_empty(part);
        return Err(refusal);
    }
    if let Err(error) = part.file().write_all(&chunk.data) {
        // What was written of the piece is taken back, so that the sender can go on from where it was.
        let _ = part.file().set_len(received);
        return Err(io(error));
    }
    if !chunk.is_final {
        return Ok(state(total, true, None));
    }
    let finished = finish(store, &chunk, part, total);
    if !matches!(finished, Err(DiskError::Io(..))) {
        store.uploads.end(store, &chunk.key);
    }
    finished.map(|(size, sha256)| state(size, true, Some(sha256)))
}

fn finish(store: &Store, chunk: &Chunk, mut part: NewFile, total: u64) -> Result<(u64, String), DiskError> {
    if chunk.size.is_some_and(|size| size != total) {
        part.discard();
        return Err(DiskError::SizeMismatch(total));
    }
    let sha256 = hash(part.file()).map_err(|error| DiskError::Io("PUT_FILE_CHUNK", error))?;
    store.finish(part, &chunk.name, chunk.owner, total, sha256, chunk.sha256.as_deref())
}
