//! Deadlocks: avoided with Banker's algorithm, found over all resources of the node, and ended.
//!
//! Resources under Banker's algorithm are given out only while every process can be sure to end. For all else (semaphores,
//! memory, the ends of child tasks) there is the search: it says which processes can never go on, who waits for whom, and
//! whom to end.
//!
//! | message | does | answer |
//! |---|---|---|
//! | `REGISTER_RESOURCE`, `UNREGISTER_RESOURCE` | a resource, and how many units there are; again, to change that | `STATUS` |
//! | `REGISTER_PROCESS`, `UNREGISTER_PROCESS` | what a process may need at most | `STATUS` |
//! | `REQUEST_RESOURCE` | gives units out if that is safe, at once or later | `STATUS` |
//! | `RELEASE_RESOURCE` | takes units back | `STATUS` |
//! | `LIST_RESOURCES` | the books, and an order in which all can end | `RESOURCE_LIST` |
//! | `DEADLOCK_CHECK` | looks for a deadlock and explains it | `STATUS` |
//! | `RESOLVE_DEADLOCK` | ends processes until none is left | `STATUS` |
//!
//! While somebody waits without a time-out it looks by itself, and publishes `deadlock.detected`.
//!
//! The rooms, in reading order: `banker` (the algorithm), `bank` (with requests that wait), `detect` (the search), `explain`
//! (what it found, in sentences, and whom to end), `service` (the lock, the replies that wait), `search` (asks the other
//! providers), `resolve` (ends processes), `handler` (one function a message), `config`, `facts`, `error`.

mod bank;
mod banker;
mod config;
mod detect;
mod error;
mod explain;
mod facts;
mod handler;
mod resolve;
mod search;
mod service;

use config::Settings;
use potluck_sdk::message::deadlock::{PROCESS_ENDED, WAITING_TOPIC};
use potluck_sdk::message::process::{ENDED_TOPIC, ProcessEnded};
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, PeerId, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use service::Service;
use std::sync::Arc;

/// The provider `deadlock`.
pub struct Deadlock {
    service: Arc<Service>,
    own_id: PeerId,
}

impl Provider for Deadlock {
    const INFO: ProviderInfo = ProviderInfo {
        id: "deadlock",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("REGISTER_RESOURCE", LeastCaller::Local),
            MessageInfo::new("UNREGISTER_RESOURCE", LeastCaller::Local),
            MessageInfo::new("REGISTER_PROCESS", LeastCaller::Task),
            MessageInfo::new("UNREGISTER_PROCESS", LeastCaller::Task),
            MessageInfo::new("REQUEST_RESOURCE", LeastCaller::Task),
            MessageInfo::new("RELEASE_RESOURCE", LeastCaller::Task),
            MessageInfo::new("LIST_RESOURCES", LeastCaller::Task),
            MessageInfo::new("DEADLOCK_CHECK", LeastCaller::Task),
            MessageInfo::new("RESOLVE_DEADLOCK", LeastCaller::Local),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Deadlock, ProviderError> {
        let node = host.node();
        let service = Service::new(host, Settings::read(config, &node)?);
        host.subscribe(ENDED_TOPIC);
        host.subscribe(WAITING_TOPIC);
        Ok(Deadlock { service, own_id: node.peer_id })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&self.service, &self.own_id, request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("deadlock_detector", handler::status(&self.service))
    }

    fn event(&self, topic: &str, json: &str) {
        if topic == WAITING_TOPIC {
            self.service.somebody_waits();
        } else if let Ok(ended) = serde_json::from_str::<ProcessEnded<'_>>(json) {
            let reason = format!("process {} has ended: {}", ended.pid, ended.reason);
            self.service.end(&ended, PROCESS_ENDED, &reason);
            self.service.watches.ended(&ended.pid);
        }
    }

    fn stop(&self) {
        self.service.stop();
    }
}

potluck_sdk::export_plugin!(Deadlock);
