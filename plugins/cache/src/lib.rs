//! Results of earlier runs, so that a run that would come to the same result need not be made again.
//!
//! The provider keeps values by key and knows nothing of tasks: whether a run may be reused is decided by the provider
//! `cpu`, which asks with a key that names everything the run depends on. Values are kept as the text in which they came,
//! in memory alone.
//!
//! | message | does | who | answer |
//! |---|---|---|---|
//! | `CACHE_GET` | looks a value up; with `wait` the first asker gets a lease and the others its value | plugins | `CACHE_ENTRY` |
//! | `CACHE_PUT` | stores a value and ends the lease | plugins | `STATUS` |
//! | `CACHE_ABANDON` | ends a lease without a value, for the next who waits or for good | plugins | `STATUS` |
//! | `CACHE_RULES` | tells whether runs count as pure unless they say otherwise; the event `cache.rules` too | plugins | `CACHE_RULES` |
//! | `CACHE_STATISTICS` | tells how well it serves | local | `STATUS` |
//! | `CACHE_CLEAR` | forgets all values | local | `STATUS` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `entries` (values, their age and use), `store` (runs
//! under way and who waits for them), `service` (messages, replies and the one timer), `error` (what can go wrong).

mod config;
mod entries;
mod error;
mod service;
mod store;

use config::CacheConfig;
use potluck_sdk::message::cache::{CACHE_RULES_TOPIC, CacheRulesChanged};
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use service::Service;
use std::sync::Arc;
use std::time::Instant;

/// The provider `cache`.
pub struct Cache {
    service: Arc<Service>,
}

impl Cache {
    /// As [`Provider::start`], with a clock of the caller's choice: tests move the time by hand.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Cache, ProviderError> {
        let config = CacheConfig::read(config)?;
        // A provider of tasks that was there before has asked in vain.
        host.publish(CACHE_RULES_TOPIC, &CacheRulesChanged { assume_pure: config.assume_pure });
        Ok(Cache { service: Arc::new(Service::new(host, &config, Box::new(now))) })
    }
}

impl Provider for Cache {
    const INFO: ProviderInfo = ProviderInfo {
        id: "cache",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("CACHE_GET", LeastCaller::Plugin),
            MessageInfo::new("CACHE_PUT", LeastCaller::Plugin),
            MessageInfo::new("CACHE_ABANDON", LeastCaller::Plugin),
            MessageInfo::new("CACHE_RULES", LeastCaller::Plugin),
            MessageInfo::new("CACHE_STATISTICS", LeastCaller::Local),
            MessageInfo::new("CACHE_CLEAR", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Cache, ProviderError> {
        Cache::start_with_clock(host, config, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        self.service.answer(request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("cache", self.service.usage())
    }

    fn stop(&self) {
        self.service.close();
    }
}

potluck_sdk::export_plugin!(Cache);
