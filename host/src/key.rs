//! Ed25519 keys: a node's own, a pool's, and the public keys of others, with the ids that follow from them.

use crate::data_dir::write_private;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use potluck_sdk::PeerId;
use potluck_sdk::signature::{self, SPKI_PREFIX};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::path::Path;

/// What stands in front of the 32 bytes of a private key in its PKCS#8 document (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Keeps the secrets of providers apart from other uses of the key; part of what they mean, so it never changes.
const SECRET_SALT: &[u8] = b"potluck provider secret 1";
const PEM_LABEL: &str = "PRIVATE KEY";

/// A key that others know somebody by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; PublicKey::BYTES]);

impl PublicKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;

    /// The key in a SubjectPublicKeyInfo; nothing when that holds a key of another kind.
    pub fn from_spki(spki: &[u8]) -> Option<PublicKey> {
        spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(PublicKey)
    }

    /// The key as SubjectPublicKeyInfo, in DER.
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// The id of the node whose key this is. Nobody else can have it.
    pub fn peer_id(&self) -> PeerId {
        signature::peer_id(&self.0)
    }

    /// The first half of SHA-256 over a label and the key, as UUID.
    pub fn id(&self, label: &[u8]) -> PeerId {
        signature::id_under(label, &self.0)
    }

    /// SHA-256 over the SubjectPublicKeyInfo: what is pinned.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &self.spki()).as_ref());
        hash
    }

    /// The fingerprint that people compare, in the form that `ssh` uses.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(self.sha256()))
    }

    /// Whether this key has signed a message under a label. The label keeps the uses of one key apart.
    pub fn has_signed(&self, label: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&[label, message].concat(), signature).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.fingerprint())
    }
}

/// A private key.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

impl KeyPair {
    /// Reads the key from a file, or makes one there.
    pub fn load_or_create(path: &Path) -> anyhow::Result<KeyPair> {
        if path.exists() {
            return KeyPair::load(path);
        }
        let key = KeyPair::generate()?;
        key.save(path)?;
        Ok(key)
    }

    /// Reads the key from a file.
    pub fn load(path: &Path) -> anyhow::Result<KeyPair> {
        let text = std::fs::read(path).with_context(|| format!("cannot read the key {}", path.display()))?;
        let document = pem::parse(text).ok().filter(|document| document.tag() == PEM_LABEL);
        let Some(key) = document.and_then(|document| KeyPair::from_pkcs8(document.contents())) else {
            bail!(
                "{} is not an Ed25519 key; restore it from a copy, or move it away to start with a new one",
                path.display()
            );
        };
        Ok(key)
    }

    /// A new key.
    pub fn generate() -> anyhow::Result<KeyPair> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("the system gave no random numbers for a new key"))?;
        KeyPair::from_pkcs8(document.as_ref()).context("a new key could not be read back")
    }

    /// The key in a PKCS#8 document; nothing when that is no Ed25519 key.
    pub fn from_pkcs8(document: &[u8]) -> Option<KeyPair> {
        // Other programs leave the public key out of the document; it follows from the private one.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).ok()?;
        // Where `seed` finds it; ring has just read it from there, and takes no document that is laid out otherwise.
        if document.len() < PKCS8_PREFIX.len() + 32 {
            return None;
        }
        Some(KeyPair { pair, pkcs8: document.to_vec() })
    }

    /// The PKCS#8 document.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Writes the key to a file that only its owner can read.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        write_private(path, pem::encode(&pem::Pem::new(PEM_LABEL, self.pkcs8.clone())).as_bytes())
    }

    /// What others know it by.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PublicKey::BYTES];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The 32 bytes that the key follows from (RFC 8032): whoever has them has the key.
    pub fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed.copy_from_slice(&self.pkcs8[PKCS8_PREFIX.len()..][..32]);
        seed
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Option<KeyPair> {
        KeyPair::from_pkcs8(&[&PKCS8_PREFIX[..], seed].concat())
    }

    /// A secret that follows from the key, for one provider and one use of it.
    pub fn secret(&self, provider: &str, label: &str) -> [u8; 32] {
        let key = Salt::new(HKDF_SHA256, SECRET_SALT).extract(&self.seed());
        let mut secret = [0; 32];
        // Fails only for more than 255 hashes of output.
        if let Ok(okm) = key.expand(&[provider.as_bytes(), b"\0", label.as_bytes()], HKDF_SHA256) {
            let _ = okm.fill(&mut secret);
        }
        secret
    }

    /// Signs a message under a label.
    pub fn sign(&self, label: &[u8], message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&[label, message].concat()).as_ref());
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_label_and_message_only() {
        let key = KeyPair::generate().unwrap();
        let signature = key.sign(b"label\0", b"message");
        assert!(key.public().has_signed(b"label\0", b"message", &signature));
        assert!(!key.public().has_signed(b"other\0", b"message", &signature));
        assert!(!key.public().has_signed(b"label\0", b"messagf", &signature));
        assert!(!KeyPair::generate().unwrap().public().has_signed(b"label\0", b"message", &signature));
    }

    #[test]
    fn a_key_survives_as_its_seed_and_gives_each_use_a_secret_of_its_own() {
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_seed(&key.seed()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.secret("a", "b"), key.secret("a", "b"));
        assert_ne!(key.secret("a", "b"), key.secret("a", "c"));
        assert_ne!(key.secret("a", "b"), key.secret("c", "b"));
        assert_ne!(key.secret("a", "b"), KeyPair::generate().unwrap().secret("a", "b"));
    }

    #[test]
    fn a_public_key_survives_its_document() {
        let public = KeyPair::generate().unwrap().public();
        assert_eq!(PublicKey::from_spki(&public.spki()), Some(public));
        assert_eq!(PublicKey::from_spki(&public.spki()[1..]), None);
        assert_eq!(PublicKey::from_spki(&[public.spki(), vec![0]].concat()), None);
        assert!(public.fingerprint().starts_with("SHA256:"));
    }
}
