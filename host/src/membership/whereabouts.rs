//! Where the tracker is: at the addresses that are known, and if it is at none of them, wherever it says on the local
//! network that it is.

use crate::discovery::{Interfaces, browse};
use crate::net::Target;
use crate::net::tls::Pin;
use crate::node::Node;
use crate::peers::split_address;
use potluck_sdk::PeerId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the local network is listened to.
pub(crate) const BROWSE_LIMIT: Duration = Duration::from_secs(2);
/// It is not listened to more often than this.
const BROWSE_EVERY: Duration = Duration::from_secs(10);

/// The attempts to find the tracker.
#[derive(Default)]
pub(super) struct Search {
    /// Addresses that have not been tried in this round.
    left: Vec<String>,
    last: Option<Target>,
    browsed: Option<Instant>,
}

impl Search {
    /// The next place to try.
    pub(super) async fn next(&mut self, node: &Arc<Node>) -> Result<Target, String> {
        // The one that has answered until now comes first.
        if let Some(last) = self.last.filter(|_| node.peers.is_connected()) {
            return Ok(last);
        }
        let Some(standing) = node.pool.standing() else {
            let Some(text) = &node.tracker_without_pool else { return std::future::pending().await };
            let address = look_up(text).await?;
            if !address.ip().is_loopback() {
                return Err(format!(
                    "the tracker {text} is on another machine, and this node is in no pool; join one with `potluck join TOKEN`"
                ));
            }
            return Ok(self.found(node, text, Target::own(address)));
        };
        if node.pool.authority().is_some() {
            // It is the tracker itself.
            return std::future::pending().await;
        }
        if self.left.is_empty() {
            self.left = node.named_tracker.iter().chain(&standing.tracker_addresses).cloned().collect();
            if self.last.is_some() && node.config.discovery && self.may_browse() {
                self.left.extend(heard(node, standing.pool_id, standing.tracker_id()).await);
            }
            self.left.dedup();
            self.left.reverse();
        }
        let Some(text) = self.left.pop() else { return Err("no address of the tracker is known".to_owned()) };
        let target = Target::member(look_up(&text).await?, Pin::Peer(standing.tracker_id()));
        Ok(self.found(node, &text, target))
    }

    fn found(&mut self, node: &Node, text: &str, target: Target) -> Target {
        *node.tracker.lock() = Some(text.to_owned());
        *node.tracker_target.lock() = Some(target);
        self.last = Some(target);
        target
    }

    fn may_browse(&mut self) -> bool {
        let now = Instant::now();
        let due = self.browsed.is_none_or(|browsed| now - browsed >= BROWSE_EVERY);
        if due {
            self.browsed = Some(now);
        }
        due
    }
}

/// Where somebody on the local network says that the tracker of a pool is. Nothing of it is believed: whoever is there
/// must have the tracker's key.
async fn heard(node: &Node, pool_id: PeerId, tracker_id: PeerId) -> Vec<String> {
    if node.addresses.bound().ip().is_loopback() {
        return Vec::new();
    }
    let browsing = tokio::task::spawn_blocking(move || {
        browse(BROWSE_LIMIT, Interfaces::Network, |heard| heard.pool_id == pool_id && heard.tracker_id == tracker_id)
    });
    match browsing.await {
        Ok(Ok(found)) => found
            .into_iter()
            .filter(|heard| heard.pool_id == pool_id && heard.tracker_id == tracker_id)
            .flat_map(|heard| heard.addresses)
            .collect(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the local network cannot be listened to");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// The address of `host:port`, where the host may be a name.
pub(crate) async fn look_up(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split_address(text)
        .ok_or_else(|| format!("{text:?} is not the address of a tracker; use host:port, such as 192.0.2.7:8888"))?;
    let limit = Duration::from_secs(5);
    let found = tokio::time::timeout(limit, tokio::net::lookup_host((host.as_str(), port))).await;
    let addresses: Vec<SocketAddr> = found
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|error| format!("cannot resolve the host name {host:?}: {error}"))?
        .collect();
    // `localhost` often means both, and nodes listen on the older one.
    let loopback = addresses.iter().find(|address| address.ip().is_loopback() && address.is_ipv4());
    loopback.or(addresses.first()).copied().ok_or_else(|| format!("the host name {host:?} has no address"))
}
