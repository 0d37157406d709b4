//! The pool that a node belongs to: its membership, what it knows of the others, and, on the tracker that created the
//! pool, the authority to admit and revoke.
//!
//! A membership is signed by the pool's key, names the key of one node, and expires. A node believes a connection to be
//! a member's when the membership fits the key of the connection and its node is not on the signed list of revocations.

pub mod authority;
pub mod membership;
pub mod proof;
pub mod registry;
pub mod revocations;
mod standing;
pub mod token;

pub use authority::Authority;
pub use standing::{NotAdmitted, Standing};

use crate::key::{KeyPair, PublicKey};
use anyhow::{Context, bail};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::pool::MembershipReply;
use revocations::Revocations;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// How long the membership of a tracker is good that lost its own.
const FOUNDING_SECONDS: u64 = 60;

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A node's place in a pool, if it has one. What changes is on the disk before it counts.
pub struct Pool {
    folder: PathBuf,
    own: PublicKey,
    /// Replaced as a whole, so that nobody waits for a change.
    standing: ArcSwapOption<Standing>,
    authority: ArcSwapOption<Authority>,
    /// Held while something is changed, and written; never while a message is handled.
    change: Mutex<()>,
    changes: watch::Sender<u64>,
}

/// What a node needs to know of a tracker before it can join.
pub struct TrackerFacts {
    /// Its key.
    pub key: PublicKey,
    /// Where it is.
    pub addresses: Vec<String>,
}

impl Pool {
    /// Reads what a data directory says of a pool; `own` is the node's key.
    pub fn open(data_dir: &Path, own: PublicKey) -> anyhow::Result<Pool> {
        let folder = data_dir.join("pool");
        let standing = Standing::load(&folder, &own)?;
        let authority = Authority::open(&folder)?;
        if let (Some(authority), Some(standing)) = (&authority, &standing)
            && authority.pool_id() != standing.pool_id
        {
            bail!(
                "{} holds the key of the pool {}, but this node is a member of {}; move one of the two away",
                folder.display(),
                authority.pool_id(),
                standing.pool_id
            );
        }
        let pool = Pool {
            folder,
            own,
            standing: ArcSwapOption::from_pointee(standing),
            authority: ArcSwapOption::from_pointee(authority),
            change: Mutex::new(()),
            changes: watch::Sender::new(0),
        };
        if let Some(authority) = pool.authority() {
            pool.agree(&authority)?;
        }
        Ok(pool)
    }

    /// As [`Pool::open`], for a program that shows what a node's data directory holds, and changes nothing there: the node
    /// may be running.
    pub fn open_to_show(data_dir: &Path, own: PublicKey) -> anyhow::Result<Pool> {
        let folder = data_dir.join("pool");
        let standing = Standing::load(&folder, &own)?;
        Ok(Pool {
            folder,
            own,
            standing: ArcSwapOption::from_pointee(standing),
            authority: ArcSwapOption::empty(),
            change: Mutex::new(()),
            changes: watch::Sender::new(0),
        })
    }

    /// Makes what this node has as a member fit what it has as the authority: it may have died between the two, and either
    /// may have been restored from an old copy.
    fn agree(&self, authority: &Authority) -> anyhow::Result<()> {
        match self.standing() {
            Some(standing) => {
                if standing.revocations.version > authority.revocations_version() {
                    authority.registry.catch_up(&standing.revocations, unix_seconds())?;
                }
                if authority.revocations_version() != standing.revocations.version {
                    self.publish_revocations(authority)?;
                }
                Ok(())
            }
            None => {
                let _change = self.change.lock();
                // As short as can be: it is renewed at once, for as long as the configuration says.
                let standing = self.founding(authority, FOUNDING_SECONDS)?;
                standing.save(&self.folder)?;
                self.replace(standing);
                Ok(())
            }
        }
    }

    /// The place of the authority's own node.
    fn founding(&self, authority: &Authority, lifetime_seconds: u64) -> anyhow::Result<Standing> {
        let founder = authority.registry.member(&self.own.peer_id());
        let founder =
            founder.context("the pool's registry does not know this node; restore it, or the node's own key")?;
        let reply = MembershipReply {
            membership: authority.issue(&self.own, &founder.name, lifetime_seconds),
            pool_key: membership::key_text(&authority.pool_key()),
            pool_name: authority.pool_name(),
            revocations: authority.sign_revocations(),
        };
        let tracker = TrackerFacts { key: self.own, addresses: Vec::new() };
        Standing::from_reply(&reply, &self.own, &tracker, authority.pool_id())
    }

    /// This node's place in its pool; nothing when it is in none.
    pub fn standing(&self) -> Option<Arc<Standing>> {
        self.standing.load_full()
    }

