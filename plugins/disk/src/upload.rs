//! Uploads in pieces: what is here of each, and the room that is kept for it.
//!
//! The bytes are in an unfinished file of the folder, whose length says where to go on. It is removed when the upload ends,
//! is aborted, is abandoned, or turns out to be another file than announced; never because a disk has failed, since its pieces were
//! acknowledged. Pieces are not synced one by one: what a loss of power takes of them is asked for again, since the length
//! says so, and the whole is synced and checked at the end. Whose it is and what room it has is an extended attribute, so
//! that it counts after a restart; where there are no attributes it counts again once somebody goes on with it.

use crate::error::DiskError;
use crate::index::Index;
use crate::store::{ATTRIBUTE, FromStart, Store, hash, set_attribute};
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::files::{FileName, NewFile, write_all};
use potluck_sdk::message::disk::ChunkPut;
use potluck_sdk::shares::{PEER_SHARE_DEFAULT, share};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

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

/// What is known of an upload, also after a restart.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Upload {
    owner: Option<PeerId>,
    /// One that was complete when the node ended has the attribute of a finished file already.
    #[serde(alias = "size")]
    reserved_bytes: u64,
    /// The disk has failed to keep what was written, and does not say what of it.
    #[serde(default)]
    is_doubtful: bool,
    #[serde(skip, default = "Instant::now")]
    last_piece: Instant,
}

/// The uploads that are not finished, by their keys. The lock of the index may be taken under theirs.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Upload>>);

impl Uploads {
    /// Finds what was begun before the node was started, and removes what nobody can or will go on with.
    pub(crate) fn open(folder: &Path, unfinished_seconds: u64, index: &mut Index) -> io::Result<Uploads> {
        let mut uploads = HashMap::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.strip_prefix("part-"));
            let is_wanted = age <= Duration::from_secs(unfinished_seconds) && metadata.len() > 0;
            let Some(key) = key.filter(|_| is_wanted) else {
                std::fs::remove_file(entry.path())?;
                continue;
            };
            let Some(upload) = read_upload(&entry.path()) else { continue };
            let last_piece = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            let upload = Upload { reserved_bytes: upload.reserved_bytes.max(metadata.len()), last_piece, ..upload };
            index.hold(upload.owner, upload.reserved_bytes);
            uploads.insert(key.to_owned(), upload);
        }
        Ok(Uploads(Mutex::new(uploads)))
    }

    /// Keeps room for all that an upload will have, if its sender may have so much, and returns what is known of it then.
    pub(crate) fn reserve(&self, store: &Store, chunk: &Chunk, size: u64) -> Result<Upload, DiskError> {
        let before = self.0.lock().get(&chunk.key).copied();
        let upload = self.keep_room(store, chunk, size)?;
        let is_more = before.is_none_or(|before| before.reserved_bytes < upload.reserved_bytes);
        if is_more && let Err(refusal) = store.allow(&chunk.name, chunk.owner, upload.reserved_bytes) {
            self.end(store, &chunk.key);
            if let Some(before) = before {
                store.index.lock().hold(before.owner, before.reserved_bytes);
                self.0.lock().insert(chunk.key.clone(), before);
            }
            return Err(refusal);
        }
        Ok(upload)
    }

    fn keep_room(&self, store: &Store, chunk: &Chunk, size: u64) -> Result<Upload, DiskError> {
        let last_piece = Instant::now();
        let mut uploads = self.0.lock();
        let mut index = store.index.lock();
        if let Some(upload) = uploads.get_mut(&chunk.key) {
            let size = size.max(upload.reserved_bytes);
            index.release(upload.owner, upload.reserved_bytes);
            if let Err(refusal) = index.reserve(&store.config, &chunk.name, chunk.owner, size) {
                index.hold(upload.owner, upload.reserved_bytes);
                return Err(refusal);
            }
            *upload = Upload { owner: chunk.owner, reserved_bytes: size, last_piece, ..*upload };
            return Ok(*upload);
        }
        let of_owner = uploads.values().filter(|upload| upload.owner == chunk.owner).count();
        let share = share(PEER_SHARE_DEFAULT, store.config.uploads_max);
        if uploads.len() >= store.config.uploads_max || (chunk.owner.is_some() && of_owner >= share) {
            return Err(DiskError::UploadsFull(uploads.len()));
        }
        index.reserve(&store.config, &chunk.name, chunk.owner, size)?;
        let upload = Upload { owner: chunk.owner, reserved_bytes: size, is_doubtful: false, last_piece };
        uploads.insert(chunk.key.clone(), upload);
        Ok(upload)
    }

    fn doubt(&self, key: &str) -> Option<Upload> {
        let mut uploads = self.0.lock();
        let upload = uploads.get_mut(key)?;
        upload.is_doubtful = true;
        Some(*upload)
    }

    pub(crate) fn end(&self, store: &Store, key: &str) {
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
            store.uploads.end(store, &chunk.key);
        }
    };
    if chunk.offset != received {
        discard_empty(part);
        return Ok(state(received, false, None));
    }
    let total = received + chunk.data.len() as u64;
    let upload = match store.uploads.reserve(store, &chunk, total.max(chunk.size.unwrap_or(0))) {
        Ok(upload) => upload,
        Err(refusal) => {
            discard_empty(part);
            return Err(refusal);
        }
    };
    let written = match received {
        0 => set_attribute(part.file(), &upload).and_then(|()| write_all(part.file(), &chunk.data)),
        _ => write_all(part.file(), &chunk.data),
    };
    if let Err(error) = written {
        // What was written of the piece is taken back, so that the sender can go on from where it was.
        let _ = part.file().set_len(received);
        discard_empty(part);
        return Err(io(error));
    }
    if !chunk.is_final {
        return Ok(state(total, true, None));
    }
    let finished = finish(store, &chunk, part, total, upload.is_doubtful);
    if !matches!(finished, Err(DiskError::Io(..))) {
        store.uploads.end(store, &chunk.key);
    } else if let Some(upload) = store.uploads.doubt(&chunk.key)
        && let Ok(mut part) = store.folder.unfinished(&chunk.key)
    {
        let _ = set_attribute(part.file(), &upload);
    }
    finished.map(|(size, sha256)| state(size, true, Some(sha256)))
}

fn finish(
    store: &Store,
    chunk: &Chunk,
    mut part: NewFile,
    total: u64,
    is_doubtful: bool,
) -> Result<(u64, String), DiskError> {
    if chunk.size.is_some_and(|size| size != total) {
        part.discard();
        return Err(DiskError::SizeMismatch(total));
    }
    let publish = |new, sha256| store.finish(new, &chunk.name, chunk.owner, total, sha256, chunk.sha256.as_deref());
    if !is_doubtful {
        let sha256 = hash(part.file()).map_err(|error| DiskError::Io("PUT_FILE_CHUNK", error))?;
        return publish(part, sha256);
    }
    // Syncing the same file again could succeed without writing what the kernel has given up, so all is written anew.
    let (new, sha256) = store.write(total, FromStart::new(part.file()))?;
    let published = publish(new, sha256);
    if !matches!(published, Err(DiskError::Io(..))) {
        part.discard();
    }
    published
}

fn read_upload(part: &Path) -> Option<Upload> {
    let mut bytes = [0; 1024];
    let length = rustix::fs::fgetxattr(File::open(part).ok()?, ATTRIBUTE, &mut bytes[..]).ok()?;
    serde_json::from_slice(bytes.get(..length)?).ok()
}
