//! The node's identity: an Ed25519 key, and the peer id that follows from it.

use crate::data_dir::{DataDir, write_private};
use anyhow::{Context, bail};
use potluck_sdk::PeerId;
use ring::digest::{Context as Digest, SHA256};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::path::Path;

/// What stands in front of the 32 bytes of an Ed25519 public key in its SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Keeps this use of the hash apart from any other; part of what a peer id means, so it never changes.
const PEER_ID_LABEL: &[u8] = b"potluck peer id 1\0";
const PEM_LABEL: &str = "PRIVATE KEY";

/// The key of a node and what is derived from it.
pub struct Identity {
    /// Derived from the public key, so it survives any change of address and nobody else can have it.
    pub peer_id: PeerId,
}

impl Identity {
    /// Reads the key from the data directory, or makes one on first start.
    pub fn load_or_create(data_dir: &DataDir) -> anyhow::Result<Identity> {
        let key_path = data_dir.path().join("identity.key");
        let key = if key_path.exists() { read_key(&key_path)? } else { create_key(&key_path)? };
        let peer_id = peer_id_of(key.public_key().as_ref());
        write_peer_id(data_dir.path(), peer_id)?;
        Ok(Identity { peer_id })
    }
}

fn create_key(path: &Path) -> anyhow::Result<Ed25519KeyPair> {
    let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("the system gave no random numbers for a new identity"))?;
    let text = pem::encode(&pem::Pem::new(PEM_LABEL, document.as_ref()));
    write_private(path, text.as_bytes())?;
    read_key(path)
}

fn read_key(path: &Path) -> anyhow::Result<Ed25519KeyPair> {
    let text = std::fs::read(path).with_context(|| format!("cannot read the node's key {}", path.display()))?;
    let document = pem::parse(text).ok().filter(|document| document.tag() == PEM_LABEL);
    let key = document.and_then(|document| Ed25519KeyPair::from_pkcs8(document.contents()).ok());
    let Some(key) = key else {
        bail!(
            "{} is not an Ed25519 key; restore it from a copy, or move it away to start as a new peer",
            path.display()
        );
    };
    Ok(key)
}

fn peer_id_of(public_key: &[u8]) -> PeerId {
    let mut digest = Digest::new(&SHA256);
    digest.update(PEER_ID_LABEL);
    digest.update(&SPKI_PREFIX);
    digest.update(public_key);
    let hash = digest.finish();
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_ref()[..16]);
    PeerId::from_hash(first)
}

/// `peer_id.txt` is for people and old tools; the key is the truth. A random id that an older system left there is kept
/// beside it, because files may have been registered under it.
fn write_peer_id(folder: &Path, peer_id: PeerId) -> anyhow::Result<()> {
    let path = folder.join("peer_id.txt");
    let former = std::fs::read_to_string(&path).unwrap_or_default();
    if former.trim() == peer_id.to_string() {
        return Ok(());
    }
    if former.trim().parse::<PeerId>().is_ok() {
        write_private(&folder.join("peer_id_alias.txt"), former.trim().as_bytes())?;
    }
    write_private(&path, format!("{peer_id}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_survives_a_restart_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = {
            let data_dir = DataDir::open(folder.path()).unwrap();
            Identity::load_or_create(&data_dir).unwrap().peer_id
        };
        let data_dir = DataDir::open(folder.path()).unwrap();
        assert_eq!(Identity::load_or_create(&data_dir).unwrap().peer_id, first);
        let text = std::fs::read_to_string(folder.path().join("peer_id.txt")).unwrap();
        assert_eq!(text.trim(), first.to_string());
        for name in ["identity.key", "peer_id.txt"] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn an_id_of_the_older_system_is_kept_as_an_alias() {
        let folder = tempfile::tempdir().unwrap();
        let old = "2f1c1f0e-5d0c-4a51-9d3c-0d4b7f6a9e11";
        std::fs::write(folder.path().join("peer_id.txt"), old).unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let identity = Identity::load_or_create(&data_dir).unwrap();
        assert_ne!(identity.peer_id.to_string(), old);
        assert_eq!(std::fs::read_to_string(folder.path().join("peer_id_alias.txt")).unwrap(), old);
    }

    #[test]
    fn a_damaged_key_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("identity.key"), "nonsense").unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let error = Identity::load_or_create(&data_dir).err().unwrap().to_string();
        assert!(error.contains("identity.key"), "{error}");
    }
}
