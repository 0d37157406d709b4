//! The thread that writes the audit log, and the files that it writes.

use anyhow::Context;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

/// When a file has this size it becomes `*.1.jsonl`, and the one before that is gone.
pub(super) const FILE_BYTES_MAX: u64 = 8 << 20;

/// The files. There are two, so that no flood of refusals puts aside what was done to the node or its pool.
#[derive(Clone, Copy)]
pub(super) enum Log {
    /// What was done.
    Administration,
    /// What was refused.
    Refusals,
}

impl Log {
    const fn current(self) -> &'static str {
        match self {
            Log::Administration => "audit.jsonl",
            Log::Refusals => "audit.refused.jsonl",
        }
    }

    const fn former(self) -> &'static str {
        match self {
            Log::Administration => "audit.1.jsonl",
            Log::Refusals => "audit.refused.1.jsonl",
        }
    }
}

/// Lines that a full queue or a failing disk took. Apart as well: each file tells its own.
#[derive(Default)]
pub(super) struct Lost {
    administration: AtomicU64,
    refusals: AtomicU64,
}

impl Lost {
    pub(super) const fn of(&self, log: Log) -> &AtomicU64 {
        match log {
            Log::Administration => &self.administration,
            Log::Refusals => &self.refusals,
        }
    }
}

/// What the thread is asked for, in this order.
pub(super) enum Job {
    /// Writes a line.
    Line(Log, String),
    /// Writes a line, and says when it is on the disk.
    Durable(Log, String, SyncSender<io::Result<()>>),
    /// Ends the thread.
    Stop,
}

/// The open files.
pub(super) struct Writer {
    administration: LogFile,
    refusals: LogFile,
}

struct LogFile {
    log: Log,
    folder: PathBuf,
    bytes_max: u64,
    file: File,
    bytes: u64,
    /// Whether the last line in the file has no end, because the disk was full or the machine stopped.
    is_torn: bool,
    /// So that a full disk fills no other log.
    has_complained: bool,
    lost: Arc<Lost>,
}

impl Writer {
    /// Goes on behind what is in the files; what cannot be written is counted in `lost`.
    pub(super) fn open(folder: &Path, bytes_max: u64, lost: &Arc<Lost>) -> anyhow::Result<Writer> {
        let open = |log| LogFile::open(log, folder, bytes_max, Arc::clone(lost));
        Ok(Writer { administration: open(Log::Administration)?, refusals: open(Log::Refusals)? })
    }

    /// Does jobs until it is told to stop, or nobody is left to give one.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Line(log, line) => {
                    let file = self.file(log);
                    let result = file.write(&line);
                    file.note(&result);
                }
                Job::Durable(log, line, done) => {
                    let file = self.file(log);
                    let result = file.write(&line).and_then(|()| file.file.sync_all());
                    file.note(&result);
                    // Nobody waits any more when the node is being torn down.
                    let _ = done.send(result);
                }
                Job::Stop => break,
            }
        }
        for file in [&self.administration, &self.refusals] {
            if let Err(error) = file.file.sync_all() {
                let file = file.log.current();
                tracing::warn!(%error, file, "the end of the audit log may not be on the disk");
            }
        }
    }

    fn file(&mut self, log: Log) -> &mut LogFile {
        match log {
            Log::Administration => &mut self.administration,
            Log::Refusals => &mut self.refusals,
        }
    }
}

