//! Who is alive and how loaded.
//!
//! Every change of what watchers can see gets a number, the version of the table. Nothing here looks at a clock: the
//! caller says what time it is, and begins each of its operations with [`Directory::remove_dead`].

mod history;
#[cfg(test)]
mod tests;

use crate::address::Address;
use crate::error::TrackerError;
use crate::selection::{Rank, Selection, expected_wait};
use history::History;
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::{CpuResponse, Load, PeerEntry};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Up to here every watcher is told of every peer; in larger pools of a sample of this size.
pub(crate) const SMALL_POOL_MAX: usize = 64;

/// A point in time, on the clock that measures and on the one that people read.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

/// Names a registration; never used again, and rising in the order of registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PeerKey(u64);

impl PeerKey {
    /// Before all others.
    pub(crate) const LEAST: PeerKey = PeerKey(0);
    /// Behind all others.
    pub(crate) const GREATEST: PeerKey = PeerKey(u64::MAX);

    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> PeerKey {
        PeerKey(number)
    }
}

/// Where a peer says that it can be reached.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) address: Address,
    /// Whether it has said so from that very address.
    pub(crate) is_from_there: bool,
}

/// What is known of a peer.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) entry: PeerEntry,
    pub(crate) registered_at: SystemTime,
    pub(crate) last_update: SystemTime,
    last_seen: Instant,
    /// Whether it was heard from the address that it claims.
    is_from_there: bool,
    /// Choices of REQUEST_CPU since the last report.
    in_flight: u32,
    rank: Rank,
    /// Its place in `members`.
    position: usize,
    /// Version of the table in which it was new or last changed.
    changed_in: u64,
}

/// Something that others may want to know.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct PeerEvent {
    #[serde(skip)]
    pub(crate) topic: &'static str,
    peer_id: Option<PeerId>,
    ip: String,
    port: u16,
}

impl fmt::Display for PeerEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.topic {
            JOINED => "joined",
            LEFT => "left",
            _ => "was lost: it has been silent for too long",
        };
        write!(formatter, "peer {}:{} {what}", self.ip, self.port)
    }
}

/// A registration that is none any more.
pub(crate) struct Gone {
    pub(crate) key: PeerKey,
    /// The new one of the same peer, when it has moved to another address.
    pub(crate) moved_to: Option<PeerKey>,
}

pub(crate) const JOINED: &str = "peer.joined";
pub(crate) const LEFT: &str = "peer.left";
pub(crate) const LOST: &str = "peer.lost";

/// Every peer stands once in `peers`, `members`, `by_address`, `by_last_seen` and `selection`, and in `by_id` if it has
/// told its id.
pub(crate) struct Directory {
    dead_after: Duration,
    peers_max: usize,
    peers: HashMap<PeerKey, Peer>,
    /// All keys without gaps, for samples.
    members: Vec<PeerKey>,
    by_address: HashMap<Address, PeerKey>,
    by_id: HashMap<PeerId, PeerKey>,
    /// Who dies next comes first.
    by_last_seen: BTreeSet<(Instant, PeerKey)>,
    selection: Selection,
    history: History,
    last_key: u64,
    gone: Vec<Gone>,
}

impl Directory {
    pub(crate) fn new(dead_after: Duration, peers_max: usize) -> Directory {
        Directory {
            dead_after,
            peers_max,
            peers: HashMap::new(),
            members: Vec::new(),
            by_address: HashMap::new(),
            by_id: HashMap::new(),
            by_last_seen: BTreeSet::new(),
            selection: Selection::default(),
            history: History::default(),
            last_key: 0,
            gone: Vec::new(),
        }
    }

