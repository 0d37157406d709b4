//! The authority over a pool: its key, and the registry of its tokens and members. One node has it, the tracker that
//! created the pool.

use super::membership::{Membership, clean_name, pool_id};
use super::registry::{JoinRefusal, Joined, Registry};
use super::revocations::Revocations;
use super::token::JoinToken;
use super::{proof, unix_seconds};
use crate::key::{KeyPair, PublicKey};
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use potluck_sdk::PeerId;
use potluck_sdk::message::pool::Join;
use std::path::Path;

const KEY_FILE: &str = "pool.key";
const POOL_NAME: &str = "pool_name";

/// Admits, renews and revokes.
pub struct Authority {
    key: KeyPair,
    pool_id: PeerId,
    pool_name: String,
    /// Tokens and members; look-ups of members never touch the disk.
    pub registry: Registry,
}

impl Authority {
    /// Opens the authority in a folder that has the pool's key.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Option<Authority>> {
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let key = KeyPair::load(&path)?;
        let registry = Registry::open(folder)?;
        let pool_name = registry.meta(POOL_NAME)?.unwrap_or_default();
        Ok(Some(Authority { pool_id: pool_id(&key.public()), key, pool_name, registry }))
    }

    /// Makes the authority of a new pool, whose first member is `founder`.
    pub(super) fn create(
        folder: &Path,
        key: KeyPair,
        pool_name: &str,
        founder: &PublicKey,
        name: &str,
    ) -> anyhow::Result<Authority> {
        let key_path = folder.join(KEY_FILE);
        if key_path.exists() {
            bail!("{} is the key of another pool; move it away if that is not needed any more", key_path.display());
        }
        set_aside(folder)?;
        let registry = Registry::open(folder)?;
        let pool_name = clean_name(pool_name);
        registry.set_meta(POOL_NAME, &pool_name)?;
        registry.add_founder(*founder, name, unix_seconds())?;
        // Last, since a key is what makes this node the authority.
        key.save(&key_path)?;
        Ok(Authority { pool_id: pool_id(&key.public()), key, pool_name, registry })
    }

    /// The pool's id.
    pub fn pool_id(&self) -> PeerId {
        self.pool_id
    }

    /// The pool's key, for others.
    pub fn pool_key(&self) -> PublicKey {
        self.key.public()
    }

    /// What people call the pool.
    pub fn pool_name(&self) -> String {
        self.pool_name.clone()
    }

    /// A signed membership for a key, good for `lifetime_seconds`.
    pub fn issue(&self, member: &PublicKey, name: &str, lifetime_seconds: u64) -> String {
        Membership::issue(&self.key, member, name, unix_seconds(), lifetime_seconds)
    }

    /// The signed list of everybody who was revoked.
    pub fn sign_revocations(&self) -> String {
        Revocations::issue(&self.key, self.registry.revocations_version(), &self.registry.revoked())
    }

    /// Number of the registry's list of revocations.
    pub fn revocations_version(&self) -> u64 {
        self.registry.revocations_version()
    }

    /// Admits whoever has sent `join` over a connection with this key and channel binding, if its proof is right.
    /// Blocks for the disk.
    pub fn join(&self, join: &Join<'_>, key: &PublicKey, binding: &[u8; 32]) -> Result<Joined, JoinRefusal> {
        let proof = STANDARD_NO_PAD.decode(join.proof.as_bytes()).unwrap_or_default();
        let name = clean_name(&join.name);
        let verify = |join_key: &[u8; 32]| proof::verify(join_key, binding, key, self.pool_id, &proof);
        self.registry.join(&join.token_id, verify, *key, &name, unix_seconds())
    }

    /// A new token, good for `valid_seconds`. Blocks for the disk.
    pub fn new_token(
        &self,
        tracker: &PublicKey,
        reusable: bool,
        valid_seconds: u64,
        addresses: Vec<String>,
    ) -> anyhow::Result<JoinToken> {
        let now = unix_seconds();
        let token = JoinToken::generate(self.pool_id, tracker.sha256(), now.saturating_add(valid_seconds), addresses)?;
        self.registry.add_token(&token, reusable, now)?;
        Ok(token)
    }
}

/// A registry without its key is what is left of a pool that was not created to its end, or of somebody's mishap: nothing
/// can be done with it, and nothing of it is thrown away.
fn set_aside(folder: &Path) -> anyhow::Result<()> {
    let now = unix_seconds();
    for name in ["pool.sqlite", "pool.sqlite-wal", "pool.sqlite-shm"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::rename(&path, folder.join(format!("former-{now}-{name}")))?;
        }
    }
    Ok(())
}
