//! The messages about the pool: what this machine's user asks for, and what members ask of the node that has the
//! authority over it.

mod administration;
mod joining;

use crate::call::{CancelHook, Dispatch, Incoming, PendingCall, Response, Sink};
use crate::membership::{self, look_up};
use crate::net::admission;
use crate::node::Node;
use potluck_sdk::message::pool::{IdentityReply, PoolFacts, RevocationsReply, WatchRevocations};
use potluck_sdk::message::to_json;
use potluck_sdk::{Caller, ProviderError};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::Notify;

pub use joining::join;

/// What a handler answers: the JSON of a reply.
type Answer = Result<String, ProviderError>;

/// Answers a message about the pool. Each is answered later, since most wait for the disk or for another node.
pub fn answer(
    node: &Arc<Node>,
    message_type: &str,
    incoming: Incoming<'_>,
    sink: &mut dyn FnMut() -> Sink,
) -> Option<Dispatch> {
    let json = incoming.json;
    let own = Arc::clone(node);
    Some(match message_type {
        "IDENTITY" => Dispatch::Ready(Response::ok(to_json(&identity(node)))),
        "RENEW_MEMBERSHIP" => ready(renew(node, &incoming.caller)),
        "WATCH_REVOCATIONS" => match read::<WatchRevocations>(message_type, json) {
            Ok(request) => watch(node, sink, async move { Ok(watch_revocations(&own, request.version).await) }),
            Err(error) => ready(Err(error)),
        },
        "POOL_JOIN" => match read(message_type, json) {
            Ok(request) => later(node, sink, async move { joining::join(&own, request).await }),
            Err(error) => ready(Err(error)),
        },
        "POOL_LEAVE" => later(node, sink, async move {
            membership::take_leave(&own).await;
            administration::leave(&own).await
        }),
        "POOL_DISCOVER" => later(node, sink, async move { joining::discover(&own).await }),
        _ => return administration::answer(node, message_type, json, sink),
    })
}

fn ready(answer: Answer) -> Dispatch {
    Dispatch::Ready(match answer {
        Ok(json) => Response::ok(json),
        Err(error) => Response::error(&error),
    })
}

/// Answers when `work` is done. It goes on when the caller goes away: what was begun with the disk or another node is
/// finished.
fn later(
    node: &Arc<Node>,
    sink: &mut dyn FnMut() -> Sink,
    work: impl Future<Output = Answer> + Send + 'static,
) -> Dispatch {
    let pending = PendingCall::new(sink(), None);
    let answered = Arc::clone(&pending);
    node.runtime.spawn(async move {
        answered.answer(match work.await {
            Ok(json) => Response::ok(json),
            Err(error) => Response::error(&error),
        });
    });
    Dispatch::Pending(pending)
}

/// As [`later`], for what may take for ever: nothing is kept of it once the caller has gone away.
fn watch(
    node: &Arc<Node>,
    sink: &mut dyn FnMut() -> Sink,
    work: impl Future<Output = Answer> + Send + 'static,
) -> Dispatch {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let dispatch = later(node, sink, async move {
        tokio::select! {
            answer = work => answer,
            () = gone.notified() => Err(ProviderError::new(ProviderError::PEER_LOST, "the caller has gone away")),
        }
    });
    if let Dispatch::Pending(pending) = &dispatch {
        pending.on_cancel(CancelHook::host(move || told.notify_one()));
    }
    dispatch
}

fn read<T: DeserializeOwned>(message_type: &str, json: &str) -> Result<T, ProviderError> {
    serde_json::from_str(json).map_err(|error| ProviderError::invalid(format!("{message_type}: {error}")))
}

fn identity(node: &Node) -> IdentityReply {
    let in_pool = node.pool.standing().is_some();
    IdentityReply {
        peer_id: node.identity.peer_id,
        alias: node.identity.alias.clone(),
        fingerprint: node.identity.key.public().fingerprint(),
        addresses: node.addresses.reachable(in_pool).iter().map(ToString::to_string).collect(),
        pool: node.pool.standing().map(|standing| PoolFacts {
            pool_id: standing.pool_id,
            pool_name: standing.pool_name.clone(),
            name: standing.membership.name.clone(),
            is_authority: node.pool.authority().is_some(),
            tracker_id: standing.tracker_id(),
            tracker_addresses: standing.tracker_addresses.clone(),
            expires_unix_seconds: standing.membership.expires_unix_seconds,
        }),
    }
}

/// A member, whose connection has proven its key, gets a membership that lasts longer.
fn renew(node: &Node, caller: &Caller<'_>) -> Answer {
    let Some((authority, standing)) = node.pool.authority().zip(node.pool.standing()) else {
        return Err(no_authority());
    };
    let Caller::Member(peer_id) = caller else {
        let text = "RENEW_MEMBERSHIP is for the members of a pool, over an encrypted connection";
        return Err(ProviderError::new(ProviderError::FORBIDDEN, text));
    };
    let member = peer_id.parse().ok().and_then(|peer_id| authority.registry.member(&peer_id));
    let Some(member) = member.filter(|member| !member.revoked) else {
        let text = "this node is not in the pool's registry; join with a token";
        return Err(ProviderError::new(ProviderError::FORBIDDEN, text));
    };
    let lifetime = node.config.membership_seconds;
    Ok(to_json(&admission::membership_reply(&authority, &standing, &member.key, &member.name, lifetime)))
}

async fn watch_revocations(node: &Node, known: u64) -> String {
    let mut changes = node.pool.changes();
    let mut stopping = node.stopping.subscribe();
    loop {
        let standing = node.pool.standing();
        let list = standing.as_deref().filter(|standing| standing.revocations.version > known);
        if let Some(standing) = list {
            return to_json(&RevocationsReply { revocations: standing.revocations_text().to_owned() });
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {
                return String::from_utf8_lossy(&stopping_error().to_json()).into_owned();
            }
        }
    }
}

fn stopping_error() -> ProviderError {
    ProviderError::new(ProviderError::NODE_STOPPING, "the node is stopping")
}

fn no_authority() -> ProviderError {
    let text =
        "this node has no authority over a pool; ask its tracker, or create a pool here with `potluck pool create`";
    ProviderError::new(ProviderError::NO_POOL, text)
}
