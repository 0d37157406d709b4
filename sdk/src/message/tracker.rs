//! The pool's directory: REGISTER, UNREGISTER, UPDATE_LOAD, REQUEST_CPU, WATCH_PEERS.

use crate::PeerId;
use serde::{Deserialize, Serialize};

/// How busy a node is. Providers publish it as the event [`LOAD_TOPIC`]; the host sends it to the tracker, and the
/// tracker to all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Share of the workers that have work, with the queue: 0 idle, 1 all busy, more when tasks wait.
    pub cpu_load: f64,
    /// Number of tasks that the node runs at once.
    pub workers: u32,
    /// Tasks that are running.
    pub running: u32,
    /// Tasks that wait.
    pub queued: u32,
    /// Seconds of work that running and waiting tasks are expected to need, added up.
    pub backlog_seconds: f64,
}

/// Topic on which a provider publishes a [`LoadReport`].
pub const LOAD_TOPIC: &str = "node.load";
/// Topic on which the host publishes a [`PeerTable`] that is always full, after each change.
pub const PEERS_TOPIC: &str = "peer.table";

/// Topic on which the host tells that the tracker has this node in its table, anew: what else the tracker must know of a
/// node is told to it now.
pub const SESSION_TOPIC: &str = "tracker.session";

/// Body of an event on [`SESSION_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerSession {
    /// The tracker's id; null where it has proven none, without a pool.
    pub peer_id: Option<PeerId>,
}

/// Topic on which the host of a pool's authority tells of a member that was revoked.
pub const REVOKED_TOPIC: &str = "peer.revoked";

/// Body of an event on [`REVOKED_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRevoked {
    /// Who it was.
    pub peer_id: PeerId,
}

/// Body of an event on [`LOAD_TOPIC`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The load.
    #[serde(flatten)]
    pub load: Load,
    /// Whether the tracker should hear of it before the next heartbeat. Confidential work never asks for that.
    #[serde(default)]
    pub announce: bool,
}

/// REGISTER: a node joins, or repeats that it is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REGISTER")]
pub struct Register {
    /// Port on which the node listens.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address on which it can be reached; loopback when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The node's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// How busy it is.
    #[serde(flatten)]
    pub load: Load,
}

/// Reply to REGISTER.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct Registered {
    /// `REGISTERED`.
    pub status: String,
    /// Number of nodes that the tracker knows.
    pub peer_count: usize,
}

/// UNREGISTER: a node leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UNREGISTER")]
pub struct Unregister {
    /// Port on which the node listened.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its address; loopback when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// UPDATE_LOAD: the heartbeat. A node that the tracker does not know is registered by it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "UPDATE_LOAD")]
pub struct UpdateLoad {
    /// Port on which the node listens.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its address; loopback when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The node's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<PeerId>,
    /// How busy it is.
    #[serde(flatten)]
    pub load: Load,
}

/// Reply to UNREGISTER and UPDATE_LOAD.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct Done {
    /// `UNREGISTERED` or `LOAD_UPDATED`.
    pub status: String,
}

/// REQUEST_CPU: which peer has the least to do?
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "REQUEST_CPU")]
pub struct RequestCpu {}

/// Reply to REQUEST_CPU.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CPU_RESPONSE")]
pub struct CpuResponse {
    /// Address of the peer.
    pub ip: String,
    /// Port of the peer.
    pub port: u16,
    /// Its load.
    pub cpu_load: f64,
}

/// WATCH_PEERS: answered as soon as the table differs from the version that the asker has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WATCH_PEERS")]
pub struct WatchPeers {
    /// Which run of the tracker `version` belongs to; a tracker that was restarted answers at once, in full.
    #[serde(default)]
    pub epoch: u64,
    /// Version of the table that the asker has; 0 for none.
    #[serde(default)]
    pub version: u64,
}

/// Reply to WATCH_PEERS, and body of an event on [`PEERS_TOPIC`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PEER_TABLE")]
pub struct PeerTable {
    /// Which run of the tracker this is.
    pub epoch: u64,
    /// Version of the table, for the next WATCH_PEERS.
    pub version: u64,
    /// Whether `peers` is the whole table (a sample, in a large pool); else it holds what is new or has changed.
    pub full: bool,
    /// Nodes that are alive.
    pub peers: Vec<PeerEntry>,
    /// `host:port` of nodes that are gone, when the table is not full.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// A node as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// The node's id, when it has told it.
    pub peer_id: Option<PeerId>,
    /// Address.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// How busy it was when it last said so.
    #[serde(flatten)]
    pub load: Load,
}

impl PeerEntry {
    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }
}

/// A node as STATUS of a tracker shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The node.
    #[serde(flatten)]
    pub entry: PeerEntry,
    /// Local time of its last message, ISO 8601 with microseconds.
    pub last_update: String,
    /// Local time of its registration, ISO 8601 with microseconds.
    pub registered_at: String,
}
