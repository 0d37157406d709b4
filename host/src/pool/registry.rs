//! The registry of a pool's authority: the tokens that were made, and who is or was a member.
//!
//! It is an SQLite database, so that a token that is good once is used up on the disk before the joining node hears of
//! it. The members stand in memory as well: [`Registry::member`], [`Registry::find`], [`Registry::revoked`] and
//! [`Registry::revocations_version`] never wait for the disk. Everything else does, and belongs on a thread that may
//! block.

mod database;
#[cfg(test)]
mod tests;

use super::membership::clean_name;
use super::proof::join_key;
use super::revocations::{REVOKED_MAX, Revocations};
use super::token::JoinToken;
use super::unix_seconds;
use crate::key::PublicKey;
use anyhow::{Context, bail};
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::pool::{MemberEntry, TokenEntry};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How many members a pool can have, revoked ones included: about 150 MB of memory.
const MEMBERS_MAX: usize = 1_000_000;
/// The shortest beginning of an id that names a member.
const ID_PREFIX_CHARS_MIN: usize = 4;
/// How many ids an error lists.
const IDS_SHOWN_MAX: usize = 8;

/// The registry of one pool.
pub struct Registry {
    /// Taken before `index`. While it is held, `index` follows what is committed.
    database: Mutex<Connection>,
    /// Held for moments only.
    index: Mutex<Index>,
    members_max: usize,
}

/// What is known of the members without a look at the disk.
#[derive(Default)]
struct Index {
    members: HashMap<PeerId, Member>,
    /// Revoked ids of which nothing else is known.
    forgotten: HashSet<PeerId>,
    revocations_version: u64,
    revoked_count: usize,
}

/// A member, or somebody who was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's key.
    pub key: PublicKey,
    /// What people call it; two may have the same name.
    pub name: String,
    /// Whether it is a member no more.
    pub revoked: bool,
}

/// What comes of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The name under which the node is a member.
    pub name: String,
    /// Whether it was none before.
    pub is_new: bool,
}

/// Why a node may not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinRefusal {
    /// The joining node does not have the secret, or nobody made such a token. It learns no more than that.
    #[error("the proof does not belong to a token of this pool; copy the token again, or ask for a new one")]
    ProofWrong,
    /// The token has ended.
    #[error("the token has expired; ask for a new one")]
    TokenExpired,
    /// The token is good once, and another node has joined with it.
    #[error("another node has joined with this token already; ask for a new one")]
    TokenUsed,
    /// The token was taken back.
    #[error("the token was cancelled; ask for a new one")]
    TokenCancelled,
    /// The joining node was a member once.
    #[error("this node was revoked; ask the pool's owner to readmit it")]
    MemberRevoked,
    /// There are too many members.
    #[error("the pool is full")]
    PoolFull,
    /// The registry could not be read or written. The cause is for the tracker's log.
    #[error("the tracker could not use its registry; see its log")]
    RegistryFailed(#[source] anyhow::Error),
}

impl JoinRefusal {
    /// The same for every version, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            JoinRefusal::ProofWrong => "proof_wrong",
            JoinRefusal::TokenExpired => "token_expired",
            JoinRefusal::TokenUsed => "token_used",
            JoinRefusal::TokenCancelled => "token_cancelled",
            JoinRefusal::MemberRevoked => "member_revoked",
            JoinRefusal::PoolFull => "pool_full",
            JoinRefusal::RegistryFailed(_) => "registry_failed",
        }
    }
}

impl From<rusqlite::Error> for JoinRefusal {
    fn from(error: rusqlite::Error) -> JoinRefusal {
        JoinRefusal::RegistryFailed(error.into())
    }
}

/// Why a text names no member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nobody has this id or name.
    #[error(
        "no member of the pool is {0:?}; give its id, the first {ID_PREFIX_CHARS_MIN} or more digits of it, or its name"
    )]
    Unknown(String),
    /// Several have this name, or an id that begins so.
    #[error("{text:?} can be {}; give the whole id", shown(ids))]
    Ambiguous {
        /// What was looked for.
        text: String,
        /// Who it can be.
        ids: Vec<PeerId>,
    },
}

/// The state of a token at a time.
#[derive(Clone, Copy)]
enum TokenState {
    Valid,
    Used,
    Expired,
    Cancelled,
}

impl TokenState {
    fn name(self) -> &'static str {
        match self {
            TokenState::Valid => "valid",
            TokenState::Used => "used",
            TokenState::Expired => "expired",
            TokenState::Cancelled => "cancelled",
        }
    }
}

struct TokenRow {
    reusable: bool,
    expires_unix_seconds: u64,
    uses: u64,
    cancelled: bool,
}

