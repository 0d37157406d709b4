//! Decodes Base64 that comes in pieces, strictly.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};

/// What has been decoded of a text.
#[derive(Default)]
pub struct Decoder {
    /// Bytes that nobody has taken yet.
    pub decoded: Vec<u8>,
    /// A group that is not whole yet.
    group: Vec<u8>,
    /// Characters before it.
    position: u64,
    /// Nothing may follow.
    is_padded: bool,
    error: Option<String>,
    is_muted: bool,
}

impl Decoder {
    /// Decodes on; after an error nothing happens.
    pub fn push(&mut self, mut text: &[u8]) {
        if self.is_muted || self.error.is_some() {
            return;
        }
        if !self.group.is_empty() {
            let missing = (4 - self.group.len()).min(text.len());
            self.group.extend_from_slice(&text[..missing]);
            text = &text[missing..];
            if self.group.len() < 4 {
                return;
            }
            let group = std::mem::take(&mut self.group);
            self.decode(&group);
        }
        let (groups, rest) = text.split_at(text.len() / 4 * 4);
        self.decode(groups);
        self.group.extend_from_slice(rest);
    }

    /// Nothing follows.
    pub fn finish(&mut self) {
        if !self.group.is_empty() && self.error.is_none() {
            let length = self.position + self.group.len() as u64;
            self.error = Some(format!("data is not Base64: its length of {length} characters is no multiple of 4"));
        }
    }

    /// Throws away whatever comes.
    pub fn mute(&mut self) {
        *self = Decoder { is_muted: true, error: self.error.take(), ..Decoder::default() };
    }

    /// What is wrong with the text.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn decode(&mut self, groups: &[u8]) {
        let Some(last) = groups.last() else { return };
        if self.error.is_some() {
            return;
        }
        if self.is_padded {
            self.error = Some(format!("data is not Base64: character {} stands behind the padding", self.position));
            return;
        }
        self.is_padded = *last == b'=';
        if let Err(error) = STANDARD.decode_vec(groups, &mut self.decoded) {
            let offset = match error {
                DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol(offset, _) => offset,
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => groups.len() - 4,
            };
            let position = self.position + offset as u64;
            self.error = Some(format!("data is not Base64: character {position} is not valid there"));
        }
        self.position += groups.len() as u64;
    }
}
