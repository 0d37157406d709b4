//! The pool's signed list of those who are members no more. A higher version replaces a lower one.

use super::membership::{SignedTextError, open_text, payload_version, pool_id, sign_text};
use crate::key::{KeyPair, PublicKey};
use potluck_sdk::PeerId;
use potluck_sdk::message::to_json;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashSet;

/// How many members of a pool can be revoked.
pub const REVOKED_MAX: usize = 100_000;
const SIGNATURE_LABEL: &[u8] = b"potluck revocations 1\0";
const VERSION: u64 = 1;
/// The longest list: an id takes 39 bytes of JSON, which are 52 of base64; the rest has room in what is left of 53.
/// That is a third of a frame, so the list fits into a message beside other things.
const TEXT_BYTES_MAX: usize = REVOKED_MAX * 53;

/// Who is a member no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Increases with every change; 0 before the first.
    pub version: u64,
    /// The ids of those who were revoked, at most [`REVOKED_MAX`].
    pub revoked: HashSet<PeerId>,
}

/// Why a list is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationsError {
    /// The text is no list.
    #[error("this is not a list of revocations; the tracker may be damaged")]
    Malformed,
    /// Somebody else signed it, or it was changed since.
    #[error("the list of revocations is not signed by this pool; the older list stays in force")]
    Signature,
    /// A later Potluck made it.
    #[error("the list of revocations is of version {0} and this node knows version {VERSION}; update this node")]
    Version(u64),
    /// It is for another pool.
    #[error("the list of revocations is for the pool {0}; the older list stays in force")]
    OtherPool(PeerId),
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    v: u64,
    pool: PeerId,
    version: u64,
    revoked: Cow<'a, [PeerId]>,
}

impl Revocations {
    /// Signs a list of at most [`REVOKED_MAX`] ids.
    pub fn issue(pool_key: &KeyPair, version: u64, revoked: &[PeerId]) -> String {
        let payload = Payload { v: VERSION, pool: pool_id(&pool_key.public()), version, revoked: revoked.into() };
        sign_text(pool_key, SIGNATURE_LABEL, &to_json(&payload))
    }

    /// Reads a list and checks everything about it, except that it is newer than the one before.
    pub fn verify(text: &str, pool: &PublicKey) -> Result<Revocations, RevocationsError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(RevocationsError::Malformed);
        }
        let payload = match open_text(text, pool, SIGNATURE_LABEL) {
            Ok(payload) => payload,
            Err(SignedTextError::Malformed) => return Err(RevocationsError::Malformed),
            Err(SignedTextError::Signature) => return Err(RevocationsError::Signature),
        };
        // The version first: what a later one looks like is not known.
        let version = payload_version(&payload).ok_or(RevocationsError::Malformed)?;
        if version != VERSION {
            return Err(RevocationsError::Version(version));
        }
        let payload: Payload<'_> = serde_json::from_slice(&payload).map_err(|_| RevocationsError::Malformed)?;
        if payload.pool != pool_id(pool) {
            return Err(RevocationsError::OtherPool(payload.pool));
        }
        if payload.revoked.len() > REVOKED_MAX {
            return Err(RevocationsError::Malformed);
        }
        Ok(Revocations { version: payload.version, revoked: payload.revoked.iter().copied().collect() })
    }

    /// Whether a peer was revoked.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.revoked.contains(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    fn ids(count: usize) -> Vec<PeerId> {
        (0..count).map(|number| PeerId::from_hash((number as u128).to_le_bytes())).collect()
    }

    fn issue(pool: &KeyPair, count: usize) -> String {
        Revocations::issue(pool, u64::MAX, &ids(count))
    }

    #[test]
    fn a_list_survives_its_text() {
        let pool = key();
        for count in [0, 1, 3] {
            let list = Revocations::verify(&issue(&pool, count), &pool.public()).unwrap();
            assert_eq!((list.version, list.revoked.len()), (u64::MAX, count));
            assert!(ids(count).iter().all(|peer| list.contains(peer)));
            assert!(!list.contains(&PeerId::from_hash([0xff; 16])));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let pool = key();
        let text = issue(&pool, 2);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is not UTF-8 never gets as far as the parser.
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            assert!(Revocations::verify(&flipped, &pool.public()).is_err(), "{flipped}");
        }
        for length in 0..text.len() {
            assert!(Revocations::verify(&text[..length], &pool.public()).is_err());
        }
    }

    #[test]
    fn another_pools_list_is_refused() {
        let text = issue(&key(), 1);
        assert_eq!(Revocations::verify(&text, &key().public()), Err(RevocationsError::Signature));
    }

    #[test]
    fn a_signature_does_not_excuse_a_wrong_payload() {
        let pool = key();
        let verify = |payload: &str| Revocations::verify(&sign_text(&pool, SIGNATURE_LABEL, payload), &pool.public());
        let (own, other) = (pool_id(&pool.public()), pool.public().peer_id());
        let payload = |v: u64, pool: PeerId| format!(r#"{{"v":{v},"pool":"{pool}","version":5,"revoked":[],"new":0}}"#);
        assert_eq!(verify(&payload(1, own)).unwrap().version, 5);
        assert_eq!(verify(&payload(2, own)), Err(RevocationsError::Version(2)));
        assert_eq!(verify(&payload(1, other)), Err(RevocationsError::OtherPool(other)));
        for payload in ["", "{}", "[]", r#"{"v":1}"#, &payload(1, own).replace("[]", r#"["x"]"#), &"[".repeat(1000)] {
            assert_eq!(verify(payload), Err(RevocationsError::Malformed), "{payload}");
        }
    }

    #[test]
    fn the_longest_list_fits_and_a_longer_one_is_refused() {
        let pool = key();
        let longest = Revocations::verify(&issue(&pool, REVOKED_MAX), &pool.public()).unwrap();
        assert_eq!(longest.revoked.len(), REVOKED_MAX);
        let text = issue(&pool, REVOKED_MAX + 1);
        assert!(text.len() <= TEXT_BYTES_MAX, "the number of ids is what refuses it");
        assert_eq!(Revocations::verify(&text, &pool.public()), Err(RevocationsError::Malformed));
    }
}
