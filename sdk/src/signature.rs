//! Signatures of nodes: who says something, without a connection to them.
//!
//! A node signs with its Ed25519 key ([`crate::Host::sign`]), under a label that keeps the uses apart. Whoever has the text,
//! the signature and the key can check it, and the key's id is that of the node.

use crate::PeerId;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

/// What stands in front of the 32 bytes of an Ed25519 public key in its SubjectPublicKeyInfo (RFC 8410, section 4).
pub const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Keeps this use of the hash apart from any other; part of what a peer id means, so it never changes.
const PEER_ID_LABEL: &[u8] = b"potluck peer id 1\0";
/// Keeps what providers have signed apart from what the host itself signs.
const SIGNATURE_LABEL: &[u8] = b"potluck plugin signature 1\0";

/// The id of the node with that key: the first half of SHA-256 over a label and the key as SubjectPublicKeyInfo.
pub fn peer_id(key: &[u8; 32]) -> PeerId {
    id_under(PEER_ID_LABEL, key)
}

/// An id that belongs to a key in another role, such as a pool's.
pub fn id_under(label: &[u8], key: &[u8; 32]) -> PeerId {
    let hash = digest(&SHA256, &[label, &SPKI_PREFIX, key].concat());
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_ref()[..16]);
    PeerId::from_hash(first)
}

/// Whether the node with that key has signed a message under a label.
pub fn verify(key: &[u8; 32], label: &str, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(&signed_bytes(label, message), signature).is_ok()
}

/// What a host signs when a provider asks it to.
pub fn signed_bytes(label: &str, message: &[u8]) -> Vec<u8> {
    [SIGNATURE_LABEL, label.as_bytes(), b"\0", message].concat()
}
