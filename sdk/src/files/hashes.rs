//! Hashes of files and of their blocks, and the text of an age identity.

use bech32::{Bech32, Hrp};

/// Bytes of a block of files up to 128 GiB.
pub const BLOCK_BYTES: u64 = 1 << 20;
const BLOCK_BYTES_MAX: u64 = 8 << 20;
/// So that a list is 4 MiB at most, up to the largest blocks.
const BLOCK_COUNT_MAX: u64 = 1 << 17;

/// SHA-256 of bytes that come piece by piece.
pub struct Sha256(ring::digest::Context);

impl Sha256 {
    /// Of nothing yet.
    #[allow(clippy::new_without_default, reason = "a hash of nothing is no default")]
    pub fn new() -> Sha256 {
        Sha256(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash in hexadecimal digits.
    pub fn finish(self) -> String {
        to_hex(self.0.finish().as_ref())
    }
}

/// BLAKE3 of bytes that come piece by piece: several times as fast as SHA-256.
pub struct Blake3(blake3::Hasher);

impl Blake3 {
    /// Of nothing yet.
    #[allow(clippy::new_without_default, reason = "a hash of nothing is no default")]
    pub fn new() -> Blake3 {
        Blake3(blake3::Hasher::new())
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash in hexadecimal digits.
    pub fn finish(self) -> String {
        to_hex(self.0.finalize().as_bytes())
    }
}

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads lower-case hexadecimal digits; nothing when there are more or fewer than `N` bytes of them, or others.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// A list of hashes that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of block hashes does not fit the file's size; ask for it again, or another peer")]
pub struct HashesError;

/// The BLAKE3 hashes of the blocks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHashes {
    file_bytes: u64,
    hashes: Vec<[u8; 32]>,
}

impl BlockHashes {
    /// Bytes of a block of a file of that size.
    pub fn block_bytes_for(file_bytes: u64) -> u64 {
        let mut block_bytes = BLOCK_BYTES;
        while block_bytes < BLOCK_BYTES_MAX && file_bytes > block_bytes * BLOCK_COUNT_MAX {
            block_bytes *= 2;
        }
        block_bytes
    }

    /// Reads a file of that size to its end.
    ///
    /// # Errors
    /// When it cannot be read, or is shorter.
    pub fn read(file_bytes: u64, mut source: impl std::io::Read) -> std::io::Result<BlockHashes> {
        let block_bytes = BlockHashes::block_bytes_for(file_bytes);
        let mut hashes = Vec::new();
        let mut block = Vec::new();
        let mut left = file_bytes;
        while left > 0 {
            let length = left.min(block_bytes);
            block.resize(usize::try_from(length).map_err(std::io::Error::other)?, 0);
            source.read_exact(&mut block)?;
            hashes.push(*blake3::hash(&block).as_bytes());
            left -= length;
        }
        Ok(BlockHashes { file_bytes, hashes })
    }

    /// Reads the bytes that [`BlockHashes::to_bytes`] wrote.
    ///
    /// # Errors
    /// When there are more or fewer than the size asks for.
    pub fn from_bytes(file_bytes: u64, bytes: &[u8]) -> Result<BlockHashes, HashesError> {
        let count = file_bytes.div_ceil(BlockHashes::block_bytes_for(file_bytes));
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() as u64 != count {
            return Err(HashesError);
        }
        Ok(BlockHashes { file_bytes, hashes: hashes.to_vec() })
    }

    /// The hashes, one behind the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of a block; the last one may have fewer.
    pub fn block_bytes(&self) -> u64 {
        BlockHashes::block_bytes_for(self.file_bytes)
    }

    /// Number of blocks.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether these are the bytes of that block.
    pub fn check(&self, index: usize, bytes: &[u8]) -> bool {
        let begin = (index as u64).saturating_mul(self.block_bytes());
        let length = self.file_bytes.saturating_sub(begin).min(self.block_bytes());
        bytes.len() as u64 == length && self.hashes.get(index).is_some_and(|hash| blake3::hash(bytes) == *hash)
    }

    /// One hash for all: of the size, the size of a block and the list.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.file_bytes.to_le_bytes());
        hasher.update(&self.block_bytes().to_le_bytes());
        for hash in &self.hashes {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Makes [`BlockHashes`] of bytes that come piece by piece.
pub struct BlockHasher {
    block_bytes: u64,
    hasher: blake3::Hasher,
    hashes: Vec<[u8; 32]>,
    file_bytes: u64,
}

impl BlockHasher {
    /// Of nothing yet; so many bytes are expected.
    pub fn new(expected_bytes: u64) -> BlockHasher {
        let block_bytes = BlockHashes::block_bytes_for(expected_bytes);
        BlockHasher { block_bytes, hasher: blake3::Hasher::new(), hashes: Vec::new(), file_bytes: 0 }
    }

    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.file_bytes.is_multiple_of(self.block_bytes)
                && let Some((block, rest)) =
                    usize::try_from(self.block_bytes).ok().and_then(|length| bytes.split_at_checked(length))
            {
                // At once is faster.
                self.hashes.push(*blake3::hash(block).as_bytes());
                self.file_bytes += self.block_bytes;
                bytes = rest;
                continue;
            }
            let room = self.block_bytes - self.file_bytes % self.block_bytes;
            let (taken, rest) = bytes.split_at(usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len())));
            self.hasher.update(taken);
            self.file_bytes += taken.len() as u64;
            if self.file_bytes.is_multiple_of(self.block_bytes) {
                self.hashes.push(*self.hasher.finalize().as_bytes());
                self.hasher.reset();
            }
            bytes = rest;
        }
    }

