//! The node: what its parts share.

use crate::access::Access;
use crate::access_token::AccessToken;
use crate::addresses::Addresses;
use crate::audit::{Audit, AuditEvent};
use crate::config::NodeConfig;
use crate::data_dir::DataDir;
use crate::destination::TRACKER;
use crate::events::{self, EventLog};
use crate::identity::Identity;
use crate::net::present::Present;
use crate::net::tls::Tls;
use crate::net::{Links, Target};
use crate::peers::{Peers, split_address};
use crate::plugin::Plugin;
use crate::pool::Pool;
use crate::routes::Routes;
use parking_lot::{Mutex, RwLock};
use potluck_sdk::PeerId;
use potluck_sdk::message::tracker::{LOAD_TOPIC, LoadReport, PEERS_TOPIC};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// A running node.
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    /// Its id, as text.
    pub id_text: String,
    /// Where it listens.
    pub addresses: Addresses,
    /// `host:port` of the tracker that somebody has named.
    pub named_tracker: Option<String>,
    /// `host:port` of the tracker to use while the node is in no pool; nothing to do without.
    pub tracker_without_pool: Option<String>,
    /// `host:port` of the tracker that it talks to. A leaf lock.
    pub tracker: Mutex<Option<String>>,
    /// The same, as it is connected to. A leaf lock.
    pub tracker_target: Mutex<Option<Target>>,
    /// Its side of encrypted connections.
    pub tls: Arc<Tls>,
    /// Its place in a pool.
    pub pool: Arc<Pool>,
    /// Who may send what.
    pub access: Access,
    /// Makes its user of whoever shows it.
    pub access_token: AccessToken,
    /// What was refused, and what its administrators did.
    pub audit_log: Audit,
    /// Members that have connections here.
    pub present: Present,
    /// `[node]` of plugins.toml.
    pub config: NodeConfig,
    /// What it keeps.
    pub data_dir: DataDir,
    /// Where plugins and workers are installed.
    pub lib_dir: PathBuf,
    /// Who answers what.
    pub routes: Routes,
    /// What has happened.
    pub events: EventLog,
    /// The other nodes.
    pub peers: Peers,
    /// The connections to them.
    pub links: Links,
    /// How busy this node is, as its providers last reported.
    pub load: watch::Sender<LoadReport>,
    /// True once the node stops serving.
    pub stopping: watch::Sender<bool>,
    /// Runs everything asynchronous.
    pub runtime: tokio::runtime::Handle,
    /// When it started.
    pub started: Instant,
    /// In the order of plugins.toml. Written only while the node starts.
    pub(crate) plugins: RwLock<Vec<Arc<Plugin>>>,
    /// Providers that want events, with the pattern. Never held while one is called.
    pub(crate) subscribers: RwLock<Vec<(String, Arc<Plugin>)>>,
}

impl Node {
    /// All providers, in the order of plugins.toml.
    pub fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.plugins.read().clone()
    }

    /// Where the library of a provider that ships with the node stands.
    pub fn library_path(&self, id: &str) -> PathBuf {
        self.lib_dir.join("plugins").join(format!("libprovider_{}.so", id.replace('-', "_")))
    }

    /// Whether a `to` means this node.
    pub fn is_own_address(&self, to: &str) -> bool {
        (to == TRACKER && self.pool.authority().is_some())
            || to.parse::<PeerId>().is_ok_and(|peer_id| peer_id == self.identity.peer_id)
            || split_address(to).is_some_and(|(host, port)| {
                host.parse().is_ok_and(|ip: std::net::IpAddr| self.addresses.is_own(ip.to_canonical(), port))
            })
    }

    /// The address under which others reach it.
    pub fn address(&self) -> SocketAddr {
        self.addresses.advertised(self.pool.standing().is_some())
    }

    /// Notes what was refused or done by an administrator, and tells those who listen.
    pub fn audit(&self, event: &AuditEvent<'_>) {
        if let Some(json) = self.audit_log.record(event) {
            self.events.publish(event.topic.name(), &json);
        }
    }

    /// Gives an event to providers that want it and keeps it for clients.
    pub fn publish(&self, topic: &str, json: &str) {
        if topic == LOAD_TOPIC {
            match serde_json::from_str::<LoadReport>(json) {
                // An announcement that has not gone out yet is not taken back by a later report.
                Ok(report) => self.load.send_modify(|current| {
                    *current = LoadReport { announce: report.announce || current.announce, ..report };
                }),
                Err(error) => tracing::warn!(%error, "a report of the load cannot be read"),
            }
            return;
        }
        self.deliver(topic, json);
        // The table changes with every load; clients have LIST_PEERS for it.
        if topic != PEERS_TOPIC {
            self.events.publish(topic, json);
        }
    }

    /// Gives an event to the providers that want it, on this thread.
    pub fn deliver(&self, topic: &str, json: &str) {
        let wanted: Vec<Arc<Plugin>> = {
            let subscribers = self.subscribers.read();
            subscribers
                .iter()
                .filter(|(pattern, _)| events::matches(pattern, topic))
                .map(|(_, p)| Arc::clone(p))
                .collect()
        };
        for plugin in wanted {
            plugin.event(topic, json);
        }
    }

    /// Notes that a provider wants the events of a pattern.
    pub fn subscribe(&self, plugin: &Arc<Plugin>, pattern: &str) {
        let mut subscribers = self.subscribers.write();
        if !subscribers.iter().any(|(known, other)| known == pattern && other.id == plugin.id) {
            subscribers.push((pattern.to_owned(), Arc::clone(plugin)));
        }
    }

    /// Stops the providers, the last one first. Blocks while they finish.
    pub fn stop_plugins(&self) {
        for plugin in self.plugins().iter().rev() {
            plugin.stop();
        }
    }
}
