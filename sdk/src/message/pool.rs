//! Membership of a pool: what the host answers to this machine's user, and what nodes say to each other before and while
//! they trust one another.
//!
//! Times are seconds since 1970, UTC.

use crate::PeerId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// IDENTITY: who the node is and where it can be reached.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "IDENTITY")]
pub struct Identity {}

/// Reply to IDENTITY.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "IDENTITY")]
pub struct IdentityReply {
    /// The node's id, which follows from its key.
    pub peer_id: PeerId,
    /// An id from before ids followed from keys, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// SHA-256 of the key, as `SHA256:` and base64.
    pub fingerprint: String,
    /// `host:port` of everything that it listens on and others may use.
    pub addresses: Vec<String>,
    /// Its pool; nothing when it is in none.
    pub pool: Option<PoolFacts>,
}

/// A node's view of its pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolFacts {
    /// The pool's id, which follows from the pool's key.
    pub pool_id: PeerId,
    /// What people call the pool.
    pub pool_name: String,
    /// What people call this node.
    pub name: String,
    /// Whether this node holds the pool's key, and so admits and revokes members.
    pub is_authority: bool,
    /// The tracker's id.
    pub tracker_id: PeerId,
    /// `host:port` of the tracker, as this node knows them.
    pub tracker_addresses: Vec<String>,
    /// When this node's membership ends unless it is renewed.
    pub expires_unix_seconds: u64,
}

/// POOL_CREATE: this node becomes the tracker of a new pool, and its first member.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_CREATE")]
pub struct PoolCreate {
    /// What people call the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_name: Option<String>,
    /// What people call this node; its host name when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the first token is good for.
    #[serde(flatten)]
    pub terms: TokenTerms,
}

/// POOL_TOKEN: a new token with which others can join.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_TOKEN")]
pub struct PoolToken {
    /// What the token is good for.
    #[serde(flatten)]
    pub terms: TokenTerms,
}

/// What a token is good for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenTerms {
    /// Whether more than one node may join with it.
    #[serde(default)]
    pub reusable: bool,
    /// For how long it is good; a day when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_seconds: Option<u64>,
    /// `host:port` at which joining nodes look for this one; what it listens on when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
}

/// Reply to POOL_CREATE and POOL_TOKEN.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_TOKEN")]
pub struct PoolTokenReply {
    /// The pool.
    pub pool_id: PeerId,
    /// What `potluck join` takes. Whoever has it can join, so it is a secret.
    pub token: String,
    /// Names the token, without its secret.
    pub token_id: String,
    /// Whether more than one node may join with it.
    pub reusable: bool,
    /// When it ends.
    pub expires_unix_seconds: u64,
    /// `host:port` in the token.
    pub addresses: Vec<String>,
    /// One sentence on what is still missing, such as the plugin `tracker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// POOL_TOKENS: the tokens that were made, without their secrets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_TOKENS")]
pub struct PoolTokens {}

/// Reply to POOL_TOKENS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_TOKEN_LIST")]
pub struct PoolTokenList {
    /// Newest first.
    pub tokens: Vec<TokenEntry>,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// Its name.
    pub token_id: String,
    /// Whether more than one node may join with it.
    pub reusable: bool,
    /// When it was made.
    pub created_unix_seconds: u64,
    /// When it ends.
    pub expires_unix_seconds: u64,
    /// How many nodes have joined with it.
    pub uses: u64,
    /// `valid`, `used`, `expired` or `cancelled`.
    pub state: Cow<'static, str>,
}

/// POOL_CANCEL_TOKEN: nobody joins with a token any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_CANCEL_TOKEN")]
pub struct PoolCancelToken {
    /// The token's id, or the token itself.
    pub token_id: String,
}

/// POOL_MEMBERS: who is, or was, in the pool.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_MEMBERS")]
pub struct PoolMembers {}

/// Reply to POOL_MEMBERS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_MEMBER_LIST")]
pub struct PoolMemberList {
    /// The pool.
    pub pool_id: PeerId,
    /// In the order in which they joined.
    pub members: Vec<MemberEntry>,
}

/// A member of a pool, as its tracker knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberEntry {
    /// The node's id.
    pub peer_id: PeerId,
    /// What people call it.
    pub name: String,
    /// Its key, as `SHA256:` and base64.
    pub fingerprint: String,
    /// When it joined.
    pub joined_unix_seconds: u64,
    /// The token that it joined with; nothing for the tracker itself.
    pub token_id: Option<String>,
    /// When it was revoked.
    pub revoked_unix_seconds: Option<u64>,
    /// Whether it has a connection to the tracker now.
    #[serde(default)]
    pub connected: bool,
}

