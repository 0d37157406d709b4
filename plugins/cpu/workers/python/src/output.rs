//! What a task prints. Standard output and standard error are memory files that the provider opened: they catch Python,
//! C code and child processes alike, and the provider can read them even when the worker is dead.

use potluck_worker_protocol::OUTPUT_BYTES_RETURNED_MAX;
use rustix::fs::{SeekFrom, fstat, ftruncate, seek};
use std::os::fd::BorrowedFd;

/// One of the two streams.
pub(crate) struct Stream(BorrowedFd<'static>);

impl Stream {
    pub(crate) fn stdout() -> Stream {
        Stream(rustix::stdio::stdout())
    }

    pub(crate) fn stderr() -> Stream {
        Stream(rustix::stdio::stderr())
    }

    /// What was printed since the last call, capped, and its whole length. Empties the file.
    pub(crate) fn take(&self) -> (String, u64) {
        let length = fstat(self.0).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        if length == 0 {
            return (String::new(), 0);
        }
        let mut bytes = vec![0; OUTPUT_BYTES_RETURNED_MAX.min(usize::try_from(length).unwrap_or(usize::MAX))];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::io::pread(self.0, &mut bytes[filled..], filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        let _ = ftruncate(self.0, 0);
        let _ = seek(self.0, SeekFrom::Start(0));
        let mut text = String::from_utf8_lossy(&bytes[..filled]).into_owned();
        if length > filled as u64 {
            text.push_str(&format!("\n[{} more bytes]\n", length - filled as u64));
        }
        (text, length)
    }
}
