//! What a member knows of its pool, as it stands in `pool/pool.json`.

use super::TrackerFacts;
use super::membership::{Membership, MembershipError, key_from_text, key_text, pool_id};
use super::revocations::Revocations;
use crate::data_dir::write_private;
use crate::key::PublicKey;
use anyhow::{Context, bail};
use potluck_sdk::PeerId;
use potluck_sdk::message::pool::{Hello, MembershipReply};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest `pool.json` that is read: a list of revocations fits in.
const FILE_BYTES_MAX: usize = 20 << 20;

/// This node's place in its pool. Everything in it has been checked.
#[derive(Clone)]
pub struct Standing {
    /// The pool's key, by which memberships and revocations are checked.
    pub pool_key: PublicKey,
    /// The pool's id, which follows from the key.
    pub pool_id: PeerId,
    /// What people call the pool.
    pub pool_name: String,
    /// This node's membership, as it is shown to others.
    pub membership_text: String,
    /// What that says.
    pub membership: Membership,
    /// The tracker's key.
    pub tracker_key: PublicKey,
    /// `host:port` of the tracker, the likeliest first.
    pub tracker_addresses: Vec<String>,
    /// Who is a member no more.
    pub revocations: Revocations,
    revocations_text: String,
}

/// Why somebody is not believed to be a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It belongs to another pool.
    #[error("this node belongs to another pool")]
    OtherPool,
    /// The membership is not signed by the pool, or says what cannot be.
    #[error("{0}")]
    Membership(#[from] MembershipError),
    /// The membership is somebody else's.
    #[error("the membership belongs to another key than that of the connection")]
    OtherKey,
    /// The pool has revoked it.
    #[error("the pool has revoked this node's membership")]
    Revoked,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    pool_key: String,
    pool_name: String,
    membership: String,
    tracker_key: String,
    tracker_addresses: Vec<String>,
    revocations: String,
}

const FILE_VERSION: u32 = 1;

impl Standing {
    /// Where the file is.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join("pool.json")
    }

    /// Reads the file, if there is one.
    pub(super) fn load(folder: &Path, own: &PublicKey) -> anyhow::Result<Option<Standing>> {
        let path = Standing::path(folder);
        match std::fs::read(&path) {
            Ok(bytes) => Standing::parse(&bytes, own).map(Some).with_context(|| {
                format!("{} is of no use; restore it, or move it away and join the pool anew", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Checks the content of a file for the node whose key is `own`.
    pub fn parse(bytes: &[u8], own: &PublicKey) -> anyhow::Result<Standing> {
        if bytes.len() > FILE_BYTES_MAX {
            bail!("it has more than {FILE_BYTES_MAX} bytes");
        }
        let file: File = serde_json::from_slice(bytes)?;
        if file.version != FILE_VERSION {
            bail!("its version is {}, and this program reads {FILE_VERSION}", file.version);
        }
        let pool_key = key_from_text(&file.pool_key).context("`pool_key` is no key")?;
        let tracker = TrackerFacts {
            key: key_from_text(&file.tracker_key).context("`tracker_key` is no key")?,
            addresses: file.tracker_addresses,
        };
        let reply = MembershipReply {
            membership: file.membership,
            pool_key: file.pool_key,
            pool_name: file.pool_name,
            revocations: file.revocations,
        };
        Standing::from_reply(&reply, own, &tracker, pool_id(&pool_key))
    }

    /// Checks what a tracker has answered: it must speak for the pool `expected`, and of this node.
    pub(super) fn from_reply(
        reply: &MembershipReply,
        own: &PublicKey,
        tracker: &TrackerFacts,
        expected: PeerId,
    ) -> anyhow::Result<Standing> {
        let pool_key = key_from_text(&reply.pool_key).context("the pool's key is no key")?;
        if pool_id(&pool_key) != expected {
            bail!("the key is not that of the pool {expected}");
        }
        let membership =
            Membership::verify(&reply.membership, &pool_key).context("the membership is not the pool's")?;
        if membership.key != *own {
            bail!("the membership is that of another node");
        }
        let revocations =
            Revocations::verify(&reply.revocations, &pool_key).context("the list of revocations is not the pool's")?;
        Ok(Standing {
            pool_key,
            pool_id: expected,
            pool_name: super::membership::clean_name(&reply.pool_name),
            membership_text: reply.membership.clone(),
            membership,
            tracker_key: tracker.key,
            tracker_addresses: tracker.addresses.clone(),
            revocations,
            revocations_text: reply.revocations.clone(),
        })
    }

    pub(super) fn renewed(&self, reply: &MembershipReply, own: &PublicKey) -> anyhow::Result<Standing> {
        let tracker = TrackerFacts { key: self.tracker_key, addresses: self.tracker_addresses.clone() };
        let mut renewed = Standing::from_reply(reply, own, &tracker, self.pool_id)?;
        // A replayed answer must not bring back whom the pool has revoked since.
        if renewed.revocations.version < self.revocations.version {
            renewed.revocations = self.revocations.clone();
            renewed.revocations_text.clone_from(&self.revocations_text);
        }
        if renewed.membership.expires_unix_seconds < self.membership.expires_unix_seconds {
            bail!("the tracker has answered with an older membership than this node has");
        }
        Ok(renewed)
    }

    pub(super) fn with_revocations(&self, text: String, revocations: Revocations) -> Standing {
        Standing { revocations, revocations_text: text, ..self.clone() }
    }

    pub(super) fn with_tracker_addresses(&self, tracker_addresses: Vec<String>) -> Standing {
        Standing { tracker_addresses, ..self.clone() }
    }

    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let file = File {
            version: FILE_VERSION,
            pool_key: key_text(&self.pool_key),
            pool_name: self.pool_name.clone(),
            membership: self.membership_text.clone(),
            tracker_key: key_text(&self.tracker_key),
            tracker_addresses: self.tracker_addresses.clone(),
            revocations: self.revocations_text.clone(),
        };
        write_private(&Standing::path(folder), serde_json::to_string_pretty(&file)?.as_bytes())
    }

    pub(super) fn forget(folder: &Path) -> anyhow::Result<()> {
        let path = Standing::path(folder);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(std::fs::File::open(folder)?.sync_all()?)
    }

    /// The signed list of revocations, for others.
    pub fn revocations_text(&self) -> &str {
        &self.revocations_text
    }

    /// The words with which this node shows its membership.
    pub fn hello(&self) -> Hello<'_> {
        Hello { pool_id: self.pool_id, membership: self.membership_text.as_str().into() }
    }

    /// Whether whoever has said `hello` over a connection with the key `key` is a member now.
    pub fn admit(&self, hello: &Hello<'_>, key: &PublicKey, now_unix_seconds: u64) -> Result<Membership, NotAdmitted> {
        if hello.pool_id != self.pool_id {
            return Err(NotAdmitted::OtherPool);
        }
        let membership = Membership::verify(&hello.membership, &self.pool_key)?;
        if membership.key != *key {
            return Err(NotAdmitted::OtherKey);
        }
        membership.check_time(now_unix_seconds)?;
        if self.is_revoked(&membership.peer_id) {
            return Err(NotAdmitted::Revoked);
        }
        Ok(membership)
    }

    /// Whether a node is a member no more.
    pub fn is_revoked(&self, peer_id: &PeerId) -> bool {
        self.revocations.contains(peer_id)
    }

    /// The tracker's id.
    pub fn tracker_id(&self) -> PeerId {
        self.tracker_key.peer_id()
    }
}
