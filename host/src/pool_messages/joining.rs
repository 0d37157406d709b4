//! Joining a pool, and finding its tracker.

use super::administration::{host_name, note};
use super::{Answer, look_up};
use crate::discovery::{Interfaces, browse};
use crate::membership::BROWSE_LIMIT;
use crate::net::dial::{self, DialError};
use crate::net::tls::Pin;
use crate::node::Node;
use crate::pool::membership::clean_name;
use crate::pool::token::JoinToken;
use crate::pool::{TrackerFacts, proof, unix_seconds};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use potluck_sdk::ProviderError;
use potluck_sdk::message::pool::{DiscoveredTracker, Join, MembershipReply, PoolDiscovered, PoolDone, PoolJoin};
use potluck_sdk::message::to_json;
use std::str::FromStr;
use std::sync::Arc;

/// Joins the pool of a token.
pub async fn join(node: &Arc<Node>, request: PoolJoin) -> Answer {
    let token =
        JoinToken::from_str(&request.token).map_err(|error| ProviderError::new("token_invalid", error.to_string()))?;
    if token.expires_unix_seconds <= unix_seconds() {
        let text =
            "the token has expired, or the clock of this machine is wrong; ask the pool's administrator for a new one";
        return Err(ProviderError::new("token_expired", text));
    }
    if let Some(standing) = node.pool.standing().filter(|standing| standing.pool_id != token.pool_id) {
        let text =
            format!("this node is a member of the pool {}; `potluck pool leave` makes it leave", standing.pool_name);
        return Err(ProviderError::new("already_in_pool", text));
    }
    let name = request.name.as_deref().map(clean_name).filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    noted(node, "pool_join", token.pool_id.to_string()).await?;
    let known: Vec<String> = request.address.into_iter().chain(token.addresses().iter().cloned()).collect();
    let (reply, tracker) = match join_at(node, &token, &name, &known).await {
        Err(reason) if node.config.discovery && reason.code == ProviderError::PEER_UNREACHABLE => {
            // It may have moved since the token was made.
            let heard = heard(token.pool_id).await;
            if heard.is_empty() { Err(reason) } else { join_at(node, &token, &name, &heard).await }
        }
        joined => joined,
    }?;
    let own = Arc::clone(node);
    let pool_id = token.pool_id;
    let joined = tokio::task::spawn_blocking(move || own.pool.joined(&reply, &tracker, pool_id));
    match joined.await {
        Ok(Ok(())) => {
            tracing::info!(pool = %pool_id, "joined a pool");
            Ok(to_json(&PoolDone {
                status: "JOINED".into(),
                pool_id,
                peer_id: Some(node.identity.peer_id),
                note: None,
            }))
        }
        Ok(Err(error)) => Err(ProviderError::new("pool_failed", format!("{error:#}"))),
        Err(_) => Err(super::stopping_error()),
    }
}

/// Asks the first address at which the tracker of the token answers.
async fn join_at(
    node: &Node,
    token: &JoinToken,
    name: &str,
    addresses: &[String],
) -> Result<(MembershipReply, TrackerFacts), ProviderError> {
    let unreachable = |text: String| ProviderError::new(ProviderError::PEER_UNREACHABLE, text);
    let mut reasons = Vec::new();
    for text in addresses {
        let dialed = match look_up(text).await {
            Ok(address) => dial::encrypted(address, &node.tls, Pin::Key(token.tracker_key_sha256)).await,
            Err(reason) => {
                reasons.push(reason);
                continue;
            }
        };
        let mut dialed = match dialed {
            Ok(dialed) => dialed,
            Err(error) => {
                reasons.push(error.to_string());
                continue;
            }
        };
        let join_key = proof::join_key(&token.secret);
        let proof = proof::prove(&join_key, &dialed.binding, &node.identity.key.public(), token.pool_id);
        let message = Join {
            pool_id: token.pool_id,
            token_id: token.token_id_text().into(),
            proof: STANDARD_NO_PAD.encode(proof).into(),
            name: name.into(),
        };
        let answer = dialed.ask(&to_json(&message)).await.map_err(|error| match error {
            DialError::Refused(_, refusal) => refusal,
            other => unreachable(other.to_string()),
        })?;
        let reply = serde_json::from_str(&answer)
            .map_err(|error| ProviderError::new(ProviderError::INTERNAL, format!("the tracker's answer: {error}")))?;
        // The one that has answered is the likeliest next time.
        let mut known = vec![text.clone()];
        known.extend(token.addresses().iter().filter(|other| *other != text).cloned());
        return Ok((reply, TrackerFacts { key: dialed.key, addresses: known }));
    }
    Err(unreachable(format!(
        "the tracker of the token does not answer at any of its addresses; is it running, and is this the same network? {}",
        reasons.join("; ")
    )))
}

/// Where somebody on the local network says that the tracker of a pool is.
async fn heard(pool_id: potluck_sdk::PeerId) -> Vec<String> {
    let browsing = tokio::task::spawn_blocking(move || {
        browse(BROWSE_LIMIT, Interfaces::Network, |heard| heard.pool_id == pool_id)
    });
    let found = browsing.await.ok().and_then(Result::ok).unwrap_or_default();
    found.into_iter().filter(|heard| heard.pool_id == pool_id).flat_map(|heard| heard.addresses).collect()
}

/// Lists the trackers that say on the local network that they are there.
pub(super) async fn discover(node: &Arc<Node>) -> Answer {
    let own_pool = node.pool.standing().map(|standing| standing.pool_id);
    let browsing = tokio::task::spawn_blocking(|| browse(BROWSE_LIMIT, Interfaces::Network, |_| false));
    match browsing.await {
        Ok(Ok(found)) => {
            let trackers = found.into_iter().map(|heard| DiscoveredTracker {
                pool_id: heard.pool_id,
                addresses: heard.addresses,
                own_pool: own_pool == Some(heard.pool_id),
            });
            Ok(to_json(&PoolDiscovered { trackers: trackers.collect() }))
        }
        Ok(Err(error)) => Err(ProviderError::new("discovery_failed", format!("{error:#}"))),
        Err(_) => Err(super::stopping_error()),
    }
}

async fn noted(node: &Arc<Node>, action: &'static str, reason: String) -> Result<(), ProviderError> {
    let own = Arc::clone(node);
    let noting = tokio::task::spawn_blocking(move || note(&own, action, "POOL_JOIN", reason));
    noting.await.unwrap_or_else(|_| Err(super::stopping_error()))
}
