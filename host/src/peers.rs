//! The nodes of the pool, as the tracker last told of them.

use crate::net::resolve_loopback;
use parking_lot::Mutex;
use potluck_sdk::message::tracker::{PeerEntry, PeerTable};
use potluck_sdk::{PeerId, ProviderError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The last table, which stays when the tracker is away.
#[derive(Default)]
pub struct Peers {
    /// A leaf lock.
    table: Mutex<Table>,
    connected: AtomicBool,
}

#[derive(Default)]
struct Table {
    epoch: u64,
    version: u64,
    /// By `host:port`.
    entries: BTreeMap<String, PeerEntry>,
}

impl Peers {
    /// Takes in what the tracker told, and returns the whole table.
    pub fn update(&self, change: PeerTable) -> PeerTable {
        let mut table = self.table.lock();
        if change.full {
            table.entries.clear();
        }
        for address in &change.removed {
            table.entries.remove(address);
        }
        for entry in change.peers {
            table.entries.insert(entry.address(), entry);
        }
        (table.epoch, table.version) = (change.epoch, change.version);
        PeerTable {
            epoch: table.epoch,
            version: table.version,
            full: true,
            peers: table.entries.values().cloned().collect(),
            removed: Vec::new(),
        }
    }

    /// Epoch and version, for the next question to the tracker.
    pub fn version(&self) -> (u64, u64) {
        let table = self.table.lock();
        (table.epoch, table.version)
    }

    /// All nodes, by address.
    pub fn entries(&self) -> Vec<PeerEntry> {
        self.table.lock().entries.values().cloned().collect()
    }

    /// Whether the tracker answers.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Notes whether the tracker answers, and returns what it was before.
    pub fn set_connected(&self, connected: bool) -> bool {
        self.connected.swap(connected, Ordering::Relaxed)
    }

    fn address_of(&self, peer_id: PeerId) -> Option<(String, u16)> {
        let table = self.table.lock();
        let entry = table.entries.values().find(|entry| entry.peer_id == Some(peer_id))?;
        Some((entry.ip.clone(), entry.port))
    }
}

/// The address that a `to` means: a peer id, or `host:port`.
pub fn resolve(peers: &Peers, to: &str) -> Result<SocketAddr, ProviderError> {
    let unreachable = |text: String| ProviderError::new(ProviderError::PEER_UNREACHABLE, text);
    let (host, port) = match to.parse::<PeerId>() {
        Ok(peer_id) => peers
            .address_of(peer_id)
            .ok_or_else(|| unreachable(format!("no peer {to} is known here; see `potluck peers`")))?,
        Err(_) => split_address(to)
            .ok_or_else(|| ProviderError::invalid(format!("`to` must be a peer id or host:port, not {to:?}")))?,
    };
    // Names are looked up by the system, which may take its time; only what needs no look-up is allowed here.
    if host != "localhost" && host.parse::<std::net::IpAddr>().is_err() {
        return Err(ProviderError::invalid(format!("`to` must hold an address, such as 127.0.0.1:{port}, not a name")));
    }
    resolve_loopback(&host, port).map_err(|error| unreachable(error.to_string()))
}

/// Splits `host:port`, with brackets around an IPv6 address.
pub fn split_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::tracker::Load;

    fn entry(port: u16) -> PeerEntry {
        PeerEntry {
            peer_id: Some(PeerId::from_hash([port as u8; 16])),
            ip: "127.0.0.1".to_owned(),
            port,
            load: Load::default(),
        }
    }

    #[test]
    fn changes_are_merged_and_a_full_table_replaces() {
        let peers = Peers::default();
        let change = |full, list: Vec<PeerEntry>, removed: &[&str]| PeerTable {
            full,
            peers: list,
            removed: removed.iter().map(|address| (*address).to_owned()).collect(),
            ..PeerTable::default()
        };
        peers.update(change(true, vec![entry(1), entry(2)], &[]));
        peers.update(change(false, vec![entry(3)], &["127.0.0.1:1"]));
        assert_eq!(peers.entries().iter().map(|entry| entry.port).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(resolve(&peers, &entry(3).peer_id.unwrap().to_string()).unwrap().port(), 3);
        peers.update(change(true, vec![entry(4)], &[]));
        assert_eq!(peers.entries().len(), 1);
        assert_eq!(resolve(&peers, &entry(3).peer_id.unwrap().to_string()).unwrap_err().code, "peer_unreachable");
    }

    #[test]
    fn only_this_machine_can_be_named() {
        let peers = Peers::default();
        assert_eq!(resolve(&peers, "127.0.0.1:9001").unwrap().port(), 9001);
        assert_eq!(resolve(&peers, "[::1]:9001").unwrap().port(), 9001);
        for to in ["192.0.2.1:9000", "127.0.0.1", "127.0.0.1:99999", "nowhere.invalid:1", ":5", ""] {
            assert!(resolve(&peers, to).is_err(), "{to}");
        }
    }
}
