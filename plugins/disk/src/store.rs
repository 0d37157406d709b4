//! The files themselves. All functions here but `status` and `register_all` may block.

use crate::config::DiskConfig;
use crate::error::DiskError;
use crate::fetch::Fetches;
use crate::index::{Entry, Index};
use crate::upload::Uploads;
use parking_lot::Mutex;
use potluck_sdk::allowance::Allowance;
use potluck_sdk::files::{FileName, Folder, Lanes, NewFile, Sha256, TEMPORARY_FOLDER, write_all};
use potluck_sdk::message::disk::{
    DELETED_TOPIC, FileEntry, FileEvent, REGISTERED_FILES_MAX, RegisterFile, RegisteredFile, STORED_TOPIC,
    UnregisterFile,
};
use potluck_sdk::message::quota::STORAGE_BYTES;
use potluck_sdk::message::to_json;
use potluck_sdk::{Caller, Host, PeerId, ProviderError, Status};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The extended attribute of a file, and of an unfinished one.
pub(crate) const ATTRIBUTE: &str = "user.potluck";
const PIECE_BYTES: usize = 256 << 10;
/// How long quota may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What the extended attribute says, as long as size and time are still those of the file.
#[derive(Serialize, Deserialize)]
struct Attribute {
    sha256: String,
    owner: Option<PeerId>,
    size: u64,
    modified_seconds: i64,
    modified_nanoseconds: i64,
}

pub(crate) struct Store {
    pub(crate) host: Host,
    pub(crate) config: DiskConfig,
    pub(crate) folder: Folder,
    pub(crate) index: Mutex<Index>,
    pub(crate) uploads: Uploads,
    pub(crate) fetches: Fetches,
    pub(crate) lanes: Lanes,
    pub(crate) operation_count: AtomicU64,
    pub(crate) allowance: Arc<Allowance>,
}

impl Store {
    pub(crate) fn open(host: Host, config: DiskConfig) -> Result<Store, ProviderError> {
        let node_dir = host.node().node_dir;
        let path = if config.folder.is_empty() { node_dir.join("peer_storage") } else { node_dir.join(&config.folder) };
        let failed = |error: io::Error| {
            ProviderError::new("disk_failed", format!("the folder of the shared files cannot be used: {error}"))
        };
        let folder = Folder::open(&path).map_err(failed)?;
        let mut index = Index::default();
        folder
            .list(|found| {
                let known = read_attribute(&found.file);
                let seconds = u64::try_from(found.modified_unix_nanoseconds / 1_000_000_000).unwrap_or(0);
                let (sha256, owner) = known.map_or((None, None), |known| (Some(known.sha256), known.owner));
                index.insert(&found.name, Entry { size: found.size, sha256, owner, modified_unix_seconds: seconds });
            })
            .map_err(failed)?;
        let uploads =
            Uploads::open(&path.join(TEMPORARY_FOLDER), config.unfinished_seconds, &mut index).map_err(failed)?;
        Ok(Store {
            host,
            config,
            folder,
            index: Mutex::new(index),
            uploads,
            fetches: Fetches::default(),
            lanes: Lanes::default(),
            operation_count: AtomicU64::new(0),
            allowance: Allowance::new(host, STORAGE_BYTES),
        })
    }

    /// Stores a whole file; `size` has not been reserved yet.
    pub(crate) fn put(
        &self,
        name: &FileName,
        owner: Option<PeerId>,
        size: u64,
        sha256: Option<&str>,
        source: impl Read,
    ) -> Result<(u64, String), DiskError> {
        self.index.lock().reserve(&self.config, name, owner, size)?;
        let written = self.allow(name, owner, size).and_then(|()| self.write(size, source));
        let result = written.and_then(|(new, actual)| self.finish(new, name, owner, size, actual, sha256));
        self.index.lock().release(owner, size);
        result
    }

