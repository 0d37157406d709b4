//! The folder in which a node keeps what must survive it. One node at a time.

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A data directory that this process has locked; the lock goes with the process, however it ends.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if need be (readable by its owner alone) and locks it.
    pub fn open(path: &Path) -> anyhow::Result<DataDir> {
        create_private_folder(path)?;
        let path = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
        keep_private(&path)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another node runs on the data directory {}; stop it, or give this one a folder of its own with --data-dir",
                path.display()
            );
        }
        let opened = DataDir { path, _lock: lock };
        opened.empty_spool()?;
        Ok(opened)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for what messages bring that are larger than a frame; created by whoever puts something there.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Removes what a process left there that ended in the middle of it.
    fn empty_spool(&self) -> anyhow::Result<()> {
        let path = self.spool();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot empty {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The folder of one provider, created if need be.
    pub fn provider(&self, id: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("providers").join(id);
        create_private_folder(&path)?;
        Ok(path)
    }
}

/// `--data-dir`, else `$POTLUCK_HOME`, else a folder for the port in the place that the XDG base directory specification
/// names for data.
pub fn default_path(port: u16) -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = variable("POTLUCK_HOME") {
        return Ok(home);
    }
    let base = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    let base = base.context("no place for the node's data: set HOME, or pass --data-dir FOLDER")?;
    Ok(base.join("potluck").join(port.to_string()))
}

pub(crate) fn create_private_folder(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the folder {}", path.display()))
}

/// Takes away what others may do in a folder, which must be this user's own.
fn keep_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let metadata = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        bail!(
            "the data directory {} belongs to another account (number {}); name one of your own",
            path.display(),
            metadata.uid()
        );
    }
    // Where others could write they may have put something.
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot look into {}", path.display()))? {
        let entry = entry?;
        let uid = entry.path().symlink_metadata()?.uid();
        if uid != own && uid != 0 {
            bail!("{} belongs to another account (number {uid}); look at it, and move it away", entry.path().display());
        }
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot make {} readable by its owner alone", path.display()))?;
    }
    Ok(())
}

/// Replaces a small file so that a reader, or a machine that loses power, sees the old content or the new, never a part.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ended_process_has_left_in_the_spool_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = DataDir::open(folder.path()).unwrap().spool();
        create_private_folder(&spool).unwrap();
        std::fs::write(spool.join("data-1"), "left").unwrap();
        DataDir::open(folder.path()).unwrap();
        assert!(!spool.exists());
    }

    #[test]
    fn a_second_node_on_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("--data-dir"), "{error}");
        drop(first);
        assert!(DataDir::open(folder.path()).is_ok());
    }
}
