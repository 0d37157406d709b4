//! A membership: the pool's signed word that a key is a member, until a time.

use crate::key::{KeyPair, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use potluck_sdk::PeerId;
use potluck_sdk::message::to_json;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Keeps this use of the hash apart from any other; part of what a pool id means, so it never changes.
pub const POOL_ID_LABEL: &[u8] = b"potluck pool id 1\0";
const SIGNATURE_LABEL: &[u8] = b"potluck membership 1\0";
const VERSION: u64 = 1;
/// A membership with the longest name takes about half of this.
const TEXT_BYTES_MAX: usize = 2048;
const NAME_CHARS_MAX: usize = 64;

/// What a membership says, once its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The pool.
    pub pool_id: PeerId,
    /// The member.
    pub peer_id: PeerId,
    /// The member's key, from which its id follows.
    pub key: PublicKey,
    /// What people call the member; it proves nothing.
    pub name: String,
    /// When it was signed.
    pub issued_unix_seconds: u64,
    /// When it ends.
    pub expires_unix_seconds: u64,
}

/// Why a membership is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The text is no membership.
    #[error("this is not a membership; join the pool again")]
    Malformed,
    /// Somebody else signed it, or it was changed since.
    #[error("the membership is not signed by this pool; join the pool again")]
    Signature,
    /// A later Potluck made it.
    #[error("the membership is of version {0} and this node knows version {VERSION}; update Potluck on this machine")]
    Version(u64),
    /// It is for another pool.
    #[error("the membership is for the pool {0}; join this pool with a token of its own")]
    OtherPool(PeerId),
    /// It gives somebody an id that does not follow from the key.
    #[error("the membership names the peer {0}, which is not the id of its key; join the pool again")]
    OtherPeer(PeerId),
    /// It has ended.
    #[error(
        "the membership ended {seconds_ago} seconds ago; check the clocks of both machines, and start the node while \
         its tracker can be reached, so that it can renew the membership"
    )]
    Expired {
        /// How long it has been over.
        seconds_ago: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    v: u64,
    pool: PeerId,
    peer: PeerId,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    issued: u64,
    expires: u64,
}

impl Membership {
    /// Signs a membership that is good from now for a time.
    pub fn issue(
        pool_key: &KeyPair,
        member: &PublicKey,
        name: &str,
        now_unix_seconds: u64,
        lifetime_seconds: u64,
    ) -> String {
        let payload = Payload {
            v: VERSION,
            pool: pool_id(&pool_key.public()),
            peer: member.peer_id(),
            key: key_text(member).into(),
            name: clean_name(name).into(),
            issued: now_unix_seconds,
            expires: now_unix_seconds.saturating_add(lifetime_seconds),
        };
        sign_text(pool_key, SIGNATURE_LABEL, &to_json(&payload))
    }

    /// Reads a membership and checks everything about it except the time and whether it was revoked.
    pub fn verify(text: &str, pool: &PublicKey) -> Result<Membership, MembershipError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(MembershipError::Malformed);
        }
        let payload = match open_text(text, pool, SIGNATURE_LABEL) {
            Ok(payload) => payload,
            Err(SignedTextError::Malformed) => return Err(MembershipError::Malformed),
            Err(SignedTextError::Signature) => return Err(MembershipError::Signature),
        };
        // The version first: what a later one looks like is not known.
        let version = payload_version(&payload).ok_or(MembershipError::Malformed)?;
        if version != VERSION {
            return Err(MembershipError::Version(version));
        }
        let payload: Payload<'_> = serde_json::from_slice(&payload).map_err(|_| MembershipError::Malformed)?;
        if payload.pool != pool_id(pool) {
            return Err(MembershipError::OtherPool(payload.pool));
        }
        let key = key_from_text(&payload.key).ok_or(MembershipError::Malformed)?;
        if payload.peer != key.peer_id() {
            return Err(MembershipError::OtherPeer(payload.peer));
        }
        Ok(Membership {
            pool_id: payload.pool,
            peer_id: payload.peer,
            key,
            name: clean_name(&payload.name),
            issued_unix_seconds: payload.issued,
            expires_unix_seconds: payload.expires,
        })
    }

    /// Whether the membership has not ended.
    pub fn check_time(&self, now_unix_seconds: u64) -> Result<(), MembershipError> {
        if now_unix_seconds < self.expires_unix_seconds {
            return Ok(());
        }
        Err(MembershipError::Expired { seconds_ago: now_unix_seconds - self.expires_unix_seconds })
    }
}

