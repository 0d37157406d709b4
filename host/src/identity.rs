//! The node's identity: an Ed25519 key, and the peer id that follows from it.

pub mod portable;

use crate::data_dir::write_private;
use crate::key::KeyPair;
use anyhow::Context;
use potluck_sdk::PeerId;
use std::path::{Path, PathBuf};

/// The key of a node and what is derived from it.
pub struct Identity {
    /// The private key.
    pub key: KeyPair,
    /// Derived from the public key, so it survives any change of address and nobody else can have it.
    pub peer_id: PeerId,
    /// The random id that an older system had left, kept because files may have been registered under it.
    pub alias: Option<String>,
}

impl Identity {
    /// Reads the key from a data directory, or makes one on first start.
    pub fn load_or_create(folder: &Path) -> anyhow::Result<Identity> {
        let key = KeyPair::load_or_create(&key_path(folder))?;
        let peer_id = key.public().peer_id();
        write_peer_id(folder, peer_id)?;
        Ok(Identity::new(key, folder))
    }

    /// Reads the key from a data directory that has one.
    pub fn load(folder: &Path) -> anyhow::Result<Identity> {
        Ok(Identity::new(KeyPair::load(&key_path(folder))?, folder))
    }

    /// Makes `key` the identity of a data directory. One that is there already is kept beside it, under another name.
    pub fn replace(folder: &Path, key: KeyPair) -> anyhow::Result<Identity> {
        let path = key_path(folder);
        if path.exists() {
            let former =
                KeyPair::load(&path).map_or_else(|_| "unreadable".to_owned(), |key| key.public().peer_id().short());
            let kept = folder.join(format!("identity.{former}.key"));
            std::fs::rename(&path, &kept).with_context(|| format!("cannot rename {}", path.display()))?;
        }
        key.save(&path)?;
        for name in ["peer_id.txt", "peer_id_alias.txt"] {
            std::fs::remove_file(folder.join(name)).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
        Identity::load_or_create(folder)
    }

    fn new(key: KeyPair, folder: &Path) -> Identity {
        let alias = std::fs::read_to_string(folder.join("peer_id_alias.txt")).ok();
        Identity { peer_id: key.public().peer_id(), key, alias: alias.map(|text| text.trim().to_owned()) }
    }
}

/// Where a data directory keeps the node's key.
pub fn key_path(folder: &Path) -> PathBuf {
    folder.join("identity.key")
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
        let first = Identity::load_or_create(folder.path()).unwrap().peer_id;
        assert_eq!(Identity::load_or_create(folder.path()).unwrap().peer_id, first);
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
        let identity = Identity::load_or_create(folder.path()).unwrap();
        assert_ne!(identity.peer_id.to_string(), old);
        assert_eq!(identity.alias.as_deref(), Some(old));
    }

    #[test]
    fn a_damaged_key_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("identity.key"), "nonsense").unwrap();
        let error = Identity::load_or_create(folder.path()).err().unwrap().to_string();
        assert!(error.contains("identity.key"), "{error}");
    }

    #[test]
    fn a_replaced_identity_is_kept_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(folder.path()).unwrap().peer_id;
        let second = KeyPair::generate().unwrap();
        let expected = second.public().peer_id();
        assert_eq!(Identity::replace(folder.path(), second).unwrap().peer_id, expected);
        let kept = folder.path().join(format!("identity.{}.key", first.short()));
        assert_eq!(KeyPair::load(&kept).unwrap().public().peer_id(), first);
        assert!(!folder.path().join("peer_id_alias.txt").exists(), "that file is for ids of the older system");
    }
}
