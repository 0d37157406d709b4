//! What a task prints. Standard output and standard error are memory files that the provider opened: they catch Python,
//! C code and child processes alike, and the provider can read them even when the worker is dead.

use potluck_worker_protocol::OUTPUT_BYTES_RETURNED_MAX;
use rustix::fs::{SeekFrom, fstat, ftruncate, seek};
use std::os::fd::{AsFd, OwnedFd};

/// One of the two streams.
pub(crate) struct Stream {
    /// The same open file as the stream's usual descriptor, which a task may close or point elsewhere.
    file: OwnedFd,
    is_stderr: bool,
}

impl Stream {
    pub(crate) fn stdout() -> std::io::Result<Stream> {
        Ok(Stream { file: rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?, is_stderr: false })
    }

    pub(crate) fn stderr() -> std::io::Result<Stream> {
        Ok(Stream { file: rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?, is_stderr: true })
    }

    /// Makes the usual descriptor refer to the file again, if a task has changed that.
    pub(crate) fn restore(&self) {
        let current = if self.is_stderr { fstat(rustix::stdio::stderr()) } else { fstat(rustix::stdio::stdout()) };
        let same = match (current, fstat(&self.file)) {
            (Ok(current), Ok(own)) => (current.st_dev, current.st_ino) == (own.st_dev, own.st_ino),
            _ => false,
        };
        if !same {
            let file = self.file.as_fd();
            let _ = if self.is_stderr { rustix::stdio::dup2_stderr(file) } else { rustix::stdio::dup2_stdout(file) };
        }
    }

    /// What was printed since the last call, capped, and its whole length. Empties the file.
    pub(crate) fn take(&self) -> (String, u64) {
        let (length, blocks) =
            fstat(&self.file).map_or((0, 1), |stat| (u64::try_from(stat.st_size).unwrap_or(0), stat.st_blocks));
        // A task may have reserved memory beyond the end, which must not stay.
        if length == 0 && blocks == 0 {
            return (String::new(), 0);
        }
        let mut bytes = vec![0; OUTPUT_BYTES_RETURNED_MAX.min(usize::try_from(length).unwrap_or(usize::MAX))];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::io::pread(&self.file, &mut bytes[filled..], filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        let _ = ftruncate(&self.file, 0);
        let _ = seek(&self.file, SeekFrom::Start(0));
        let mut text = String::from_utf8_lossy(&bytes[..filled]).into_owned();
        if length > filled as u64 {
            text.push_str(&format!("\n[{} more bytes]\n", length - filled as u64));
        }
        (text, length)
    }
}
