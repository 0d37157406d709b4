//! One function a message.

use crate::batch::Batch;
use crate::books::Outcome;
use crate::config::Retention;
use crate::error::HistoryError;
use crate::query::{self, Search};
use crate::reader::Reader;
use crate::time::point;
use crate::writer::Writer;
use potluck_sdk::message::history::{HistoryStatistics, TaskHistory, TaskHistoryEntry, TaskHistoryPage};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{Caller, Host, ProviderError, Reply, Request};
use rusqlite::Connection;
use std::borrow::Cow;
use std::sync::Arc;

const FILE_NAME: &str = "history.sqlite";
/// Records of an answer when the message does not say.
const LIMIT_DEFAULT: usize = 100;
/// Most records of an answer.
const LIMIT_MAX: usize = 10_000;
/// The one that local tasks run for, as records have it.
const LOCAL: &str = "local";

pub(crate) struct Service {
    own_id: String,
    writer: Arc<Writer>,
    reader: Arc<Reader>,
}

impl Service {
    pub(crate) fn start(
        host: Host,
        retention: Retention,
        now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Service, HistoryError> {
        let node = host.node();
        let path = node.node_dir.join(FILE_NAME);
        let writer = Writer::start(host, path.clone(), retention, now_ms)?;
        Ok(Service { own_id: node.peer_id.to_string(), writer, reader: Reader::new(host, path) })
    }

    /// Answers one message.
    pub(crate) fn answer(&self, request: Request<'_>, reply: Reply<'_>) {
        let refused = match request.message_type {
            "RECORD_TASKS" => match Batch::read(&request) {
                Ok(batch) => return self.writer.record(batch, reply.later()),
                Err(error) => error,
            },
            "TASK_HISTORY" => match request.parse::<TaskHistory<'_>>() {
                Ok(message) => match self.history(&request, message, reply) {
                    Ok(()) => return,
                    Err((error, reply)) => return reply.error(&error.into()),
                },
                Err(error) => error,
            },
            "HISTORY_CLEAR" => return self.writer.clear(reply.later()),
            other => ProviderError::new(ProviderError::NO_PROVIDER, format!("history does not answer {other}")),
        };
        reply.error(&refused);
    }

    fn history<'r>(
        &self,
        request: &Request<'_>,
        message: TaskHistory<'_>,
        reply: Reply<'r>,
    ) -> Result<(), (HistoryError, Reply<'r>)> {
        let owner = self.visible_to(request.caller);
        if let Some(task_id) = message.task_id {
            let task_id = task_id.into_owned();
            let writer = Arc::clone(&self.writer);
            self.ask(reply, move |connection, _| {
                let task = query::task(connection, &task_id, owner.as_deref());
                let task = task.inspect_err(|error| note_damage(&writer, error))?;
                Ok(to_json(&TaskHistoryEntry { status: STATUS_OK.to_owned(), task }))
            });
            return Ok(());
        }
        let search = match search(message, owner.clone()) {
            Ok(search) => search,
            Err(error) => return Err((error, reply)),
        };
        let writer = Arc::clone(&self.writer);
        self.ask(reply, move |connection, is_gone| {
            let page = query::search(connection, &search, is_gone);
            let page = page.inspect_err(|error| note_damage(&writer, error))?;
            let statistics = writer.books().lock().statistics(owner.as_deref());
            let status = STATUS_OK.to_owned();
            Ok(to_json(&TaskHistoryPage { status, history: page.records, statistics, next: page.next }))
        });
        Ok(())
    }

    /// Searches, behind the records that have come before.
    fn ask(
        &self,
        reply: Reply<'_>,
        search: impl FnOnce(&Connection, &dyn Fn() -> bool) -> Result<String, HistoryError> + Send + 'static,
    ) {
        let (reader, reply) = (Arc::clone(&self.reader), reply.later());
        self.writer.then(move || reader.ask(reply, search));
    }

    /// Whose records alone a caller may see; nothing for all.
    fn visible_to(&self, caller: Caller<'_>) -> Option<String> {
        match caller {
            Caller::Local | Caller::Web(_) | Caller::Plugin(_) => None,
            Caller::Task(peer) if peer == self.own_id => Some(LOCAL.to_owned()),
            Caller::Task(peer) | Caller::Member(peer) => Some(peer.to_owned()),
        }
    }

    /// The member `task_history` of the node's STATUS reply.
    pub(crate) fn statistics(&self) -> HistoryStatistics {
        self.writer.books().lock().statistics(None)
    }

    /// The node stops.
    pub(crate) fn close(&self) {
        self.writer.close();
        self.reader.close();
    }
}

fn note_damage(writer: &Writer, error: &HistoryError) {
    if error.is_damage() {
        writer.note_damage();
    }
}

fn search(message: TaskHistory<'_>, owner: Option<String>) -> Result<Search, HistoryError> {
    let limit = match message.limit.map(usize::try_from) {
        None => LIMIT_DEFAULT,
        Some(Ok(0)) => LIMIT_MAX,
        Some(Ok(limit)) => limit.min(LIMIT_MAX),
        Some(Err(_)) => return Err(HistoryError::Limit),
    };
    let outcome = match message.status {
        None => None,
        Some(word) => Some(Outcome::from_word(&word).ok_or_else(|| HistoryError::Status(word.into_owned()))?),
    };
    Ok(Search {
        limit,
        task_type: message.task_type.map(Cow::into_owned),
        outcome,
        peer: message.peer.map(Cow::into_owned),
        callers: owner.into_iter().chain(message.requested_by.map(Cow::into_owned)).collect(),
        since_ms: message.since.as_ref().map(point).transpose()?,
        until_ms: message.until.as_ref().map(point).transpose()?,
        text: message.text.map(Cow::into_owned).filter(|text| !text.is_empty()),
        before: message.before,
    })
}
