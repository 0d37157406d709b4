//! Writes files in the age v1 format: the header's key is wrapped by the age library, the payload is sealed by ring, which
//! does that at twice the speed of the library. What is written here is read by the library, and by the program `age`.
//!
//! Source: C2SP age, <https://c2sp.org/age> (header, header MAC, payload in 64 KiB chunks after STREAM).

use age::x25519::Recipient;
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use potluck_sdk::files::{BlockHasher, BlockHashes, write_all};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use std::fs::File;
use std::io;

/// Bytes in the clear that are sealed together.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that each of them has more when it is sealed.
const TAG_BYTES: usize = 16;
const PAYLOAD_NONCE_BYTES: usize = 16;
/// Columns of the text of a stanza's body.
const BODY_COLUMNS: usize = 64;

/// A file that is being sealed.
pub(crate) struct SealedWriter {
    file: File,
    key: LessSafeKey,
    /// Number of the next chunk.
    counter: u64,
    /// What follows in the clear: a whole chunk stays until it is known whether it is the last.
    clear: Vec<u8>,
    /// What is sealed, and is not written yet: less than a block, and a chunk.
    sealed: Vec<u8>,
    /// Bytes of a block, which are hashed and written together.
    block_bytes: usize,
    written_bytes: u64,
    hasher: BlockHasher,
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |_| io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// 32 bytes by HKDF-SHA-256.
fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let failed = |_| io::Error::other("a key cannot be derived");
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    extracted.expand(&[label], hkdf::HKDF_SHA256).and_then(|key| key.fill(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

fn write_stanza(text: &mut String, stanza: &Stanza) {
    text.push_str("-> ");
    text.push_str(&stanza.tag);
    for argument in &stanza.args {
        text.push(' ');
        text.push_str(argument);
    }
    text.push('\n');
    let body = STANDARD_NO_PAD.encode(&stanza.body);
    let mut rest = body.as_str();
    // The last line is shorter than the others, if need be empty.
    while rest.len() >= BODY_COLUMNS {
        let (line, behind) = rest.split_at(BODY_COLUMNS);
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str(rest);
    text.push('\n');
}

/// The header for a key of the file's own.
fn header(recipient: &Recipient, file_key: &[u8; 16]) -> io::Result<String> {
    let wrapped = age::Recipient::wrap_file_key(recipient, &FileKey::new(Box::new(*file_key)));
    let (stanzas, _labels) = wrapped.map_err(io::Error::other)?;
    let mut text = "age-encryption.org/v1\n".to_owned();
    for stanza in &stanzas {
        write_stanza(&mut text, stanza);
    }
    text.push_str("---");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &derive(file_key, b"", b"header")?);
    let mac = hmac::sign(&key, text.as_bytes());
    text.push(' ');
    text.push_str(&STANDARD_NO_PAD.encode(mac));
    text.push('\n');
    Ok(text)
}

impl SealedWriter {
    /// Begins a file; `expected_bytes` in the clear, as far as that is known.
    pub(crate) fn new(file: File, recipient: &Recipient, expected_bytes: u64) -> io::Result<SealedWriter> {
        let file_key = FileKey::new(Box::new(random()?));
        let header = header(recipient, file_key.expose_secret())?;
        let nonce: [u8; PAYLOAD_NONCE_BYTES] = random()?;
        let failed = |_| io::Error::other("the cipher takes no key");
        let key = derive(file_key.expose_secret(), &nonce, b"payload")?;
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(failed)?);
        let chunks = expected_bytes.div_ceil(CHUNK_BYTES as u64).max(1);
        // What a client announces may be any number.
        let beside_bytes = chunks.saturating_mul(TAG_BYTES as u64) + (header.len() + PAYLOAD_NONCE_BYTES) as u64;
        let blob_bytes = expected_bytes.saturating_add(beside_bytes);
        let block_bytes = usize::try_from(BlockHashes::block_bytes_for(blob_bytes)).map_err(io::Error::other)?;
        let mut writer = SealedWriter {
            file,
            key,
            counter: 0,
            clear: Vec::new(),
            sealed: Vec::with_capacity(block_bytes + 2 * CHUNK_BYTES),
            block_bytes,
            written_bytes: 0,
            hasher: BlockHasher::new(blob_bytes),
        };
        writer.sealed.extend_from_slice(header.as_bytes());
        writer.sealed.extend_from_slice(&nonce);
        Ok(writer)
    }

    /// The next bytes.
    pub(crate) fn write(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            if self.clear.len() == CHUNK_BYTES {
                let clear = std::mem::take(&mut self.clear);
                self.seal(&clear, false)?;
                self.clear = clear;
                self.clear.clear();
            }
            // Straight from the piece, as long as more follows in it.
            while self.clear.is_empty() && piece.len() > CHUNK_BYTES {
                let (chunk, rest) = piece.split_at(CHUNK_BYTES);
                self.seal(chunk, false)?;
                piece = rest;
            }
            let (taken, rest) = piece.split_at(piece.len().min(CHUNK_BYTES - self.clear.len()));
            self.clear.extend_from_slice(taken);
            piece = rest;
        }
        Ok(())
    }

    fn seal(&mut self, chunk: &[u8], is_last: bool) -> io::Result<()> {
        let mut nonce = [0; 12];
        // Eleven bytes count, of which eight are enough; the last one marks the last chunk.
        nonce[3..11].copy_from_slice(&self.counter.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.counter = self.counter.checked_add(1).ok_or_else(|| io::Error::other("the file has too many chunks"))?;
        let begin = self.sealed.len();
        self.sealed.extend_from_slice(chunk);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.sealed[begin..])
            .map_err(|_| io::Error::other("the cipher refuses a chunk"))?;
        self.sealed.extend_from_slice(tag.as_ref());
        if self.sealed.len() >= self.block_bytes { self.flush(self.block_bytes) } else { Ok(()) }
    }

    fn flush(&mut self, bytes: usize) -> io::Result<()> {
        let ready = &self.sealed[..bytes];
        self.hasher.update(ready);
        write_all(&self.file, ready)?;
        self.written_bytes += bytes as u64;
        self.sealed.drain(..bytes);
        Ok(())
    }

    /// Ends the file. Returns its size, and the hashes of its blocks, unless it has become larger than was expected.
    pub(crate) fn finish(mut self) -> io::Result<(u64, Option<BlockHashes>)> {
        let clear = std::mem::take(&mut self.clear);
        self.seal(&clear, true)?;
        self.flush(self.sealed.len())?;
        Ok((self.written_bytes, self.hasher.finish(self.written_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::x25519::Identity;
    use std::io::{Read, Seek};

    fn sealed(identity: &Identity, pieces: &[&[u8]], expected_bytes: u64) -> (Vec<u8>, u64, Option<BlockHashes>) {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = SealedWriter::new(file.try_clone().unwrap(), &identity.to_public(), expected_bytes).unwrap();
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        let (bytes, hashes) = writer.finish().unwrap();
        file.rewind().unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        (text, bytes, hashes)
    }

    #[test]
    fn the_age_library_reads_what_was_sealed_in_whatever_pieces() {
        let identity = Identity::generate();
        let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, content.len()] {
            for piece_bytes in [1_000, CHUNK_BYTES, CHUNK_BYTES + 7, content.len()] {
                let pieces: Vec<&[u8]> = content[..length].chunks(piece_bytes).collect();
                let (blob, bytes, hashes) = sealed(&identity, &pieces, length as u64);
                assert_eq!(blob.len() as u64, bytes);
                assert_eq!(hashes, Some(BlockHashes::read(bytes, blob.as_slice()).unwrap()));
                let mut clear = Vec::new();
                let reader: &dyn age::Identity = &identity;
                let decryptor = age::Decryptor::new(blob.as_slice()).unwrap();
                decryptor.decrypt(std::iter::once(reader)).unwrap().read_to_end(&mut clear).unwrap();
                assert!(clear == content[..length], "{length} in pieces of {piece_bytes}");
            }
        }
    }

    #[test]
    fn each_file_has_a_key_of_its_own() {
        let identity = Identity::generate();
        let blob = || sealed(&identity, &[b"the same"], 8).0;
        assert_ne!(blob()[100..], blob()[100..]);
    }
}
