//! What is sent: a file or standard input, read piece by piece and hashed on the way.

use super::{PIECE_BYTES, hex, is_dash};
use crate::commands::session::new_uuid;
use anyhow::{Context, bail, ensure};
use potluck_sdk::files::Blake3;
use ring::digest::{self, SHA256};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Digits of the name of an upload.
const UPLOAD_DIGITS: usize = 32;

/// A piece of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Arc<Vec<u8>>,
    /// With the last piece: SHA-256 of everything, in hexadecimal digits.
    pub(super) sha256: Option<String>,
    /// With the last piece of an owned file: BLAKE3 of everything.
    pub(super) blake3: Option<String>,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    pub(super) fn is_final(&self) -> bool {
        self.sha256.is_some()
    }

    /// What of the piece lies behind an offset; a last piece is there even when it is empty.
    pub(super) fn from(self, offset: u64) -> Option<Piece> {
        if offset <= self.offset {
            return Some(self);
        }
        if offset > self.end() || (offset == self.end() && !self.is_final()) {
            return None;
        }
        let skipped = (offset - self.offset) as usize;
        Some(Piece { offset, bytes: Arc::new(self.bytes[skipped..].to_vec()), ..self })
    }
}

/// A file, or standard input.
pub(super) struct Source {
    /// The file; nothing for standard input.
    path: Option<PathBuf>,
    /// Bytes, when that is known.
    pub(super) size: Option<u64>,
    /// The name of the upload: the same for the same file under the same name.
    pub(super) upload: String,
    /// Whether the content is hashed by BLAKE3 as well.
    with_blake3: bool,
}

