//! Where a task runs: here, or on the peer that is expected to start it soonest.
//!
//! The tracker pushes a table of peers with their loads. Between two reports of a peer this node adds what it has itself
//! sent there, so that a burst does not all go to the peer that was idle a moment ago.

use crate::pool::PoolLoad;
use parking_lot::Mutex;
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::{PeerEntry, PeerTable};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What sending a task to another peer costs, in seconds: connection, two more nodes' queues, and the result's way back.
const REMOTE_OVERHEAD_SECONDS: f64 = 0.002;
/// A peer that could not be reached is not tried again for this long.
const AVOID_UNREACHABLE: Duration = Duration::from_secs(5);

/// The peers that tasks may go to.
#[derive(Default)]
pub(crate) struct Placement {
    /// By address. A leaf lock.
    candidates: Mutex<BTreeMap<String, Candidate>>,
}

struct Candidate {
    entry: PeerEntry,
    /// What this node has there now.
    mine: InFlight,
    /// What it had there when the entry's load was reported: the load includes it.
    mine_reported: InFlight,
    avoid_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    tasks: u32,
    seconds: f64,
}

/// A task that was sent to a peer, until it is known how it ended.
#[derive(Debug)]
pub(crate) struct Placed {
    /// `host:port` of the peer.
    pub address: String,
    /// The peer, when the tracker has said which it is.
    pub peer: Option<PeerId>,
    seconds: f64,
}

impl Candidate {
    /// Expected seconds until a further task would start.
    fn expected_wait(&self) -> f64 {
        let load = &self.entry.load;
        let others = (load.running + load.queued).saturating_sub(self.mine_reported.tasks);
        if others + self.mine.tasks < load.workers {
            return 0.0;
        }
        let others_seconds = (load.backlog_seconds - self.mine_reported.seconds).max(0.0);
        (others_seconds + self.mine.seconds) / f64::from(load.workers.max(1))
    }
}

impl Placement {
    /// Takes in a table; `own` is this node, which is no candidate.
    pub(crate) fn update(&self, table: PeerTable, own: PeerId) {
        let mut candidates = self.candidates.lock();
        let mut former = std::mem::take(&mut *candidates);
        for entry in table.peers {
            if entry.peer_id == Some(own) || entry.load.workers == 0 {
                continue;
            }
            let address = entry.address();
            let candidate = match former.remove(&address) {
                Some(known) if known.entry == entry => known,
                Some(known) => Candidate { entry, mine_reported: known.mine, ..known },
                None => Candidate {
                    entry,
                    mine: InFlight::default(),
                    mine_reported: InFlight::default(),
                    avoid_until: None,
                },
            };
            candidates.insert(address, candidate);
        }
    }

