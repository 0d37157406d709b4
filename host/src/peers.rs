//! The nodes of the pool, as the tracker last told of them.

use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::{PeerEntry, PeerTable};
use std::collections::BTreeMap;
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

    /// Where a peer is.
    pub fn address_of(&self, peer_id: PeerId) -> Option<(String, u16)> {
        let table = self.table.lock();
        let entry = table.entries.values().find(|entry| entry.peer_id == Some(peer_id))?;
        Some((entry.ip.clone(), entry.port))
    }

    /// The peer at an address.
    pub fn id_at(&self, ip: &str, port: u16) -> Option<PeerId> {
        let table = self.table.lock();
        table.entries.values().find(|entry| entry.port == port && entry.ip == ip)?.peer_id
    }

    /// Forgets everything: the table of another pool means nothing.
    pub fn clear(&self) {
        *self.table.lock() = Table::default();
    }
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
        assert_eq!(peers.address_of(entry(3).peer_id.unwrap()), Some(("127.0.0.1".to_owned(), 3)));
        assert_eq!(peers.id_at("127.0.0.1", 3), entry(3).peer_id);
        peers.update(change(true, vec![entry(4)], &[]));
        assert_eq!(peers.entries().len(), 1);
        assert_eq!(peers.address_of(entry(3).peer_id.unwrap()), None);
    }

    #[test]
    fn an_address_is_split_at_its_last_colon() {
        assert_eq!(split_address("127.0.0.1:9001"), Some(("127.0.0.1".to_owned(), 9001)));
        assert_eq!(split_address("[::1]:9001"), Some(("::1".to_owned(), 9001)));
        for to in ["127.0.0.1", "127.0.0.1:99999", ":5", ""] {
            assert_eq!(split_address(to), None, "{to}");
        }
    }
}