/// POOL_REVOKE: a member is one no more; its connections end, here at once and elsewhere as soon as the others hear of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_REVOKE")]
pub struct PoolRevoke {
    /// The member's id, the beginning of it, or its name.
    pub peer: String,
}

/// POOL_READMIT: takes a revocation back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_READMIT")]
pub struct PoolReadmit {
    /// The member's id, the beginning of it, or its name.
    pub peer: String,
}

/// POOL_JOIN: this node joins the pool of a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_JOIN")]
pub struct PoolJoin {
    /// The token.
    pub token: String,
    /// What people call this node; its host name when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `host:port` of the tracker, tried before those in the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// POOL_LEAVE: this node forgets its pool, and listens on loopback only.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_LEAVE")]
pub struct PoolLeave {}

/// Reply to POOL_JOIN, POOL_LEAVE, POOL_REVOKE, POOL_READMIT and POOL_CANCEL_TOKEN.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct PoolDone {
    /// `JOINED`, `LEFT`, `REVOKED`, `READMITTED` or `CANCELLED`.
    pub status: Cow<'static, str>,
    /// The pool.
    pub pool_id: PeerId,
    /// The member that was revoked or readmitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// One sentence on what else should be known, such as tokens that are still good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// POOL_DISCOVER: which trackers of pools can be heard on the local network?
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_DISCOVER")]
pub struct PoolDiscover {}

/// Reply to POOL_DISCOVER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "POOL_DISCOVERED")]
pub struct PoolDiscovered {
    /// What was heard; nothing of it is proven before a connection is made.
    pub trackers: Vec<DiscoveredTracker>,
}

/// A tracker that said on the local network that it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredTracker {
    /// The pool that it claims.
    pub pool_id: PeerId,
    /// `host:port`.
    pub addresses: Vec<String>,
    /// Whether that is the pool of this node.
    pub own_pool: bool,
}

/// AUTHENTICATE: over loopback, somebody who is not the node's own user shows the node's token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "AUTHENTICATE")]
pub struct Authenticate<'a> {
    /// What stands in the file `access.token` of the node's data directory.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
}

/// HELLO: the first message of either side on an encrypted connection, and repeated when a membership was renewed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "HELLO")]
pub struct Hello<'a> {
    /// The sender's pool.
    pub pool_id: PeerId,
    /// The sender's membership; its key must be the one that the connection was made with.
    #[serde(borrow)]
    pub membership: Cow<'a, str>,
}

/// JOIN: the first message of a node that is no member yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "JOIN")]
pub struct Join<'a> {
    /// The pool.
    pub pool_id: PeerId,
    /// The token that `proof` was made with.
    #[serde(borrow)]
    pub token_id: Cow<'a, str>,
    /// HMAC-SHA256, in base64, under a key that follows from the token's secret, over this connection's channel binding
    /// (RFC 9266) and the sender's key. The secret itself is never sent.
    #[serde(borrow)]
    pub proof: Cow<'a, str>,
    /// What people call the node.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// RENEW_MEMBERSHIP: a member asks the authority of its pool for a membership that lasts longer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "RENEW_MEMBERSHIP")]
pub struct RenewMembership {}

/// Reply to JOIN and RENEW_MEMBERSHIP.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "MEMBERSHIP")]
pub struct MembershipReply {
    /// The member's signed membership.
    pub membership: String,
    /// The pool's public key, in base64.
    pub pool_key: String,
    /// What people call the pool.
    pub pool_name: String,
    /// The signed list of those who are members no more.
    pub revocations: String,
}

/// WATCH_REVOCATIONS: answered as soon as the list of revocations is newer than the version that the asker has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WATCH_REVOCATIONS")]
pub struct WatchRevocations {
    /// The version that the asker has; 0 for none.
    #[serde(default)]
    pub version: u64,
}

/// Reply to WATCH_REVOCATIONS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REVOCATIONS")]
pub struct RevocationsReply {
    /// The signed list.
    pub revocations: String,
}
