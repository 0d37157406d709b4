//! The node's side of the tracker: it registers, sends heartbeats with its load, and keeps its table of peers current.
//! When the tracker goes away the node works from its last table, and registers again as soon as it is back.

use crate::call::Response;
use crate::node::Node;
use potluck_sdk::abi::REPLY_OK;
use potluck_sdk::message::to_json;
use potluck_sdk::message::tracker::{
    Load, LoadReport, PEERS_TOPIC, PeerTable, Register, Unregister, UpdateLoad, WatchPeers,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Pause before the second attempt to reach the tracker; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between attempts: well within a heartbeat, so that nobody misses this node for long.
const RETRY_LAST: Duration = Duration::from_secs(2);
/// A change of load is told at once, but not more often than this.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
/// How long the tracker may take to answer a message that it answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows the tracker until the node stops, and then unregisters.
pub async fn follow(node: Arc<Node>, tracker: SocketAddr) {
    let mut pause = RETRY_FIRST;
    let mut stopping = node.stopping.subscribe();
    loop {
        let session = async {
            // From before it is told, so that no change falls between.
            let load = node.load.subscribe();
            register(&node, tracker).await?;
            pause = RETRY_FIRST;
            if !node.peers.set_connected(true) {
                tracing::info!(%tracker, "registered at the tracker");
            }
            // Either ends when the tracker stops answering.
            tokio::select! {
                error = watch_peers(&node, tracker) => Err::<(), String>(error),
                error = heartbeats(&node, tracker, load) => Err(error),
            }
        };
        tokio::select! {
            ended = session => {
                if let Err(reason) = ended
                    && node.peers.set_connected(false)
                {
                    tracing::warn!(%tracker, reason, "the tracker does not answer; working from the last table of peers");
                }
            }
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LAST),
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    if node.peers.is_connected() {
        let message = Unregister { port: Some(node.address.port()), ip: Some(node.address.ip().to_string()) };
        let _ = ask(&node, tracker, &to_json(&message), ANSWER_TIMEOUT).await;
    }
}

async fn register(node: &Arc<Node>, tracker: SocketAddr) -> Result<(), String> {
    let message = Register {
        port: Some(node.address.port()),
        ip: Some(node.address.ip().to_string()),
        peer_id: Some(node.peer_id),
        load: node.load.borrow().load,
    };
    ask(node, tracker, &to_json(&message), ANSWER_TIMEOUT).await.map(drop)
}

async fn heartbeats(node: &Arc<Node>, tracker: SocketAddr, mut load: watch::Receiver<LoadReport>) -> String {
    let period = Duration::from_secs_f64(node.config.heartbeat_seconds);
    let mut next_beat = Instant::now() + period;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next_beat) => {}
            () = announced(&mut load) => tokio::time::sleep(ANNOUNCE_EVERY).await,
        }
        // What is told now need not be told again; only a newer report may ask for that.
        let mut report = LoadReport::default();
        node.load.send_if_modified(|current| {
            report = *current;
            current.announce = false;
            false
        });
        let message = UpdateLoad {
            port: Some(node.address.port()),
            ip: Some(node.address.ip().to_string()),
            peer_id: Some(node.peer_id),
            load: report.load,
        };
        if let Err(reason) = ask(node, tracker, &to_json(&message), ANSWER_TIMEOUT).await {
            return reason;
        }
        next_beat = Instant::now() + period;
    }
}

/// Waits for a change of load that the tracker should hear of before the next heartbeat.
async fn announced(load: &mut watch::Receiver<LoadReport>) {
    if load.wait_for(|report| report.announce).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn watch_peers(node: &Arc<Node>, tracker: SocketAddr) -> String {
    loop {
        let (epoch, version) = node.peers.version();
        let message = to_json(&WatchPeers { epoch, version });
        // The answer comes when something changes; the link finds out if the tracker is gone meanwhile.
        let answer = match ask(node, tracker, &message, Duration::MAX).await {
            Ok(answer) => answer,
            Err(reason) => return reason,
        };
        match serde_json::from_str::<PeerTable>(&answer) {
            Ok(change) => {
                let table = node.peers.update(change);
                node.deliver(PEERS_TOPIC, &to_json(&table));
            }
            Err(error) => return format!("its table of peers cannot be read: {error}"),
        }
    }
}

async fn ask(node: &Arc<Node>, tracker: SocketAddr, json: &str, limit: Duration) -> Result<String, String> {
    let (answer, answered) = oneshot::channel::<Response>();
    let sink = Box::new(move |response| drop(answer.send(response)));
    node.links.send(tracker, json, b"", sink, &node.runtime);
    let response = match tokio::time::timeout(limit, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => return Err("the node is stopping".to_owned()),
        Err(_) => return Err("it did not answer in time".to_owned()),
    };
    let text = response.json.to_text();
    if response.reply == REPLY_OK { Ok(text) } else { Err(potluck_sdk::ProviderError::from_json(&text).message) }
}

/// The load of a node whose providers have not reported any.
pub fn no_load() -> LoadReport {
    LoadReport { load: Load::default(), announce: false }
}