/// The id of the pool whose key this is.
pub fn pool_id(pool: &PublicKey) -> PeerId {
    pool.id(POOL_ID_LABEL)
}

/// A key in base64, as memberships and messages carry it.
pub fn key_text(key: &PublicKey) -> String {
    STANDARD_NO_PAD.encode(key.0)
}

/// The key that [`key_text`] has written.
pub fn key_from_text(text: &str) -> Option<PublicKey> {
    // Room for exactly one key: nothing longer is decoded.
    let mut bytes = [0; PublicKey::BYTES];
    let length = STANDARD_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == PublicKey::BYTES).then_some(PublicKey(bytes))
}

/// A name that is safe to show: at most 64 characters, and none that steers a terminal or turns text around.
pub fn clean_name(name: &str) -> String {
    let is_shown = |character: &char| {
        !character.is_control()
            && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            && *character != '\u{feff}'
    };
    let shown: String = name.trim().chars().filter(is_shown).take(NAME_CHARS_MAX).collect();
    shown.trim().to_owned()
}

/// Why a signed text could not be opened.
pub(super) enum SignedTextError {
    Malformed,
    Signature,
}

/// `payload.signature`, both in base64url. The signature is over the very bytes that stand in the text, so that nobody
/// has to write JSON the same way twice.
pub(super) fn sign_text(key: &KeyPair, label: &[u8], payload: &str) -> String {
    let signature = key.sign(label, payload.as_bytes());
    format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(signature))
}

/// The payload of a signed text, whose length the caller has bounded. Nothing is parsed before the signature
/// was verified.
pub(super) fn open_text(text: &str, key: &PublicKey, label: &[u8]) -> Result<Vec<u8>, SignedTextError> {
    let (payload, signature) = text.split_once('.').ok_or(SignedTextError::Malformed)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| SignedTextError::Malformed)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| SignedTextError::Malformed)?;
    if signature.len() != 64 {
        return Err(SignedTextError::Malformed);
    }
    if !key.has_signed(label, &payload, &signature) {
        return Err(SignedTextError::Signature);
    }
    Ok(payload)
}

