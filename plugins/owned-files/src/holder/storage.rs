//! The files of a holder: `owned_storage/<owner>/<blob>` and what stands beside it. All functions here block.
//!
//! | name | what it is |
//! |---|---|
//! | `<blob>` | a replica that is whole |
//! | `<blob>.part` | one with blocks missing |
//! | `<blob>.damaged` | one that was whole, with blocks that have changed |
//! | `<blob>.manifest` | its manifest, a line of JSON; then the hashes of its blocks |
//! | `<tag>.deleted` | the manifest by which the file with that tag was deleted |
//! | `<hash>.named` | a file in the original's form |
//! | `*.new` | not written to its end |
//!
//! Names are made of ids that were parsed, so none leads out of the folder.

use super::index::{BlobId, FileKey, State};
use potluck_sdk::PeerId;
use potluck_sdk::files::{BlockHashes, CheckedManifest, from_hex, to_hex};
use potluck_sdk::message::owned_files::SignedManifest;
use potluck_sdk::message::to_json;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The line of JSON in a sidecar: a manifest may double when it is quoted.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// No list of hashes has more; a file that has grown beyond is not read on and on.
const HASHES_BYTES_MAX: u64 = 8 << 20;
/// Says when all replicas were last checked.
const SCRUBBED: &str = "scrubbed";
const MANIFEST: &str = ".manifest";
const DELETED: &str = ".deleted";
const NAMED: &str = ".named";
const STATES: [State; 3] = [State::Whole, State::Damaged, State::Part];

pub(crate) struct Storage {
    root: PathBuf,
}

/// What [`Storage::scan`] has found.
pub(crate) enum Found {
    Replica {
        blob: BlobId,
        manifest: Box<CheckedManifest>,
        state: State,
        touched_unix_seconds: u64,
    },
    Deletion(Box<CheckedManifest>),
    Named {
        owner: PeerId,
        hash: [u8; 32],
        size: u64,
    },
    /// Something that cannot be read, or is not what its name says; it is left alone, with what belongs to it.
    Unreadable,
}

