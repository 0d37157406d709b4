//! Identifiers that are more than text.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A node's id: a UUID derived from its public key. It survives any change of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(uuid::Uuid);

/// A text that is no peer id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a peer id; a peer id is a UUID such as 5f0c6b1e-0000-8000-8000-000000000000")]
pub struct InvalidPeerId(pub String);

impl PeerId {
    /// An id from the first 16 bytes of a hash; sets the bits that make it a UUID of version 8.
    pub fn from_hash(hash: [u8; 16]) -> PeerId {
        PeerId(uuid::Builder::from_custom_bytes(hash).into_uuid())
    }

    /// The first eight digits: enough to tell the peers of a pool apart on a screen.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<PeerId, InvalidPeerId> {
        // Only the hyphenated form: an id is compared as text in files and messages.
        match uuid::Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(PeerId(uuid)),
            _ => Err(InvalidPeerId(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

impl Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_a_hash_is_a_version_8_uuid_and_survives_its_text() {
        let id = PeerId::from_hash([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<PeerId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "5f0c", "{ffffffff-ffff-8fff-bfff-ffffffffffff}", "ffffffffffff8fffbfffffffffffffff"] {
            assert!(text.parse::<PeerId>().is_err(), "{text}");
        }
    }
}
