//! Where a download goes: a file that grows beside its target until it is complete and checked, standard output, or nowhere.

use super::is_dash;
use crate::output::OutputError;
use anyhow::{Context, bail, ensure};
use ring::digest::{self, SHA256};
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Digits of the SHA-256 in the name of a file that is not complete yet.
const PART_DIGITS: usize = 16;
/// A longer name is left out of that of the part; a name has 255 bytes at most.
const PART_NAME_BYTES_MAX: usize = 200;
const READ_BYTES: usize = 256 << 10;
/// Bytes after which the disk is set to work while more come, so that little is left to wait for at the end.
const FLUSH_BYTES: usize = 32 << 20;

/// Where a download goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Destination {
    /// Nowhere: the bytes are only checked.
    Nowhere,
    /// Standard output.
    Stdout,
    /// A file, which may replace one that is there.
    File { path: PathBuf, replace: bool },
}

impl Destination {
    /// What `--save` means for a file of that name: `-` is standard output, and a folder one in which the file goes.
    pub(in crate::commands) fn new(save: &Path, name: &str, replace: bool) -> anyhow::Result<Destination> {
        if is_dash(save) {
            return Ok(Destination::Stdout);
        }
        let path = if save.is_dir() { save.join(base_name(name)?) } else { save.to_owned() };
        Ok(Destination::File { path, replace })
    }

    /// Fails when the file is there already and may not be replaced.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self {
            Destination::File { path, replace: false } if path.symlink_metadata().is_ok() => Err(is_there(path)),
            Destination::File { path, .. } if path.is_dir() => {
                bail!("{} is a folder; name a file", path.display())
            }
            _ => Ok(()),
        }
    }
}

/// The last part of a name, as that of a local file.
pub(in crate::commands) fn base_name(name: &str) -> anyhow::Result<&str> {
    match Path::new(name).file_name().and_then(|name| name.to_str()) {
        Some(base) => Ok(base),
        None => bail!("{name:?} cannot be the name of a file here; choose another with --save"),
    }
}

fn is_there(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is there already; replace it with --force, or choose another name with --save", path.display())
}

/// What a download is written to.
pub(super) enum Sink {
    Nowhere,
    Stdout,
    File { part: PathBuf, file: File },
}

impl Sink {
    /// Opens it, and tells how many bytes of the file with this SHA-256 are there from an earlier time.
    pub(super) fn open(destination: &Destination, sha256: &str, size: u64) -> anyhow::Result<(Sink, u64)> {
        let Destination::File { path, .. } = destination else {
            let sink = if *destination == Destination::Stdout { Sink::Stdout } else { Sink::Nowhere };
            return Ok((sink, 0));
        };
        let part = part_path(path, sha256);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&part)
            .with_context(|| format!("cannot write {}", part.display()))?;
        let metadata = file.metadata().with_context(|| format!("cannot look at {}", part.display()))?;
        // In a folder for everybody, somebody else may have put it there.
        ensure!(
            metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw(),
            "{} is not a file of yours; remove it, or save to another folder",
            part.display()
        );
        ensure!(
            flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
            "another command is downloading to {}; wait for it",
            part.display()
        );
        let mut length = metadata.len();
        if length > size {
            file.set_len(0).with_context(|| format!("cannot write {}", part.display()))?;
            length = 0;
        }
        Ok((Sink::File { part, file }, length))
    }

    /// Takes what comes through a channel, in a thread of its own that nobody waits for: a write to a pipe may never return.
    /// What is there already is hashed first.
    pub(super) fn start(self, present: u64) -> anyhow::Result<Writer> {
        let (pieces, mut inbox) = mpsc::channel::<Vec<u8>>(1);
        let (report, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("file-output".to_owned())
            .spawn(move || {
                let mut sink = self;
                let mut hash = digest::Context::new(&SHA256);
                let mut outcome = sink.hash_present(present, &mut hash);
                let mut flusher = None;
                let mut unflushed_bytes = 0;
                while outcome.is_ok()
                    && let Some(piece) = inbox.blocking_recv()
                {
                    hash.update(&piece);
                    outcome = sink.write(&piece);
                    unflushed_bytes += piece.len();
                    if unflushed_bytes >= FLUSH_BYTES
                        && let Sink::File { file, .. } = &sink
                    {
                        flusher = flusher.or_else(|| Flusher::start(file));
                        if flusher.as_ref().is_some_and(Flusher::flush) {
                            unflushed_bytes = 0;
                        }
                    }
                }
                if let Some(flusher) = flusher {
                    let flushed = flusher.finish().context("cannot write the file to the disk");
                    outcome = outcome.and(flushed);
                }
                let _ = report.send(outcome.map(|()| (sink, super::hex(hash.finish().as_ref()))));
            })
            .context("cannot start a thread to write the file")?;
        Ok(Writer { pieces, done })
    }

    fn hash_present(&mut self, present: u64, hash: &mut digest::Context) -> anyhow::Result<()> {
        let Sink::File { part, file } = self else { return Ok(()) };
        let mut read = || -> std::io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; READ_BYTES];
            let mut left = present;
            while left > 0 {
                let wanted = left.min(READ_BYTES as u64) as usize;
                file.read_exact(&mut buffer[..wanted])?;
                hash.update(&buffer[..wanted]);
                left -= wanted as u64;
            }
            Ok(())
        };
        read().with_context(|| format!("cannot read {}", part.display()))
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Sink::Nowhere => Ok(()),
            Sink::Stdout => {
                let mut stdout = std::io::stdout().lock();
                Ok(stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(OutputError::new)?)
            }
            Sink::File { part, file } => {
                potluck_sdk::files::write_all(file, bytes).with_context(|| format!("cannot write {}", part.display()))
            }
        }
    }

    /// Gives a file that is complete its name.
    pub(super) fn finish(self, destination: &Destination) -> anyhow::Result<()> {
        let (Sink::File { part, file }, Destination::File { path, replace }) = (self, destination) else {
            return Ok(());
        };
        file.sync_all().with_context(|| format!("cannot write {}", part.display()))?;
        if *replace {
            std::fs::rename(&part, path)
        } else {
            match renameat_with(CWD, &part, CWD, path, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(is_there(path)),
                // Not every file system can do that.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    std::fs::hard_link(&part, path).and_then(|()| std::fs::remove_file(&part))
                }
                outcome => outcome.map_err(Into::into),
            }
        }
        .with_context(|| format!("cannot rename {} to {}", part.display(), path.display()))?;
        // The file is there; whether its name would survive a loss of power is all that can fail here.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// Throws away what was written to a file.
    pub(super) fn discard(self) {
        if let Sink::File { part, .. } = self {
            let _ = std::fs::remove_file(part);
        }
    }
}