impl Source {
    pub(super) fn open(path: &Path, command: &str, name: &str, with_blake3: bool) -> anyhow::Result<Source> {
        if is_dash(path) {
            let upload = new_uuid()?.simple().to_string();
            return Ok(Source { path: None, size: None, upload, with_blake3 });
        }
        let read = || format!("Failed to read file: {}", path.display());
        let metadata = path.metadata().with_context(read)?;
        ensure!(!metadata.is_dir(), "{} is a folder; pack it first, as with tar", path.display());
        // A pipe with a name tells no size, and cannot be read twice.
        if !metadata.is_file() {
            bail!("{} is no file; redirect it to standard input, and name that `-`", path.display());
        }
        File::open(path).with_context(read)?;
        let absolute = path.canonicalize().with_context(read)?;
        let mut hash = digest::Context::new(&SHA256);
        for part in [command.as_bytes(), name.as_bytes(), absolute.as_os_str().as_encoded_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(&metadata.len().to_le_bytes());
        hash.update(&metadata.mtime().to_le_bytes());
        hash.update(&metadata.mtime_nsec().to_le_bytes());
        let mut upload = hex(hash.finish().as_ref());
        upload.truncate(UPLOAD_DIGITS);
        Ok(Source { path: Some(absolute), size: Some(metadata.len()), upload, with_blake3 })
    }

    pub(super) fn is_stdin(&self) -> bool {
        self.path.is_none()
    }

    /// Reads from an offset on, in a thread of its own that nobody waits for: a read from a terminal or a pipe may never
    /// return. What is skipped is hashed all the same.
    pub(super) fn read_from(&self, offset: u64) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Piece>>> {
        let input: Box<dyn Read + Send> = match &self.path {
            Some(path) => Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
            None => Box::new(std::io::stdin()),
        };
        let (sender, receiver) = mpsc::channel(1);
        let (size, hashes) = (self.size, Hashes::new(self.with_blake3));
        std::thread::Builder::new()
            .name("file-input".to_owned())
            .spawn(move || {
                let give = |piece| sender.blocking_send(piece).is_ok();
                if let Err(error) = read(input, hashes, offset, size, &mut |piece| give(Ok(piece))) {
                    give(Err(error));
                }
            })
            .context("cannot start a thread to read the file")?;
        Ok(receiver)
    }
}

/// The hashes of everything that was read so far.
struct Hashes {
    sha256: digest::Context,
    blake3: Option<Blake3>,
}

impl Hashes {
    fn new(with_blake3: bool) -> Hashes {
        Hashes { sha256: digest::Context::new(&SHA256), blake3: with_blake3.then(Blake3::new) }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.blake3 {
            hash.update(bytes);
        }
    }
}

/// Hands on all pieces from an offset on, the last one with the hash of everything, until nobody takes them.
fn read(
    mut input: impl Read,
    mut hashes: Hashes,
    from: u64,
    size: Option<u64>,
    give: &mut dyn FnMut(Piece) -> bool,
) -> anyhow::Result<()> {
    let mut skipped = 0;
    let mut buffer = Vec::new();
    while skipped < from {
        let wanted = (from - skipped).min(PIECE_BYTES as u64) as usize;
        fill(&mut input, &mut buffer, wanted)?;
        ensure!(buffer.len() == wanted, "the file has become shorter while it was sent; run the command again");
        hashes.update(&buffer);
        skipped += wanted as u64;
    }
    let mut offset = from;
    fill(&mut input, &mut buffer, PIECE_BYTES)?;
    loop {
        hashes.update(&buffer);
        // One piece ahead, since the last one is sent as such.
        let mut next = Vec::new();
        if buffer.len() == PIECE_BYTES {
            fill(&mut input, &mut next, PIECE_BYTES)?;
        }
        let end = offset + buffer.len() as u64;
        let is_final = next.is_empty();
        if is_final && size.is_some_and(|size| size != end) {
            bail!("the file was changed while it was sent; run the command again");
        }
        let sha256 = is_final.then(|| hex(hashes.sha256.clone().finish().as_ref()));
        let blake3 = if is_final { hashes.blake3.take().map(Blake3::finish) } else { None };
        if !give(Piece { offset, bytes: Arc::new(buffer), sha256, blake3 }) || is_final {
            return Ok(());
        }
        (offset, buffer) = (end, next);
    }
}

/// Reads until the buffer has as many bytes, or there are no more.
fn fill(input: &mut impl Read, buffer: &mut Vec<u8>, bytes: usize) -> anyhow::Result<()> {
    buffer.clear();
    buffer.reserve_exact(bytes);
    match input.take(bytes as u64).read_to_end(buffer) {
        Ok(_) => Ok(()),
        // A terminal that has gone away ends the input as its end does.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error).context("Failed to read file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(input: &[u8], from: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        read(input, Hashes::new(true), from, Some(input.len() as u64), &mut |piece| {
            pieces.push(piece);
            true
        })
        .unwrap();
        pieces
    }

    fn sha256(bytes: &[u8]) -> String {
        hex(digest::digest(&SHA256, bytes).as_ref())
    }

    #[test]
    fn the_last_piece_has_the_hash_of_everything_wherever_it_was_begun() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let input: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            for from in [0, length / 2, length] {
                let pieces = pieces(&input, from as u64);
                let (last, others) = pieces.split_last().unwrap();
                assert_eq!(last.sha256.as_deref(), Some(sha256(&input).as_str()), "{length} from {from}");
                let mut blake3 = Blake3::new();
                blake3.update(&input);
                assert_eq!(last.blake3, Some(blake3.finish()), "{length} from {from}");
                assert!(others.iter().all(|piece| !piece.is_final() && piece.bytes.len() == PIECE_BYTES));
                assert_eq!(pieces[0].offset, from as u64);
                let together: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
                assert!(together == input[from..], "{length} from {from}");
                assert!(length == 0 || from == length || !last.bytes.is_empty(), "{length} from {from}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_longer_what_it_was_is_not_sent_as_if_it_were() {
        for size in [1, 3] {
            assert!(read(&b"ab"[..], Hashes::new(false), 0, Some(size), &mut |_| true).is_err(), "{size}");
        }
        assert!(read(&b"ab"[..], Hashes::new(false), 3, None, &mut |_| true).is_err());
    }

    #[test]
    fn a_piece_is_cut_where_the_node_has_the_beginning_of_it() {
        let piece = |sha256: Option<&str>| Piece {
            offset: 10,
            bytes: Arc::new(vec![1, 2, 3]),
            sha256: sha256.map(str::to_owned),
            blake3: None,
        };
        assert_eq!(piece(None).from(4), Some(piece(None)));
        let cut = piece(None).from(12).unwrap();
        assert_eq!((cut.offset, cut.bytes.as_slice()), (12, &[3][..]));
        assert_eq!(piece(None).from(13), None);
        let rest = piece(Some("h")).from(13).unwrap();
        assert_eq!((rest.offset, rest.bytes.len(), rest.is_final()), (13, 0, true));
        assert_eq!(piece(Some("h")).from(14), None);
    }

    #[test]
    fn the_same_file_under_the_same_name_is_the_same_upload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let upload = |command, name| Source::open(&path, command, name, false).unwrap().upload;
        let first = upload("put-file", "a");
        assert_eq!(first.len(), UPLOAD_DIGITS);
        assert_eq!(upload("put-file", "a"), first);
        assert_ne!(upload("put-file", "b"), first);
        assert_ne!(upload("upload", "a"), first);
        std::fs::write(&path, "22").unwrap();
        assert_ne!(upload("put-file", "a"), first);
        assert!(Source::open(folder.path(), "put-file", "a", false).is_err());
        let missing = Source::open(&folder.path().join("b"), "put-file", "a", false).err().unwrap().to_string();
        assert!(missing.starts_with("Failed to read file"), "{missing}");
    }
}
