//! Peers that are gone, and what they held with them.

use crate::processes::Processes;
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::PeerTable;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a peer may be missing in the table: after a restart of the tracker each comes back with its next heartbeat,
/// within ten seconds.
const ABSENCE_LIMIT: Duration = Duration::from_secs(15);
/// A table of this many peers is a sample of a larger pool: who is missing in it may be well.
const SAMPLE_PEERS: usize = 64;

/// The peers that were in the table, each with the number of the absence that it is in.
#[derive(Default)]
pub(crate) struct Peers {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    peers: HashMap<PeerId, Option<u64>>,
    absences: u64,
}

impl Peers {
    /// A new table of peers.
    pub(crate) fn update(self: &Arc<Self>, processes: &Arc<Processes>, table: &PeerTable) {
        if table.peers.len() >= SAMPLE_PEERS {
            return;
        }
        let mut left = Vec::new();
        {
            let mut known = self.known.lock();
            let mut present: HashMap<PeerId, Option<u64>> =
                table.peers.iter().filter_map(|peer| Some((peer.peer_id?, None))).collect();
            for (peer, absence) in std::mem::take(&mut known.peers) {
                if present.contains_key(&peer) {
                    continue;
                }
                let absence = absence.unwrap_or_else(|| {
                    known.absences += 1;
                    left.push((peer, known.absences));
                    known.absences
                });
                present.insert(peer, Some(absence));
            }
            known.peers = present;
        }
        for (peer, absence) in left {
            let (this, processes) = (Arc::clone(self), Arc::clone(processes));
            processes.host.clone().run_after(ABSENCE_LIMIT, move || {
                if this.is_still_absent(&peer, absence) {
                    processes.peer_is_gone(&peer);
                }
            });
        }
    }

    /// A peer that is a member no longer.
    pub(crate) fn revoked(&self, processes: &Arc<Processes>, peer: &PeerId) {
        self.known.lock().peers.remove(peer);
        processes.peer_is_gone(peer);
    }

    /// Whether the peer has not been back; it is then forgotten.
    fn is_still_absent(&self, peer: &PeerId, absence: u64) -> bool {
        let mut known = self.known.lock();
        let is_absent = known.peers.get(peer) == Some(&Some(absence));
        if is_absent {
            known.peers.remove(peer);
        }
        is_absent
    }
}
