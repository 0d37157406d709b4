//! What a watcher is told: what has changed, in a small pool; a random sample, in a large one.

use crate::directory::{Directory, SMALL_POOL_MAX};
use crate::selection::Random;
use potluck_sdk::message::to_json;
use potluck_sdk::message::tracker::PeerTable;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

/// Watchers that share one sample. Few, so that they do not all run to the same 64 peers; more than one, so that most
/// tables cost a copy and not a search.
const SAMPLE_USES_MAX: u32 = 16;

/// Writes tables as JSON, each once for all who need the same.
pub(crate) struct Tables {
    /// Which run of the tracker this is: versions of another mean nothing here.
    epoch: u64,
    random: Random,
    last: Option<Written>,
}

struct Written {
    version: u64,
    since: Option<u64>,
    json: Arc<[u8]>,
    uses_left: u32,
}

impl Tables {
    pub(crate) fn new() -> Tables {
        let epoch = random_epoch();
        Tables { epoch, random: Random::new(epoch), last: None }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What has changed since the version that the asker has, or all of it.
    pub(crate) fn write(&mut self, directory: &Directory, since: Option<u64>) -> Arc<[u8]> {
        let since = since.filter(|version| !directory.is_large() && directory.remembers(*version));
        let version = directory.version();
        if let Some(last) = &mut self.last
            && (last.version, last.since) == (version, since)
            && last.uses_left > 0
        {
            last.uses_left -= 1;
            return Arc::clone(&last.json);
        }
        let table = match since {
            Some(since) => PeerTable {
                full: false,
                peers: directory.changed_since(since),
                removed: directory.removed_since(since),
                ..self.empty(version)
            },
            None => {
                let positions = self.random.sample(directory.len(), SMALL_POOL_MAX.min(directory.len()));
                let peers = directory.peers_at(positions).into_iter().map(|peer| peer.entry.clone()).collect();
                PeerTable { full: true, peers, ..self.empty(version) }
            }
        };
        let json: Arc<[u8]> = to_json(&table).into_bytes().into();
        let uses_left = if directory.is_large() { SAMPLE_USES_MAX - 1 } else { u32::MAX };
        self.last = Some(Written { version, since, json: Arc::clone(&json), uses_left });
        json
    }

    fn empty(&self, version: u64) -> PeerTable {
        PeerTable { epoch: self.epoch, version, ..PeerTable::default() }
    }
}

/// A number that no other run has: the standard library's hash keys are random, time and process id make sure. Of 53
/// bits, so that JavaScript can hold it, and never 0, which is what a watcher says that has none.
fn random_epoch() -> u64 {
    let hash = RandomState::new().hash_one((SystemTime::now(), std::process::id()));
    (hash >> 11).max(1)
}
