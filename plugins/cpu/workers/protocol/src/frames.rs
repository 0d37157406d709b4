//! Frames between provider and worker.

use std::io::{ErrorKind, Read};

/// Largest frame: a message of the wire, with the little that is added to it.
pub const FRAME_BYTES_MAX: usize = 17 << 20;
const HEADER_BYTES: usize = 4;
const READ_BYTES: usize = 64 << 10;

/// Appends a frame: `parts` are the pieces of one JSON object.
pub fn write_frame(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // Both sides keep frames below FRAME_BYTES_MAX, far below 2^32.
    out.extend_from_slice(&(length as u32).to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Received bytes, cut into frames.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// Reads once. `Ok(0)` is the end of the stream. Without memory for more bytes none are read, and none are lost.
    pub fn fill(&mut self, mut source: impl Read) -> std::io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && self.buffer.len() > 4 * READ_BYTES {
            self.buffer = Vec::new();
        }
        if self.buffer.len() < self.end + READ_BYTES {
            let length = (self.end + READ_BYTES).max(2 * self.end);
            self.buffer.try_reserve(length - self.buffer.len())?;
            self.buffer.resize(length, 0);
        }
        loop {
            match source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }

    /// The next whole frame, if it has arrived. An error means that the other side does not speak this protocol.
    pub fn next_frame(&mut self) -> std::io::Result<Option<&[u8]>> {
        let unread = &self.buffer[self.start..self.end];
        let Some(header) = unread.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(std::io::Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        if unread.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let begin = self.start + HEADER_BYTES;
        self.start = begin + length;
        Ok(Some(&self.buffer[begin..begin + length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &[b"{\"a\":", b"1}"]);
        write_frame(&mut bytes, &[b"{}"]);
        for cut in 0..bytes.len() {
            let mut reader = FrameReader::default();
            let mut frames: Vec<Vec<u8>> = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.fill(part).unwrap();
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, [&b"{\"a\":1}"[..], b"{}"]);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let mut reader = FrameReader::default();
        reader.fill(&[0xff; 8][..]).unwrap();
        assert!(reader.next_frame().is_err());
    }
}
