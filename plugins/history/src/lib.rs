//! What has become of every task: who asked for it, where it ran, how long it took and what came out.
//!
//! Records are in `history.sqlite` in the node's data directory. A recorder is answered when its batch is on the disk,
//! and one that comes twice is recorded once, so none is lost and none is there twice. A search sees all
//! batches that have come before it.
//!
//! | message | does | who | answer |
//! |---|---|---|---|
//! | `RECORD_TASKS` | puts tasks that have ended in | plugins | `STATUS` |
//! | `TASK_HISTORY` | shows the newest records that fit, or that of one task | tasks and members their own, local all | `STATUS` |
//! | `HISTORY_CLEAR` | forgets all | local | `STATUS` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `batch` (records that wait), `database` (the file and
//! its schema), `segment` (records on the disk), `upgrade` (a file of before), `books` (sums in memory), `index` (what occurs
//! in which block of records), `table` (putting in and taking out), `writer` (the queue of changes), `query` and `reader`
//! (searches), `service` (one function a message), `time`, `error`.

mod batch;
mod books;
mod config;
mod database;
mod error;
mod index;
mod query;
mod reader;
mod segment;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod upgrade;
mod writer;

use config::HistoryConfig;
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use service::Service;

/// The provider `history`.
pub struct History {
    service: Service,
}

impl History {
    /// As [`Provider::start`], with a clock of the caller's choice, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<History, ProviderError> {
        let retention = HistoryConfig::read(config)?;
        Ok(History { service: Service::start(host, retention, Box::new(now_ms))? })
    }
}

impl Provider for History {
    const INFO: ProviderInfo = ProviderInfo {
        id: "history",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("RECORD_TASKS", LeastCaller::Plugin),
            MessageInfo::new("TASK_HISTORY", LeastCaller::Task),
            MessageInfo::new("HISTORY_CLEAR", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<History, ProviderError> {
        History::start_with_clock(host, config, time::unix_ms)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        self.service.answer(request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("task_history", self.service.statistics())
    }

    fn stop(&self) {
        self.service.close();
    }
}

potluck_sdk::export_plugin!(History);
