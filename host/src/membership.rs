//! The node's side of the tracker: it registers, sends heartbeats with its load, keeps its table of peers and the list of
//! revocations current, and has its membership renewed. When the tracker goes away the node works from its last table,
//! and registers again as soon as it is back.

mod session;
mod whereabouts;

pub(crate) use whereabouts::{BROWSE_LIMIT, look_up};

use crate::node::Node;
use crate::pool::{Standing, membership::Membership, unix_seconds};
use potluck_sdk::PeerId;
use potluck_sdk::message::to_json;
use potluck_sdk::message::tracker::{Load, LoadReport, PEERS_TOPIC, PeerTable};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause before the second attempt to reach the tracker; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between attempts: well within a heartbeat, so that nobody misses this node for long.
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Follows the tracker, of whichever pool the node is in, until the node stops, and then unregisters.
pub async fn follow(node: Arc<Node>) {
    let mut pause = RETRY_FIRST;
    let mut stopping = node.stopping.subscribe();
    let mut search = whereabouts::Search::default();
    let mut pool_id = pool_id_of(&node);
    loop {
        if pool_id != pool_id_of(&node) {
            pool_id = pool_id_of(&node);
            search = whereabouts::Search::default();
            pause = RETRY_FIRST;
            forget_peers(&node);
        }
        let attempt = async {
            let target = search.next(&node).await?;
            session::run(&node, target, &mut pause).await
        };
        tokio::select! {
            reason = attempt => {
                let Err(reason) = reason;
                if node.peers.set_connected(false) {
                    tracing::warn!(reason, "the tracker does not answer; working from the last table of peers");
                }
            }
            () = pool_changed(&node, pool_id) => continue,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LAST),
            () = pool_changed(&node, pool_id) => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    take_leave(&node).await;
}

/// Takes this node out of the tracker's table, if it is in there.
pub async fn take_leave(node: &Arc<Node>) {
    let target = *node.tracker_target.lock();
    if node.peers.is_connected()
        && let Some(target) = target
    {
        session::unregister(node, target).await;
    }
}

/// The nodes of another pool mean nothing, to the providers neither.
fn forget_peers(node: &Node) {
    node.peers.set_connected(false);
    node.peers.clear();
    node.deliver(PEERS_TOPIC, &to_json(&PeerTable { full: true, ..PeerTable::default() }));
}

fn pool_id_of(node: &Node) -> Option<PeerId> {
    node.pool.standing().map(|standing| standing.pool_id)
}

/// Waits until the node is in another pool than it was.
async fn pool_changed(node: &Node, former: Option<PeerId>) {
    let mut changes = node.pool.changes();
    while pool_id_of(node) == former {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// On the node that has the authority over a pool: keeps its own membership good.
pub async fn renew_own(node: Arc<Node>) {
    let mut changes = node.pool.changes();
    loop {
        let wait = match (node.pool.authority(), node.pool.standing()) {
            (Some(authority), Some(standing)) => {
                let left = until_renewal(&standing.membership);
                if left.is_zero() {
                    let (pool, lifetime) = (Arc::clone(&node.pool), node.config.membership_seconds);
                    let key = node.identity.key.public();
                    let renewed = tokio::task::spawn_blocking(move || {
                        let name = &standing.membership.name;
                        let reply =
                            crate::net::admission::membership_reply(&authority, &standing, &key, name, lifetime);
                        pool.renewed(&reply)
                    });
                    match renewed.await {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => tracing::error!(%error, "the node's own membership could not be renewed"),
                        Err(_) => return,
                    }
                    RETRY_LAST
                } else {
                    left
                }
            }
            _ => Duration::from_secs(DAY_SECONDS),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Timers cannot be set to arbitrarily late points in time.
const DAY_SECONDS: u64 = 86_400;

/// How long a membership is good enough as it is: a third of its time, so that the tracker may be away for long.
fn until_renewal(membership: &Membership) -> Duration {
    let lifetime = membership.expires_unix_seconds.saturating_sub(membership.issued_unix_seconds);
    let renewal = membership.issued_unix_seconds.saturating_add(lifetime / 3);
    // At least a second after it was issued: time stands in whole seconds.
    let renewal = renewal.max(membership.issued_unix_seconds.saturating_add(1));
    Duration::from_secs(renewal.saturating_sub(unix_seconds()).min(DAY_SECONDS))
}

fn has_expired(standing: &Standing) -> bool {
    standing.membership.check_time(unix_seconds()).is_err()
}

/// Waits for a change of load that the tracker should hear of before the next heartbeat.
async fn announced(load: &mut watch::Receiver<LoadReport>) {
    if load.wait_for(|report| report.announce).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The load of a node whose providers have not reported any.
pub fn no_load() -> LoadReport {
    LoadReport { load: Load::default(), announce: false }
}