/// The version that a payload says it has.
pub(super) fn payload_version(payload: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    serde_json::from_slice::<Version>(payload).ok().map(|version| version.v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    fn issue(pool: &KeyPair) -> String {
        Membership::issue(pool, &key().public(), "laptop", 1000, 60)
    }

    #[test]
    fn a_membership_survives_its_text() {
        let (pool, member) = (key(), key().public());
        let text = Membership::issue(&pool, &member, "laptop", 1000, 60);
        let membership = Membership::verify(&text, &pool.public()).unwrap();
        let expected = Membership {
            pool_id: pool_id(&pool.public()),
            peer_id: member.peer_id(),
            key: member,
            name: "laptop".to_owned(),
            issued_unix_seconds: 1000,
            expires_unix_seconds: 1060,
        };
        assert_eq!(membership, expected);
        assert_ne!(membership.pool_id, pool.public().peer_id());
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let pool = key();
        let text = issue(&pool);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is not UTF-8 never gets as far as the parser.
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            assert!(Membership::verify(&flipped, &pool.public()).is_err(), "{flipped}");
        }
    }

    #[test]
    fn a_part_of_a_membership_is_refused() {
        let pool = key();
        let text = issue(&pool);
        for length in 0..text.len() {
            assert!(Membership::verify(&text[..length], &pool.public()).is_err());
            assert!(Membership::verify(&text[length + 1..], &pool.public()).is_err());
        }
        for text in [format!("{text}A"), format!("{text}."), format!("{text}="), format!(" {text}"), text.repeat(9)] {
            assert!(Membership::verify(&text, &pool.public()).is_err(), "{text}");
        }
    }

    #[test]
    fn another_pools_membership_is_refused() {
        let text = issue(&key());
        assert_eq!(Membership::verify(&text, &key().public()), Err(MembershipError::Signature));
    }

    #[test]
    fn a_signature_for_another_use_is_refused() {
        let pool = key();
        let text = issue(&pool);
        let payload = URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().0).unwrap();
        let other = sign_text(&pool, b"other 1\0", &String::from_utf8(payload).unwrap());
        assert_eq!(Membership::verify(&other, &pool.public()), Err(MembershipError::Signature));
    }

    #[test]
    fn a_signature_does_not_excuse_a_wrong_payload() {
        let pool = key();
        let (pool_id, member, other) = (pool_id(&pool.public()), key().public(), key().public());
        let verify = |payload: &str| Membership::verify(&sign_text(&pool, SIGNATURE_LABEL, payload), &pool.public());
        let payload = |version: u64, pool: PeerId, peer: PeerId, key: &str| {
            format!(
                r#"{{"v":{version},"pool":"{pool}","peer":"{peer}","key":"{key}","name":"a\u0007b",
                "issued":1,"expires":2,"new":{{}}}}"#
            )
        };
        let (peer, text) = (member.peer_id(), key_text(&member));
        // A member that this version does not know is left for later ones.
        assert_eq!(verify(&payload(1, pool_id, peer, &text)).unwrap().name, "ab");
        assert_eq!(verify(&payload(2, pool_id, peer, &text)), Err(MembershipError::Version(2)));
        assert_eq!(verify(r#"{"v":3}"#), Err(MembershipError::Version(3)));
        assert_eq!(verify(&payload(1, peer, peer, &text)), Err(MembershipError::OtherPool(peer)));
        let other_peer = other.peer_id();
        assert_eq!(verify(&payload(1, pool_id, other_peer, &text)), Err(MembershipError::OtherPeer(other_peer)));
        for key in ["", "AAAA", &text[1..], &format!("{text}="), &format!("{text}AAAA")] {
            assert_eq!(verify(&payload(1, pool_id, peer, key)), Err(MembershipError::Malformed), "{key}");
        }
        let twice = payload(1, pool_id, peer, &text).replacen(r#""issued":1"#, r#""issued":1,"issued":9"#, 1);
        for payload in ["", "{}", "[]", "null", r#"{"v":1}"#, r#"{"v":-1}"#, &twice, &"[".repeat(1000)] {
            assert_eq!(verify(payload), Err(MembershipError::Malformed), "{payload}");
        }
    }

    #[test]
    fn a_membership_ends() {
        let pool = key();
        let membership = Membership::verify(&issue(&pool), &pool.public()).unwrap();
        assert_eq!(membership.check_time(1059), Ok(()));
        assert_eq!(membership.check_time(1060), Err(MembershipError::Expired { seconds_ago: 0 }));
        let text = membership.check_time(1065).unwrap_err().to_string();
        assert!(text.contains("5 seconds") && text.contains("clock") && text.contains("renew"), "{text}");
        let endless = Membership::issue(&pool, &key().public(), "", 1000, u64::MAX);
        assert_eq!(Membership::verify(&endless, &pool.public()).unwrap().expires_unix_seconds, u64::MAX);
    }

    #[test]
    fn a_name_is_short_and_steers_nothing() {
        assert_eq!(clean_name("  my laptop\n"), "my laptop");
        assert_eq!(clean_name("a\u{1b}[31mb\u{202e}c\0\u{85}"), "a[31mbc");
        assert_eq!(clean_name(&"é".repeat(100)), "é".repeat(64));
        assert_eq!(clean_name("\t \u{200b}"), "");
    }

    #[test]
    fn the_longest_name_fits() {
        let pool = key();
        for name in ["\u{1f35c}".repeat(64), "\"".repeat(64), "\\".repeat(64)] {
            let text = Membership::issue(&pool, &key().public(), &name, u64::MAX, u64::MAX);
            assert_eq!(Membership::verify(&text, &pool.public()).unwrap().name, name);
        }
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = key().public();
        assert_eq!(key_from_text(&key_text(&key)), Some(key));
        assert_eq!(key_from_text(&"A".repeat(1000)), None);
    }
}
