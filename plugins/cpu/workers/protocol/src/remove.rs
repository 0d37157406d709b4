//! Removes folders in which tasks could do what they like.
//!
//! A task may have made a tree that is deeper than any path, more levels than a process may have files open, and folders
//! that nobody may enter. So nothing here recurses, and two folders are open at a time.

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmodat, fchmod, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Removes a folder and everything in it, as far as that is possible; false when something is left. Nobody may use it any
/// more.
pub fn remove_folder(folder: &Path) -> bool {
    if let Ok(top) = open_folder(CWD, folder) {
        let _ = fchmod(&top, Mode::RWXU);
        let mut fresh = 0_u64;
        let mut folders = empty(&top, &top, &mut fresh);
        // Folders within folders come to the top one, so that no tree is too deep.
        while let Some(name) = folders.pop() {
            if let Ok(inner) = open_folder(&top, &name) {
                folders.extend(empty(&inner, &top, &mut fresh));
            }
            let _ = unlinkat(&top, &name, AtFlags::REMOVEDIR);
        }
    }
    matches!(unlinkat(CWD, folder, AtFlags::REMOVEDIR), Ok(()) | Err(Errno::NOENT))
}

/// Removes the files of a folder, and moves its folders to `top`; returns their names there.
fn empty(folder: &OwnedFd, top: &OwnedFd, fresh: &mut u64) -> Vec<CString> {
    let mut folders = Vec::new();
    let Ok(entries) = Dir::read_from(folder) else { return folders };
    // A folder that changes while it is read may be read in part or twice.
    let names: Vec<CString> = entries.flatten().map(|entry| entry.file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !is_dots(name)) {
        // Never follows a link: only what is a folder itself is touched below.
        if unlinkat(folder, name, AtFlags::empty()) != Err(Errno::ISDIR) {
            continue;
        }
        // A folder that must not be written to cannot be moved, nor one that must not be read be emptied.
        let _ = chmodat(folder, name, Mode::RWXU, AtFlags::empty());
        loop {
            *fresh += 1;
            let Ok(free) = CString::new(format!(".{fresh}")) else { break };
            match renameat_with(folder, name, top, &free, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    folders.push(free);
                    break;
                }
                Err(Errno::EXIST) => {}
                Err(_) => break,
            }
        }
    }
    folders
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
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("potluck-remove-{name}-{}", std::process::id()));
        assert!(remove_folder(&path));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn what_links_lead_to_stays() {
        let (top, other) = (folder("links"), folder("other"));
        fs::write(other.join("file"), "text").unwrap();
        std::os::unix::fs::symlink(&other, top.join("link")).unwrap();
        fs::create_dir(top.join("a")).unwrap();
        std::os::unix::fs::symlink("../../other", top.join("a/link")).unwrap();
        assert!(remove_folder(&top) && !top.exists() && other.join("file").exists());
        assert!(remove_folder(&other));
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let top = folder("deep");
        let mut place = open_folder(CWD, &top).unwrap();
        for _ in 0..5_000 {
            mkdirat(&place, "a-folder", Mode::RWXU).unwrap();
            place = open_folder(&place, "a-folder").unwrap();
        }
        assert!(remove_folder(&top) && !top.exists());
    }

    #[test]
    fn folders_that_nobody_may_enter_go() {
        let top = folder("closed");
        for path in ["a", "a/b", "c"] {
            fs::create_dir(top.join(path)).unwrap();
        }
        fs::write(top.join("a/b/file"), "text").unwrap();
        // A name that the folders on their way up could be given.
        fs::write(top.join(".1"), "text").unwrap();
        for (path, mode) in [("a/b", Mode::empty()), ("a", Mode::empty()), (".", Mode::RUSR | Mode::XUSR)] {
            chmodat(CWD, top.join(path), mode, AtFlags::empty()).unwrap();
        }
        assert!(remove_folder(&top) && !top.exists());
    }

    #[test]
    fn what_is_no_folder_stays() {
        let top = folder("file");
        fs::write(top.join("file"), "text").unwrap();
        assert!(!remove_folder(&top.join("file")));
        assert!(top.join("file").exists());
        assert!(remove_folder(&top.join("nothing")) && remove_folder(&top));
    }
}
