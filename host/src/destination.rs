//! What a `to` means: which node, and whose key it must have.

use crate::net::Target;
use crate::net::tls::Pin;
use crate::node::Node;
use crate::peers::split_address;
use potluck_sdk::{PeerId, ProviderError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The `to` that means the tracker, wherever it is.
pub const TRACKER: &str = "tracker";

/// The node that a `to` means: a peer id, `host:port`, both as `id@host:port`, or [`TRACKER`]. In a pool that is a member, and
/// without one a node of this user on this machine.
pub fn resolve(node: &Node, to: &str) -> Result<Target, ProviderError> {
    let unreachable = |text: String| ProviderError::new(ProviderError::PEER_UNREACHABLE, text);
    if to == TRACKER {
        let target = *node.tracker_target.lock();
        return target.ok_or_else(|| {
            unreachable(
                "this node knows no tracker; join a pool with `potluck join TOKEN`, or name one with --tracker"
                    .to_owned(),
            )
        });
    }
    let standing = node.pool.standing();
    let tracker = standing.as_ref().map(|standing| (standing.tracker_id(), &standing.tracker_addresses));
    let (expected, to) = match to.split_once('@') {
        Some((id, address)) => {
            let not_an_id = |_| ProviderError::invalid(format!("`to` must begin with a peer id, not {id:?}"));
            (Some(id.parse::<PeerId>().map_err(not_an_id)?), address)
        }
        None => (None, to),
    };
    let (peer_id, (host, port)) = match to.parse::<PeerId>() {
        Ok(_) if expected.is_some() => {
            return Err(ProviderError::invalid("`to` must hold an address behind the @, such as 127.0.0.1:9000"));
        }
        Ok(peer_id) => {
            let at_tracker = tracker.filter(|(tracker_id, _)| *tracker_id == peer_id);
            let address = at_tracker.and_then(|(_, addresses)| split_address(addresses.first()?));
            let address = node.peers.address_of(peer_id).or(address);
            (
                Some(peer_id),
                address.ok_or_else(|| unreachable(format!("no peer {to} is known here; see `potluck peers`")))?,
            )
        }
        Err(_) => {
            let (host, port) = split_address(to)
                .ok_or_else(|| ProviderError::invalid(format!("`to` must be a peer id or host:port, not {to:?}")))?;
            let at_tracker = tracker.filter(|(_, addresses)| addresses.iter().any(|address| address == to));
            let known = || node.peers.id_at(&host, port).or(at_tracker.map(|(tracker_id, _)| tracker_id));
            (expected.or_else(known), (host, port))
        }
    };
    // Names are looked up by the system, which may take its time; only what needs no look-up is allowed here.
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        Err(_) => {
            let text = format!("`to` must hold an address, such as 127.0.0.1:{port}, not a name");
            return Err(ProviderError::invalid(text));
        }
    };
    let address = SocketAddr::new(ip, port);
    if standing.is_some() {
        return Ok(Target::member(address, peer_id.map_or(Pin::Any, Pin::Peer)));
    }
    if !ip.is_loopback() {
        let text =
            format!("{host} is another machine, and this node is in no pool; join one with `potluck join TOKEN`");
        return Err(unreachable(text));
    }
    Ok(Target::own(address))
}