    /// Asks whether the owner of a file may have so much; room for it is kept already.
    pub(crate) fn allow(&self, name: &FileName, owner: Option<PeerId>, size: u64) -> Result<(), DiskError> {
        let id = owner.map(|owner| owner.to_string());
        let caller = id.as_deref().map_or(Caller::Local, Caller::Member);
        if self.allowance.is_unlimited(&caller) {
            return Ok(());
        }
        let (held, freed) = self.index.lock().held(name, owner, size);
        // What makes a file smaller is always allowed.
        if size <= freed {
            return Ok(());
        }
        let (sender, answer) = mpsc::sync_channel(1);
        self.allowance.take(&caller, size, Some(held), move |allowed| {
            let _ = sender.try_send(allowed);
        });
        match answer.recv_timeout(ANSWER_LIMIT) {
            Ok(allowed) => allowed.map_err(DiskError::Refused),
            Err(_) => Err(DiskError::Refused(ProviderError::new(ProviderError::INTERNAL, "quota does not answer"))),
        }
    }

    /// Writes a file that has no name yet, and hashes it.
    pub(crate) fn write(&self, size: u64, source: impl Read) -> Result<(NewFile, String), DiskError> {
        let io = |error| DiskError::Io("PUT_FILE", error);
        let mut new = self.folder.create().map_err(io)?;
        let mut hash = Sha256::new();
        let copied = copy(source.take(size), |piece| {
            hash.update(piece);
            write_all(new.file(), piece)
        });
        let copied = copied.map_err(io)?;
        if copied != size {
            return Err(DiskError::SizeMismatch(copied));
        }
        Ok((new, hash.finish()))
    }

    /// Checks the hash of a written file, gives it its name and tells about it.
    pub(crate) fn finish(
        &self,
        mut new: NewFile,
        name: &FileName,
        caller: Option<PeerId>,
        size: u64,
        sha256: String,
        expected: Option<&str>,
    ) -> Result<(u64, String), DiskError> {
        let checked = match expected {
            Some(expected) if !expected.eq_ignore_ascii_case(&sha256) => Err(DiskError::Mismatch(sha256.clone())),
            // The name may have become somebody else's since the first piece came.
            _ => self.index.lock().check(name, caller),
        };
        if let Err(refusal) = checked {
            new.discard();
            return Err(refusal);
        }
        let io = |error| DiskError::Io("PUT_FILE", error);
        let metadata = new.file().metadata().map_err(io)?;
        let attribute = Attribute {
            sha256: sha256.clone(),
            owner: caller,
            size,
            modified_seconds: metadata.mtime(),
            modified_nanoseconds: metadata.mtime_nsec(),
        };
        set_attribute(new.file(), &attribute).map_err(io)?;
        let change = self.folder.publish(new, name).map_err(io)?;
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
        let entry = Entry { size, sha256: Some(sha256.clone()), owner: caller, modified_unix_seconds: modified };
        // Others can read it already, so it counts already; it is acknowledged once it will stay.
        self.index.lock().insert(name, entry);
        let settled = change.settle();
        self.host.publish(STORED_TOPIC, &FileEvent { filename: name.to_string(), size });
        self.register(vec![(name.to_string(), size, Some(sha256.clone()))], false);
        // It cannot be taken back: what was there before is gone. So it stays, whole, and is not acknowledged.
        settled.map_err(|error| DiskError::NotSettled("PUT_FILE", error))?;
        Ok((size, sha256))
    }

