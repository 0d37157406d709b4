//! Files on their way out: encrypted piece by piece as they come from the client, so that nothing of them lies here in the
//! clear, and kept until their holders have them.
//!
//! The stream of a file cannot be gone on with once the node was restarted, since its state is gone. Its beginning can be
//! decrypted and encrypted anew, though, which costs the client nothing. Nothing here is synced: it is acknowledged once
//! holders have it, and what a loss of power has damaged is noticed, since its hashes are known. All functions may block.

use super::keys::Keys;
use super::sealing::SealedWriter;
use potluck_sdk::files::{Blake3, BlockHashes, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const FOLDER: &str = "owned_outgoing";
const PIECE_BYTES: usize = 64 << 10;

/// The folder of files on their way out. Each is named by the key of its upload.
pub(crate) struct Staging(PathBuf);

/// A file that is being encrypted.
pub(crate) struct Growing {
    writer: SealedWriter,
    hash: ContentHash,
    /// Bytes of the file, in the clear.
    pub(crate) received_bytes: u64,
    /// When a piece last came.
    pub(crate) used_at: Instant,
}

/// The hash of a file in the clear, by which the client's word is checked.
pub(crate) enum ContentHash {
    Sha256(Box<Sha256>),
    Blake3(Box<Blake3>),
}

impl ContentHash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            ContentHash::Sha256(hash) => hash.update(bytes),
            ContentHash::Blake3(hash) => hash.update(bytes),
        }
    }
}

/// A file that is encrypted wholly.
pub(crate) struct Grown {
    pub(crate) blob_bytes: u64,
    /// Nothing when they have to be read anew.
    pub(crate) hashes: Option<BlockHashes>,
    pub(crate) content: ContentHash,
}

/// No link is followed, whoever has put it there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

impl Staging {
    pub(crate) fn open(node_dir: &Path) -> io::Result<Staging> {
        let folder = node_dir.join(FOLDER);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::open(node_dir)?.sync_all()?;
        for entry in fs::read_dir(&folder)? {
            // What an interrupted start of an upload has left: the file itself is still there.
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                let _ = fs::remove_file(path);
            }
        }
        Ok(Staging(folder))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(format!("{key}.age"))
    }

    /// Goes on with a file, or begins it; `expected_bytes` in the clear, as far as that is known.
    pub(crate) fn grow(&self, key: &str, keys: &Keys, expected_bytes: u64, with_blake3: bool) -> io::Result<Growing> {
        let path = self.path(key);
        let anew = self.0.join(format!("{key}.new"));
        let begin = || {
            let file = options().create(true).truncate(true).write(true).open(&anew)?;
            let hash = if with_blake3 {
                ContentHash::Blake3(Box::new(Blake3::new()))
            } else {
                ContentHash::Sha256(Box::new(Sha256::new()))
            };
            let writer = keys.seal_file(file, expected_bytes)?;
            let mut growing = Growing { writer, hash, received_bytes: 0, used_at: Instant::now() };
            match self.read(key) {
                Ok(old) => growing.repeat(old, keys)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            fs::rename(&anew, &path)?;
            Ok(growing)
        };
        // The disk may be full: what was there is enough to go on with.
        begin().inspect_err(|_| drop(fs::remove_file(&anew)))
    }

    /// Whether there is something to go on with.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.path(key).exists()
    }

    /// Opens a file that is encrypted wholly.
    pub(crate) fn read(&self, key: &str) -> io::Result<File> {
        options().read(true).open(self.path(key))
    }

    pub(crate) fn remove(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what nobody goes on with: files older than `patience`, but for those in `kept`. Returns how many remain.
    pub(crate) fn forget_old(&self, patience: Duration, kept: impl Fn(&str) -> bool) -> io::Result<usize> {
        let mut remaining = 0;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(".age"));
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Its upload has ended just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
            // A folder is none of this node's.
            let is_old = age > patience && !metadata.is_dir();
            if is_old && !key.is_some_and(&kept) {
                fs::remove_file(entry.path())?;
            } else {
                remaining += usize::from(!metadata.is_dir());
            }
        }
        Ok(remaining)
    }
}

impl Growing {
    /// Takes over what can be decrypted of a file that was not finished.
    fn repeat(&mut self, old: File, keys: &Keys) -> io::Result<()> {
        let Ok(mut reader) = keys.decrypt(BufReader::new(old)) else { return Ok(()) };
        let mut piece = vec![0; PIECE_BYTES];
        // The end of what is there is no end of a file, which the reader calls an error.
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            self.write(&piece[..count])?;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.writer.write(piece)?;
        self.hash.update(piece);
        self.received_bytes += piece.len() as u64;
        self.used_at = Instant::now();
        Ok(())
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> io::Result<Grown> {
        let (blob_bytes, hashes) = self.writer.finish()?;
        Ok(Grown { blob_bytes, hashes, content: self.hash })
    }
}
