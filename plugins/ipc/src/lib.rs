//! Queues and semaphores, for tasks, clients and other nodes.
//!
//! Nothing is written to disk: they are gone when the node stops. A value passes through as the text in which it came.
//! A message is taken once: a receiver that goes away in the very moment in which it is answered takes it along.
//! Whoever waits is a reply that is kept: no thread, and no timer of its own. What a process holds or waits for ends with it.
//!
//! | message | does | answer |
//! |---|---|---|
//! | `CREATE_QUEUE`, `DELETE_QUEUE` | makes and removes a bounded queue | `STATUS` |
//! | `SEND_MESSAGE` | sends to one, to everybody (`*`), to whoever asks first (`?`); waits for room | `STATUS` |
//! | `RECEIVE_MESSAGE`, `PEEK_MESSAGE` | takes, or looks at, a receiver's next message; waits for one | `STATUS` |
//! | `JOIN_QUEUE`, `LEAVE_QUEUE` | who is meant by everybody | `STATUS` |
//! | `CREATE_SEMAPHORE`, `DELETE_SEMAPHORE` | makes and removes a counting or binary semaphore | `STATUS` |
//! | `SEMAPHORE_WAIT`, `SEMAPHORE_SIGNAL` | takes a permit, first come first served, and gives one | `STATUS` |
//! | `LIST_QUEUES`, `LIST_SEMAPHORES` | in order of their names, a page at a time | `QUEUE_LIST`, `SEMAPHORE_LIST` |
//! | `IPC_RESOURCES`, `CANCEL_WAITS` | for the detection of deadlocks, between plugins | `RESOURCES`, `STATUS` |
//!
//! The rooms, in reading order: `config` (its table in plugins.toml), `names` (who is meant), `handler` (one function a
//! message), `room` (the tables, the clock, and how waits begin and end), `waiting` (those who wait), `semaphores` and
//! `queues` (the tables: they call nobody), `shares` (what each other node has of them), `error` (what can go wrong).

mod config;
mod error;
mod handler;
mod names;
mod queues;
mod room;
mod semaphores;
mod shares;
mod waiting;

use config::Limits;
use potluck_sdk::message::process::{ENDED_TOPIC, ProcessEnded};
use potluck_sdk::{
    Config, Host, LeastCaller, MessageInfo, Provider, ProviderError, ProviderInfo, Reply, Request, Status,
};
use room::Room;
use std::sync::Arc;
use std::time::Instant;

/// The provider `ipc`.
pub struct Ipc {
    room: Arc<Room>,
}

impl Ipc {
    /// As [`Provider::start`], with a clock of the caller's choice: tests move the time by hand.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_with_clock(
        host: Host,
        config: Config<'_>,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Result<Ipc, ProviderError> {
        let limits = Limits::read(config)?;
        host.subscribe(ENDED_TOPIC);
        Ok(Ipc { room: Arc::new(Room::new(host, limits, Box::new(now))) })
    }
}

impl Provider for Ipc {
    const INFO: ProviderInfo = ProviderInfo {
        id: "ipc",
        version: env!("CARGO_PKG_VERSION"),
        messages: &[
            MessageInfo::new("CREATE_QUEUE", LeastCaller::Task),
            MessageInfo::new("DELETE_QUEUE", LeastCaller::Task),
            MessageInfo::new("LIST_QUEUES", LeastCaller::Task),
            MessageInfo::new("SEND_MESSAGE", LeastCaller::Task),
            MessageInfo::new("RECEIVE_MESSAGE", LeastCaller::Task),
            MessageInfo::new("PEEK_MESSAGE", LeastCaller::Task),
            MessageInfo::new("JOIN_QUEUE", LeastCaller::Task),
            MessageInfo::new("LEAVE_QUEUE", LeastCaller::Task),
            MessageInfo::new("CREATE_SEMAPHORE", LeastCaller::Task),
            MessageInfo::new("DELETE_SEMAPHORE", LeastCaller::Task),
            MessageInfo::new("LIST_SEMAPHORES", LeastCaller::Task),
            MessageInfo::new("SEMAPHORE_WAIT", LeastCaller::Task),
            MessageInfo::new("SEMAPHORE_SIGNAL", LeastCaller::Task),
            MessageInfo::new("IPC_RESOURCES", LeastCaller::Plugin),
            MessageInfo::new("CANCEL_WAITS", LeastCaller::Plugin),
        ],
    };

    fn start(host: Host, config: Config<'_>) -> Result<Ipc, ProviderError> {
        Ipc::start_with_clock(host, config, Instant::now)
    }

    fn handle(&self, request: Request<'_>, reply: Reply<'_>) {
        handler::answer(&self.room, request, reply);
    }

    fn event(&self, _topic: &str, json: &str) {
        if let Ok(ended) = serde_json::from_str::<ProcessEnded<'_>>(json) {
            self.room.process_ended(&ended);
        }
    }

    fn status(&self) -> Status {
        Status::default().with("ipc", handler::status(&self.room))
    }

    fn stop(&self) {
        self.room.close();
    }
}

potluck_sdk::export_plugin!(Ipc);
