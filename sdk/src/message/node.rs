//! What every host answers itself: STATUS, PING, LIST_PLUGINS, LIST_PEERS, WATCH_EVENTS.

use super::RawValue;
use super::tracker::PeerEntry;
use crate::{LeastCaller, PeerId};
use serde::{Deserialize, Serialize};

/// The messages that every host answers itself, and the least caller of each; no provider may answer one.
///
/// `HELLO`, `JOIN` and `AUTHENTICATE` establish who a caller is; what stands here is for those who repeat them.
pub const HOST_MESSAGES: [(&str, LeastCaller); 22] = [
    ("PING", LeastCaller::Task),
    ("CANCEL_CALL", LeastCaller::Task),
    ("AUTHENTICATE", LeastCaller::Task),
    ("STATUS", LeastCaller::Member),
    ("LIST_PEERS", LeastCaller::Member),
    ("HELLO", LeastCaller::Member),
    ("JOIN", LeastCaller::Member),
    ("RENEW_MEMBERSHIP", LeastCaller::Member),
    ("WATCH_REVOCATIONS", LeastCaller::Member),
    ("LIST_PLUGINS", LeastCaller::Local),
    ("WATCH_EVENTS", LeastCaller::Local),
    ("IDENTITY", LeastCaller::Local),
    ("POOL_CREATE", LeastCaller::Local),
    ("POOL_TOKEN", LeastCaller::Local),
    ("POOL_TOKENS", LeastCaller::Local),
    ("POOL_CANCEL_TOKEN", LeastCaller::Local),
    ("POOL_MEMBERS", LeastCaller::Local),
    ("POOL_REVOKE", LeastCaller::Local),
    ("POOL_READMIT", LeastCaller::Local),
    ("POOL_JOIN", LeastCaller::Local),
    ("POOL_LEAVE", LeastCaller::Local),
    ("POOL_DISCOVER", LeastCaller::Local),
];

/// Whether the host answers a message itself, and the least caller of it.
pub fn host_message(message_type: &str) -> Option<LeastCaller> {
    HOST_MESSAGES.iter().find(|(name, _)| *name == message_type).map(|(_, least)| *least)
}

/// Topic on which the host tells its providers that others reach the node by another address from now on.
pub const ADDRESS_TOPIC: &str = "node.address";

/// Body of an event on [`ADDRESS_TOPIC`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The address.
    pub ip: String,
    /// The port.
    pub port: u16,
}

/// CANCEL_CALL: the sender does not wait for the answer to an earlier message on this connection any more. It may come
/// all the same; whoever works on it is told, as if the connection had been closed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "CANCEL_CALL")]
pub struct CancelCall {
    /// The `id` of the message, a number.
    pub call: u64,
}

/// The members that the host puts into its STATUS reply; those of the providers stand beside them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "STATUS")]
pub struct NodeStatus {
    /// `OK`.
    pub status: String,
    /// Address of the node.
    pub peer_ip: String,
    /// Port of the node.
    pub peer_port: u16,
    /// The node's id.
    pub peer_id: PeerId,
    /// Version of the program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_seconds: f64,
    /// `host:port` of the tracker, when the node has one.
    pub tracker_address: Option<String>,
    /// Whether the tracker answers.
    pub tracker_connected: bool,
}

/// LIST_PLUGINS: the providers of a node and how they fare.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_PLUGINS")]
pub struct ListPlugins {}

/// Reply to LIST_PLUGINS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PLUGIN_LIST")]
pub struct PluginList {
    /// One report a provider, in the order of plugins.toml.
    pub plugins: Vec<PluginReport>,
}

/// The life of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Named in plugins.toml.
    Declared,
    /// Its library is open and fits.
    Loaded,
    /// It answers messages.
    Started,
    /// It answers messages, but something is wrong; the reason says what.
    Degraded,
    /// It could not be loaded or started; the reason says why.
    Failed,
    /// It was stopped.
    Stopped,
}

impl PluginState {
    /// The word for screens and logs.
    pub const fn word(self) -> &'static str {
        match self {
            PluginState::Declared => "declared",
            PluginState::Loaded => "loaded",
            PluginState::Started => "started",
            PluginState::Degraded => "degraded",
            PluginState::Failed => "failed",
            PluginState::Stopped => "stopped",
        }
    }
}

/// How a provider fares.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginReport {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: PluginState,
    /// Its version; empty when it could not be loaded.
    pub version: String,
    /// Where it runs: `in-process`.
    pub isolation: String,
    /// The library.
    pub path: String,
    /// The messages that it answers.
    pub messages: Vec<String>,
    /// Messages answered since the start.
    pub calls: u64,
    /// How many of the answers were errors.
    pub errors: u64,
    /// Half of the answers took at most this long, in microseconds.
    pub p50_microseconds: f64,
    /// 99 of 100 answers took at most this long, in microseconds.
    pub p99_microseconds: f64,
    /// Why it failed or is degraded.
    pub reason: Option<String>,
}

/// LIST_PEERS: the nodes of the pool, as this node last heard from the tracker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "LIST_PEERS")]
pub struct ListPeers {}

/// Reply to LIST_PEERS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "PEER_LIST")]
pub struct PeerList {
    /// The nodes, this one included.
    pub peers: Vec<PeerEntry>,
    /// Whether the tracker answers; else the list is the last that was heard.
    pub tracker_connected: bool,
}

/// WATCH_EVENTS: answered as soon as there are events behind `after`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename = "WATCH_EVENTS")]
pub struct WatchEvents {
    /// Topics, or beginnings of topics that end in `*`; all when empty.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The `next` of the last answer; when missing, only events from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Reply to WATCH_EVENTS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "EVENTS")]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Pass as `after` to get what follows.
    pub next: u64,
    /// How many events were dropped because nobody fetched them in time.
    pub lost: u64,
}

/// Something that happened on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Number in order, from 1.
    pub sequence: u64,
    /// Milliseconds since 1970, UTC.
    pub unix_milliseconds: u64,
    /// What it is about, such as `task.finished`.
    pub topic: String,
    /// The details.
    pub body: Box<RawValue>,
}
