//! Shared files: whole or in chunks, durable, with an owner each and within limits.
//!
//! Files lie under their real names in `peer_storage` of the data directory. What else is known of one is an extended
//! attribute; a file without it belongs to this node's user. The rooms: `config` (its table in plugins.toml), `error`,
//! `index` (names, owners, limits), `store` (the files), `upload` (what is not finished), `fetch` (what other
//! peers have), `work` (lanes), `handler`.

mod config;
mod error;
mod fetch;
mod handler;
mod index;
mod store;
mod upload;
mod work;

use config::DiskConfig;
use potluck_sdk::message::tracker::SESSION_TOPIC;
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use std::sync::Arc;
use store::Store;

/// The provider `disk`.
pub struct Disk {
    store: Arc<Store>,
}

impl Provider for Disk {
    const INFO: ProviderInfo = ProviderInfo {
        id: "disk",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("PUT_FILE", LeastCaller::Task).spooled(),
            MessageInfo::new("PUT_FILE_CHUNK", LeastCaller::Member),
            MessageInfo::new("GET_FILE", LeastCaller::Task),
            MessageInfo::new("GET_FILE_CHUNK", LeastCaller::Member),
            MessageInfo::new("DELETE_FILE", LeastCaller::Task),
            MessageInfo::new("LIST_FILES", LeastCaller::Task),
            MessageInfo::new("STAT_FILE", LeastCaller::Task),
            MessageInfo::new("FETCH_FILE", LeastCaller::Local),
            MessageInfo::new("HELD_STORAGE_BYTES", LeastCaller::Plugin),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Disk, ProviderError> {
        let store = Arc::new(Store::open(host, DiskConfig::read(config)?)?);
        host.subscribe(SESSION_TOPIC);
        Ok(Disk { store })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&self.store, request, reply);
    }

    fn status(&self) -> Status {
        self.store.status()
    }

    fn stop(&self) {
        self.store.fetches.stop();
    }

    fn event(&self, topic: &str, json: &str) {
        self.store.allowance.event(topic, json);
        if topic == SESSION_TOPIC {
            self.store.register_all();
        }
    }
}

potluck_sdk::export_plugin!(Disk);
