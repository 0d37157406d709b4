//! A tracker with its peers.

use crate::node::{NodeBuilder, TestNode};
use crate::{wait_for, with};
use serde_json::{Value, json};

/// Nodes on this machine that know each other. Dropping it kills all of them.
pub struct Cluster {
    /// The tracker.
    pub tracker: TestNode,
    /// The peers, in the order in which they were started.
    pub peers: Vec<TestNode>,
}

impl Cluster {
    /// A tracker with its pool, and so many peers that have joined it.
    pub fn start(count: usize) -> Cluster {
        Cluster::start_with(count, |_, builder| builder)
    }

    /// As [`Cluster::start`], with options: `configure` gets the number of the peer, from 0, and its builder.
    pub fn start_with(count: usize, configure: impl Fn(usize, NodeBuilder) -> NodeBuilder) -> Cluster {
        Cluster::start_under(TestNode::tracker(), count, configure)
    }

    /// As [`Cluster::start_with`], with a tracker of the caller's choice.
    pub fn start_under(
        tracker: NodeBuilder,
        count: usize,
        configure: impl Fn(usize, NodeBuilder) -> NodeBuilder,
    ) -> Cluster {
        let tracker = tracker.start();
        let token = create_pool(&tracker);
        let builder = |number| configure(number, TestNode::peer());
        let peers: Vec<TestNode> = (0..count).map(|number| builder(number).start()).collect();
        for (number, peer) in peers.iter().enumerate() {
            join_as(peer, &token, &format!("peer-{number}"));
        }
        let cluster = Cluster { tracker, peers };
        cluster.wait_until_complete();
        cluster
    }

    /// A tracker and peers that are in no pool, and so talk in plain frames within this machine.
    pub fn start_plain(count: usize, configure: impl Fn(usize, NodeBuilder) -> NodeBuilder) -> Cluster {
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

    /// A new token of the pool; `members` are those of POOL_TOKEN.
    pub fn token(&self, members: Value) -> String {
        text(&accepted(&self.tracker, with(json!({ "type": "POOL_TOKEN" }), members))["token"])
    }
}

/// Makes a node the tracker of a pool, and returns a token that many may use.
pub fn create_pool(tracker: &TestNode) -> String {
    let request = json!({ "type": "POOL_CREATE", "pool_name": "tests", "name": "tracker", "reusable": true });
    text(&accepted(tracker, request)["token"])
}

/// Makes a node join the pool of a token.
pub fn join_as(node: &TestNode, token: &str, name: &str) {
    accepted(node, json!({ "type": "POOL_JOIN", "token": token, "name": name }));
}

/// Sends a message that must not fail.
fn accepted(node: &TestNode, message: Value) -> Value {
    let reply = node.call(&message);
    assert_ne!(reply["type"], "ERROR", "{message} was answered with {reply}");
    reply
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn entries(list: &Value) -> &[Value] {
    list["peers"].as_array().map_or(&[], Vec::as_slice)
}