fn suffix(state: State) -> &'static str {
    match state {
        State::Part => ".part",
        State::Whole => "",
        State::Damaged => ".damaged",
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn make_folder(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

/// Now.
pub(crate) fn now_unix_seconds() -> u64 {
    unix_seconds(SystemTime::now())
}

fn modified(path: &Path) -> Option<u64> {
    path.symlink_metadata().and_then(|metadata| metadata.modified()).ok().map(unix_seconds)
}

impl Storage {
    pub(crate) fn open(root: PathBuf) -> io::Result<Storage> {
        if make_folder(&root)?
            && let Some(parent) = root.parent()
        {
            sync_folder(parent)?;
        }
        Ok(Storage { root })
    }

    fn folder(&self, owner: PeerId) -> PathBuf {
        self.root.join(owner.to_string())
    }

    fn path(&self, owner: PeerId, blob: BlobId, suffix: &str) -> PathBuf {
        self.folder(owner).join(blob.text() + suffix)
    }

    /// Writes a file that is whole or not there, and on the disk when this returns.
    fn write(&self, owner: PeerId, name: &str, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let folder = self.folder(owner);
        if make_folder(&folder)? {
            sync_folder(&self.root)?;
        }
        let new = folder.join(format!("{name}.new"));
        let open = || options().write(true).create(true).truncate(true).open(&new);
        let mut file = match open() {
            // The last file of the owner's was removed just now, and the folder with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&folder)?;
                sync_folder(&self.root)?;
                open()?
            }
            other => other?,
        };
        let written = fill(&mut file).and_then(|()| file.sync_all());
        let named = written.and_then(|()| std::fs::rename(&new, folder.join(name)));
        if named.is_err() {
            let _ = remove(&new);
        }
        named?;
        sync_folder(&folder)
    }

    pub(crate) fn write_sidecar(
        &self,
        manifest: &CheckedManifest,
        blob: BlobId,
        hashes: &BlockHashes,
    ) -> io::Result<()> {
        let mut line = to_json(&manifest.signed);
        line.push('\n');
        self.write(manifest.owner, &(blob.text() + MANIFEST), |file| {
            file.write_all(line.as_bytes())?;
            file.write_all(&hashes.to_bytes())
        })
    }

    /// The manifest of a replica.
    pub(crate) fn read_manifest(&self, owner: PeerId, blob: BlobId) -> io::Result<CheckedManifest> {
        self.open_sidecar(owner, blob).map(|(manifest, _)| manifest)
    }

    /// The hashes of all blocks, which are those that the owner has signed.
    pub(crate) fn read_hashes(&self, owner: PeerId, blob: BlobId) -> io::Result<BlockHashes> {
        let (manifest, rest) = self.open_sidecar(owner, blob)?;
        let mut bytes = Vec::new();
        rest.take(HASHES_BYTES_MAX).read_to_end(&mut bytes)?;
        manifest.block_hashes(&bytes).map_err(|error| invalid(&error.to_string()))
    }

    /// The manifest, and the file from where the hashes begin.
    fn open_sidecar(&self, owner: PeerId, blob: BlobId) -> io::Result<(CheckedManifest, impl Read + use<>)> {
        let mut file = BufReader::new(options().open(self.path(owner, blob, MANIFEST))?);
        let manifest = read_signed(&mut file)?;
        let id = manifest.manifest.blob.as_ref().map(|blob| blob.id.as_str());
        if manifest.owner != owner || id != Some(blob.text().as_str()) {
            return Err(invalid("it is of another blob"));
        }
        Ok((manifest, file))
    }

    /// Opens a replica, whatever its name says just now.
    pub(crate) fn open_replica(&self, owner: PeerId, blob: BlobId) -> io::Result<File> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for state in STATES {
            match options().open(self.path(owner, blob, suffix(state))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    result = other;
                    break;
                }
            }
        }
        result
    }

    /// Opens a replica to write blocks to, whatever its name says just now; one that is not there is made.
    pub(crate) fn open_to_write(&self, owner: PeerId, blob: BlobId, state: State) -> io::Result<File> {
        for state in STATES {
            match options().write(true).open(self.path(owner, blob, suffix(state))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        options().write(true).create(true).truncate(false).open(self.path(owner, blob, suffix(state)))
    }

    /// Throws the bytes of a replica away; what is known of it stays.
    pub(crate) fn discard(&self, owner: PeerId, blob: BlobId) -> io::Result<()> {
        for state in STATES {
            remove(&self.path(owner, blob, suffix(state)))?;
        }
        Ok(())
    }

    /// Gives a replica the name of one that is whole, unless it has it already: its folder may have failed to be synced.
    pub(crate) fn name_whole(&self, owner: PeerId, blob: BlobId, from: State) -> io::Result<()> {
        match self.rename(owner, blob, from, State::Whole) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                options().open(self.path(owner, blob, suffix(State::Whole)))?;
                sync_folder(&self.folder(owner))
            }
            other => other,
        }
    }

    /// Gives a replica the name of another state.
    pub(crate) fn rename(&self, owner: PeerId, blob: BlobId, from: State, to: State) -> io::Result<()> {
        std::fs::rename(self.path(owner, blob, suffix(from)), self.path(owner, blob, suffix(to)))?;
        sync_folder(&self.folder(owner))
    }

    /// Makes a blob that nothing was known of a part again: its sidecar had become unreadable.
    pub(crate) fn adopt(&self, owner: PeerId, blob: BlobId) -> io::Result<()> {
        for state in [State::Whole, State::Damaged] {
            match self.rename(owner, blob, state, State::Part) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Removes a replica; its sidecar last, so that what an interruption leaves is found again.
    pub(crate) fn remove(&self, owner: PeerId, blob: BlobId) -> io::Result<()> {
        for state in STATES {
            remove(&self.path(owner, blob, suffix(state)))?;
        }
        remove(&self.path(owner, blob, MANIFEST))?;
        self.tidy(owner)
    }

    /// Something was removed. A folder with nothing in it goes as well: anybody can make up owners.
    fn tidy(&self, owner: PeerId) -> io::Result<()> {
        let folder = self.folder(owner);
        match sync_folder(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        // It fails when there is something.
        let _ = std::fs::remove_dir(&folder);
        Ok(())
    }

    pub(crate) fn write_deletion(&self, file: &FileKey, manifest: &CheckedManifest) -> io::Result<()> {
        let text = to_json(&manifest.signed);
        self.write(file.owner, &(file.tag_text() + DELETED), |file| file.write_all(text.as_bytes()))
    }

    pub(crate) fn remove_deletion(&self, file: &FileKey) -> io::Result<()> {
        remove(&self.folder(file.owner).join(file.tag_text() + DELETED))?;
        self.tidy(file.owner)
    }

    pub(crate) fn write_named(&self, owner: PeerId, hash: &[u8; 32], mut source: impl Read) -> io::Result<()> {
        self.write(owner, &(to_hex(hash) + NAMED), |file| io::copy(&mut source, file).map(|_| ()))
    }

    pub(crate) fn open_named(&self, owner: PeerId, hash: &[u8; 32]) -> io::Result<File> {
        options().open(self.folder(owner).join(to_hex(hash) + NAMED))
    }

    pub(crate) fn remove_named(&self, owner: PeerId, hash: &[u8; 32]) -> io::Result<bool> {
        let folder = self.folder(owner);
        let was_there = remove(&folder.join(to_hex(hash) + NAMED))?;
        if was_there {
            self.tidy(owner)?;
        }
        Ok(was_there)
    }

    /// Bytes that the file system still has for this user.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::statvfs(&self.root)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// When all replicas were last checked.
    pub(crate) fn scrubbed_unix_seconds(&self) -> Option<u64> {
        modified(&self.root.join(SCRUBBED))
    }

    pub(crate) fn write_scrubbed(&self) -> io::Result<()> {
        options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.root.join(SCRUBBED))?
            .set_modified(SystemTime::now())
    }

    /// Visits all that is here, the oldest deletions first, and removes what is left of interrupted work. Folders
    /// that are no owner's are left alone: an older system has put them there.
    pub(crate) fn scan(&self, unfinished_seconds: u64, mut visit: impl FnMut(Found)) -> io::Result<()> {
        let mut deletions = Vec::new();
        for folder in std::fs::read_dir(&self.root)? {
            let folder = folder?;
            let owner = folder.file_name().to_str().and_then(|name| name.parse::<PeerId>().ok());
            let Some(owner) = owner.filter(|_| folder.file_type().is_ok_and(|kind| kind.is_dir())) else { continue };
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder.path())? {
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            for name in names {
                if self.scan_one(owner, &name, unfinished_seconds, &mut deletions, &mut visit).is_err() {
                    visit(Found::Unreadable);
                }
            }
            // It fails when something is in it.
            let _ = std::fs::remove_dir(folder.path());
        }
        deletions.sort_by_key(|(modified, _)| *modified);
        deletions.into_iter().for_each(|(_, manifest)| visit(Found::Deletion(manifest)));
        Ok(())
    }

    fn scan_one(
        &self,
        owner: PeerId,
        name: &str,
        unfinished_seconds: u64,
        deletions: &mut Vec<(u64, Box<CheckedManifest>)>,
        visit: &mut impl FnMut(Found),
    ) -> io::Result<()> {
        let path = self.folder(owner).join(name);
        if name.ends_with(".new") {
            remove(&path)?;
        } else if let Some(blob) = name.strip_suffix(MANIFEST).and_then(|stem| BlobId::parse(stem).ok()) {
            let Ok(manifest) = self.read_manifest(owner, blob) else {
                visit(Found::Unreadable);
                return Ok(());
            };
            let size = manifest.manifest.blob.as_ref().map_or(0, |blob| blob.size);
            let state = STATES.into_iter().find(|state| self.path(owner, blob, suffix(*state)).exists());
            let state = state.unwrap_or(State::Part);
            let touched = modified(&self.path(owner, blob, suffix(state))).or_else(|| modified(&path)).unwrap_or(0);
            if state == State::Part && now_unix_seconds().saturating_sub(touched) > unfinished_seconds {
                return self.remove(owner, blob);
            }
            let mut found = state;
            // A replica of another length is damaged without reading it.
            if state == State::Whole && self.path(owner, blob, "").symlink_metadata()?.len() != size {
                self.rename(owner, blob, State::Whole, State::Damaged)?;
                found = State::Damaged;
            }
            let manifest = Box::new(manifest);
            visit(Found::Replica { blob, manifest, state: found, touched_unix_seconds: touched });
        } else if name.ends_with(DELETED) {
            match read_signed(&mut BufReader::new(options().open(&path)?)) {
                Ok(manifest) if manifest.owner == owner => {
                    deletions.push((modified(&path).unwrap_or(0), Box::new(manifest)));
                }
                _ => visit(Found::Unreadable),
            }
        } else if let Some(hash) = name.strip_suffix(NAMED).and_then(from_hex) {
            visit(Found::Named { owner, hash, size: path.symlink_metadata()?.len() });
        } else {
            let stem = name.split('.').next().unwrap_or_default();
            let is_orphan = BlobId::parse(stem).is_ok_and(|blob| !self.path(owner, blob, MANIFEST).exists());
            if is_orphan {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the sidecar of a replica cannot be used: {reason}"))
}

fn read_signed(source: &mut impl BufRead) -> io::Result<CheckedManifest> {
    let mut line = Vec::new();
    source.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let signed: SignedManifest = serde_json::from_slice(&line).map_err(|error| invalid(&error.to_string()))?;
    CheckedManifest::try_from(signed).map_err(|error| invalid(&error.to_string()))
}
