//! Processes: every task of the node is one, and so is what somebody enters by hand.
//!
//! cpu reports its tasks in batches; signals go back to it, so that pausing a process pauses its task. A process has a
//! parent, whose end by a signal ends it too, and perhaps a group.
//!
//! | message | does |
//! |---|---|
//! | `CREATE_PROCESS` | makes an entry, or runs a task as one |
//! | `TERMINATE_PROCESS`, `SIGNAL_PROCESS`, `SET_PRIORITY`, `SET_PROCESS_STATE` | acts on one |
//! | `WAIT_PROCESS` | answers when one has ended |
//! | `PROCESS_INFO`, `LIST_PROCESSES`, `PROCESS_TREE` | show them |
//! | `CREATE_GROUP`, `SIGNAL_GROUP`, `KILL_GROUP`, `LIST_GROUPS` | the same for groups |
//! | `RESERVE_PIDS`, `PROCESS_CHANGES` | from cpu: names for its tasks, and what became of them |
//! | `PROCESS_RESOURCES` | for the search for deadlocks: which tasks wait for which ends |
//! | `PROCESS_ENDED` | from other nodes: one of theirs has ended |
//!
//! The rooms, in reading order: `state` (which state can follow which), `table` (who there is, and what follows from an
//! end), `processes` (the lock, and what is done after it), `waiting` (answers that are owed), `handler` (one function a
//! message), `peers` (nodes that are gone), `news` (what the event tells), `config`, `error`.

mod config;
mod error;
mod handler;
mod news;
mod peers;
mod processes;
mod state;
mod table;
mod waiting;

use config::ProcessConfig;
use peers::Peers;
use potluck_sdk::message::process::{ENDED_TOPIC, NAMED_TOPIC, ProcessEnded, ProcessNamed};
use potluck_sdk::message::resources::Resources;
use potluck_sdk::message::tracker::{PEERS_TOPIC, PeerRevoked, PeerTable, REVOKED_TOPIC};
use potluck_sdk::{
    Config, Host, LeastCaller, Level, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use processes::Processes;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The provider `process`.
pub struct Process {
    processes: Arc<Processes>,
    peers: Arc<Peers>,
}

impl Process {
    /// As [`Provider::start`], with a clock of the caller's choice, in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Process, ProviderError> {
        let config = ProcessConfig::read(config)?;
        host.subscribe(PEERS_TOPIC);
        host.subscribe(REVOKED_TOPIC);
        host.subscribe(NAMED_TOPIC);
        host.subscribe(ENDED_TOPIC);
        Ok(Process { processes: Processes::new(host, config, Box::new(now)), peers: Arc::default() })
    }
}

impl Provider for Process {
    const INFO: ProviderInfo = ProviderInfo {
        id: "process",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("CREATE_PROCESS", LeastCaller::Task),
            MessageInfo::new("TERMINATE_PROCESS", LeastCaller::Task),
            MessageInfo::new("SIGNAL_PROCESS", LeastCaller::Task),
            MessageInfo::new("PROCESS_TREE", LeastCaller::Task),
            MessageInfo::new("PROCESS_INFO", LeastCaller::Task),
            MessageInfo::new("LIST_PROCESSES", LeastCaller::Task),
            MessageInfo::new("WAIT_PROCESS", LeastCaller::Task),
            MessageInfo::new("SET_PROCESS_STATE", LeastCaller::Task),
            MessageInfo::new("SET_PRIORITY", LeastCaller::Task),
            MessageInfo::new("CREATE_GROUP", LeastCaller::Task),
            MessageInfo::new("KILL_GROUP", LeastCaller::Task),
            MessageInfo::new("SIGNAL_GROUP", LeastCaller::Task),
            MessageInfo::new("LIST_GROUPS", LeastCaller::Task),
            MessageInfo::new("PROCESS_ENDED", LeastCaller::Member),
            MessageInfo::new("PROCESS_RESOURCES", LeastCaller::Plugin),
            MessageInfo::new("RESERVE_PIDS", LeastCaller::Plugin),
            MessageInfo::new("PROCESS_CHANGES", LeastCaller::Plugin),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Process, ProviderError> {
        Process::start_with_clock(host, config, || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        match request.message_type {
            "PROCESS_CHANGES" => handler::changes(&self.processes, request, reply),
            "RESERVE_PIDS" => handler::reserve_pids(&self.processes, request, reply),
            "PROCESS_RESOURCES" => reply.send(&Resources { resources: self.processes.resources() }),
            "PROCESS_ENDED" => handler::process_ended(&self.processes, request, reply),
            _ => handler::answer(&self.processes, request, reply),
        }
    }

    fn event(&self, topic: &str, json: &str) {
        let read = match topic {
            PEERS_TOPIC => {
                serde_json::from_str::<PeerTable>(json).map(|table| self.peers.update(&self.processes, &table))
            }
            ENDED_TOPIC => serde_json::from_str::<ProcessEnded<'_>>(json).map(|ended| self.processes.ended(&ended)),
            NAMED_TOPIC => serde_json::from_str::<ProcessNamed<'_>>(json).map(|named| self.processes.named(&named)),
            _ => serde_json::from_str::<PeerRevoked>(json)
                .map(|revoked| self.peers.revoked(&self.processes, &revoked.peer_id)),
        };
        if let Err(error) = read {
            self.processes.host.log(Level::Warn, &format!("an event on {topic} cannot be read: {error}"));
        }
    }

    fn status(&self) -> Status {
        Status::default().with("process_manager", self.processes.look(|table| table.status()))
    }
}

potluck_sdk::export_plugin!(Process);
