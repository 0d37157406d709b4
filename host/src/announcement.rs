//! The tracker of a pool says on the local network that it is there, so that members find it when its address changes.

use crate::discovery::{Announcer, Interfaces};
use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;

/// The local network may come later than the node.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// Announces the node while it has the authority over a pool and listens beyond this machine, until it stops.
pub async fn keep(node: Arc<Node>) {
    let mut changes = node.pool.changes();
    let mut stopping = node.stopping.subscribe();
    let mut announcer: Option<Announcer> = None;
    loop {
        let authority = node.pool.authority().filter(|_| node.config.discovery);
        let wanted = node.addresses.wanted(true);
        match authority.filter(|_| !wanted.is_loopback()) {
            None => announcer = None,
            Some(authority) => {
                // Somebody who floods the network makes it remember too much; a new one begins empty.
                if announcer.as_ref().is_some_and(Announcer::is_flooded) {
                    announcer = None;
                }
                if announcer.is_none() {
                    let ips = if wanted.is_unspecified() { Vec::new() } else { vec![wanted] };
                    let (pool_id, peer_id, port) = (authority.pool_id(), node.identity.peer_id, node.addresses.port());
                    let announcing = tokio::task::spawn_blocking(move || {
                        Announcer::announce(pool_id, peer_id, port, &ips, Interfaces::Network)
                    });
                    announcer = match announcing.await {
                        Ok(Ok(announcer)) => Some(announcer),
                        Ok(Err(error)) => {
                            tracing::debug!(error = format!("{error:#}"), "not announced on the local network");
                            None
                        }
                        Err(_) => return,
                    };
                }
            }
        }
        let idle = announcer.is_none() && node.pool.authority().is_none();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(RETRY_EVERY), if !idle => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    // Saying goodbye may take a moment.
    let _ = tokio::task::spawn_blocking(move || drop(announcer)).await;
}