    /// A peer says that it is there, for the first time or again. One that comes with a known id from another address
    /// has moved. One that comes with another id to a known address has taken its place, unless the one that is there was
    /// heard from that address and the new one was not: a claim does not drive out what was seen.
    pub(crate) fn report(
        &mut self,
        claim: Claim,
        peer_id: Option<PeerId>,
        load: Load,
        now: Now,
        events: &mut Vec<PeerEvent>,
    ) -> Result<(), TrackerError> {
        let Claim { address, is_from_there } = claim;
        let holder = self.by_address.get(&address).map(|key| &self.peers[key]);
        if let Some(holder) = holder
            && holder.is_from_there
            && !is_from_there
            && holder.entry.peer_id.is_some()
            && holder.entry.peer_id != peer_id
        {
            return Err(TrackerError::AddressTaken);
        }
        let mut registered_at = now.wall;
        let mut moved = None;
        if let Some(key) = peer_id.and_then(|peer_id| self.by_id.get(&peer_id).copied())
            && self.by_address.get(&address) != Some(&key)
        {
            registered_at = self.peers[&key].registered_at;
            self.remove(key, LEFT, events);
            moved = Some(self.gone.len() - 1);
        }
        if let Some(key) = self.by_address.get(&address).copied() {
            let known = self.peers[&key].entry.peer_id;
            if known.is_none() || peer_id.is_none() || known == peer_id {
                self.refresh(key, peer_id, is_from_there, load, now);
                self.note_move(moved, key);
                return Ok(());
            }
            self.remove(key, LEFT, events);
        }
        if self.members.len() >= self.peers_max {
            return Err(TrackerError::PeersFull(self.peers_max));
        }
        let key = self.insert(Claim { address, is_from_there }, peer_id, load, registered_at, now, events);
        self.note_move(moved, key);
        Ok(())
    }

    /// A peer is a member of the pool no more.
    pub(crate) fn expel(&mut self, peer_id: PeerId, events: &mut Vec<PeerEvent>) {
        if let Some(key) = self.by_id.get(&peer_id).copied() {
            self.remove(key, LEFT, events);
        }
    }

    /// A peer leaves.
    pub(crate) fn leave(&mut self, address: &Address, events: &mut Vec<PeerEvent>) -> Result<(), TrackerError> {
        let key = self.by_address.get(address).copied().ok_or(TrackerError::PeerNotFound)?;
        self.remove(key, LEFT, events);
        Ok(())
    }

    /// Removes the peers that have been silent for too long.
    pub(crate) fn remove_dead(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        while let Some((last_seen, key)) = self.by_last_seen.first().copied()
            && last_seen + self.dead_after <= now
        {
            self.remove(key, LOST, events);
        }
    }

    /// When the next peer dies if it stays silent.
    pub(crate) fn next_death(&self) -> Option<Instant> {
        self.by_last_seen.first().map(|(last_seen, _)| *last_seen + self.dead_after)
    }

    /// Chooses the peer with the least expected wait.
    pub(crate) fn choose(&mut self) -> Result<CpuResponse, TrackerError> {
        let key = self.selection.first().ok_or(TrackerError::NoPeers)?;
        let peer = self.peers.get_mut(&key).ok_or(TrackerError::NoPeers)?;
        peer.in_flight = peer.in_flight.saturating_add(1);
        peer.rank = self.selection.chosen(peer.rank, expected_wait(&peer.entry.load, peer.in_flight));
        Ok(CpuResponse { ip: peer.entry.ip.clone(), port: peer.entry.port, cpu_load: peer.entry.load.cpu_load })
    }

    /// The id of the peer at an address, if it has told it.
    pub(crate) fn id_at(&self, address: &Address) -> Option<PeerId> {
        self.by_address.get(address).and_then(|key| self.peers[key].entry.peer_id)
    }

    /// What is known of the peer with an id; nothing when it is not alive.
    pub(crate) fn peer(&self, peer_id: PeerId) -> Option<&PeerEntry> {
        self.by_id.get(&peer_id).map(|key| &self.peers[key].entry)
    }

    /// The registration of the peer with an id.
    pub(crate) fn key_of(&self, peer_id: PeerId) -> Option<PeerKey> {
        self.by_id.get(&peer_id).copied()
    }

    /// The registration of the peer at an address.
    pub(crate) fn key_at(&self, address: &Address) -> Option<PeerKey> {
        self.by_address.get(address).copied()
    }

    /// The peer of a registration.
    pub(crate) fn entry(&self, key: PeerKey) -> Option<&PeerEntry> {
        self.peers.get(&key).map(|peer| &peer.entry)
    }

    /// The registrations that are gone since this was last asked.
    pub(crate) fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether watchers are told of a sample only.
    pub(crate) fn is_large(&self) -> bool {
        self.members.len() > SMALL_POOL_MAX
    }

    /// Version of the table; 1 before the first change, since a watcher that has nothing says 0.
    pub(crate) fn version(&self) -> u64 {
        self.history.version()
    }

    /// Whether [`Directory::changed_since`] and [`Directory::removed_since`] tell all that happened since a version.
    pub(crate) fn remembers(&self, version: u64) -> bool {
        self.history.remembers(version)
    }