    /// Whether there is anybody to send tasks to.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.lock().is_empty()
    }

    /// Chooses the peer that is expected to start a task sooner than this node would, and counts the task as sent there.
    /// Nothing when it should run here. `here` is nothing when it cannot, and `unable` are the peers that cannot.
    pub(crate) fn choose(&self, here: Option<&PoolLoad>, estimate_seconds: f64, unable: &[String]) -> Option<Placed> {
        if here.is_some_and(|here| here.running + here.queued < here.slots) {
            return None;
        }
        let wait_here = here.map_or(f64::INFINITY, |here| here.backlog_seconds / here.slots.max(1) as f64);
        let now = Instant::now();
        let mut candidates = self.candidates.lock();
        let best = candidates
            .values_mut()
            .filter(|candidate| candidate.avoid_until.is_none_or(|until| until <= now))
            .filter(|candidate| !unable.contains(&candidate.entry.address()))
            .map(|candidate| (candidate.expected_wait(), candidate))
            .min_by(|(one, _), (other, _)| one.total_cmp(other));
        let (wait_there, candidate) = best?;
        if wait_there + REMOTE_OVERHEAD_SECONDS >= wait_here {
            return None;
        }
        candidate.mine.tasks += 1;
        candidate.mine.seconds += estimate_seconds;
        Some(Placed { address: candidate.entry.address(), peer: candidate.entry.peer_id, seconds: estimate_seconds })
    }

    /// A task that was settled goes to the same peer once more.
    pub(crate) fn take(&self, placed: &Placed) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            candidate.mine.tasks += 1;
            candidate.mine.seconds += placed.seconds;
        }
    }

    /// A task that was sent to a peer is there no more; `reached` tells whether the peer answered.
    pub(crate) fn settle(&self, placed: &Placed, reached: bool) {
        if let Some(candidate) = self.candidates.lock().get_mut(&placed.address) {
            candidate.mine.tasks = candidate.mine.tasks.saturating_sub(1);
            candidate.mine.seconds =
                if candidate.mine.tasks == 0 { 0.0 } else { (candidate.mine.seconds - placed.seconds).max(0.0) };
            if !reached {
                candidate.avoid_until = Some(Instant::now() + AVOID_UNREACHABLE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_sdk::message::tracker::Load;

    fn entry(port: u16, workers: u32, running: u32) -> PeerEntry {
        let load = Load { workers, running, backlog_seconds: f64::from(running), ..Load::default() };
        PeerEntry { peer_id: Some(PeerId::from_hash([port as u8; 16])), ip: "127.0.0.1".to_owned(), port, load }
    }

    fn placement(entries: Vec<PeerEntry>) -> Placement {
        let placement = Placement::default();
        let table = PeerTable { full: true, peers: entries, ..PeerTable::default() };
        placement.update(table, PeerId::from_hash([1; 16]));
        placement
    }

    fn here(running: usize, queued: usize) -> PoolLoad {
        PoolLoad { slots: 2, running, begun: running, queued, backlog_seconds: (running + queued) as f64 }
    }

    #[test]
    fn an_idle_node_keeps_its_tasks() {
        let placement = placement(vec![entry(2, 2, 0)]);
        assert!(placement.choose(Some(&here(1, 0)), 1.0, &[]).is_none());
        assert!(placement.choose(Some(&here(2, 0)), 1.0, &[]).is_some());
    }

    #[test]
    fn what_cannot_run_here_goes_to_whoever_can() {
        let placement = placement(vec![entry(2, 2, 9), entry(3, 2, 0)]);
        let unable = ["127.0.0.1:3".to_owned()];
        assert_eq!(placement.choose(None, 1.0, &[]).unwrap().address, "127.0.0.1:3");
        assert_eq!(placement.choose(None, 1.0, &unable).unwrap().address, "127.0.0.1:2");
    }

    #[test]
    fn a_burst_is_spread_by_the_number_of_workers() {
        let placement = placement(vec![entry(1, 2, 0), entry(2, 2, 0), entry(3, 6, 0), entry(4, 0, 0)]);
        let mut counts = BTreeMap::<String, u32>::new();
        let mut kept = 0;
        for _ in 0..30 {
            match placement.choose(Some(&here(kept.min(2), kept.saturating_sub(2))), 1.0, &[]) {
                Some(placed) => *counts.entry(placed.address).or_default() += 1,
                None => kept += 1,
            }
        }
        assert_eq!(kept, 6);
        assert_eq!(counts, BTreeMap::from([("127.0.0.1:2".to_owned(), 6), ("127.0.0.1:3".to_owned(), 18)]));
    }

    #[test]
    fn what_was_sent_is_not_counted_twice_when_the_peer_reports_it() {
        let placement = placement(vec![entry(2, 2, 0)]);
        let placed = placement.choose(Some(&here(2, 0)), 1.0, &[]).unwrap();
        placement.update(
            PeerTable { full: true, peers: vec![entry(2, 2, 1)], ..PeerTable::default() },
            PeerId::from_hash([1; 16]),
        );
        assert!(placement.choose(Some(&here(2, 0)), 1.0, &[]).is_some(), "one of its two workers is still idle");
        placement.settle(&placed, true);
    }

    #[test]
    fn a_peer_that_cannot_be_reached_is_avoided() {
        let placement = placement(vec![entry(2, 2, 0)]);
        let placed = placement.choose(Some(&here(2, 0)), 1.0, &[]).unwrap();
        placement.settle(&placed, false);
        assert!(placement.choose(Some(&here(2, 5)), 1.0, &[]).is_none());
    }
}
