//! The receivers of a queue that wait for nothing, the one that has asked least recently first: of all, and of each node.

use std::collections::BTreeSet;
use std::sync::Arc;

/// When a receiver last asked, and its name.
type Asked = (u64, Arc<str>);

#[derive(Default)]
pub(super) struct Idle {
    all: BTreeSet<Asked>,
    of_peers: BTreeSet<(Arc<str>, Asked)>,
}

impl Idle {
    pub(super) fn insert(&mut self, owner: Option<&Arc<str>>, asked: u64, process: &Arc<str>) {
        let entry = (asked, Arc::clone(process));
        if let Some(peer) = owner {
            self.of_peers.insert((Arc::clone(peer), entry.clone()));
        }
        self.all.insert(entry);
    }

    pub(super) fn remove(&mut self, owner: Option<&Arc<str>>, asked: u64, process: &Arc<str>) {
        let entry = (asked, Arc::clone(process));
        self.all.remove(&entry);
        if let Some(peer) = owner {
            self.of_peers.remove(&(Arc::clone(peer), entry));
        }
    }

    /// The one that was silent longest.
    pub(super) fn first(&self) -> Option<Arc<str>> {
        self.all.first().map(|(_, process)| Arc::clone(process))
    }

    /// The one of a node that was silent longest.
    pub(super) fn first_of(&self, peer: &Arc<str>) -> Option<Arc<str>> {
        let from = (Arc::clone(peer), (0, Arc::from("")));
        let (owner, (_, process)) = self.of_peers.range(from..).next()?;
        (owner == peer).then(|| Arc::clone(process))
    }
}
