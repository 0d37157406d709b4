//! The folders in which tasks may do what they like: how much is in one, and how it goes.
//!
//! A task may have made a million files, a tree that is deeper than any path, and folders that nobody may enter. So
//! looking stops early, and nothing here recurses deeper than a few levels.

use potluck_worker_protocol::remove_folder;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxFlags, openat, statx};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

/// Files and folders that a task may have: what it takes to look at them must stay small.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// How deep folders may be nested.
const DEPTH_MAX: usize = 64;
/// Bytes of a block, as `statx` counts them, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;

/// Whether the files in a folder take more than so many bytes, or are too many, with those that the process holds open
/// and that have no name any more.
pub(super) fn is_over(folder: &Path, process: u32, bytes_max: u64) -> bool {
    let mut left = Left { bytes: bytes_max, entries: ENTRIES_MAX };
    let Ok(top) = open_folder(CWD, folder) else { return false };
    left.take_folder(&top, 0).is_none() || left.take_nameless(folder, process).is_none()
}

/// What a task may still have.
struct Left {
    bytes: u64,
    entries: usize,
}

impl Left {
    /// Nothing when that is not enough.
    fn take_folder(&mut self, folder: &OwnedFd, depth: usize) -> Option<()> {
        // What cannot be opened was removed meanwhile.
        let Ok(entries) = Dir::read_from(folder) else { return Some(()) };
        for entry in entries.flatten().filter(|entry| !is_dots(entry.file_name())) {
            let name = entry.file_name();
            self.entries = self.entries.checked_sub(1)?;
            let found = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
            let Ok(found) = found else { continue };
            self.bytes = self.bytes.checked_sub(found.stx_blocks * BLOCK_BYTES)?;
            if FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory
                && let Ok(inner) = open_folder(folder, name)
            {
                if depth == DEPTH_MAX {
                    return None;
                }
                self.take_folder(&inner, depth + 1)?;
            }
        }
        Some(())
    }

    /// Files that were removed while they were open. Nothing when they are too many, or when one is only mapped: how large
    /// that is cannot be found out.
    fn take_nameless(&mut self, folder: &Path, process: u32) -> Option<()> {
        let device = std::fs::metadata(folder).map_or(0, |metadata| metadata.dev());
        let mut seen = BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
            // Follows the link to the file itself, also when that has no name.
            let Ok(file) = std::fs::metadata(entry.path()) else { continue };
            if file.is_file() && file.dev() == device && file.nlink() == 0 && seen.insert(file.ino()) {
                self.bytes = self.bytes.checked_sub(file.blocks() * BLOCK_BYTES)?;
            }
        }
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        let is_hidden = |line: &str| nameless_mapping(line, folder).is_some_and(|inode| !seen.contains(&inode));
        (!maps.lines().any(is_hidden)).then_some(())
    }
}

/// The inode of a file that was removed from a folder and is still mapped, from a line of /proc/PID/maps.
fn nameless_mapping(line: &str, folder: &Path) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let inode = fields.nth(4)?.parse().ok()?;
    let path = fields.next()?;
    (line.ends_with(" (deleted)") && Path::new(path).starts_with(folder)).then_some(inode)
}

/// Removes folders on a thread of its own, one after the other: a task may have left so much that it takes seconds. Whoever
/// drops it need not wait: what is left then is removed with the folder around it, or when the node starts again.
pub(super) struct Remover {
    folders: Sender<PathBuf>,
}

impl Remover {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Remover> {
        let (folders, received) = channel::<PathBuf>();
        let work = move || {
            for folder in received {
                remove_folder(&folder);
            }
        };
        std::thread::Builder::new().name("cpu-scratch".to_owned()).spawn(work)?;
        Ok(Remover { folders })
    }

    /// Removes a folder soon.
    pub(super) fn remove(&self, folder: PathBuf) {
        // It receives as long as this exists.
        let _ = self.folders.send(folder);
    }
}

fn open_folder(place: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(place, name, flags, Mode::empty())
}

fn is_dots(name: &CStr) -> bool {
    [c".", c".."].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::fs;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("potluck-scratch-{name}-{}", std::process::id()));
        remove_folder(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn bytes_are_counted_as_they_lie_on_the_disk() {
        let top = folder("bytes");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/c"), vec![1; 100_000]).unwrap();
        assert!(is_over(&top, std::process::id(), 90_000));
        assert!(!is_over(&top, std::process::id(), 300_000));
        // A hole takes no room.
        fs::File::create(top.join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!(!is_over(&top, std::process::id(), 300_000));
        // What a link leads to is somebody else's.
        std::os::unix::fs::symlink("/usr", top.join("usr")).unwrap();
        assert!(!is_over(&top, std::process::id(), 300_000));
        remove_folder(&top);
        assert!(!top.exists() && Path::new("/usr/bin").exists());
    }

    #[test]
    fn files_without_a_name_count_as_long_as_they_are_held() {
        let top = folder("nameless");
        let path = top.join("file");
        fs::write(&path, vec![1; 1_000_000]).unwrap();
        let file = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(is_over(&top, std::process::id(), 900_000));
        assert!(!is_over(&top, std::process::id(), 1_100_000));
        drop(file);
        assert!(!is_over(&top, std::process::id(), 900_000));
        let line = format!("7f0-7f1 rw-s 00000000 fe:00 77    {}/file (deleted)", top.display());
        assert_eq!(nameless_mapping(&line, &top), Some(77));
        assert_eq!(nameless_mapping(line.trim_end_matches(" (deleted)"), &top), None);
        assert_eq!(nameless_mapping("7f0-7f1 rw-s 00000000 00:01 5 /memfd:potluck-claims (deleted)", &top), None);
        assert_eq!(nameless_mapping("7f0-7f1 rw-p 00000000 00:00 0", &top), None);
        remove_folder(&top);
    }

    #[test]
    fn too_many_files_are_too_much() {
        let top = folder("many");
        for number in 0..=ENTRIES_MAX {
            fs::File::create(top.join(number.to_string())).unwrap();
        }
        assert!(is_over(&top, std::process::id(), u64::MAX));
        remove_folder(&top);
        assert!(!top.exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_too_much_and_goes() {
        let top = folder("deep");
        let mut place = open_folder(CWD, &top).unwrap();
        for _ in 0..5_000 {
            mkdirat(&place, "a-folder", Mode::RWXU).unwrap();
            place = open_folder(&place, "a-folder").unwrap();
        }
        assert!(is_over(&top, std::process::id(), u64::MAX));
        remove_folder(&top);
        assert!(!top.exists());
    }
}
