//! Quotas: how much each caller may use, and all of them together.
//!
//! There are two kinds of resources. What is used up (tasks) is counted here, over a sliding time, and a use is on disk
//! before it is granted: neither a restart nor a kill gives it back. What there is (entries of the memory, bytes of files)
//! is counted by the provider that has it, which says how much that is when it asks for more, and when it is asked. Of what
//! is used up, who has no limit is not counted; the other providers know the rules and do not even ask.
//!
//! | message | does |
//! |---|---|
//! | `QUOTA_TAKE` | from other providers: grants so much more to a caller, or refuses |
//! | `QUOTA_RULES` | from other providers: who has a limit |
//! | `QUOTA_CHECK` | shows limits and what was used of them |
//!
//! The rooms, in reading order: `config` (limits and presets), `window` (a sliding time), `ledger` (who has used what),
//! `stock` (what others count),
//! `store` (the file), `commits` (several uses, one write), `handler`, `error`.

mod commits;
mod config;
mod error;
mod handler;
mod ledger;
mod stock;
mod store;
mod window;

use commits::Commits;
use ledger::Ledger;
use parking_lot::Mutex;
use potluck_sdk::message::quota::RULES_TOPIC;
use potluck_sdk::{
    Config, Health, Host, LeastCaller, Level, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request,
    Status,
};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::{SqliteStore, Store, StoreError};

/// The provider `quota`.
pub struct Quota {
    own_id: String,
    /// Milliseconds since 1970, never going back.
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    host: Host,
    /// No other lock is taken while it is held.
    ledger: Arc<Mutex<Ledger>>,
    commits: Arc<Commits>,
}

impl Quota {
    /// As [`Provider::start`], with a clock of the caller's choice: what it adds to `begin_milliseconds` since 1970.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        begin_milliseconds: u64,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Quota, ProviderError> {
        let rules = config::read(config)?;
        for doubt in config::doubts(&rules) {
            host.log(Level::Warn, &doubt);
        }
        let mut ledger = Ledger::new(&rules);
        let node = host.node();
        let begin = now();
        let clock = move || {
            let since = now().saturating_duration_since(begin).as_millis();
            begin_milliseconds.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
        };
        let unusable = |error: StoreError| {
            ProviderError::new(ProviderError::INTERNAL, format!("what was used cannot be read: {error}"))
        };
        let mut store = SqliteStore::open(&node.data_dir).map_err(unusable)?;
        ledger.remember(&store.load().map_err(unusable)?, clock());
        host.publish(RULES_TOPIC, &ledger.rules());
        let commits = Arc::new(Commits::new(host, Box::new(store), ledger.windows()));
        let own_id = node.peer_id.to_string();
        Ok(Quota { own_id, clock: Arc::new(clock), host, ledger: Arc::new(Mutex::new(ledger)), commits })
    }
}

impl Provider for Quota {
    const INFO: ProviderInfo = ProviderInfo {
        id: "quota",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("QUOTA_TAKE", LeastCaller::Plugin),
            MessageInfo::new("QUOTA_RULES", LeastCaller::Plugin),
            MessageInfo::new("QUOTA_CHECK", LeastCaller::Task),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Quota, ProviderError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Quota::start_with_clock(host, config, begin, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(self, request, reply);
    }

    fn status(&self) -> Status {
        // Who answers later is in the next one.
        stock::count(self.host, &self.ledger, || {});
        let now = (self.clock)();
        let quota = self.ledger.lock().status(now);
        Status::default().with("quota", quota)
    }

    fn health(&self) -> Health {
        self.commits.health()
    }

    fn stop(&self) {
        self.commits.finish();
    }
}

potluck_sdk::export_plugin!(Quota);