    /// The hashes, when `file_bytes` have come; nothing when a file of that size has other blocks than was expected.
    pub fn finish(mut self, file_bytes: u64) -> Option<BlockHashes> {
        if file_bytes != self.file_bytes || BlockHashes::block_bytes_for(file_bytes) != self.block_bytes {
            return None;
        }
        if !file_bytes.is_multiple_of(self.block_bytes) {
            self.hashes.push(*self.hasher.finalize().as_bytes());
        }
        Some(BlockHashes { file_bytes, hashes: self.hashes })
    }
}

/// An X25519 key as the text that the program `age` reads. Only a name for the key that no version knows could make it
/// empty.
pub fn age_identity(secret: [u8; 32]) -> String {
    let name = Hrp::parse("age-secret-key-");
    name.ok().and_then(|name| bech32::encode_upper::<Bech32>(name, &secret).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_identity_is_the_text_that_age_reads() {
        let text = age_identity([0; 32]);
        assert!(text.starts_with("AGE-SECRET-KEY-1QQQQ"), "{text}");
        assert_eq!(text.len(), 74);
    }

    #[test]
    fn sha256_of_pieces_is_that_of_the_whole() {
        let mut hash = Sha256::new();
        hash.update(b"a");
        hash.update(b"bc");
        assert_eq!(hash.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn blocks_grow_with_the_file() {
        assert_eq!(BlockHashes::block_bytes_for(128 << 30), 1 << 20);
        assert_eq!(BlockHashes::block_bytes_for((128 << 30) + 1), 2 << 20);
        assert_eq!(BlockHashes::block_bytes_for(u64::MAX), 8 << 20);
    }

    #[test]
    fn a_block_with_other_bytes_is_found() {
        let bytes = vec![7; (1 << 20) + 5];
        let hashes = BlockHashes::read(bytes.len() as u64, bytes.as_slice()).unwrap();
        assert_eq!(hashes.count(), 2);
        assert!(hashes.check(0, &bytes[..1 << 20]) && hashes.check(1, &bytes[1 << 20..]));
        assert!(!hashes.check(1, &[8; 5]) && !hashes.check(1, &[7; 4]) && !hashes.check(2, &[]));
    }

    proptest! {
        #[test]
        fn hashes_of_pieces_are_those_of_the_whole(size in 0usize..(3 << 20), piece in 1usize..(2 << 20)) {
            let bytes: Vec<u8> = (0..size).map(|number| (number % 253) as u8).collect();
            let mut hasher = BlockHasher::new(size as u64);
            bytes.chunks(piece).for_each(|piece| hasher.update(piece));
            prop_assert_eq!(hasher.finish(size as u64), BlockHashes::read(size as u64, bytes.as_slice()).ok());
        }

        #[test]
        fn a_list_survives_its_bytes(size in 0u64..(3 << 20)) {
            let hashes = BlockHashes::read(size, std::io::repeat(1)).unwrap();
            prop_assert_eq!(BlockHashes::from_bytes(size, &hashes.to_bytes()), Ok(hashes.clone()));
            prop_assert_eq!(BlockHashes::from_bytes(size + (1 << 20), &hashes.to_bytes()), Err(HashesError));
        }
    }
}
