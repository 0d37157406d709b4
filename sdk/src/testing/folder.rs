//! A data folder of the test's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new folder, removed with all that is in it when this is dropped.
pub(super) struct DataFolder(PathBuf);

impl DataFolder {
    pub(super) fn create() -> DataFolder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("potluck-test-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return DataFolder(path),
                // A process with the same id has left it behind.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make the data folder {}: {error}", path.display()),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // A folder that stays behind is no reason to fail the test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
