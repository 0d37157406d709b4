//! A folder that is never left, whatever its names and links say, and files in it that are whole or not there.

use super::name::FileName;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Where files are written before they get their names, and what is unfinished stays.
pub const TEMPORARY_FOLDER: &str = ".potluck-temporary";
/// How often a name is tried that others work on too.
const TRIES_MAX: u32 = 16;
/// Folders within folders that [`Folder::list`] goes into: no name has more parts.
const DEPTH_MAX: usize = 512;

/// A folder, by its handle. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Folder {
    root: Arc<OwnedFd>,
    temporary: Arc<OwnedFd>,
}

/// A file that [`Folder::list`] found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: FileName,
    /// The open file.
    pub file: Arc<File>,
    /// Bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_unix_nanoseconds: i128,
}

/// A file without a name yet. One of [`Folder::create`] is removed unless it is published, one of [`Folder::unfinished`]
/// only when it is discarded: what was acknowledged of it must outlive a failure.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: Arc<OwnedFd>,
    name: String,
    stays: bool,
}

/// A change that everybody sees already. It outlives a loss of power once it is settled.
#[must_use = "a change that is not settled may be undone by a loss of power"]
#[derive(Debug)]
pub struct Change {
    folder: OwnedFd,
    /// The root, and the path of a folder from which something was removed.
    emptied: Option<(Arc<OwnedFd>, String)>,
}

impl Change {
    /// Waits until the change is on the disk.
    ///
    /// # Errors
    /// When the disk fails; then it is not known what will be there after a loss of power.
    pub fn settle(self) -> io::Result<()> {
        rustix::fs::fsync(&self.folder)?;
        // Afterwards, since nothing tells when the removal of a folder is on the disk; one that comes back does no harm.
        if let Some((root, path)) = self.emptied {
            remove_empty_folders(&root, &path);
        }
        Ok(())
    }
}

impl NewFile {
    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Removes it.
    pub fn discard(mut self) {
        self.stays = false;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.stays {
            let _ = rustix::fs::unlinkat(&*self.temporary, &*self.name, AtFlags::empty());
        }
    }
}

