//! Keys that are the same in every run, so that a signature in a corpus stays good.

use potluck_host::key::KeyPair;

/// What stands in front of the 32 bytes of an Ed25519 private key in PKCS#8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The pool's key.
pub const POOL: u8 = 100;
/// The key of another pool.
pub const OTHER_POOL: u8 = 101;
/// The key of the node that is talked to.
pub const OWN: u8 = 0;

/// The key with a number.
pub fn key(number: u8) -> KeyPair {
    KeyPair::from_pkcs8(&[&PKCS8_PREFIX[..], &[number; 32]].concat()).expect("a private key")
}
