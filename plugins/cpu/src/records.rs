//! The history: every task that has ended is recorded once. Records go in batches, each kept until it is acknowledged.

use crate::job::Ended;
use crate::life::{Card, cut, unix_milliseconds};
use crate::outbox::{Outbox, Rules};
use potluck_sdk::message::cpu::outcome;
use potluck_sdk::message::history::{RECORDS_PER_BATCH_MAX, RecordTasks, role, status};
use potluck_sdk::message::to_json;
use potluck_sdk::{Host, PeerId};
use serde::Serialize;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Records that wait; each has some 500 bytes.
const RECORDS_WAITING_MAX: usize = 100_000;
/// How long records wait for others: each batch costs one commit.
const PAUSE: Duration = Duration::from_millis(50);
/// What is recorded of a result.
const RESULT_CHARACTERS_MAX: usize = 100;
/// What is recorded of an error.
const ERROR_CHARACTERS_MAX: usize = 500;

/// A task that has ended.
struct Record {
    card: Arc<Card>,
    finished_unix_milliseconds: u64,
    /// On success.
    result: Option<Box<str>>,
    code: Cow<'static, str>,
    error: Box<str>,
    executed_by: Box<str>,
    /// The peer that ran it, when it is another one and known.
    peer: Option<PeerId>,
    is_here: bool,
    turnaround_seconds: f64,
    waiting_seconds: f64,
    cpu_seconds: Option<f64>,
    attempts: u32,
    cached: bool,
}

/// Tells the history.
pub(crate) struct Records {
    outbox: Arc<Outbox<Record>>,
}

impl Records {
    pub(crate) fn new(host: Host) -> Records {
        let rules = Rules {
            what: "records of tasks",
            entries_max: RECORDS_WAITING_MAX,
            batch_max: RECORDS_PER_BATCH_MAX.min(4096),
            pause: PAUSE,
            at_once: false,
            insist: true,
            is_spare: |_| false,
            compose,
        };
        Records { outbox: Arc::new(Outbox::new(host, rules)) }
    }

    /// Takes note of a task that has ended.
    pub(crate) fn add(
        &self,
        card: &Arc<Card>,
        ended: &Ended,
        (own_address, own_id): (&str, PeerId),
        attempts: u32,
        turnaround: Duration,
    ) {
        if !self.outbox.is_wanted() {
            return;
        }
        let is_here = ended.executed_by == own_address;
        let (result, code, error) = match &ended.verdict {
            Ok(result) => (Some(cut(result.get(), RESULT_CHARACTERS_MAX).into()), Cow::Borrowed(""), Box::default()),
            Err(failed) => (None, failed.code.clone(), cut(&failed.error, ERROR_CHARACTERS_MAX).into()),
        };
        let turnaround_seconds = turnaround.as_secs_f64();
        self.outbox.push(Record {
            card: Arc::clone(card),
            finished_unix_milliseconds: unix_milliseconds(),
            // Nobody is to learn of it: not even of its beginning.
            result: result.filter(|_| !card.confidential),
            error: if card.confidential { Box::default() } else { error },
            code,
            executed_by: ended.executed_by.as_str().into(),
            peer: if is_here { Some(own_id) } else { ended.peer },
            is_here,
            turnaround_seconds,
            waiting_seconds: (turnaround_seconds - ended.execution_seconds).max(0.0),
            cpu_seconds: ended.cpu_seconds,
            attempts,
            cached: ended.cached,
        });
    }

    /// Waits until everything is recorded, for some time.
    pub(crate) fn drain(&self, patience: Duration) {
        self.outbox.drain(patience);
    }
}

/// RECORD_TASKS with a name that no other batch has.
fn compose(records: &[Record], number: u64) -> String {
    // Batches of an earlier life of the node must not be taken for these.
    static LIFE: LazyLock<String> = LazyLock::new(|| {
        let started = unix_milliseconds();
        format!("{started:x}-{:x}", RandomState::new().hash_one(started))
    });
    let batch = format!("{}-{number}", *LIFE);
    to_json(&RecordTasks { batch, records: records.iter().map(on_wire).collect() })
}

/// A [`TaskRecord`] that owns nothing: there is one for every task, however short that is.
///
/// [`TaskRecord`]: potluck_sdk::message::history::TaskRecord
#[derive(Serialize)]
struct Line<'a> {
    task_id: &'a str,
    task_type: &'static str,
    status: &'static str,
    finished_unix_ms: u64,
    execution_time: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer_info: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    requested_by: &'a str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    function: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    runtime: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<PeerId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'a str,
    waiting_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    confidential: bool,
}

fn on_wire(record: &Record) -> Line<'_> {
    let card = &record.card;
    let status = match &*record.code {
        "" => status::SUCCESS,
        outcome::CANCELLED => status::CANCELLED,
        _ => status::FAILED,
    };
    Line {
        task_id: &card.task_id,
        task_type: "CPU_TASK",
        status,
        finished_unix_ms: record.finished_unix_milliseconds,
        execution_time: if record.cached { 0.0 } else { record.turnaround_seconds },
        peer_info: &record.executed_by,
        requested_by: &card.requested_by,
        role: if record.is_here { role::EXECUTOR } else { role::CLIENT },
        result: record.result.as_deref(),
        error: &record.error,
        pid: &card.pid,
        function: if card.confidential { "" } else { &card.function },
        runtime: card.runtime,
        peer_id: record.peer,
        code: &record.code,
        waiting_time: record.waiting_seconds,
        cpu_seconds: record.cpu_seconds,
        attempts: (record.attempts != 1).then_some(record.attempts),
        cached: record.cached,
        confidential: card.confidential,
    }
}
