//! REQUEST_STORAGE_PEERS: who could keep a file. Distinct machines first, then most room, then fewest replicas.

use super::error::RegistryError;
use super::{Asker, Registry, messages, store};
use potluck_sdk::message::owned_files::{REPLICAS_MAX, ReplicaState, RequestStoragePeers, StoragePeer, StoragePeers};
use potluck_sdk::{PeerId, Reply, Request};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Most peers that are looked at: in a larger pool a random sample.
const SAMPLE_MAX: usize = 512;

/// A peer that could keep something.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) peer_id: PeerId,
    ip: String,
    port: u16,
    /// None while it has not told.
    free_bytes: Option<u64>,
    replica_count: u64,
}

pub(super) fn request(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: RequestStoragePeers<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let wanted = message.replication.unwrap_or(1).clamp(1, i64::from(REPLICAS_MAX)) as u32;
    let (owner_ip, owner_port) = (message.owner_ip.unwrap_or_default().into_owned(), message.owner_port.unwrap_or(0));
    let mut not: HashSet<PeerId> = message.exclude.into_iter().collect();
    not.insert(asker.id);
    let size = message.size.unwrap_or(0);
    let alive = alive(registry);
    if alive.is_empty() {
        return reply.error(&RegistryError::NoPeers("No peers available").into());
    }
    let reply = reply.later();
    let work = move |connection: &Connection| candidates(connection, alive, &not, size);
    registry.worker.run(request.json.len(), work, move |result| {
        let chosen = result.map(|candidates| choose(candidates, &HashSet::new(), wanted as usize)).and_then(|chosen| {
            if chosen.is_empty() { Err(RegistryError::NoPeers("No storage peers available")) } else { Ok(chosen) }
        });
        let shown = |it: Candidate| StoragePeer {
            ip: it.ip,
            port: it.port,
            peer_id: Some(it.peer_id),
            state: ReplicaState::Unchecked,
            checked_unix_seconds: None,
            owned_files: Some(it.replica_count),
            free_bytes: it.free_bytes,
        };
        messages::finish(
            reply,
            chosen.map(|chosen| StoragePeers {
                owner_ip,
                owner_port,
                replication: wanted,
                peers: chosen.into_iter().map(shown).collect(),
            }),
        );
    });
}

/// The peers that are alive and have an id; a sample of them in a large pool.
pub(super) fn alive(registry: &Registry) -> Vec<(PeerId, String, u16)> {
    registry.service.with_state(|state, _, _| {
        let count = state.directory.len();
        let positions: Vec<usize> = if count <= SAMPLE_MAX {
            (0..count).collect()
        } else {
            // A random stretch: the order of the directory has nothing to do with who has room.
            let first = super::random_below(count as u64) as usize;
            (0..SAMPLE_MAX).map(|step| (first + step) % count).collect()
        };
        let peers = state.directory.peers_at(positions);
        peers.iter().filter_map(|peer| Some((peer.entry.peer_id?, peer.entry.ip.clone(), peer.entry.port))).collect()
    })
}

/// Those of them that may keep `size` bytes.
pub(super) fn candidates(
    connection: &Connection,
    alive: Vec<(PeerId, String, u16)>,
    not: &HashSet<PeerId>,
    size: u64,
) -> Result<Vec<Candidate>, RegistryError> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached("SELECT free_bytes, replica_count FROM peers WHERE peer_id = ?1")?;
    for (peer_id, ip, port) in alive {
        if not.contains(&peer_id) {
            continue;
        }
        let known = statement.query_row([peer_id.to_string()], |row| {
            Ok((row.get::<_, Option<i64>>(0)?.map(store::unsigned), store::unsigned(row.get(1)?)))
        });
        let (free_bytes, replica_count) = known.optional()?.unwrap_or_default();
        if free_bytes.is_none_or(|free_bytes| free_bytes >= size) {
            found.push(Candidate { peer_id, ip, port, free_bytes, replica_count });
        }
    }
    Ok(found)
}

/// The best of them, with the machines in `used` last.
pub(super) fn choose(mut candidates: Vec<Candidate>, used: &HashSet<String>, count: usize) -> Vec<Candidate> {
    // Those that are equal come in any order, so that not all owners run to the same.
    let shift = super::random_below(candidates.len().max(1) as u64) as usize;
    candidates.rotate_left(shift);
    candidates.sort_by_key(|it| (std::cmp::Reverse(it.free_bytes.unwrap_or(0)), it.replica_count));
    let mut on_machine: HashMap<String, usize> = used.iter().map(|ip| (ip.clone(), 1)).collect();
    let mut ranked: Vec<(usize, Candidate)> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let before = on_machine.entry(candidate.ip.clone()).or_default();
        ranked.push((*before, candidate));
        *before += 1;
    }
    // Stable: those with the same number of others on their machine stay in their order.
    ranked.sort_by_key(|(before, _)| *before);
    ranked.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: u8, ip: &str, free_bytes: Option<u64>, replica_count: u64) -> Candidate {
        let peer_id = PeerId::from_hash([number; 16]);
        Candidate { peer_id, ip: ip.to_owned(), port: u16::from(number), free_bytes, replica_count }
    }

    fn ports(candidates: Vec<Candidate>, used: &[&str], count: usize) -> Vec<u16> {
        let used = used.iter().map(|ip| (*ip).to_owned()).collect();
        choose(candidates, &used, count).iter().map(|candidate| candidate.port).collect()
    }

    #[test]
    fn distinct_machines_come_before_room_and_room_before_fewer_replicas() {
        let all = vec![
            candidate(1, "10.0.0.1", Some(900), 0),
            candidate(2, "10.0.0.1", Some(800), 0),
            candidate(3, "10.0.0.2", Some(100), 7),
            candidate(4, "10.0.0.3", Some(100), 2),
            candidate(5, "10.0.0.4", None, 0),
        ];
        assert_eq!(ports(all.clone(), &[], 9), [1, 4, 3, 5, 2]);
        assert_eq!(ports(all.clone(), &[], 2), [1, 4]);
        assert_eq!(ports(all, &["10.0.0.1"], 9), [4, 3, 5, 1, 2]);
    }
}
