//! The bytes of the arena: a file in memory that has a page only where something was written.

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(crate) struct Arena {
    file: File,
}

impl Arena {
    /// An arena of that many bytes, all zero. It takes memory only as it is written.
    pub(crate) fn new(bytes: u64) -> io::Result<Arena> {
        let file = File::from(memfd_create("potluck-arena", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes)?;
        Ok(Arena { file })
    }

    pub(crate) fn read(&self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, address)?;
        Ok(bytes)
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, address)
    }

    /// Makes these bytes zero again and gives their pages back to the machine.
    pub(crate) fn clear(&self, address: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, address, length)?)
    }

    /// Bytes that it takes of the machine's memory.
    #[cfg(test)]
    fn resident_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.file.metadata().map_or(0, |facts| facts.blocks() * 512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_takes_memory_and_clearing_gives_it_back() {
        let arena = Arena::new(64 << 30).unwrap();
        assert_eq!(arena.resident_bytes(), 0);
        arena.write(1 << 30, &[7; 1 << 20]).unwrap();
        assert_eq!(arena.resident_bytes(), 1 << 20);
        assert_eq!(arena.read((1 << 30) - 1, 3).unwrap(), [0, 7, 7]);
        arena.clear(1 << 30, 1 << 20).unwrap();
        assert_eq!(arena.resident_bytes(), 0);
        assert_eq!(arena.read(1 << 30, 2).unwrap(), [0, 0]);
    }

    #[test]
    fn clearing_a_part_of_a_page_leaves_its_neighbours() {
        let arena = Arena::new(1 << 20).unwrap();
        arena.write(0, &[7; 64]).unwrap();
        arena.clear(16, 16).unwrap();
        let expected: Vec<u8> = [7, 0, 7, 7].iter().flat_map(|byte| [*byte; 16]).collect();
        assert_eq!(arena.read(0, 64).unwrap(), expected);
    }
}