    /// The authority over the pool, on the node that has it.
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.load_full()
    }

    /// Tells of every change: joined, left, renewed, revocations.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Creates a pool whose tracker and first member is this node. Blocks for the disk.
    pub fn create(&self, pool_name: &str, name: &str, lifetime_seconds: u64) -> anyhow::Result<Arc<Authority>> {
        let _change = self.change.lock();
        if let Some(standing) = self.standing() {
            bail!(already_in_a_pool(&standing));
        }
        crate::data_dir::create_private_folder(&self.folder)?;
        let key = KeyPair::generate()?;
        let authority = Authority::create(&self.folder, key, pool_name, &self.own, name)?;
        let standing = self.founding(&authority, lifetime_seconds)?;
        standing.save(&self.folder)?;
        self.authority.store(Some(Arc::new(authority)));
        self.replace(standing);
        self.authority().context("the pool was not created")
    }

    /// Takes in what the tracker of a pool has answered to JOIN. Blocks for the disk.
    pub fn joined(&self, reply: &MembershipReply, tracker: &TrackerFacts, pool_id: PeerId) -> anyhow::Result<()> {
        let _change = self.change.lock();
        if let Some(standing) = self.standing().filter(|standing| standing.pool_id != pool_id) {
            bail!(already_in_a_pool(&standing));
        }
        if self.authority().is_some() {
            bail!("this node is the tracker of the pool itself");
        }
        let standing = Standing::from_reply(reply, &self.own, tracker, pool_id)?;
        crate::data_dir::create_private_folder(&self.folder)?;
        standing.save(&self.folder)?;
        self.replace(standing);
        Ok(())
    }

    /// Takes in what the tracker has answered to RENEW_MEMBERSHIP. Blocks for the disk.
    pub fn renewed(&self, reply: &MembershipReply) -> anyhow::Result<()> {
        let _change = self.change.lock();
        let current = self.standing().context("this node has left its pool meanwhile")?;
        let renewed = current.renewed(reply, &self.own)?;
        renewed.save(&self.folder)?;
        self.replace(renewed);
        Ok(())
    }

    /// Takes in a newer list of revocations. Blocks for the disk.
    pub fn update_revocations(&self, text: &str) -> anyhow::Result<()> {
        let _change = self.change.lock();
        let Some(current) = self.standing() else { return Ok(()) };
        let list = Revocations::verify(text, &current.pool_key).context("the list of revocations is not the pool's")?;
        if list.version > current.revocations.version {
            let updated = current.with_revocations(text.to_owned(), list);
            updated.save(&self.folder)?;
            self.replace(updated);
        }
        Ok(())
    }

    /// Signs the registry's revocations anew and makes them count. Blocks for the disk.
    pub fn publish_revocations(&self, authority: &Authority) -> anyhow::Result<()> {
        // The list that is signed is as new as this, or newer.
        let version = authority.revocations_version();
        self.update_revocations(&authority.sign_revocations())?;
        if self.standing().is_none_or(|standing| standing.revocations.version < version) {
            bail!("the list of revocations does not count; restart this node");
        }
        Ok(())
    }

    /// Makes copies of the pool's files whole. Blocks for the disk.
    pub fn close(&self) {
        if let Some(authority) = self.authority() {
            authority.registry.checkpoint();
        }
    }

    /// Remembers where the tracker was found. Blocks for the disk.
    pub fn tracker_found(&self, addresses: Vec<String>) -> anyhow::Result<()> {
        let _change = self.change.lock();
        let Some(current) = self.standing().filter(|current| current.tracker_addresses != addresses) else {
            return Ok(());
        };
        let updated = current.with_tracker_addresses(addresses);
        updated.save(&self.folder)?;
        self.replace(updated);
        Ok(())
    }

    /// Forgets the pool; returns which it was. Blocks for the disk.
    pub fn leave(&self) -> anyhow::Result<PeerId> {
        let _change = self.change.lock();
        let Some(standing) = self.standing() else { bail!("this node is in no pool") };
        if self.authority().is_some() {
            bail!(
                "this node is the tracker of its pool and holds the pool's key; to give the pool up for good, stop the node and move {} away",
                self.folder.display()
            );
        }
        Standing::forget(&self.folder)?;
        self.standing.store(None);
        self.changes.send_modify(|change| *change += 1);
        Ok(standing.pool_id)
    }

    /// The pool's file, to go with an exported identity; nothing when the node is in no pool.
    pub fn portable(data_dir: &Path) -> Option<Vec<u8>> {
        std::fs::read(Standing::path(&data_dir.join("pool"))).ok()
    }

    /// Puts the pool's file of an imported identity into a data directory, if it fits the key.
    pub fn import(data_dir: &Path, file: &[u8], own: &PublicKey) -> anyhow::Result<()> {
        let standing = Standing::parse(file, own).context("the membership in the file is of no use")?;
        let folder = data_dir.join("pool");
        crate::data_dir::create_private_folder(&folder)?;
        standing.save(&folder)
    }

    fn replace(&self, standing: Standing) {
        self.standing.store(Some(Arc::new(standing)));
        self.changes.send_modify(|change| *change += 1);
    }
}

