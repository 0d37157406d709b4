//! What the administrator of a pool asks of the node that has the authority over it. Each action is in the audit log
//! before it is done.

use super::{Answer, later, no_authority, read, ready};
use crate::audit::{AuditEvent, AuditTopic};
use crate::call::{Dispatch, Sink};
use crate::node::Node;
use crate::pool::membership::clean_name;
use crate::pool::token::{JoinToken, is_address};
use crate::pool::{Authority, unix_seconds};
use potluck_sdk::message::pool::{
    MemberEntry, PoolCancelToken, PoolCreate, PoolDone, PoolMemberList, PoolReadmit, PoolRevoke, PoolToken,
    PoolTokenList, PoolTokenReply, TokenEntry, TokenTerms,
};
use potluck_sdk::message::to_json;
use potluck_sdk::message::tracker::{PeerRevoked, REVOKED_TOPIC};
use potluck_sdk::{Caller, PeerId, ProviderError};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// How long a token is good when nobody says otherwise.
const TOKEN_VALID_SECONDS: u64 = 86_400;
/// How long it may be good.
const TOKEN_VALID_SECONDS_MAX: u64 = 366 * 86_400;

/// Answers a message of this kind.
pub(super) fn answer(
    node: &Arc<Node>,
    message_type: &str,
    json: &str,
    sink: &mut dyn FnMut() -> Sink,
) -> Option<Dispatch> {
    macro_rules! blocking {
        ($handler:expr) => {
            match read(message_type, json) {
                Ok(request) => {
                    let own = Arc::clone(node);
                    later(node, sink, async move {
                        let done = tokio::task::spawn_blocking(move || $handler(&own, request));
                        done.await.unwrap_or_else(|_| Err(super::stopping_error()))
                    })
                }
                Err(error) => ready(Err(error)),
            }
        };
    }
    Some(match message_type {
        "POOL_CREATE" => blocking!(create),
        "POOL_TOKEN" => blocking!(token),
        "POOL_TOKENS" => blocking!(tokens),
        "POOL_CANCEL_TOKEN" => blocking!(cancel_token),
        "POOL_MEMBERS" => blocking!(members),
        "POOL_REVOKE" => blocking!(revoke),
        "POOL_READMIT" => blocking!(readmit),
        _ => return None,
    })
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname();
    clean_name(&name.nodename().to_string_lossy())
}

fn create(node: &Arc<Node>, request: PoolCreate) -> Answer {
    let token = checked(node, request.terms)?;
    note(node, "pool_create", "POOL_CREATE", "a pool with its authority here")?;
    let name = request.name.as_deref().map(clean_name).filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    let pool_name = request.pool_name.as_deref().map(clean_name).filter(|name| !name.is_empty());
    let pool_name = pool_name.unwrap_or_else(|| format!("pool of {name}"));
    let authority = node.pool.create(&pool_name, &name, node.config.membership_seconds).map_err(failed)?;
    tracing::info!(pool = %authority.pool_id(), pool_name, "a pool was created; this node is its tracker");
    new_token(node, &authority, token)
}

fn token(node: &Arc<Node>, request: PoolToken) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    let token = checked(node, request.terms)?;
    new_token(node, &authority, token)
}

/// A request for a token in which everything is said.
struct Wanted {
    reusable: bool,
    valid_seconds: u64,
    addresses: Vec<String>,
}

fn checked(node: &Node, request: TokenTerms) -> Result<Wanted, ProviderError> {
    let valid_seconds = request.valid_seconds.unwrap_or(TOKEN_VALID_SECONDS);
    if !(1..=TOKEN_VALID_SECONDS_MAX).contains(&valid_seconds) {
        let text = format!("`valid_seconds` must be from 1 to {TOKEN_VALID_SECONDS_MAX}, which is a year");
        return Err(ProviderError::invalid(text));
    }
    let addresses =
        request.addresses.unwrap_or_else(|| node.addresses.reachable(true).iter().map(ToString::to_string).collect());
    if let Some(wrong) = addresses.iter().find(|address| !is_address(address)) {
        return Err(ProviderError::invalid(format!("{wrong:?} is no address; use host:port, such as 192.0.2.7:8888")));
    }
    Ok(Wanted { reusable: request.reusable, valid_seconds, addresses })
}

fn new_token(node: &Node, authority: &Authority, wanted: Wanted) -> Answer {
    let Wanted { reusable, valid_seconds, addresses } = wanted;
    note(node, "pool_token", "POOL_TOKEN", if reusable { "a reusable token" } else { "a token for one node" })?;
    let token =
        authority.new_token(&node.identity.key.public(), reusable, valid_seconds, addresses.clone()).map_err(failed)?;
    Ok(to_json(&PoolTokenReply {
        pool_id: authority.pool_id(),
        token: token.to_string(),
        token_id: token.token_id_text(),
        reusable,
        expires_unix_seconds: token.expires_unix_seconds,
        addresses,
        note: without_directory(node),
    }))
}

/// What the owner of a pool should know whose node lets others in, and does not tell them of each other.
fn without_directory(node: &Node) -> Option<String> {
    let has_directory = node.routes.load().contains_key("REGISTER");
    (!has_directory).then(|| {
        "this node lacks the plugin `tracker`, so the members will not find each other; add [plugins.tracker] to its plugins.toml".to_owned()
    })
}

