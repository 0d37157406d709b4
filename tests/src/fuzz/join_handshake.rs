//! The first messages of an encrypted connection, from somebody who may be anybody.
//!
//! The first byte of an input chooses whose key the connection was made with, the second what the node is; the rest are
//! messages, one a line. `$` and a word stand for what cannot be guessed: ids, memberships, proofs.

use super::keys::{OTHER_POOL, OWN, POOL, key};
use potluck_host::key::{KeyPair, PublicKey};
use potluck_host::net::admission::{Admitted, FIRST_MESSAGES_MAX, Gate, Step, Stranger};
use potluck_host::pool::membership::{Membership, key_text, pool_id};
use potluck_host::pool::proof::{join_key, prove};
use potluck_host::pool::registry::Registry;
use potluck_host::pool::revocations::Revocations;
use potluck_host::pool::token::JoinToken;
use potluck_host::pool::{Authority, Pool};
use potluck_sdk::PeerId;
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::pool::{Hello, Join, MembershipReply};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(super) const OUTCOMES: &[&str] =
    &["refused", "answered", "joined", "admitted as a member", "admitted as the node itself"];

/// Keys of those who connect: the node's own is the first.
const STRANGERS: u8 = 16;
/// A member.
const MEMBER: u8 = 1;
/// A member whose membership has expired.
const EXPIRED: u8 = 2;
/// One who was a member, and is on the list of revocations.
const REVOKED: u8 = 3;
/// A member of another pool.
const FOREIGN: u8 = 4;
// The others are nobody yet.

const NOW_UNIX_SECONDS: u64 = 2_000_000_000;
const LIFETIME_SECONDS: u64 = 1_000_000_000;

/// A token, by its place in the list of those that were made.
#[derive(Clone, Copy, PartialEq)]
enum TokenKind {
    Reusable,
    Once,
    Expired,
    Cancelled,
}

const TOKENS: [(&str, TokenKind); 4] = [
    ("reusable", TokenKind::Reusable),
    ("once", TokenKind::Once),
    ("late", TokenKind::Expired),
    ("cancelled", TokenKind::Cancelled),
];

/// A tracker's pool, kept in memory.
struct World {
    pool: Pool,
    authority: Arc<Authority>,
    pool_id: PeerId,
    strangers: Vec<PublicKey>,
    tokens: Vec<JoinToken>,
    /// Memberships that this pool has signed, by their text.
    signed: HashMap<String, PublicKey>,
    /// Words, and what they stand for.
    words: Vec<(&'static str, String)>,
    /// Who is or was a member.
    members: HashSet<PublicKey>,
    /// Whether somebody has joined with the token that is good once.
    once_is_used: bool,
}

/// Has a conversation.
pub fn join_handshake(data: &[u8]) -> &'static str {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(World::new().expect("a pool in memory")));
    // Whoever has joined is a member from then on, so a finding can depend on the inputs before it.
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let [stranger, node, messages @ ..] = data else { return "nothing" };
    // Frames are text before they get here.
    let Ok(messages) = std::str::from_utf8(messages) else { return "nothing" };
    let stranger = Stranger { key: world.strangers[usize::from(stranger % STRANGERS)], binding: [node & 1; 32] };
    world.converse(&stranger, node & 2 == 0, node & 4 == 0, messages)
}

impl World {
    fn new() -> anyhow::Result<World> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let pool_folder = folder.path().join("pool");
        std::fs::create_dir(&pool_folder)?;
        let (pool_key, own) = (key(POOL), key(OWN));
        pool_key.save(&pool_folder.join("pool.key"))?;
        let strangers: Vec<PublicKey> = (0..STRANGERS).map(|number| key(number).public()).collect();
        let mut signed = HashMap::new();
        let mut sign = |pool: &KeyPair, number: u8, lifetime_seconds| {
            let member = key(number).public();
            let text = Membership::issue(pool, &member, "somebody", NOW_UNIX_SECONDS - 1000, lifetime_seconds);
            if pool.public() == pool_key.public() {
                signed.insert(text.clone(), member);
            }
            text
        };
        let own_membership = sign(&pool_key, OWN, LIFETIME_SECONDS);
        let mut words = vec![
            ("own", own_membership.clone()),
            ("good", sign(&pool_key, MEMBER, LIFETIME_SECONDS)),
            ("expired", sign(&pool_key, EXPIRED, 1000)),
            ("revoked", sign(&pool_key, REVOKED, LIFETIME_SECONDS)),
            ("foreign", sign(&key(OTHER_POOL), FOREIGN, LIFETIME_SECONDS)),
            ("elsewhere", pool_id(&key(OTHER_POOL).public()).to_string()),
        ];
        let standing = json!({
            "version": 1,
            "pool_key": key_text(&pool_key.public()),
            "pool_name": "pool",
            "membership": own_membership,
            "tracker_key": key_text(&own.public()),
            "tracker_addresses": [],
            "revocations": Revocations::issue(&pool_key, 0, &[]),
        });
        std::fs::write(pool_folder.join("pool.json"), standing.to_string())?;