    /// The peers that are new or have changed since a version. Looks at every peer: for small pools.
    pub(crate) fn changed_since(&self, version: u64) -> Vec<PeerEntry> {
        let changed = self.members.iter().map(|key| &self.peers[key]).filter(|peer| peer.changed_in > version);
        changed.map(|peer| peer.entry.clone()).collect()
    }

    /// The addresses that are gone since a version.
    pub(crate) fn removed_since(&self, version: u64) -> Vec<String> {
        let is_gone = |address: &&Address| !self.by_address.contains_key(*address);
        let mut gone: Vec<String> =
            self.history.removed_since(version).filter(is_gone).map(Address::to_string).collect();
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// The peers at some positions between 0 and [`Directory::len`].
    pub(crate) fn peers_at(&self, positions: impl IntoIterator<Item = usize>) -> Vec<&Peer> {
        positions.into_iter().filter_map(|position| self.peers.get(self.members.get(position)?)).collect()
    }

    fn insert(
        &mut self,
        claim: Claim,
        peer_id: Option<PeerId>,
        load: Load,
        registered_at: SystemTime,
        now: Now,
        events: &mut Vec<PeerEvent>,
    ) -> PeerKey {
        let Claim { address, is_from_there } = claim;
        self.last_key += 1;
        let key = PeerKey(self.last_key);
        let entry = PeerEntry { peer_id, ip: address.ip.clone(), port: address.port, load };
        events.push(PeerEvent { topic: JOINED, peer_id, ip: entry.ip.clone(), port: entry.port });
        let peer = Peer {
            entry,
            registered_at,
            last_update: now.wall,
            last_seen: now.instant,
            is_from_there,
            in_flight: 0,
            rank: self.selection.add(key, expected_wait(&load, 0)),
            position: self.members.len(),
            changed_in: 0,
        };
        self.members.push(key);
        self.by_address.insert(address, key);
        self.by_last_seen.insert((now.instant, key));
        if let Some(peer_id) = peer_id {
            self.by_id.insert(peer_id, key);
        }
        self.peers.insert(key, peer);
        self.note_change(Some(key));
        key
    }

    fn refresh(&mut self, key: PeerKey, peer_id: Option<PeerId>, is_from_there: bool, load: Load, now: Now) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        self.by_last_seen.remove(&(peer.last_seen, key));
        self.by_last_seen.insert((now.instant, key));
        peer.last_seen = now.instant;
        peer.is_from_there = is_from_there;
        peer.last_update = now.wall;
        peer.in_flight = 0;
        peer.rank = self.selection.reload(peer.rank, expected_wait(&load, 0));
        // A heartbeat of the original system carries no id; what is known stays.
        let peer_id = peer_id.or(peer.entry.peer_id);
        if peer.entry.load != load || peer.entry.peer_id != peer_id {
            peer.entry.load = load;
            peer.entry.peer_id = peer_id;
            if let Some(peer_id) = peer_id {
                self.by_id.insert(peer_id, key);
            }
            self.note_change(Some(key));
        }
    }

    fn remove(&mut self, key: PeerKey, topic: &'static str, events: &mut Vec<PeerEvent>) {
        let Some(peer) = self.peers.remove(&key) else { return };
        self.gone.push(Gone { key, moved_to: None });
        let PeerEntry { peer_id, ip, port, .. } = peer.entry;
        self.members.swap_remove(peer.position);
        if let Some(moved) = self.members.get(peer.position).and_then(|moved| self.peers.get_mut(moved)) {
            moved.position = peer.position;
        }
        self.by_last_seen.remove(&(peer.last_seen, key));
        self.selection.remove(peer.rank);
        if let Some(peer_id) = peer_id {
            self.by_id.remove(&peer_id);
        }
        let address = Address { ip, port };
        self.by_address.remove(&address);
        events.push(PeerEvent { topic, peer_id, ip: address.ip.clone(), port });
        self.note_change(None);
        self.history.note_removal(address);
    }

    fn note_move(&mut self, gone: Option<usize>, key: PeerKey) {
        if let Some(gone) = gone.and_then(|place| self.gone.get_mut(place)) {
            gone.moved_to = Some(key);
        }
    }

    fn note_change(&mut self, changed: Option<PeerKey>) {
        self.history.advance(self.is_large());
        if let Some(peer) = changed.and_then(|key| self.peers.get_mut(&key)) {
            peer.changed_in = self.history.version();
        }
    }
}
