//! Files that a task hands back. Their names come from whoever wrote the task, so nothing in them is believed: they stay
//! below the folder that the user names, follow no link there, and replace nothing unless the user says so.

use crate::output::{printable, units};
use anyhow::{Context, bail, ensure};
use potluck_sdk::message::cpu::ResultFile;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Longest name, in bytes; the system's own limit for a path is not much more.
const NAME_BYTES_MAX: usize = 1024;

/// What to do with the files that tasks hand back.
#[derive(Debug)]
pub(super) struct Saver {
    /// Where they go.
    pub(super) folder: PathBuf,
    /// Whether they may replace files that are there.
    pub(super) replace: bool,
}

impl Saver {
    /// Saves the files of a task in a folder of its own below the folder, and returns their paths. Either all names are
    /// fine and free, or nothing is written.
    pub(super) fn save_below(
        &self,
        task_id: &str,
        files: &[ResultFile<'_>],
        attachment: &[u8],
    ) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.folder.join(folder_name(task_id));
        Saver { folder, replace: self.replace }.save(files, attachment)
    }

    /// Saves the files of a task in the folder itself.
    pub(super) fn save(&self, files: &[ResultFile<'_>], attachment: &[u8]) -> anyhow::Result<Vec<PathBuf>> {
        let files = split(files, attachment)?;
        if !self.replace {
            let taken =
                files.iter().map(|(name, _)| self.folder.join(name)).find(|path| path.symlink_metadata().is_ok());
            if let Some(path) = taken {
                bail!("{} is there already, so nothing was saved; --force replaces it", path.display());
            }
        }
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create the folder {}", self.folder.display()))?;
        let mut saved = Vec::new();
        for (name, bytes) in files {
            let path = self.folder.join(name);
            self.write(name, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            saved.push(path);
        }
        Ok(saved)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let as_folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The user's own folder may be reached through links; below it none is followed.
        let mut folder = openat(CWD, &self.folder, as_folder, Mode::empty())?;
        let (parents, file_name) = name.rsplit_once('/').unwrap_or(("", name));
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            match mkdirat(&folder, parent, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = openat(&folder, parent, as_folder | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let mut file = self.create(&folder, file_name)?;
        file.write_all(bytes)?;
        Ok(())
    }

    fn create(&self, folder: &OwnedFd, name: &str) -> anyhow::Result<File> {
        if self.replace {
            // A link is removed itself, and what it leads to stays.
            match unlinkat(folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => bail!("it is a folder"),
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(folder, name, flags, Mode::from_raw_mode(0o644))?.into())
    }
}

/// One line for each file, and what keeps them.
pub(super) fn listing(files: &[ResultFile<'_>]) -> String {
    let mut lines = String::new();
    for file in files {
        lines.push_str(&format!("  {}  {}\n", printable(&file.name), units::bytes(file.bytes as u64)));
    }
    let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    format!("The task handed back {count}; --save-files [FOLDER] keeps them:\n{}", lines.trim_end())
}

/// The files with their bytes, once all names and lengths are fine.
fn split<'a>(files: &'a [ResultFile<'_>], attachment: &'a [u8]) -> anyhow::Result<Vec<(&'a str, &'a [u8])>> {
    let mut rest = attachment;
    let mut names = BTreeSet::new();
    let mut parts = Vec::new();
    for file in files {
        let name = file.name.as_ref();
        ensure!(
            is_safe(name),
            "the task names a file {:?}, which may not be saved; nothing was saved",
            printable(name)
        );
        ensure!(names.insert(name), "the task names the file {:?} twice; nothing was saved", printable(name));
        let (bytes, behind) = rest
            .split_at_checked(file.bytes)
            .with_context(|| format!("the file {:?} has not come whole; nothing was saved", printable(name)))?;
        rest = behind;
        parts.push((name, bytes));
    }
    ensure!(rest.is_empty(), "more bytes have come than the task's files have; nothing was saved");
    Ok(parts)
}

/// Whether a name leads to a place below a folder.
fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(char::is_control)
        && name.split('/').all(|part| !["", ".", ".."].contains(&part))
}

/// A folder's name for a task, which may be called anything.
fn folder_name(task_id: &str) -> String {
    let is_fine = |character: char| character.is_alphanumeric() || "-_.,+@ ".contains(character);
    let name: String =
        task_id.chars().take(60).map(|character| if is_fine(character) { character } else { '_' }).collect();
    match name.trim_start_matches('.') {
        "" => "task".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn file(name: &str, bytes: usize) -> ResultFile<'_> {
        ResultFile { name: Cow::Borrowed(name), bytes }
    }

    #[test]
    fn files_are_saved_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let saver = Saver { folder: folder.path().join("new/results"), replace: false };
        let saved = saver.save(&[file("a.txt", 2), file("plots/b c.png", 3), file("empty", 0)], b"aabbb").unwrap();
        assert_eq!(saved[1], saver.folder.join("plots/b c.png"));
        assert_eq!(fs::read(&saved[0]).unwrap(), b"aa");
        assert_eq!(fs::read(&saved[1]).unwrap(), b"bbb");
        assert_eq!(fs::read(&saved[2]).unwrap(), b"");
        let saved = saver.save_below("../evil", &[file("a", 1)], b"x").unwrap();
        assert_eq!(saved[0], saver.folder.join("_evil/a"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused_with_everything_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let saver = Saver { folder: folder.path().to_owned(), replace: true };
        for name in
            ["", "/etc/passwd", "..", "../a", "a/../../b", "a//b", "a/", "./a", "a\0b", "a\nb", &"x".repeat(1025)]
        {
            let error = saver.save(&[file("fine", 1), file(name, 1)], b"ab").unwrap_err().to_string();
            assert!(error.contains("nothing was saved"), "{name:?}: {error}");
        }
        for files in
            [vec![file("a", 1), file("a", 1)], vec![file("a", 3)], vec![file("a", 1)], vec![file("a", usize::MAX)]]
        {
            assert!(saver.save(&files, b"ab").is_err(), "{files:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_replaced_unless_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "old").unwrap();
        let files = [file("a", 1), file("b", 1)];
        let mut saver = Saver { folder: folder.path().to_owned(), replace: false };
        let error = saver.save(&files, b"12").unwrap_err().to_string();
        assert!(error.contains("--force") && !folder.path().join("a").exists(), "{error}");
        saver.replace = true;
        saver.save(&files, b"12").unwrap();
        assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"2");
        fs::create_dir(folder.path().join("c")).unwrap();
        assert!(format!("{:#}", saver.save(&[file("c", 0)], b"").unwrap_err()).contains("folder"));
    }

    #[test]
    fn links_in_the_folder_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("target"), "old").unwrap();
        symlink(outside.path(), folder.path().join("away")).unwrap();
        symlink(outside.path().join("target"), folder.path().join("link")).unwrap();
        let saver = Saver { folder: folder.path().to_owned(), replace: true };
        assert!(saver.save(&[file("away/new", 1)], b"x").is_err());
        saver.save(&[file("link", 1)], b"x").unwrap();
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "old");
        assert_eq!(fs::read_to_string(folder.path().join("link")).unwrap(), "x");
        assert!(!outside.path().join("new").exists());
    }

    #[test]
    fn a_task_may_be_called_anything() {
        for (task_id, name) in [("t1", "t1"), ("..", "task"), (".hidden", "hidden"), ("a/b\n", "a_b_"), ("", "task")] {
            assert_eq!(folder_name(task_id), name);
        }
    }

    #[test]
    fn files_that_are_not_kept_are_listed() {
        let text = listing(&[file("plot.png", 2048), file("a\u{1b}[2J", 1)]);
        assert!(
            text.contains("2 files") && text.contains("  plot.png  2.0 KiB\n") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(text.contains("--save-files"), "{text}");
    }
}