/// The thread that has the disk write what is in a file while more comes.
struct Flusher {
    wake: std::sync::mpsc::SyncSender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Flusher {
    /// Nothing when there can be no such thread: it only saves time.
    fn start(file: &File) -> Option<Flusher> {
        let file = file.try_clone().ok()?;
        let (wake, woken) = std::sync::mpsc::sync_channel(1);
        let flush = move || woken.into_iter().try_for_each(|()| file.sync_data());
        let thread = std::thread::Builder::new().name("file-flush".to_owned()).spawn(flush).ok()?;
        Some(Flusher { wake, thread })
    }

    /// Says whether it will write what is there by now; false while it has enough to do, and when it has failed.
    fn flush(&self) -> bool {
        self.wake.try_send(()).is_ok()
    }

    /// Waits for it. Its errors count: the kernel tells each of them once, and would not tell the last sync again.
    fn finish(self) -> std::io::Result<()> {
        drop(self.wake);
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that flushes the file broke off")))
    }
}

/// The thread that writes.
pub(super) struct Writer {
    pieces: mpsc::Sender<Vec<u8>>,
    done: oneshot::Receiver<anyhow::Result<(Sink, String)>>,
}

impl Writer {
    /// Hands on the next piece, when there is room for it; false when the writing has failed.
    pub(super) async fn write(&self, piece: Vec<u8>) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until all is written; returns the SHA-256 of everything.
    pub(super) async fn finish(self) -> anyhow::Result<(Sink, String)> {
        drop(self.pieces);
        self.done.await.context("the thread that writes the file broke off")?
    }
}

/// Where a file grows until it is complete.
fn part_path(target: &Path, sha256: &str) -> PathBuf {
    // Whatever a node says, it is a part of a name.
    let digits: String = sha256.chars().filter(char::is_ascii_hexdigit).take(PART_DIGITS).collect();
    let name = target.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= PART_NAME_BYTES_MAX);
    target.with_file_name(format!("{}.{digits}.part", name.unwrap_or("potluck")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(path: &Path, replace: bool) -> Destination {
        Destination::File { path: path.to_owned(), replace }
    }

    async fn write(sink: Sink, present: u64, bytes: &[u8]) -> (Sink, String) {
        let writer = sink.start(present).unwrap();
        assert!(writer.write(bytes.to_vec()).await);
        writer.finish().await.unwrap()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_download_that_was_stopped_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let target = destination(&folder.path().join("a"), false);
        let sha256 = super::super::hex(digest::digest(&SHA256, b"abcdef").as_ref());
        let (sink, present) = Sink::open(&target, &sha256, 6).unwrap();
        assert_eq!(present, 0);
        assert!(Sink::open(&target, &sha256, 6).is_err(), "one at a time");
        drop(run(write(sink, 0, b"abc")));
        assert!(!folder.path().join("a").exists());

        let (sink, present) = Sink::open(&target, &sha256, 6).unwrap();
        assert_eq!(present, 3);
        let (sink, hash) = run(write(sink, present, b"def"));
        assert_eq!(hash, sha256);
        sink.finish(&target).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"abcdef");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_somebody_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (sink, _) = Sink::open(&destination(&path, false), "ab", 1).unwrap();
        std::fs::write(&path, "old").unwrap();
        assert!(destination(&path, false).check().is_err());
        assert!(sink.finish(&destination(&path, false)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let (sink, present) = Sink::open(&destination(&path, true), "ab", 1).unwrap();
        let (sink, _) = run(write(sink, present, b"n"));
        sink.finish(&destination(&path, true)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"n");
    }

    #[test]
    fn a_link_in_the_place_of_the_part_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(folder.path().join("victim"), "v").unwrap();
        std::os::unix::fs::symlink("victim", part_path(&path, "abcd")).unwrap();
        assert!(Sink::open(&destination(&path, true), "abcd", 1).is_err());
        assert_eq!(std::fs::read(folder.path().join("victim")).unwrap(), b"v");
    }

    #[test]
    fn what_a_node_says_cannot_lead_out_of_the_folder() {
        assert_eq!(part_path(Path::new("/x/a"), "../../etc/passwd"), Path::new("/x/a.ecad.part"));
        let long = format!("/x/{}", "n".repeat(250));
        assert_eq!(part_path(Path::new(&long), "00"), Path::new("/x/potluck.00.part"));
        assert_eq!(base_name("docs/a.txt").unwrap(), "a.txt");
        for name in ["..", "a/..", "/", ""] {
            assert!(base_name(name).is_err(), "{name}");
        }
    }
}