        let registry = Registry::open(&pool_folder)?;
        let pool_id = pool_id(&pool_key.public());
        let mut tokens = Vec::new();
        for (number, (_, kind)) in (1..).zip(TOKENS) {
            let expires_unix_seconds = if kind == TokenKind::Expired { 1 } else { u64::MAX };
            let mut token = JoinToken::generate(pool_id, own.public().sha256(), expires_unix_seconds, Vec::new())?;
            (token.token_id, token.secret) = ([number; 8], [number; 32]);
            registry.add_token(&token, kind == TokenKind::Reusable, 0)?;
            if kind == TokenKind::Cancelled {
                registry.cancel_token(&token.token_id_text())?;
            }
            tokens.push(token);
        }
        let members = [OWN, MEMBER, EXPIRED, REVOKED].map(|number| strangers[usize::from(number)]);
        for member in members {
            registry.add_founder(member, "somebody", NOW_UNIX_SECONDS)?;
        }
        registry.revoke(&strangers[usize::from(REVOKED)].peer_id(), NOW_UNIX_SECONDS)?;
        drop(registry);

        // It also puts the list of revocations right.
        let pool = Pool::open(folder.path(), own.public())?;
        let authority = pool.authority().ok_or_else(|| anyhow::anyhow!("the pool has no authority"))?;
        words.push(("pool", pool_id.to_string()));
        words.extend(TOKENS.iter().zip(&tokens).map(|((word, _), token)| (*word, token.token_id_text())));
        // The folder goes, and the database lives on without a name until the process ends.
        drop(folder);
        let members = HashSet::from(members);
        Ok(World { pool, authority, pool_id, strangers, tokens, signed, words, members, once_is_used: false })
    }

    fn converse(&mut self, stranger: &Stranger, is_member: bool, is_authority: bool, messages: &str) -> &'static str {
        let standing = self.pool.standing().filter(|_| is_member);
        let authority = Arc::clone(&self.authority);
        let gate = Gate {
            own: self.strangers[usize::from(OWN)],
            standing: standing.as_deref(),
            authority: is_authority.then_some(&*authority),
            lifetime_seconds: LIFETIME_SECONDS,
            now_unix_seconds: NOW_UNIX_SECONDS,
        };
        let mut issued = String::new();
        let mut outcome = "nothing";
        for message in messages.split('\n').take(FIRST_MESSAGES_MAX) {
            let message = self.with_words(message, stranger, &issued);
            match gate.step(stranger, &message) {
                Step::Answer(answer) => {
                    assert!(is_member && is_authority, "{message}: {answer}");
                    assert!(self.members.contains(&stranger.key) && !self.is_revoked(stranger), "{message}: {answer}");
                    // The answer to a JOIN was lost, and it is repeated.
                    if Envelope::scan(&message).unwrap().message_type == "JOIN" {
                        self.check_join(&message, stranger);
                    }
                    issued = self.check_reply(&answer, stranger);
                    outcome = "answered";
                }
                Step::Joined(answer, peer_id) => {
                    assert!(is_member && is_authority, "{message}: {answer}");
                    assert_eq!(peer_id, stranger.key.peer_id(), "{message}: {answer}");
                    let token = self.check_join(&message, stranger);
                    assert!(self.members.insert(stranger.key), "{message}: it was a member already");
                    match token {
                        TokenKind::Reusable => {}
                        TokenKind::Once => assert!(!std::mem::replace(&mut self.once_is_used, true), "{message}"),
                        TokenKind::Expired | TokenKind::Cancelled => panic!("{message}: the token is good no more"),
                    }
                    issued = self.check_reply(&answer, stranger);
                    outcome = "joined";
                }
                Step::Admit(answer, Admitted::Own) => {
                    assert!(stranger.key == gate.own, "{message}: {answer}");
                    return "admitted as the node itself";
                }
                Step::Admit(answer, Admitted::Member { pool_id, peer_id, expires_unix_seconds }) => {
                    assert!(is_member && pool_id == self.pool_id, "{message}: {answer}");
                    assert_eq!(peer_id, stranger.key.peer_id(), "{message}: {answer}");
                    assert!(expires_unix_seconds > NOW_UNIX_SECONDS, "{message}: {answer}");
                    assert!(!self.is_revoked(stranger), "{message}: {answer}");
                    self.check_admitted(&message, stranger, &issued);
                    return "admitted as a member";
                }
                Step::Refuse(error) => {
                    assert!(!error.code.is_empty() && !error.message.is_empty(), "{message}");
                    return "refused";
                }
            }
        }
        outcome
    }

    fn is_revoked(&self, stranger: &Stranger) -> bool {
        stranger.key == self.strangers[usize::from(REVOKED)]
    }

    /// The answer to JOIN and RENEW_MEMBERSHIP is a membership for whoever has asked.
    fn check_reply(&self, answer: &str, stranger: &Stranger) -> String {
        let reply: MembershipReply = serde_json::from_str(answer).unwrap();
        let membership = Membership::verify(&reply.membership, &self.authority.pool_key()).unwrap();
        assert!(membership.key == stranger.key, "{answer}");
        Revocations::verify(&reply.revocations, &self.authority.pool_key()).unwrap();
        reply.membership
    }

    /// A JOIN was accepted: it names a token of this pool, and has the proof for this very connection.
    fn check_join(&self, message: &str, stranger: &Stranger) -> TokenKind {
        let join: Join<'_> = serde_json::from_str(message).unwrap();
        assert_eq!(join.pool_id, self.pool_id, "{message}");
        let place = self.tokens.iter().position(|token| join.token_id == token.token_id_text());
        let place = place.unwrap_or_else(|| panic!("{message}: nobody made this token"));
        assert_eq!(join.proof, self.proof(place, &stranger.binding, &stranger.key, self.pool_id), "{message}");
        assert!(!self.is_revoked(stranger), "{message}");
        TOKENS[place].1
    }

    /// Somebody is believed to be a member: it has shown a membership that was signed for its key.
    fn check_admitted(&self, message: &str, stranger: &Stranger, issued: &str) {
        let hello: Hello<'_> = serde_json::from_str(message).unwrap();
        assert_eq!(hello.pool_id, self.pool_id, "{message}");
        let shown = &*hello.membership;
        let is_signed = self.signed.get(shown).is_some_and(|key| *key == stranger.key) || shown == issued;
        assert!(is_signed, "{message}: nobody signed this for {:?}", stranger.key);
    }

    fn proof(&self, token: usize, binding: &[u8; 32], joiner: &PublicKey, pool_id: PeerId) -> String {
        // A proof is as long as a key, and both are sent in the same base64.
        key_text(&PublicKey(prove(&join_key(&self.tokens[token].secret), binding, joiner, pool_id)))
    }

    /// The message, with what its words stand for.
    fn with_words(&self, message: &str, stranger: &Stranger, issued: &str) -> String {
        let mut pieces = message.split('$');
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.bytes().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(piece.len());
            let (word, rest) = piece.split_at(end);
            text.push_str(&self.word(word, stranger, issued).unwrap_or_default());
            text.push_str(rest);
        }
        text
    }

    fn word(&self, word: &str, stranger: &Stranger, issued: &str) -> Option<String> {
        if let Some((_, text)) = self.words.iter().find(|(name, _)| *name == word) {
            return Some(text.clone());
        }
        let (key, binding) = (&stranger.key, &stranger.binding);
        let other = &self.strangers[usize::from(FOREIGN)];
        Some(match word {
            "issued" => issued.to_owned(),
            "peer" => key.peer_id().to_string(),
            "proof" => self.proof(0, binding, key, self.pool_id),
            "proofonce" => self.proof(1, binding, key, self.pool_id),
            "prooflate" => self.proof(2, binding, key, self.pool_id),
            "proofcancelled" => self.proof(3, binding, key, self.pool_id),
            "proofbinding" => self.proof(0, &[9; 32], key, self.pool_id),
            "proofkey" => self.proof(0, binding, other, self.pool_id),
            "proofpool" => self.proof(0, binding, key, key.peer_id()),
            _ => return None,
        })
    }
}