fn below() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn open_below(folder: &OwnedFd, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    loop {
        // AGAIN: something was renamed meanwhile, and the kernel does not know whether it was inside.
        match rustix::fs::openat2(folder, path, flags, mode, below()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Removes a folder below the root, and those above it, as far as they are empty.
fn remove_empty_folders(root: &OwnedFd, mut path: &str) {
    while !path.is_empty() {
        let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
        let opened = if above.is_empty() { "." } else { above };
        let Ok(folder) = open_below(root, opened, folder_flags(), Mode::empty()) else { return };
        if rustix::fs::unlinkat(&folder, last, AtFlags::REMOVEDIR).is_err() {
            return;
        }
        path = above;
    }
}

/// Only regular files with one name: a pipe would block, and a hard link would lead out of the folder.
fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file with a single name"));
    }
    Ok(file)
}

impl Folder {
    /// Opens a folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn open(path: &Path) -> io::Result<Folder> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let root = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match rustix::fs::mkdirat(&root, TEMPORARY_FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let temporary = open_below(&root, TEMPORARY_FOLDER, folder_flags(), Mode::empty())?;
        Ok(Folder { root: Arc::new(root), temporary: Arc::new(temporary) })
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is not there, or is no regular file.
    pub fn read(&self, name: &FileName) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        regular(open_below(&self.root, name.as_str(), flags, Mode::empty())?)
    }

    /// A new file without a name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> io::Result<NewFile> {
        let mut random = [0; 16];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
        filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        self.temporary(format!("new-{}", super::to_hex(&random)), OFlags::EXCL, false)
    }

    /// The unfinished file of that key, opened for going on, or made. The key must be of letters, digits and hyphens.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn unfinished(&self, key: &str) -> io::Result<NewFile> {
        self.temporary(format!("part-{key}"), OFlags::APPEND, true)
    }

    fn temporary(&self, name: String, extra: OFlags, stays: bool) -> io::Result<NewFile> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | extra;
        let file = regular(open_below(&self.temporary, &name, flags, Mode::RUSR | Mode::WUSR)?)?;
        Ok(NewFile { file, temporary: Arc::clone(&self.temporary), name, stays })
    }

    /// Gives a file, whose bytes are on the disk then, its name, in the place of one that had it.
    ///
    /// # Errors
    /// When that fails; then nothing has changed.
    pub fn publish(&self, mut new: NewFile, name: &FileName) -> io::Result<Change> {
        new.file.flush()?;
        new.file.sync_all()?;
        let (path, last) = name.split();
        let mut tries = 0;
        loop {
            tries += 1;
            let folder = match self.make_folders(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => continue,
                other => other?,
            };
            match rustix::fs::renameat(&*self.temporary, &*new.name, &folder, last) {
                Ok(()) => {
                    // Nothing has the old name any more.
                    new.stays = true;
                    return Ok(Change { folder, emptied: None });
                }
                // Somebody has removed the folder meanwhile, since it was empty.
                Err(Errno::NOENT) if tries < TRIES_MAX => {}
                // A folder that was left empty has the name.
                Err(Errno::ISDIR) if tries < TRIES_MAX => remove_empty_folders(&self.root, name.as_str()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the root, or a folder below it, which is made when it is missing.
    fn make_folders(&self, path: &str) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return self.root.try_clone();
        }
        match open_below(&self.root, path, folder_flags(), Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut folder = rustix::io::dup(&*self.root)?;
        for part in path.split('/') {
            match rustix::fs::mkdirat(&folder, part, Mode::RWXU) {
                Ok(()) => rustix::fs::fsync(&folder)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = open_below(&folder, part, folder_flags(), Mode::empty())?;
        }
        Ok(folder)
    }

    /// Removes a file, and once that is settled the folders that are empty then.
    ///
    /// # Errors
    /// When it is not there, or cannot be removed.
    pub fn remove(&self, name: &FileName) -> io::Result<Change> {
        let (path, last) = name.split();
        let folder = match path {
            "" => self.root.try_clone()?,
            path => open_below(&self.root, path, folder_flags(), Mode::empty())?,
        };
        match rustix::fs::unlinkat(&folder, last, AtFlags::empty()) {
            Err(Errno::ISDIR) => return Err(io::ErrorKind::NotFound.into()),
            other => other?,
        }
        Ok(Change { folder, emptied: Some((Arc::clone(&self.root), path.to_owned())) })
    }

    /// Calls `visit` with each file whose name could be a file's name here. Others are left alone.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self, mut visit: impl FnMut(Found)) -> io::Result<()> {
        let mut folders = vec![String::new()];
        while let Some(path) = folders.pop() {
            let opened = if path.is_empty() { "." } else { path.as_str() };
            let folder = open_below(&self.root, opened, folder_flags(), Mode::empty())?;
            for entry in rustix::fs::Dir::read_from(&folder)? {
                let entry = entry?;
                let Ok(last) = entry.file_name().to_str() else { continue };
                let text = if path.is_empty() { last.to_owned() } else { format!("{path}/{last}") };
                let Ok(name) = FileName::try_from(text.as_str()) else { continue };
                let is_folder = match entry.file_type() {
                    FileType::Directory => true,
                    FileType::RegularFile => false,
                    FileType::Unknown => {
                        let status = rustix::fs::statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW)?;
                        FileType::from_raw_mode(status.st_mode).is_dir()
                    }
                    _ => continue,
                };
                if is_folder && path.split('/').count() < DEPTH_MAX {
                    folders.push(text);
                } else if !is_folder && let Ok(file) = self.read(&name) {
                    let metadata = file.metadata()?;
                    let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
                    visit(Found {
                        name,
                        size: metadata.len(),
                        modified_unix_nanoseconds: modified,
                        file: Arc::new(file),
                    });
                }
            }
        }
        Ok(())
    }

    /// Bytes that the file system still has for this user.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatvfs(&*self.root)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn put(folder: &Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut new = folder.create()?;
        new.file().write_all(bytes)?;
        folder.publish(new, &name.parse().unwrap())?.settle()
    }

    fn names(folder: &Folder) -> Vec<String> {
        let mut names = Vec::new();
        folder.list(|found| names.push(found.name.to_string())).unwrap();
        names.sort();
        names
    }

    #[test]
    fn a_published_file_is_there_and_a_dropped_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(&root.path().join("files")).unwrap();
        put(&folder, "a/b/c", b"one").unwrap();
        put(&folder, "a/b/c", b"two").unwrap();
        drop(folder.create().unwrap());
        let mut text = String::new();
        folder.read(&"a/b/c".parse().unwrap()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "two");
        assert_eq!(names(&folder), ["a/b/c"]);
        assert_eq!(std::fs::read_dir(root.path().join("files").join(TEMPORARY_FOLDER)).unwrap().count(), 0);
        folder.remove(&"a/b/c".parse().unwrap()).unwrap().settle().unwrap();
        assert!(names(&folder).is_empty());
        assert!(folder.free_bytes().unwrap() > 0);
    }

    #[test]
    fn folders_go_with_their_last_file() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Folder::open(folder.path()).unwrap();
        put(&shared, "a/b/c", b"1").unwrap();
        put(&shared, "a/d", b"2").unwrap();
        let remove = |name: &str| shared.remove(&FileName::try_from(name).unwrap()).and_then(Change::settle);
        assert_eq!(remove("a/b").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(shared.read(&FileName::try_from("a/b").unwrap()).unwrap_err().kind(), io::ErrorKind::NotFound);
        remove("a/b/c").unwrap();
        put(&shared, "a/b", b"a file where a folder was").unwrap();
        remove("a/b").unwrap();
        remove("a/d").unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        put(&shared, "a", b"in the place of an empty folder").unwrap();
        assert_eq!(names(&shared), ["a"]);
    }

    #[test]
    fn an_unfinished_file_is_gone_on_with() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for _ in 0..2 {
            let mut part = folder.unfinished("k").unwrap();
            part.file().write_all(b"xy").unwrap();
        }
        let part = folder.unfinished("k").unwrap();
        folder.publish(part, &"done".parse().unwrap()).unwrap().settle().unwrap();
        folder.unfinished("k").unwrap().discard();
        assert_eq!(std::fs::read_dir(root.path().join(TEMPORARY_FOLDER)).unwrap().count(), 0);
        assert_eq!(std::fs::read(root.path().join("done")).unwrap(), b"xyxy");
    }

    #[test]
    fn links_pipes_and_second_names_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let folder = Folder::open(root.path()).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
        std::fs::write(root.path().join("one"), "1").unwrap();
        std::fs::hard_link(root.path().join("one"), root.path().join("two")).unwrap();
        rustix::fs::mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["link/secret", "file", "two", "pipe"] {
            assert!(folder.read(&name.parse().unwrap()).is_err(), "{name}");
        }
        assert!(put(&folder, "link/new", b"x").is_err());
        assert!(folder.remove(&"link/secret".parse().unwrap()).is_err());
        assert!(names(&folder).is_empty());
        assert!(outside.path().join("secret").exists());
    }
}
