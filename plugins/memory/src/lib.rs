//! Shared memory: a bounded map from keys to JSON values, in the memory of this node.
//!
//! Every client, peer and task of the pool sees the same entries. Nothing is written to disk: they are gone when the
//! node stops. Values are kept as the text in which they came, digit for digit.
//!
//! | message | does | answer |
//! |---|---|---|
//! | `SET_MEM`, `SET_MEM_REMOTE` | stores a value, for ever or for `ttl_seconds`, on condition with `if_version` | `STATUS` |
//! | `GET_MEM`, `GET_MEM_REMOTE` | reads a value | `MEM_RESPONSE` |
//! | `DELETE_MEM` | removes an entry | `STATUS` |
//! | `WATCH_MEM` | waits until an entry changes | `MEM_RESPONSE` |
//! | `LIST_MEM` | lists keys in order, a page at a time | `MEM_LIST` |
//! | `HELD_MEMORY_KEYS` | tells `quota` whose the entries are | `HELD` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `handler` (one function a message), `key` (when
//! two keys are the same), `store` (the map and its limits), `watchers` (who waits for changes), `quota` and `owners` (how
//! many entries a caller may make, and has made), `error` (what can go wrong).

mod config;
mod error;
mod handler;
mod key;
mod owners;
mod quota;
mod store;
mod watchers;

use config::MemoryConfig;
use handler::Room;
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use quota::Quota;
use std::sync::Arc;
use std::time::Instant;
use store::ShardedStore;
use watchers::Watchers;

/// The provider `memory`.
pub struct Memory {
    room: Arc<Room>,
}

impl Memory {
    /// As [`Provider::start`], with a clock of the caller's choice: tests move the time by hand.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now: impl Fn() -> Instant + Send + Sync + Clone + 'static,
    ) -> Result<Memory, ProviderError> {
        let config = MemoryConfig::read(config)?;
        let clock = Box::new(now.clone());
        let room = Room {
            host,
            own_id: host.node().peer_id.to_string(),
            store: Box::new(ShardedStore::new(config.limits(), Box::new(now))),
            watchers: Watchers::new(config.watchers_max(), config.peer_share()),
            quota: Quota::new(host),
            clock,
        };
        Ok(Memory { room: Arc::new(room) })
    }
}

impl Provider for Memory {
    const INFO: ProviderInfo = ProviderInfo {
        id: "memory",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("SET_MEM", LeastCaller::Task),
            MessageInfo::new("SET_MEM_REMOTE", LeastCaller::Task),
            MessageInfo::new("GET_MEM", LeastCaller::Task),
            MessageInfo::new("GET_MEM_REMOTE", LeastCaller::Task),
            MessageInfo::new("DELETE_MEM", LeastCaller::Task),
            MessageInfo::new("LIST_MEM", LeastCaller::Task),
            MessageInfo::new("WATCH_MEM", LeastCaller::Task),
            MessageInfo::new("HELD_MEMORY_KEYS", LeastCaller::Plugin),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Memory, ProviderError> {
        Memory::start_with_clock(host, config, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&self.room, request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("memory", handler::status(&self.room))
    }

    fn event(&self, topic: &str, json: &str) {
        self.room.quota.event(topic, json);
    }

    fn stop(&self) {
        self.room.close();
    }
}

potluck_sdk::export_plugin!(Memory);
