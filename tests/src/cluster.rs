//! A tracker with its peers.

use crate::node::{NodeBuilder, TestNode};
use crate::wait_for;
use serde_json::{Value, json};

/// A pool on this machine. Dropping it kills all nodes.
pub struct Cluster {
    /// The tracker.
    pub tracker: TestNode,
    /// The peers, in the order in which they were started.
    pub peers: Vec<TestNode>,
}

impl Cluster {
    /// A tracker and so many peers, which all know each other.
    pub fn start(count: usize) -> Cluster {
        Cluster::start_with(count, |_, builder| builder)
    }

    /// As [`Cluster::start`], with options: `configure` gets the number of the peer, from 0, and its builder.
    pub fn start_with(count: usize, configure: impl Fn(usize, NodeBuilder) -> NodeBuilder) -> Cluster {
        let tracker = TestNode::tracker().start();
        let builder = |number| configure(number, TestNode::peer().tracker(tracker.address()));
        let peers = (0..count).map(|number| builder(number).start()).collect();
        let cluster = Cluster { tracker, peers };
        cluster.wait_until_complete();
        cluster
    }

    /// Waits until every peer knows every peer.
    pub fn wait_until_complete(&self) {
        for peer in &self.peers {
            wait_for(&format!("{} to know all {} peers", peer.address(), self.peers.len()), || {
                let list = peer.call(json!({ "type": "LIST_PEERS" }));
                let known = |other: &TestNode| entries(&list).iter().any(|entry| entry["port"] == other.port());
                list["tracker_connected"] == true && self.peers.iter().all(known)
            });
        }
    }
}

fn entries(list: &Value) -> &[Value] {
    list["peers"].as_array().map_or(&[], Vec::as_slice)
}
