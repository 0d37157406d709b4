//! The pool's directory: which nodes are alive, how busy they are, and which has the least to do.
//!
//! Nodes register and repeat it with every heartbeat; one that falls silent is forgotten. A node that wants to place
//! tasks keeps a WATCH_PEERS open and is told of every change, so that no task needs a round trip to here.
//!
//! | message | does | answer |
//! |---|---|---|
//! | `REGISTER` | a node joins | `STATUS` |
//! | `UPDATE_LOAD` | a node is still there, and this busy | `STATUS` |
//! | `UNREGISTER` | a node leaves | `STATUS` |
//! | `REQUEST_CPU` | names the node with the least expected wait | `CPU_RESPONSE` |
//! | `REGISTER_FILE` | a node tells of shared files that it has | `STATUS` |
//! | `UNREGISTER_FILE` | a node tells of shared files that it has no more | `STATUS` |
//! | `FIND_FILE` | names nodes that have a shared file | `FILE_PEERS` |
//! | `REGISTER_OWNED_FILE`, `DELETE_OWNED_FILE` | an owner tells of a version of a file, or of its end | `STATUS` |
//! | `FIND_OWNED_FILE`, `LIST_OWNED_FILES` | shows an owner its files and who keeps them | `OWNED_FILE_RESPONSE`, `STATUS` |
//! | `REPORT_OWNED_FILES` | holders and owners tell what they have | `STATUS` |
//! | `REQUEST_STORAGE_PEERS` | names nodes that could keep a file | `STORAGE_PEERS_RESPONSE` |
//! | `REPAIR_OWNED_FILES` | checks an owner's replicas now, and has lost ones made anew | `STATUS` |
//! | `BIND_OWNER` | says whose files of an older system are | `STATUS` |
//! | `WATCH_PEERS` | answers when the table of nodes differs from the asker's | `PEER_TABLE` |
//!
//! It listens for `peer.revoked`, with which the host tells of members that are none any more.
//!
//! Events: `peer.joined`, `peer.left` (it said so) and `peer.lost` (it fell silent); `file.replica` when a replica of an
//! owned file is found damaged, or is mended.
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `handler` (one function a message), `service`
//! (the lock, the timers, and what is done once the lock is released), `directory` (who is alive and how loaded),
//! `selection` (which peer to use), `files` (who has which shared file), `table` (what a watcher is told), `watch` (who
//! waits, and when it is its turn), `registry` (owned files, who keeps them, and whether they still do), `error` (what
//! can go wrong).

mod config;
mod handler;
mod service;

mod address;
mod directory;
mod files;
mod selection;
mod table;
mod watch;

mod registry;

mod error;

use config::TrackerConfig;
use potluck_sdk::message::tracker::REVOKED_TOPIC;
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use registry::Registry;
use service::Service;
use std::sync::Arc;
use std::time::Instant;

/// The provider `tracker`.
pub struct Tracker {
    service: Arc<Service>,
    registry: Arc<Registry>,
}

impl Tracker {
    /// As [`Provider::start`], with a clock of the caller's choice: tests move the time by hand.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Tracker, ProviderError> {
        let config = TrackerConfig::read(config)?;
        host.subscribe(REVOKED_TOPIC);
        let service = Service::new(host, &config, Box::new(now));
        let registry = Registry::open(host, &config, &service)?;
        Ok(Tracker { service, registry })
    }
}

impl Provider for Tracker {
    const INFO: ProviderInfo = ProviderInfo {
        id: "tracker",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("REGISTER", LeastCaller::Member),
            MessageInfo::new("UNREGISTER", LeastCaller::Member),
            MessageInfo::new("UPDATE_LOAD", LeastCaller::Member),
            MessageInfo::new("REQUEST_CPU", LeastCaller::Member),
            MessageInfo::new("WATCH_PEERS", LeastCaller::Member),
            MessageInfo::new("REGISTER_FILE", LeastCaller::Member),
            MessageInfo::new("UNREGISTER_FILE", LeastCaller::Member),
            MessageInfo::new("FIND_FILE", LeastCaller::Member),
            MessageInfo::new("REGISTER_OWNED_FILE", LeastCaller::Member),
            MessageInfo::new("FIND_OWNED_FILE", LeastCaller::Member),
            MessageInfo::new("REPORT_OWNED_FILES", LeastCaller::Member),
            MessageInfo::new("REQUEST_STORAGE_PEERS", LeastCaller::Member),
            // A node that keeps its own user's owned files as well answers the same types, without these members.
            MessageInfo::new("LIST_OWNED_FILES", LeastCaller::Member).when(&["requester_id", "requester_port"]),
            MessageInfo::new("DELETE_OWNED_FILE", LeastCaller::Member).when(&["owner_id", "owner_port"]),
            MessageInfo::new("REPAIR_OWNED_FILES", LeastCaller::Member).when(&["name_tag", "requester_id"]),
            MessageInfo::new("BIND_OWNER", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Tracker, ProviderError> {
        Tracker::start_with_clock(host, config, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        if registry::answers(request.message_type) {
            return registry::answer(&self.registry, request, reply);
        }
        let caller = request.caller;
        handler::answer(&self.service, request, reply);
        self.registry.heard(caller);
    }

    fn event(&self, topic: &str, json: &str) {
        handler::event(&self.service, topic, json);
    }

    fn status(&self) -> Status {
        handler::status(&self.service)
    }

    fn stop(&self) {
        self.service.stop();
        self.registry.stop();
    }
}

potluck_sdk::export_plugin!(Tracker);