impl TokenRow {
    fn state(&self, now_unix_seconds: u64) -> TokenState {
        if self.cancelled {
            TokenState::Cancelled
        } else if !self.reusable && self.uses > 0 {
            TokenState::Used
        } else if now_unix_seconds >= self.expires_unix_seconds {
            TokenState::Expired
        } else {
            TokenState::Valid
        }
    }
}

impl Registry {
    /// Opens the registry in a folder that only its owner can enter, or makes one there. Blocks.
    pub fn open(folder: &Path) -> anyhow::Result<Registry> {
        let connection = database::open(folder)?;
        let index = database::read_index(&connection)
            .with_context(|| format!("cannot read the pool's registry in {}", folder.display()))?;
        Ok(Registry { database: Mutex::new(connection), index: Mutex::new(index), members_max: MEMBERS_MAX })
    }

    /// Keeps a new token: what verifies its proofs, not its secret. Blocks.
    pub fn add_token(&self, token: &JoinToken, reusable: bool, now_unix_seconds: u64) -> anyhow::Result<()> {
        self.database
            .lock()
            .execute(
                "INSERT INTO tokens (token_id, join_key, reusable, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    token.token_id_text(),
                    join_key(&token.secret),
                    reusable,
                    stored(now_unix_seconds),
                    stored(token.expires_unix_seconds)
                ],
            )
            .context("cannot write the token to the pool's registry")?;
        Ok(())
    }

    /// All tokens, newest first. Blocks.
    pub fn tokens(&self, now_unix_seconds: u64) -> anyhow::Result<Vec<TokenEntry>> {
        let database = self.database.lock();
        let mut statement = database.prepare(
            "SELECT token_id, created, reusable, expires, uses, cancelled FROM tokens
            ORDER BY created DESC, rowid DESC",
        )?;
        let entries = statement.query_map([], |row| {
            let token = token_row(row, 2)?;
            Ok(TokenEntry {
                token_id: row.get(0)?,
                reusable: token.reusable,
                created_unix_seconds: read(row.get(1)?),
                expires_unix_seconds: token.expires_unix_seconds,
                uses: token.uses,
                state: token.state(now_unix_seconds).name().into(),
            })
        })?;
        entries.collect::<Result<_, _>>().context("cannot read the tokens in the pool's registry")
    }

    /// Takes a token back. Says whether there was one that was not cancelled before. Blocks.
    pub fn cancel_token(&self, token_id: &str) -> anyhow::Result<bool> {
        let changed = self
            .database
            .lock()
            .execute("UPDATE tokens SET cancelled = 1 WHERE token_id = ?1 AND cancelled = 0", [token_id])
            .context("cannot cancel the token in the pool's registry")?;
        Ok(changed > 0)
    }

    /// Admits a node that knows a token's secret; `proof_holds` says so, given the token's join key. Returns the name
    /// under which the node is a member; that, and the use of the token, are on the disk then.
    ///
    /// A node that is a member already may repeat its join, in case it has lost the reply: that changes nothing, also
    /// not its name, whatever has become of the token since. Blocks.
    pub fn join(
        &self,
        token_id: &str,
        proof_holds: impl FnOnce(&[u8; 32]) -> bool,
        key: PublicKey,
        name: &str,
        now_unix_seconds: u64,
    ) -> Result<Joined, JoinRefusal> {
        let mut database = self.database.lock();
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = transaction
            .query_row(
                "SELECT join_key, reusable, expires, uses, cancelled FROM tokens WHERE token_id = ?1",
                [token_id],
                |row| Ok((row.get::<_, [u8; 32]>(0)?, token_row(row, 1)?)),
            )
            .optional()?;
        // Before anything is said about the token: who has no secret does not even learn whether there is such a token.
        let Some((join_key, token)) = found else {
            // Takes the time of a proof that is looked at; what it says does not count.
            proof_holds(&[0; 32]);
            return Err(JoinRefusal::ProofWrong);
        };
        if !proof_holds(&join_key) {
            return Err(JoinRefusal::ProofWrong);
        }
        match self.member(&key.peer_id()) {
            Some(member) if member.key != key => return Err(JoinRefusal::ProofWrong),
            Some(member) if member.revoked => return Err(JoinRefusal::MemberRevoked),
            Some(member) => return Ok(Joined { name: member.name, is_new: false }),
            None if self.is_revoked(&key.peer_id()) => return Err(JoinRefusal::MemberRevoked),
            None => {}
        }
        match token.state(now_unix_seconds) {
            TokenState::Valid => {}
            TokenState::Used => return Err(JoinRefusal::TokenUsed),
            TokenState::Expired => return Err(JoinRefusal::TokenExpired),
            TokenState::Cancelled => return Err(JoinRefusal::TokenCancelled),
        }
        if self.index.lock().members.len() >= self.members_max {
            return Err(JoinRefusal::PoolFull);
        }
        transaction.execute("UPDATE tokens SET uses = uses + 1 WHERE token_id = ?1", [token_id])?;
        let name = self.insert_member(transaction, key, name, now_unix_seconds, Some(token_id))?;
        Ok(Joined { name, is_new: true })
    }

    /// Makes the pool's own tracker a member; it needs no token. Does nothing when it is one. Blocks.
    pub fn add_founder(&self, key: PublicKey, name: &str, now_unix_seconds: u64) -> anyhow::Result<()> {
        let mut database = self.database.lock();
        if self.member(&key.peer_id()).is_some() {
            return Ok(());
        }
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.insert_member(transaction, key, name, now_unix_seconds, None)
            .context("cannot write the founder to the pool's registry")?;
        Ok(())
    }

    /// Takes the transaction because the index may change only after the commit.
    fn insert_member(
        &self,
        transaction: Transaction<'_>,
        key: PublicKey,
        name: &str,
        now_unix_seconds: u64,
        token_id: Option<&str>,
    ) -> Result<String, rusqlite::Error> {
        let peer_id = key.peer_id();
        let mut name = clean_name(name);
        if name.is_empty() {
            name = peer_id.short();
        }
        transaction.execute(
            "INSERT INTO members (peer_id, key, name, joined, token_id) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![peer_id.to_string(), key.0, name, stored(now_unix_seconds), token_id],
        )?;
        transaction.commit()?;
        self.index.lock().members.insert(peer_id, Member { key, name: name.clone(), revoked: false });
        Ok(name)
    }

    /// A member, or somebody who was one.
    pub fn member(&self, peer_id: &PeerId) -> Option<Member> {
        self.index.lock().members.get(peer_id).cloned()
    }

    /// Whether a node was revoked, and not readmitted.
    pub fn is_revoked(&self, peer_id: &PeerId) -> bool {
        let index = self.index.lock();
        index.forgotten.contains(peer_id) || index.members.get(peer_id).is_some_and(|member| member.revoked)
    }

    /// Everybody who is or was a member, in the order in which they joined. Blocks.
    pub fn members(&self) -> anyhow::Result<Vec<MemberEntry>> {
        let database = self.database.lock();
        let mut statement =
            database.prepare("SELECT key, name, joined, token_id, revoked FROM members ORDER BY number")?;
        let entries = statement.query_map([], |row| {
            let key = PublicKey(row.get(0)?);
            Ok(MemberEntry {
                peer_id: key.peer_id(),
                name: row.get(1)?,
                fingerprint: key.fingerprint(),
                joined_unix_seconds: read(row.get(2)?),
                token_id: row.get(3)?,
                revoked_unix_seconds: row.get::<_, Option<i64>>(4)?.map(read),
                connected: false,
            })
        })?;
        entries.collect::<Result<_, _>>().context("cannot read the members in the pool's registry")
    }

    /// The one member, revoked or not, that has an id, an id that begins so, or a name.
    pub fn find(&self, text: &str) -> Result<PeerId, FindError> {
        let unknown = || FindError::Unknown(text.chars().take(64).collect());
        let index = self.index.lock();
        // A whole id is never taken for a name: a member could call itself by another's id.
        if let Ok(peer_id) = text.parse::<PeerId>() {
            let is_known = index.members.contains_key(&peer_id) || index.forgotten.contains(&peer_id);
            return is_known.then_some(peer_id).ok_or_else(unknown);
        }
        let prefix = text.to_ascii_lowercase();
        let can_be_prefix =
            prefix.len() >= ID_PREFIX_CHARS_MIN && prefix.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        let is_named = |(peer_id, member): &(&PeerId, &Member)| {
            member.name == text || (can_be_prefix && peer_id.to_string().starts_with(&prefix))
        };
        let mut ids: Vec<PeerId> = index.members.iter().filter(is_named).map(|(peer_id, _)| *peer_id).collect();
        match ids[..] {
            [] => Err(unknown()),
            [peer_id] => Ok(peer_id),
            _ => {
                ids.sort_unstable();
                Err(FindError::Ambiguous { text: text.chars().take(64).collect(), ids })
            }
        }
    }

    /// Makes a member one no more. Says whether it was one. Blocks.
    pub fn revoke(&self, peer_id: &PeerId, now_unix_seconds: u64) -> anyhow::Result<bool> {
        self.set_revoked(peer_id, Some(now_unix_seconds))
    }

    /// Takes a revocation back. Says whether there was one. Blocks.
    pub fn readmit(&self, peer_id: &PeerId) -> anyhow::Result<bool> {
        self.set_revoked(peer_id, None)
    }

    fn set_revoked(&self, peer_id: &PeerId, revoked_unix_seconds: Option<u64>) -> anyhow::Result<bool> {
        let mut database = self.database.lock();
        let revoked = revoked_unix_seconds.is_some();
        let (is_member, version) = {
            let index = self.index.lock();
            let member = index.members.get(peer_id);
            let was_revoked = member.map_or(index.forgotten.contains(peer_id), |member| member.revoked);
            if was_revoked == revoked {
                return Ok(false);
            }
            if revoked && index.revoked_count >= REVOKED_MAX {
                bail!("{REVOKED_MAX} members are revoked, and the list takes no more; make a new pool");
            }
            // By the clock as well: after everything was restored from an old copy, the next list must be newer than
            // those that the members have.
            (member.is_some(), index.revocations_version.saturating_add(1).max(unix_seconds()))
        };
        let id = peer_id.to_string();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match revoked_unix_seconds.map(stored) {
                revoked if is_member => {
                    transaction.execute("UPDATE members SET revoked = ?2 WHERE peer_id = ?1", params![id, revoked])?;
                }
                Some(revoked) => {
                    transaction
                        .execute("INSERT INTO forgotten (peer_id, revoked) VALUES (?1, ?2)", params![id, revoked])?;
                }
                None => {
                    transaction.execute("DELETE FROM forgotten WHERE peer_id = ?1", [&id])?;
                }
            }
            transaction.execute("UPDATE revocations SET version = ?1", [stored(version)])?;
            transaction.commit()
        };
        write().context("cannot write the revocation to the pool's registry")?;
        let mut index = self.index.lock();
        index.revocations_version = version;
        match (index.members.get_mut(peer_id), revoked) {
            (Some(member), _) => member.revoked = revoked,
            (None, true) => drop(index.forgotten.insert(*peer_id)),
            (None, false) => drop(index.forgotten.remove(peer_id)),
        }
        if revoked {
            index.revoked_count += 1;
        } else {
            index.revoked_count -= 1;
        }
        Ok(true)
    }

    /// Puts everything into the one file, so that a copy of it is whole. Blocks.
    pub fn checkpoint(&self) {
        // What is not moved stays beside it, and is found there.
        let _ = self.database.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Takes over a list of revocations that is newer than what stands here, as after a restored copy: nobody on it is
    /// readmitted by that. Blocks.
    pub fn catch_up(&self, list: &Revocations, now_unix_seconds: u64) -> anyhow::Result<()> {
        for peer_id in &list.revoked {
            self.set_revoked(peer_id, Some(now_unix_seconds))?;
        }
        let mut version = self.index.lock().revocations_version;
        if version <= list.version {
            version = list.version.saturating_add(1);
            self.database
                .lock()
                .execute("UPDATE revocations SET version = ?1", [stored(version)])
                .context("cannot write to the pool's registry")?;
            self.index.lock().revocations_version = version;
        }
        Ok(())
    }

    /// The version of the list of revocations: higher with every change, 0 before the first.
    pub fn revocations_version(&self) -> u64 {
        self.index.lock().revocations_version
    }

    /// Who was revoked. Whoever signs this asks for the version first: a list that is newer than its version says is
    /// replaced soon, one that is older would stay.
    pub fn revoked(&self) -> Vec<PeerId> {
        let index = self.index.lock();
        let members = index.members.iter().filter(|(_, member)| member.revoked).map(|(peer_id, _)| *peer_id);
        members.chain(index.forgotten.iter().copied()).collect()
    }

    /// A fact about the pool itself, such as its name. Blocks.
    pub fn meta(&self, name: &str) -> anyhow::Result<Option<String>> {
        self.database
            .lock()
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .with_context(|| format!("cannot read {name:?} in the pool's registry"))
    }

    /// Keeps a fact about the pool itself. Blocks.
    pub fn set_meta(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.database
            .lock()
            .execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", [name, value])
            .with_context(|| format!("cannot write {name:?} to the pool's registry"))?;
        Ok(())
    }
}

/// The columns `reusable`, `expires`, `uses` and `cancelled`.
fn token_row(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        reusable: row.get(first)?,
        expires_unix_seconds: read(row.get(first + 1)?),
        uses: read(row.get(first + 2)?),
        cancelled: row.get(first + 3)?,
    })
}

/// SQLite has signed numbers only; nobody lives to see the difference.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn shown(ids: &[PeerId]) -> String {
    let mut text: Vec<String> = ids.iter().take(IDS_SHOWN_MAX).map(PeerId::to_string).collect();
    if ids.len() > IDS_SHOWN_MAX {
        text.push(format!("{} others", ids.len() - IDS_SHOWN_MAX));
    }
    text.join(" or ")
}
