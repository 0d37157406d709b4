//! A node's disk that fails when a test says so.

use potluck_tests::{NodeBuilder, c_library};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

// Kinds of calls, as tests/fixtures/c/disk_faults.c numbers them.
pub(crate) const WRITE: u32 = 1;
pub(crate) const SYNC: u32 = 2;
pub(crate) const TRUNCATE: u32 = 4;
pub(crate) const OPEN: u32 = 8;
pub(crate) const MAKE_FOLDER: u32 = 16;
pub(crate) const RENAME: u32 = 32;
pub(crate) const REMOVE: u32 = 64;
pub(crate) const SET_ATTRIBUTE: u32 = 128;
pub(crate) const READ: u32 = 256;
// Of programs that name files by their whole path.
pub(crate) const OPEN_BY_PATH: u32 = 512;
pub(crate) const CHANGE_BY_PATH: u32 = 1024;
pub(crate) const CHANGES: u32 = WRITE | SYNC | OPEN | MAKE_FOLDER | RENAME | SET_ATTRIBUTE;
pub(crate) const ALL: u32 = CHANGES | TRUNCATE | REMOVE | READ;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) calls: u32,
    /// Nothing: half is written.
    pub(crate) error: Option<Errno>,
    /// So many calls succeed before.
    pub(crate) skip: u32,
    /// So many fail then.
    pub(crate) fail: u32,
}

impl Fault {
    /// All that a broken disk may refuse: calls, error, and the code that is told.
    pub(crate) const IO: (u32, Errno, &str) = (ALL, Errno::IO, "disk_failed");
    /// All that a full disk may refuse.
    pub(crate) const FULL: (u32, Errno, &str) = (CHANGES, Errno::NOSPC, "limit_reached");

    pub(crate) fn always(calls: u32, error: Errno) -> Fault {
        Fault { calls, error: Some(error), skip: 0, fail: u32::MAX }
    }
}

/// The library that makes calls fail, and the file by which it is told.
pub(crate) struct Faults {
    pub(crate) folder: TempDir,
    library: PathBuf,
    control: File,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        let folder = tempfile::Builder::new().prefix("potluck-faults-").tempdir().unwrap();
        let library = c_library("disk_faults", folder.path());
        let path = folder.path().join("control");
        fs::write(&path, [0; 128]).unwrap();
        let control = File::options().read(true).write(true).open(path).unwrap();
        Faults { folder, library, control }
    }

    /// A node whose disk fails when [`Faults::begin`] says so. It must start no other programs.
    pub(crate) fn preload(&self, builder: NodeBuilder) -> NodeBuilder {
        builder.env("LD_PRELOAD", &self.library).env("DISK_FAULTS", self.folder.path().join("control"))
    }

    /// A node for which `folder` is a disk of that size; others do not see what is on it.
    pub(crate) fn small_disk(&self, builder: NodeBuilder, folder: &Path, bytes: usize) -> NodeBuilder {
        let mut disk = OsString::from(format!("{bytes} "));
        disk.push(folder);
        builder.env("LD_PRELOAD", &self.library).env("DISK_SMALL", disk)
    }

    /// Calls fail from now on, on files whose path contains `path`.
    pub(crate) fn begin_at(&self, fault: Fault, path: &str) {
        let error = fault.error.map_or(0, |error| error.raw_os_error() as u32);
        let mut bytes: Vec<u8> =
            [fault.calls, error, fault.skip, fault.fail, 0].iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(path.as_bytes());
        bytes.resize(128, 0);
        self.control.write_all_at(&bytes, 0).unwrap();
    }

    /// As [`Faults::begin_at`], for the shared files.
    pub(crate) fn begin(&self, fault: Fault) {
        self.begin_at(fault, "/peer_storage");
    }

    /// The disk works again; how many calls have failed?
    pub(crate) fn end(&self) -> u32 {
        let mut hits = [0; 4];
        self.control.write_all_at(&[0; 4], 0).unwrap();
        self.control.read_exact_at(&mut hits, 16).unwrap();
        self.control.write_all_at(&[0; 4], 16).unwrap();
        u32::from_ne_bytes(hits)
    }
}
