//! Numbers and contents that follow from a seed.

use potluck_sdk::files::Sha256;

/// Numbers that look random, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What a file holds: bytes that follow from a seed and their number, and begin with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    seed: u64,
    pub(crate) length: usize,
}

impl Content {
    pub(crate) fn new(seed: u64, length: usize) -> Content {
        Content { seed, length }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let mut bytes = Vec::with_capacity(self.length + 16);
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend((self.length as u64).to_le_bytes());
        while bytes.len() < self.length {
            bytes.extend(random.next().to_le_bytes());
        }
        bytes.truncate(self.length);
        bytes
    }

    pub(crate) fn sha256(self) -> String {
        sha256(&self.bytes())
    }

    /// Whether these are the bytes of any content, all of them: what somebody sees who does not know what was stored.
    pub(crate) fn is_whole(bytes: &[u8]) -> bool {
        let number = |from: usize| bytes.get(from..from + 8).map(|part| u64::from_le_bytes(part.try_into().unwrap()));
        let (Some(seed), Some(length)) = (number(0), number(8)) else { return bytes.is_empty() };
        length == bytes.len() as u64 && Content::new(seed, bytes.len()).bytes() == bytes
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// The name of an unfinished file, by which the node knows an upload of its own user.
pub(crate) fn part_name(upload: &str, name: &str) -> String {
    format!("part-{}", sha256(format!("\0{upload}\0{name}").as_bytes()))
}