impl LogFile {
    fn open(log: Log, folder: &Path, bytes_max: u64, lost: Arc<Lost>) -> anyhow::Result<LogFile> {
        let path = folder.join(log.current());
        let (file, bytes, is_torn) = open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(LogFile { log, folder: folder.to_owned(), bytes_max, file, bytes, is_torn, has_complained: false, lost })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 + 1 > self.bytes_max {
            match std::fs::rename(self.current(), self.folder.join(self.log.former())) {
                // It is aside already, when the new one could not be opened the last time.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            (self.file, self.bytes, self.is_torn) = open(&self.current())?;
        }
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if self.is_torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        // A write that fails may have written a part.
        self.is_torn = true;
        self.file.write_all(&bytes)?;
        self.is_torn = false;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn note(&mut self, result: &io::Result<()>) {
        match result {
            Ok(()) => self.has_complained = false,
            Err(error) => {
                self.lost.of(self.log).fetch_add(1, Ordering::Relaxed);
                if !self.has_complained {
                    self.has_complained = true;
                    let file = self.current();
                    tracing::error!(%error, file = %file.display(), "the audit log cannot be written");
                }
            }
        }
    }

    fn current(&self) -> PathBuf {
        self.folder.join(self.log.current())
    }
}

/// The file, its size, and whether its last line has no end.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let bytes = file.metadata()?.len();
    let mut is_torn = false;
    if bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        is_torn = last != *b"\n";
    } else {
        // A line that somebody waited for is only there if the file's name is.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
    }
    Ok((file, bytes, is_torn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, name: &str) -> String {
        std::fs::read_to_string(folder.join(name)).unwrap()
    }

    fn open(folder: &Path, bytes_max: u64) -> LogFile {
        LogFile::open(Log::Administration, folder, bytes_max, Arc::default()).unwrap()
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path(), 40);
        for number in 0..10 {
            writer.write(&format!("{{\"number\":{number:04}}}")).unwrap();
        }
        // Sixteen bytes and the end of the line: two of them fit.
        assert_eq!(read(folder.path(), "audit.jsonl"), "{\"number\":0008}\n{\"number\":0009}\n");
        assert_eq!(read(folder.path(), "audit.1.jsonl"), "{\"number\":0006}\n{\"number\":0007}\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        // The size is remembered over a restart.
        drop(writer);
        let mut writer = open(folder.path(), 40);
        writer.write("{\"number\":0010}").unwrap();
        assert_eq!(read(folder.path(), "audit.jsonl"), "{\"number\":0010}\n");
        assert_eq!(read(folder.path(), "audit.1.jsonl"), "{\"number\":0008}\n{\"number\":0009}\n");
    }

    #[test]
    fn a_file_that_is_aside_already_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path(), 20);
        writer.write("{\"number\":1}").unwrap();
        std::fs::rename(writer.current(), folder.path().join("audit.1.jsonl")).unwrap();
        writer.write("{\"number\":2}").unwrap();
        assert_eq!(read(folder.path(), "audit.jsonl"), "{\"number\":2}\n");
        assert_eq!(read(folder.path(), "audit.1.jsonl"), "{\"number\":1}\n");
    }

    #[test]
    fn the_files_are_private_even_when_they_were_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut writer = open(folder.path(), 5);
        for _ in 0..2 {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            writer.write("{}").unwrap();
        }
        assert_eq!(std::fs::metadata(folder.path().join("audit.1.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_without_an_end_does_not_swallow_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("audit.jsonl"), "{}\n{\"topic\":\"aud").unwrap();
        let mut writer = open(folder.path(), 1000);
        writer.write("{\"a\":1}").unwrap();
        writer.write("{\"a\":2}").unwrap();
        assert_eq!(read(folder.path(), "audit.jsonl"), "{}\n{\"topic\":\"aud\n{\"a\":1}\n{\"a\":2}\n");
    }

    #[test]
    fn a_flood_in_one_file_puts_nothing_of_the_other_aside() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::open(folder.path(), 40, &Arc::default()).unwrap();
        let (queue, jobs) = std::sync::mpsc::sync_channel(128);
        queue.send(Job::Line(Log::Administration, "{\"pool\":0}".to_owned())).unwrap();
        for number in 0..100 {
            queue.send(Job::Line(Log::Refusals, format!("{{\"number\":{number:04}}}"))).unwrap();
        }
        queue.send(Job::Line(Log::Administration, "{\"pool\":1}".to_owned())).unwrap();
        drop(queue);
        writer.run(&jobs);
        assert_eq!(read(folder.path(), "audit.jsonl"), "{\"pool\":0}\n{\"pool\":1}\n");
        assert_eq!(read(folder.path(), "audit.refused.jsonl"), "{\"number\":0098}\n{\"number\":0099}\n");
        assert_eq!(read(folder.path(), "audit.refused.1.jsonl"), "{\"number\":0096}\n{\"number\":0097}\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_told_to_who_waits() {
        let folder = tempfile::tempdir().unwrap();
        let lost = Arc::new(Lost::default());
        let mut writer = Writer::open(folder.path(), 1000, &lost).unwrap();
        writer.administration.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (queue, jobs) = std::sync::mpsc::sync_channel(8);
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        queue.send(Job::Line(Log::Administration, "{}".to_owned())).unwrap();
        queue.send(Job::Line(Log::Refusals, "{}".to_owned())).unwrap();
        queue.send(Job::Durable(Log::Administration, "{}".to_owned(), done)).unwrap();
        queue.send(Job::Stop).unwrap();
        writer.run(&jobs);
        assert!(wait.recv().unwrap().is_err());
        assert_eq!(lost.of(Log::Administration).load(Ordering::Relaxed), 2);
        assert_eq!(lost.of(Log::Refusals).load(Ordering::Relaxed), 0);
    }
}