    pub(crate) fn delete(&self, name: &FileName, caller: Option<PeerId>) -> Result<bool, DiskError> {
        self.index.lock().check_owner(name, caller)?;
        let change = match self.folder.remove(name) {
            Ok(change) => change,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.index.lock().remove(name);
                return Ok(false);
            }
            Err(error) => return Err(DiskError::Io("DELETE_FILE", error)),
        };
        let size = self.index.lock().remove(name).map_or(0, |entry| entry.size);
        let settled = change.settle();
        self.host.publish(DELETED_TOPIC, &FileEvent { filename: name.to_string(), size });
        let message = UnregisterFile {
            filename: Some(name.as_str().into()),
            port: Some(self.host.node().port),
            ..Default::default()
        };
        self.tell_tracker(&to_json(&message));
        settled.map_err(|error| DiskError::NotSettled("DELETE_FILE", error))?;
        Ok(true)
    }

    /// Opens a file, and says what is known of it now; nothing when it is not there.
    pub(crate) fn open_file(&self, name: &FileName) -> Result<Option<(File, FileEntry)>, DiskError> {
        let file = match self.folder.read(name) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(DiskError::Io("GET_FILE", error)),
        };
        let metadata = file.metadata().map_err(|error| DiskError::Io("GET_FILE", error))?;
        let known = read_attribute(&file);
        let (sha256, owner) = known.map_or((None, None), |known| (Some(known.sha256), known.owner));
        let entry = FileEntry {
            filename: name.to_string(),
            size: metadata.len(),
            sha256,
            modified_unix_seconds: u64::try_from(metadata.mtime()).unwrap_or(0),
            owner,
        };
        Ok(Some((file, entry)))
    }

    pub(crate) fn status(&self) -> Status {
        #[derive(Serialize)]
        struct Storage {
            file_count: usize,
            total_size: u64,
            operation_count: u64,
            capacity_bytes: u64,
        }
        let index = self.index.lock();
        let storage = Storage {
            file_count: index.files.len(),
            total_size: index.stored_bytes,
            operation_count: self.operation_count.load(Ordering::Relaxed),
            capacity_bytes: self.config.capacity_bytes,
        };
        Status::default().with("storage", storage)
    }

    /// Repeats to the tracker everything that is here.
    pub(crate) fn register_all(&self) {
        let all: Vec<_> = self
            .index
            .lock()
            .files
            .iter()
            .map(|(name, entry)| (name.clone(), entry.size, entry.sha256.clone()))
            .collect();
        self.register(all, true);
    }

    fn register(&self, files: Vec<(String, u64, Option<String>)>, mut replace: bool) {
        let port = Some(self.host.node().port);
        // A node without files says so too: the tracker may know of some that are gone.
        let nothing: &[_] = &[];
        let batches = files.chunks(REGISTERED_FILES_MAX).chain(files.is_empty().then_some(nothing));
        for batch in batches {
            let files = batch.iter().map(|(name, size, sha256)| RegisteredFile {
                filename: Cow::Borrowed(name),
                size: *size,
                sha256: sha256.as_deref().map(Cow::Borrowed),
            });
            let message = RegisterFile { files: files.collect(), replace, port, ..Default::default() };
            self.tell_tracker(&to_json(&message));
            replace = false;
        }
    }

    /// Without waiting: a tracker that is away hears everything when it is back.
    fn tell_tracker(&self, json: &str) {
        if let Some(rest) = json.strip_prefix('{') {
            self.host.call_with(&format!("{{\"to\":\"tracker\",{rest}"), &[], |_| {});
        }
    }
}

/// Reads to the end, piece by piece.
fn copy(mut source: impl Read, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut copied = 0;
    loop {
        let count = match source.read(&mut piece) {
            Ok(0) => return Ok(copied),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sink(&piece[..count])?;
        copied += count as u64;
    }
}

/// SHA-256 of a whole file, wherever it is read just now.
pub(crate) fn hash(file: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    copy(FromStart::new(file), |piece| {
        hash.update(piece);
        Ok(())
    })?;
    Ok(hash.finish())
}

/// Reads an open file from the beginning on, without moving its position.
pub(crate) struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> FromStart<'a> {
    pub(crate) fn new(file: &'a File) -> FromStart<'a> {
        FromStart { file, offset: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Where there are no attributes a file is the local user's after a restart.
pub(crate) fn set_attribute<T: Serialize>(file: &File, value: &T) -> io::Result<()> {
    match rustix::fs::fsetxattr(file, ATTRIBUTE, to_json(value).as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

fn read_attribute(file: &File) -> Option<Attribute> {
    let mut bytes = [0; 1024];
    let length = rustix::fs::fgetxattr(file, ATTRIBUTE, &mut bytes[..]).ok()?;
    let attribute: Attribute = serde_json::from_slice(bytes.get(..length)?).ok()?;
    let metadata = file.metadata().ok()?;
    let same = attribute.size == metadata.len()
        && attribute.modified_seconds == metadata.mtime()
        && attribute.modified_nanoseconds == metadata.mtime_nsec();
    same.then_some(attribute)
}