fn tokens(node: &Arc<Node>, _request: serde::de::IgnoredAny) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    Ok(to_json(&PoolTokenList { tokens: authority.registry.tokens(unix_seconds()).map_err(failed)? }))
}

fn cancel_token(node: &Arc<Node>, request: PoolCancelToken) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    // Whoever has the token at hand need not look up its id.
    let token_id = JoinToken::from_str(&request.token_id).map_or(request.token_id, |token| token.token_id_text());
    note(node, "pool_cancel_token", "POOL_CANCEL_TOKEN", &token_id)?;
    if !authority.registry.cancel_token(&token_id).map_err(failed)? {
        let text = format!("there is no token {token_id}; see `potluck pool tokens`");
        return Err(ProviderError::new("token_unknown", text));
    }
    Ok(done("CANCELLED", &authority, None, None))
}

fn members(node: &Arc<Node>, _request: serde::de::IgnoredAny) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    let mut members: Vec<MemberEntry> = authority.registry.members().map_err(failed)?;
    for member in &mut members {
        member.connected = member.peer_id == node.identity.peer_id || node.present.contains(&member.peer_id);
    }
    Ok(to_json(&PoolMemberList { pool_id: authority.pool_id(), members }))
}

fn revoke(node: &Arc<Node>, request: PoolRevoke) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    // A whole id is enough: a registry from an old copy may not know whom it has admitted since.
    let peer_id = match request.peer.parse::<PeerId>() {
        Ok(peer_id) => peer_id,
        Err(_) => find(&authority, &request.peer)?,
    };
    if peer_id == node.identity.peer_id {
        let text = "this node is the tracker of the pool, which cannot revoke itself";
        return Err(ProviderError::invalid(text));
    }
    note(node, "pool_revoke", "POOL_REVOKE", peer_id.to_string())?;
    let changed = authority.registry.revoke(&peer_id, unix_seconds()).map_err(failed)?;
    node.pool.publish_revocations(&authority).map_err(failed)?;
    tracing::info!(%peer_id, "a member was revoked");
    node.publish(REVOKED_TOPIC, &to_json(&PeerRevoked { peer_id }));
    let mut notes = Vec::new();
    if !changed {
        notes.push("it was revoked before".to_owned());
    }
    let open = authority.registry.tokens(unix_seconds()).map_err(failed)?;
    let reusable: Vec<TokenEntry> = open.into_iter().filter(|token| token.reusable && token.state == "valid").collect();
    if !reusable.is_empty() {
        let ids: Vec<&str> = reusable.iter().map(|token| token.token_id.as_str()).collect();
        notes.push(format!(
            "whoever knows a reusable token can join again with a new key: cancel {} with `potluck pool cancel` if that is not wanted",
            ids.join(", ")
        ));
    }
    Ok(done("REVOKED", &authority, Some(peer_id), (!notes.is_empty()).then(|| notes.join("; "))))
}

fn readmit(node: &Arc<Node>, request: PoolReadmit) -> Answer {
    let authority = node.pool.authority().ok_or_else(no_authority)?;
    let peer_id = find(&authority, &request.peer)?;
    note(node, "pool_readmit", "POOL_READMIT", peer_id.to_string())?;
    authority.registry.readmit(&peer_id).map_err(failed)?;
    node.pool.publish_revocations(&authority).map_err(failed)?;
    Ok(done("READMITTED", &authority, Some(peer_id), None))
}

/// Forgets the pool.
pub(super) async fn leave(node: &Arc<Node>) -> Answer {
    let own = Arc::clone(node);
    let left = tokio::task::spawn_blocking(move || -> Answer {
        note(&own, "pool_leave", "POOL_LEAVE", "this node leaves its pool")?;
        let pool_id = own.pool.leave().map_err(failed)?;
        Ok(to_json(&PoolDone { status: "LEFT".into(), pool_id, peer_id: None, note: None }))
    });
    left.await.unwrap_or_else(|_| Err(super::stopping_error()))
}

fn find(authority: &Authority, words: &str) -> Result<PeerId, ProviderError> {
    authority.registry.find(words).map_err(|error| ProviderError::new("member_unknown", error.to_string()))
}

fn done(status: &'static str, authority: &Authority, peer_id: Option<PeerId>, note: Option<String>) -> String {
    to_json(&PoolDone { status: status.into(), pool_id: authority.pool_id(), peer_id, note })
}

fn failed(error: impl Into<anyhow::Error>) -> ProviderError {
    ProviderError::new("pool_failed", format!("{:#}", error.into()))
}

/// Notes an action of the administrator, on the disk. What cannot be noted is not done.
pub(super) fn note(
    node: &Node,
    action: &'static str,
    message_type: &str,
    reason: impl Display,
) -> Result<(), ProviderError> {
    let event = AuditEvent {
        topic: AuditTopic::Pool,
        action,
        caller: Some(Caller::Local),
        message_type,
        address: None,
        reason: &reason.to_string(),
    };
    let json = node.audit_log.record_and_wait(&event).map_err(|error| {
        ProviderError::new(
            "audit_failed",
            format!("it cannot be noted in the audit log, so it was not done: {error:#}"),
        )
    })?;
    node.events.publish(event.topic.name(), &json);
    Ok(())
}
