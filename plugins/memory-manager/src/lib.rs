//! The allocator: blocks of memory from an arena of the node's, by first, best, worst or next fit.
//!
//! A process can have several blocks, read and write them, and has none any more when it ends. What one process wrote is
//! never seen by another. The algorithm can be changed while blocks are in use.
//!
//! | message | does | answer |
//! |---|---|---|
//! | `ALLOCATE_MEMORY` | gives a process a block, at once or as soon as there is room | `STATUS` |
//! | `DEALLOCATE_MEMORY` | takes one block back, or all of a process | `STATUS` |
//! | `READ_BLOCK`, `WRITE_BLOCK` | bytes of a block, as Base64 | `BLOCK`, `STATUS` |
//! | `SET_ALLOCATOR` | another algorithm | `STATUS` |
//! | `MEMORY_MAP` | which parts are used and which are free | `MEMORY_MAP` |
//! | `MEMORY_RESOURCES` | who has and waits for memory, for the search for deadlocks | `RESOURCES` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `handler` (one function a message), `service` (the
//! lock, the replies that wait), `manager` (blocks and their processes), `heap` (used and free), `arena` (the bytes), `error`.

mod arena;
mod config;
mod error;
mod handler;
mod heap;
mod manager;
mod service;

use config::Limits;
use potluck_sdk::message::deadlock::{PROCESS_ENDED, VICTIM_TOPIC, VictimChosen};
use potluck_sdk::message::process::{ENDED_TOPIC, ProcessEnded};
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, PeerId, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use service::Service;
use std::sync::Arc;

/// The provider `memory-manager`.
pub struct MemoryManager {
    service: Arc<Service>,
    own_id: PeerId,
}

impl Provider for MemoryManager {
    const INFO: ProviderInfo = ProviderInfo {
        id: "memory-manager",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("ALLOCATE_MEMORY", LeastCaller::Task),
            MessageInfo::new("DEALLOCATE_MEMORY", LeastCaller::Task),
            MessageInfo::new("READ_BLOCK", LeastCaller::Task),
            MessageInfo::new("WRITE_BLOCK", LeastCaller::Task),
            MessageInfo::new("SET_ALLOCATOR", LeastCaller::Local),
            MessageInfo::new("MEMORY_MAP", LeastCaller::Task),
            MessageInfo::new("MEMORY_RESOURCES", LeastCaller::Plugin),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<MemoryManager, ProviderError> {
        let service = Service::start(host, Limits::read(config)?)?;
        host.subscribe(ENDED_TOPIC);
        host.subscribe(VICTIM_TOPIC);
        Ok(MemoryManager { service, own_id: host.node().peer_id })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&self.service, &self.own_id, request, reply);
    }

    fn status(&self) -> Status {
        Status::default().with("memory_manager", self.service.status())
    }

    fn event(&self, topic: &str, json: &str) {
        if topic == ENDED_TOPIC
            && let Ok(ended) = serde_json::from_str::<ProcessEnded<'_>>(json)
        {
            self.service.end(&ended, PROCESS_ENDED);
        } else if topic == VICTIM_TOPIC
            && let Ok(victim) = serde_json::from_str::<VictimChosen>(json)
        {
            let ended = ProcessEnded { pid: victim.pid.into(), reason: victim.reason.into() };
            self.service.end(&ended, &victim.code);
        }
    }

    fn stop(&self) {
        self.service.stop();
    }
}

potluck_sdk::export_plugin!(MemoryManager);
