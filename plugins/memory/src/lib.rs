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
//! | `LIST_MEM` | lists keys in order, a page at a time | `MEM_LIST` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `handler` (one function a message), `key` (when
//! two keys are the same), `store` (the map and its limits), `error` (what can go wrong).

mod config;
mod handler;
mod key;
mod store;

mod error;

use config::MemoryConfig;
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use std::time::Instant;
use store::{ShardedStore, Store};

/// The provider `memory`.
pub struct Memory {
    store: Box<dyn Store>,
}

impl Memory {
    /// As [`Provider::start`], with a clock of the caller's choice: tests move the time by hand.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        config: Config<'_>,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Memory, ProviderError> {
        let config = MemoryConfig::read(config)?;
        Ok(Memory { store: Box::new(ShardedStore::new(config.limits(), Box::new(now))) })
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
        ],
    };

    fn start(_host: Host, config: Config<'_>) -> Result<Memory, ProviderError> {
        Memory::start_with_clock(config, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&*self.store, request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("memory", handler::status(&*self.store))
    }
}

potluck_sdk::export_plugin!(Memory);
