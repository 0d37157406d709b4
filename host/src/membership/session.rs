//! One stretch of time during which the tracker answers.

use super::{RETRY_FIRST, announced, has_expired, until_renewal};
use crate::call::Response;
use crate::net::{Target, dial};
use crate::node::Node;
use potluck_sdk::ProviderError;
use potluck_sdk::abi::REPLY_OK;
use potluck_sdk::message::node::{ADDRESS_TOPIC, NodeAddress};
use potluck_sdk::message::pool::{MembershipReply, RenewMembership, RevocationsReply, WatchRevocations};
use potluck_sdk::message::to_json;
use potluck_sdk::message::tracker::{
    LoadReport, PEERS_TOPIC, PeerTable, Register, SESSION_TOPIC, TrackerSession, Unregister, UpdateLoad, WatchPeers,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// A change of load is told at once, but not more often than this.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
/// How long the tracker may take to answer a message that it answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that the tracker has kept out of its directory asks again after this time.
const REGISTER_AGAIN: Duration = Duration::from_secs(2);
/// A node that has its own membership renewed by a tracker asks for it this long after a failure.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// Runs until the tracker stops answering, and says why.
pub(super) async fn run(node: &Arc<Node>, target: Target, pause: &mut Duration) -> Result<Infallible, String> {
    renew_expired(node, target).await?;
    // From before it is told, so that no change falls between.
    let load = node.load.subscribe();
    if let Some(ip) = dial::local_ip_toward(target.address) {
        node.addresses.reaches_tracker_from(ip);
    }
    let address = node.address();
    if node.addresses.tell(address) {
        let told = NodeAddress { ip: address.ip().to_string(), port: address.port() };
        node.deliver(ADDRESS_TOPIC, &to_json(&told));
    }
    // Any ends when the tracker stops answering. Membership does not depend on whether the tracker keeps a directory.
    let reason = tokio::select! {
        reason = directory(node, target, load, pause) => reason,
        reason = watch_revocations(node, target), if target.pin.is_some() => reason,
        reason = renewals(node, target), if target.pin.is_some() => reason,
    };
    Err(reason)
}

/// Registers at the tracker and follows its directory. A refusal is told and tried again.
async fn directory(
    node: &Arc<Node>,
    target: Target,
    mut load: watch::Receiver<LoadReport>,
    pause: &mut Duration,
) -> String {
    let mut told = false;
    loop {
        let registered = register(node, target).await;
        if registered.is_ok() {
            *pause = RETRY_FIRST;
            if !node.peers.set_connected(true) {
                tracing::info!(tracker = %target.address, "registered at the tracker");
            }
            let tracker_id = node.pool.standing().map(|standing| standing.tracker_id());
            node.deliver(SESSION_TOPIC, &to_json(&TrackerSession { peer_id: tracker_id }));
        }
        let failure = match registered {
            Err(failure) => failure,
            Ok(()) => tokio::select! {
                failure = watch_peers(node, target) => failure,
                failure = heartbeats(node, target, &mut load) => failure,
            },
        };
        match failure {
            Failure::Lost(reason) => return reason,
            Failure::Refused(reason) => {
                node.peers.set_connected(false);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(tracker = %target.address, reason, "the tracker keeps this node out of its directory");
                }
                tokio::time::sleep(REGISTER_AGAIN).await;
            }
        }
    }
}

/// Why the tracker has not done what was asked.
enum Failure {
    /// It does not answer.
    Lost(String),
    /// It has answered that it will not.
    Refused(String),
}

impl Failure {
    fn into_reason(self) -> String {
        match self {
            Failure::Lost(reason) | Failure::Refused(reason) => reason,
        }
    }
}

/// Leaves the tracker's table.
pub(super) async fn unregister(node: &Arc<Node>, target: Target) {
    let address = node.address();
    let message = Unregister { port: Some(address.port()), ip: Some(address.ip().to_string()) };
    let _ = ask(node, target, &to_json(&message), ANSWER_TIMEOUT).await;
}

async fn register(node: &Arc<Node>, target: Target) -> Result<(), Failure> {
    let address = node.address();
    let message = Register {
        port: Some(address.port()),
        ip: Some(address.ip().to_string()),
        peer_id: Some(node.identity.peer_id),
        load: node.load.borrow().load,
    };
    ask(node, target, &to_json(&message), ANSWER_TIMEOUT).await.map(drop)
}

