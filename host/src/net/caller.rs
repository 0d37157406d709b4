//! Who is at the other end of a connection, and what follows for its messages.

use super::present::Presence;
use super::unknown::Place;
use crate::access::PeerRate;
use crate::key::PublicKey;
use crate::node::Node;
use parking_lot::Mutex;
use potluck_sdk::{Caller, PeerId, ProviderError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Wrong tokens after which a connection ends.
const WRONG_TOKENS_MAX: u32 = 3;

/// The other end of a connection that was accepted.
pub struct Visitor {
    kind: Kind,
    /// Where it comes from.
    pub address: SocketAddr,
    /// That as the text that providers see; empty for this machine.
    pub source_ip: String,
}

enum Kind {
    /// The node's own user.
    User,
    /// A program that this node has started: a task.
    Task,
    /// Another account of this machine, or somebody whose frames prove nothing; the user's equal once it has shown the
    /// node's token.
    Stranger { reason: String, has_token: AtomicBool, wrong_tokens: AtomicU32, place: Mutex<Option<Place>> },
    /// A member of the pool.
    Member(Member),
}

/// Another node, while a connection of it is open.
pub struct Member {
    /// Who it is.
    pub peer_id: PeerId,
    /// The key that it has proven to have.
    pub key: PublicKey,
    /// The pool that it was let in as a member of.
    pub pool_id: PeerId,
    id_text: String,
    expires_unix_seconds: AtomicU64,
    rate: Option<Arc<PeerRate>>,
    /// Counts it as connected.
    _presence: Presence,
}

impl Visitor {
    /// The node's own user.
    pub fn user(address: SocketAddr) -> Visitor {
        Visitor { kind: Kind::User, address, source_ip: String::new() }
    }

    /// A task of this node.
    pub fn task(address: SocketAddr) -> Visitor {
        Visitor { kind: Kind::Task, address, source_ip: String::new() }
    }

    /// Somebody who may only show the node's token; `reason` tells why. There are few places for such.
    pub fn stranger(address: SocketAddr, reason: String, place: Place) -> Visitor {
        let (has_token, wrong_tokens) = (AtomicBool::new(false), AtomicU32::new(0));
        let kind = Kind::Stranger { reason, has_token, wrong_tokens, place: Mutex::new(Some(place)) };
        Visitor { kind, address, source_ip: String::new() }
    }

    /// A member of the pool; nothing when it has as many connections here as it may.
    pub fn member(
        address: SocketAddr,
        key: PublicKey,
        pool_id: PeerId,
        expires_unix_seconds: u64,
        node: &Node,
    ) -> Option<Visitor> {
        let peer_id = key.peer_id();
        let member = Member {
            peer_id,
            key,
            pool_id,
            id_text: peer_id.to_string(),
            expires_unix_seconds: AtomicU64::new(expires_unix_seconds),
            rate: node.access.rate(peer_id),
            _presence: node.present.enter(peer_id)?,
        };
        Some(Visitor { kind: Kind::Member(member), address, source_ip: address.ip().to_string() })
    }

    /// The caller of a message, or why there is none. `for_task` is what the message says of itself.
    pub fn caller<'a>(&'a self, node: &'a Node, for_task: bool) -> Result<Caller<'a>, ProviderError> {
        match &self.kind {
            Kind::Task => Ok(Caller::Task(&node.id_text)),
            Kind::Member(member) => {
                if let Some(rate) = &member.rate {
                    rate.take()?;
                }
                Ok(if for_task { Caller::Task(&member.id_text) } else { Caller::Member(&member.id_text) })
            }
            Kind::Stranger { reason, has_token, .. } if !has_token.load(Ordering::Relaxed) => {
                Err(ProviderError::new(ProviderError::FORBIDDEN, reason.clone()))
            }
            Kind::User | Kind::Stranger { .. } => {
                Ok(if for_task { Caller::Task(&node.id_text) } else { Caller::Local })
            }
        }
    }

    /// For the audit, where there may be no caller.
    pub fn known_caller<'a>(&'a self, node: &'a Node) -> Option<Caller<'a>> {
        match &self.kind {
            Kind::User => Some(Caller::Local),
            Kind::Task => Some(Caller::Task(&node.id_text)),
            Kind::Stranger { .. } => None,
            Kind::Member(member) => Some(Caller::Member(&member.id_text)),
        }
    }

    /// Makes a stranger who has shown the token the user's equal.
    pub fn accept_token(&self) {
        if let Kind::Stranger { has_token, place, .. } = &self.kind {
            has_token.store(true, Ordering::Relaxed);
            // Others may want to show it.
            drop(place.lock().take());
        }
    }

    /// Whether it may do nothing but show the node's token.
    pub fn is_unproven(&self) -> bool {
        matches!(&self.kind, Kind::Stranger { has_token, .. } if !has_token.load(Ordering::Relaxed))
    }

    /// Whether it is the node's own user, or has shown the node's token.
    pub fn is_user(&self) -> bool {
        matches!(&self.kind, Kind::User | Kind::Stranger { .. }) && !self.is_unproven()
    }

    /// Whether it is a program that this node has started.
    pub fn is_task(&self) -> bool {
        matches!(self.kind, Kind::Task)
    }

    /// It has shown something else for the token.
    pub fn note_wrong_token(&self) {
        if let Kind::Stranger { wrong_tokens, .. } = &self.kind {
            wrong_tokens.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it has done so as often as it may on one connection.
    pub fn has_guessed_enough(&self) -> bool {
        let Kind::Stranger { wrong_tokens, .. } = &self.kind else { return false };
        self.is_unproven() && wrong_tokens.load(Ordering::Relaxed) >= WRONG_TOKENS_MAX
    }

    /// The other node, when it is one.
    pub fn as_member(&self) -> Option<&Member> {
        match &self.kind {
            Kind::Member(member) => Some(member),
            _ => None,
        }
    }
}

impl Member {
    /// When its membership ends, as far as it has shown.
    pub fn expires_unix_seconds(&self) -> u64 {
        self.expires_unix_seconds.load(Ordering::Relaxed)
    }

    /// It has shown a newer membership.
    pub fn renewed(&self, expires_unix_seconds: u64) {
        self.expires_unix_seconds.store(expires_unix_seconds, Ordering::Relaxed);
    }
}
