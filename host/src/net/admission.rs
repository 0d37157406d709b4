//! What may be said on an encrypted connection before it is known who is at the other end, and what comes of it.
//!
//! Nothing here touches the network, so that the whole conversation can be tried out (and is, by a fuzz target).

use super::tls::ChannelBinding;
use crate::key::PublicKey;
use crate::pool::membership::Membership;
use crate::pool::registry::JoinRefusal;
use crate::pool::{Authority, NotAdmitted, Standing};
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::pool::{Hello, Join, MembershipReply};
use potluck_sdk::message::to_json;
use potluck_sdk::{PeerId, ProviderError};

/// Messages that may come before a HELLO that is accepted.
pub const FIRST_MESSAGES_MAX: usize = 4;

/// Who decides.
pub struct Gate<'a> {
    /// The key of this node.
    pub own: PublicKey,
    /// Its place in its pool.
    pub standing: Option<&'a Standing>,
    /// Its authority over that pool.
    pub authority: Option<&'a Authority>,
    /// How long a membership is good that is issued here.
    pub lifetime_seconds: u64,
    /// Now.
    pub now_unix_seconds: u64,
}

/// Who wants to be let in: what TLS has proven.
#[derive(Clone, Copy)]
pub struct Stranger {
    /// The key of the other side.
    pub key: PublicKey,
    /// What both ends, and nobody between them, have in common.
    pub binding: ChannelBinding,
}

/// What comes of one message.
pub enum Step {
    /// It is answered, and more may be said.
    Answer(String),
    /// The other side has joined, and is to show its new membership.
    Joined(String, PeerId),
    /// The other side has shown who it is.
    Admit(String, Admitted),
    /// It is refused, and the connection ends.
    Refuse(ProviderError),
}

/// Who has been let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Somebody with this node's own key.
    Own,
    /// A member, until its membership expires.
    Member { pool_id: PeerId, peer_id: PeerId, expires_unix_seconds: u64 },
}

impl Gate<'_> {
    /// Looks at one message. Blocks for the disk when it is a JOIN.
    pub fn step(&self, stranger: &Stranger, json: &str) -> Step {
        let message_type = match Envelope::scan(json) {
            Ok(envelope) => envelope.message_type.to_owned(),
            Err(error) => return Step::Refuse(ProviderError::invalid(error.to_string())),
        };
        match message_type.as_str() {
            "HELLO" => self.hello(stranger, json),
            "JOIN" => self.join(stranger, json),
            "RENEW_MEMBERSHIP" => self.renew(stranger),
            _ => {
                let text =
                    "this connection must begin with HELLO or JOIN; a node joins a pool with `potluck join TOKEN`";
                Step::Refuse(ProviderError::new(ProviderError::FORBIDDEN, text))
            }
        }
    }

    fn hello(&self, stranger: &Stranger, json: &str) -> Step {
        let hello: Hello<'_> = match serde_json::from_str(json) {
            Ok(hello) => hello,
            Err(error) => return Step::Refuse(ProviderError::invalid(format!("HELLO: {error}"))),
        };
        // Whoever has this node's key is this node's user, at the command line.
        let own = stranger.key == self.own;
        let answer = match self.standing {
            Some(standing) => to_json(&standing.hello()),
            None if own => to_json(&Hello { pool_id: self.own.peer_id(), membership: "".into() }),
            None => return no_pool(),
        };
        if own {
            return Step::Admit(answer, Admitted::Own);
        }
        match self.standing.map(|standing| standing.admit(&hello, &stranger.key, self.now_unix_seconds)) {
            None => no_pool(),
            // The registry knows first.
            Some(Ok(membership)) if self.is_revoked_in_registry(&membership.peer_id) => {
                Step::Refuse(not_admitted(&NotAdmitted::Revoked))
            }
            Some(Ok(membership)) => {
                let Membership { pool_id, peer_id, expires_unix_seconds, .. } = membership;
                Step::Admit(answer, Admitted::Member { pool_id, peer_id, expires_unix_seconds })
            }
            Some(Err(refusal)) => Step::Refuse(not_admitted(&refusal)),
        }
    }

    fn is_revoked_in_registry(&self, peer_id: &PeerId) -> bool {
        self.authority.is_some_and(|authority| authority.registry.is_revoked(peer_id))
    }

    fn join(&self, stranger: &Stranger, json: &str) -> Step {
        let join: Join<'_> = match serde_json::from_str(json) {
            Ok(join) => join,
            Err(error) => return Step::Refuse(ProviderError::invalid(format!("JOIN: {error}"))),
        };
        let Some((authority, standing)) = self.authority.zip(self.standing) else {
            let text = "this node admits nobody to a pool; use the address of the pool's tracker";
            return Step::Refuse(ProviderError::new(ProviderError::NO_POOL, text));
        };
        if join.pool_id != authority.pool_id() {
            let text = "this node is the tracker of another pool than that of the token";
            return Step::Refuse(ProviderError::new(ProviderError::NO_POOL, text));
        }
        match authority.join(&join, &stranger.key, &stranger.binding) {
            Ok(joined) => {
                let answer = self.membership(authority, standing, stranger, &joined.name);
                if joined.is_new { Step::Joined(answer, stranger.key.peer_id()) } else { Step::Answer(answer) }
            }
            Err(refusal) => Step::Refuse(join_refused(&refusal)),
        }
    }

    /// A member whose membership has expired while it was away is still in the registry.
    fn renew(&self, stranger: &Stranger) -> Step {
        let Some((authority, standing)) = self.authority.zip(self.standing) else { return no_pool() };
        match authority.registry.member(&stranger.key.peer_id()) {
            Some(member) if !member.revoked && member.key == stranger.key => {
                Step::Answer(self.membership(authority, standing, stranger, &member.name))
            }
            Some(member) if member.revoked => Step::Refuse(not_admitted(&NotAdmitted::Revoked)),
            _ => {
                let text = "this node is not in the pool's registry; join with a token";
                Step::Refuse(ProviderError::new(ProviderError::FORBIDDEN, text))
            }
        }
    }

    fn membership(&self, authority: &Authority, standing: &Standing, stranger: &Stranger, name: &str) -> String {
        to_json(&membership_reply(authority, standing, &stranger.key, name, self.lifetime_seconds))
    }
}

/// A new membership, with what else a member needs to know of the pool.
pub fn membership_reply(
    authority: &Authority,
    standing: &Standing,
    member: &PublicKey,
    name: &str,
    lifetime_seconds: u64,
) -> MembershipReply {
    MembershipReply {
        membership: authority.issue(member, name, lifetime_seconds),
        pool_key: crate::pool::membership::key_text(&authority.pool_key()),
        pool_name: authority.pool_name(),
        revocations: standing.revocations_text().to_owned(),
    }
}

/// The error for somebody who is not let in.
pub fn not_admitted(refusal: &NotAdmitted) -> ProviderError {
    ProviderError::new(ProviderError::FORBIDDEN, refusal.to_string())
}

fn no_pool() -> Step {
    let text = "this node is in no pool, so it serves nobody but its own user";
    Step::Refuse(ProviderError::new(ProviderError::NO_POOL, text))
}

fn join_refused(refusal: &JoinRefusal) -> ProviderError {
    ProviderError::new(refusal.code(), refusal.to_string())
}