async fn heartbeats(node: &Arc<Node>, target: Target, load: &mut watch::Receiver<LoadReport>) -> Failure {
    let period = Duration::from_secs_f64(node.config.heartbeat_seconds);
    let mut next_beat = Instant::now() + period;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next_beat) => {}
            () = announced(load) => tokio::time::sleep(ANNOUNCE_EVERY).await,
        }
        // What is told now need not be told again; only a newer report may ask for that.
        let mut report = LoadReport::default();
        node.load.send_if_modified(|current| {
            report = *current;
            current.announce = false;
            false
        });
        let address = node.address();
        let message = UpdateLoad {
            port: Some(address.port()),
            ip: Some(address.ip().to_string()),
            peer_id: Some(node.identity.peer_id),
            load: report.load,
        };
        if let Err(reason) = ask(node, target, &to_json(&message), ANSWER_TIMEOUT).await {
            return reason;
        }
        next_beat = Instant::now() + period;
    }
}

async fn watch_peers(node: &Arc<Node>, target: Target) -> Failure {
    loop {
        let (epoch, version) = node.peers.version();
        let message = to_json(&WatchPeers { epoch, version });
        // The answer comes when something changes; the link finds out if the tracker is gone meanwhile.
        let answer = match ask(node, target, &message, Duration::MAX).await {
            Ok(answer) => answer,
            Err(reason) => return reason,
        };
        match serde_json::from_str::<PeerTable>(&answer) {
            Ok(change) => {
                let table = node.peers.update(change);
                node.deliver(PEERS_TOPIC, &to_json(&table));
            }
            Err(error) => return Failure::Refused(format!("its table of peers cannot be read: {error}")),
        }
    }
}

async fn watch_revocations(node: &Arc<Node>, target: Target) -> String {
    loop {
        let Some(standing) = node.pool.standing() else { return "this node has left its pool".to_owned() };
        let message = to_json(&WatchRevocations { version: standing.revocations.version });
        let answer = match ask(node, target, &message, Duration::MAX).await {
            Ok(answer) => answer,
            Err(failure) => return failure.into_reason(),
        };
        let reply: RevocationsReply = match serde_json::from_str(&answer) {
            Ok(reply) => reply,
            Err(error) => return format!("its list of revocations cannot be read: {error}"),
        };
        let pool = Arc::clone(&node.pool);
        match tokio::task::spawn_blocking(move || pool.update_revocations(&reply.revocations)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("{error:#}"),
            Err(_) => return "the node is stopping".to_owned(),
        }
    }
}

/// Has the membership renewed in time.
async fn renewals(node: &Arc<Node>, target: Target) -> String {
    loop {
        let Some(standing) = node.pool.standing() else { return "this node has left its pool".to_owned() };
        let left = until_renewal(&standing.membership);
        if !left.is_zero() {
            tokio::time::sleep(left).await;
            continue;
        }
        let renewed = match ask(node, target, &to_json(&RenewMembership {}), ANSWER_TIMEOUT).await {
            Ok(answer) => take_membership(node, &answer).await,
            Err(failure) => return failure.into_reason(),
        };
        if let Err(reason) = renewed {
            tracing::warn!(reason, "the membership was not renewed");
            tokio::time::sleep(RENEW_AGAIN).await;
        }
    }
}

/// A node whose membership has expired while it was away cannot say HELLO; the tracker still knows it.
async fn renew_expired(node: &Arc<Node>, target: Target) -> Result<(), String> {
    let (Some(pin), Some(standing)) = (target.pin, node.pool.standing()) else { return Ok(()) };
    if !has_expired(&standing) {
        return Ok(());
    }
    let renew = async {
        let mut dialed = dial::encrypted(target.address, &node.tls, pin).await?;
        dialed.ask(&to_json(&RenewMembership {})).await
    };
    let answer = renew.await.map_err(|error| error.to_string())?;
    take_membership(node, &answer).await
}

async fn take_membership(node: &Arc<Node>, answer: &str) -> Result<(), String> {
    let reply: MembershipReply = serde_json::from_str(answer).map_err(|error| format!("its answer: {error}"))?;
    let pool = Arc::clone(&node.pool);
    match tokio::task::spawn_blocking(move || pool.renewed(&reply)).await {
        Ok(renewed) => renewed.map_err(|error| format!("{error:#}")),
        Err(_) => Err("the node is stopping".to_owned()),
    }
}

async fn ask(node: &Arc<Node>, target: Target, json: &str, limit: Duration) -> Result<String, Failure> {
    let (answer, answered) = oneshot::channel::<Response>();
    let sink = Box::new(move |response| drop(answer.send(response)));
    node.links.send(target, json, b"", sink, &node.runtime);
    let response = match tokio::time::timeout(limit, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => return Err(Failure::Lost("the node is stopping".to_owned())),
        Err(_) => return Err(Failure::Lost("it did not answer in time".to_owned())),
    };
    let text = response.json.to_text();
    if response.reply == REPLY_OK {
        return Ok(text);
    }
    let error = ProviderError::from_json(&text);
    let is_lost = [ProviderError::PEER_LOST, ProviderError::PEER_UNREACHABLE, ProviderError::NODE_STOPPING]
        .contains(&error.code.as_ref());
    Err(if is_lost { Failure::Lost(error.message) } else { Failure::Refused(error.message) })
}
