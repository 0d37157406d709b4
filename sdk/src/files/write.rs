//! Writing much at once.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// Bytes of one write. Linux keeps what comes by a large write in large pages, which it takes from memory that has long been
/// unused; in a virtual machine that memory may have gone back to the host, and getting it again takes ten times as long as
/// the write. Measured with ext4 of Linux 6.18: 1 GB in writes of 1 MiB takes 2.6 s after a rest and 0.3 s right after
/// another file, in writes of 64 to 512 KiB 0.3 s always.
const WRITE_BYTES: usize = 256 << 10;

/// Writes all of some bytes to where a file stands. Blocks.
///
/// # Errors
/// As [`Write::write_all`].
pub fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(WRITE_BYTES).try_for_each(|part| file.write_all(part))
}

/// Writes all of some bytes to a place in a file. Blocks.
///
/// # Errors
/// As [`FileExt::write_all_at`].
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut place = offset;
    for part in bytes.chunks(WRITE_BYTES) {
        file.write_all_at(part, place)?;
        place += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_where_it_belongs() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..2 * WRITE_BYTES + 3).map(|index| (index % 251) as u8).collect();
        write_all(&file, &bytes).unwrap();
        write_all_at(&file, &bytes, bytes.len() as u64 + 1).unwrap();
        let mut found = vec![0; 2 * bytes.len() + 1];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..bytes.len()] == bytes && found[bytes.len()] == 0 && found[bytes.len() + 1..] == bytes);
        assert_eq!(file.metadata().unwrap().len(), found.len() as u64);
    }
}