fn already_in_a_pool(standing: &Standing) -> String {
    format!(
        "this node is a member of the pool {} ({}); `potluck pool leave` makes it leave",
        standing.pool_name, standing.pool_id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LIFETIME_SECONDS: u64 = 3600;

    fn created() -> (tempfile::TempDir, PublicKey, Pool) {
        let (folder, own) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap().public());
        let pool = Pool::open(folder.path(), own).unwrap();
        pool.create("lab", "desk", LIFETIME_SECONDS).unwrap();
        (folder, own, pool)
    }

    #[test]
    fn a_tracker_that_has_lost_its_own_membership_is_still_the_tracker_of_its_pool() {
        let (folder, own, pool) = created();
        let pool_id = pool.standing().unwrap().pool_id;
        drop(pool);
        fs::remove_file(folder.path().join("pool/pool.json")).unwrap();
        let pool = Pool::open(folder.path(), own).unwrap();
        assert_eq!(pool.standing().unwrap().pool_id, pool_id);
        assert!(pool.create("other", "desk", LIFETIME_SECONDS).is_err());
        assert_eq!(pool.authority().unwrap().pool_id(), pool_id);
    }

    #[test]
    fn what_is_left_of_a_pool_without_its_key_is_set_aside() {
        let (folder, own, pool) = created();
        let former = pool.standing().unwrap().pool_id;
        drop(pool);
        for name in ["pool/pool.json", "pool/pool.key"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let pool = Pool::open(folder.path(), own).unwrap();
        assert!(pool.standing().is_none());
        let authority = pool.create("lab", "desk", LIFETIME_SECONDS).unwrap();
        assert!(authority.pool_id() != former && authority.registry.members().unwrap().len() == 1);
        let names = fs::read_dir(folder.path().join("pool")).unwrap().flatten().map(|entry| entry.file_name());
        assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("former-")));
    }

    #[test]
    fn many_may_revoke_at_the_same_time() {
        let (_folder, _own, pool) = created();
        let authority = pool.authority().unwrap();
        let peers: Vec<PeerId> = (0..8).map(|_| KeyPair::generate().unwrap().public().peer_id()).collect();
        std::thread::scope(|scope| {
            for peer_id in &peers {
                scope.spawn(|| {
                    authority.registry.revoke(peer_id, unix_seconds()).unwrap();
                    pool.publish_revocations(&authority).unwrap();
                    assert!(pool.standing().unwrap().is_revoked(peer_id));
                });
            }
        });
        let standing = pool.standing().unwrap();
        assert!(peers.iter().all(|peer_id| standing.is_revoked(peer_id)));
    }

    #[test]
    fn a_list_after_everything_was_restored_is_newer_than_those_that_members_have() {
        let (folder, own, pool) = created();
        let copy = tempfile::tempdir().unwrap();
        pool.close();
        for entry in fs::read_dir(folder.path().join("pool")).unwrap().flatten() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let revoke = |pool: &Pool| {
            let authority = pool.authority().unwrap();
            authority.registry.revoke(&KeyPair::generate().unwrap().public().peer_id(), unix_seconds()).unwrap();
            pool.publish_revocations(&authority).unwrap();
            pool.standing().unwrap().revocations.version
        };
        let version = revoke(&pool);
        drop(pool);
        for entry in fs::read_dir(copy.path()).unwrap().flatten() {
            fs::copy(entry.path(), folder.path().join("pool").join(entry.file_name())).unwrap();
        }
        let pool = Pool::open(folder.path(), own).unwrap();
        assert_eq!(pool.standing().unwrap().revocations.version, 0);
        assert!(revoke(&pool) >= version, "not behind what the members have");
    }

    #[test]
    fn an_older_list_does_not_take_a_revocation_back() {
        let (_folder, _own, pool) = created();
        let authority = pool.authority().unwrap();
        let older = authority.sign_revocations();
        let peer_id = KeyPair::generate().unwrap().public().peer_id();
        authority.registry.revoke(&peer_id, unix_seconds()).unwrap();
        pool.publish_revocations(&authority).unwrap();
        pool.update_revocations(&older).unwrap();
        assert!(pool.standing().unwrap().is_revoked(&peer_id));
    }
}
