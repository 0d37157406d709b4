//! The history: every task that has ended is recorded once. Records go in batches, each kept until it is acknowledged.

use crate::job::Ended;
use crate::life::{Card, cut, unix_milliseconds};
use crate::outbox::{Entries, Outbox, Rules};
use potluck_sdk::message::cpu::outcome;
use potluck_sdk::message::history::{RECORDS_PER_BATCH_MAX, RecordDefaults, RecordTasks, role, status};
use potluck_sdk::message::to_json;
use potluck_sdk::{Host, PeerId};
use serde::Serialize;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

/// Records that wait; each has some 400 bytes.
const RECORDS_WAITING_MAX: usize = 100_000;
/// How long records wait for others: each batch costs one commit.
const PAUSE: Duration = Duration::from_millis(200);
/// Batches that need not wait within that time: whoever has the answer of a task may look for its record next.
const AT_ONCE: usize = 4;
/// What is recorded of a result.
const RESULT_CHARACTERS_MAX: usize = 100;
/// What is recorded of an error.
const ERROR_CHARACTERS_MAX: usize = 500;

/// Tells the history.
pub(crate) struct Records {
    outbox: Arc<Outbox<Written>>,
    own: Arc<OnceLock<Own>>,
}

/// What most records have in common with the first one; it is said once for a batch.
struct Own {
    address: String,
    id: PeerId,
}

impl Records {
    pub(crate) fn new(host: Host) -> Records {
        let own: Arc<OnceLock<Own>> = Arc::default();
        let known = Arc::clone(&own);
        let rules = Rules {
            what: "records of tasks",
            entries_max: RECORDS_WAITING_MAX,
            batch_max: RECORDS_PER_BATCH_MAX.min(4096),
            pause: PAUSE,
            at_once: AT_ONCE,
            insist: true,
            compose: Box::new(move |records, number| compose(known.get(), records, number)),
        };
        Records { outbox: Arc::new(Outbox::new(host, rules)), own }
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
        let own = self.own.get_or_init(|| Own { address: own_address.to_owned(), id: own_id });
        let is_here = ended.executed_by == own_address;
        let (result, code, error) = match &ended.verdict {
            Ok(result) => (Some(cut(result.get(), RESULT_CHARACTERS_MAX)), "", ""),
            Err(failed) => (None, &*failed.code, cut(&failed.error, ERROR_CHARACTERS_MAX)),
        };
        let turnaround_seconds = turnaround.as_secs_f64();
        // Written down at once: what it is made of is at hand now, and a record that waits should be small.
        let record = Record {
            task_id: &card.task_id,
            status: match code {
                "" => None,
                outcome::CANCELLED => Some(status::CANCELLED),
                _ => Some(status::FAILED),
            },
            finished_unix_ms: unix_milliseconds(),
            execution_time: if ended.cached { 0.0 } else { turnaround_seconds },
            peer_info: unusual(&ended.executed_by, &own.address),
            requested_by: unusual(&card.requested_by, REQUESTED_BY),
            role: if is_here { None } else { Some(role::CLIENT) },
            // Nobody is to learn of these.
            result: result.filter(|_| !card.confidential),
            error: if card.confidential { "" } else { error },
            pid: &card.pid,
            function: if card.confidential { "" } else { &card.function },
            runtime: unusual(card.runtime, RUNTIME),
            peer_id: match ended.peer {
                _ if is_here => None,
                Some(peer) => Some(peer.to_string()),
                None => Some(String::new()),
            },
            code,
            waiting_time: ended.waiting_seconds(turnaround_seconds),
            cpu_seconds: ended.cpu_seconds,
            attempts: (attempts != 1).then_some(attempts),
            cached: ended.cached,
            confidential: card.confidential,
        };
        self.outbox.push(|written| written.add(&record));
    }

    /// Waits until everything is recorded, for some time.
    pub(crate) fn drain(&self, patience: Duration) {
        self.outbox.drain(patience);
    }
}

/// Records as JSON, in one text: thousands of small ones would cost the allocator more than to write them.
#[derive(Default)]
struct Written {
    /// With a comma behind each.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Written {
    fn add(&mut self, record: &Record<'_>) {
        let len = self.text.len();
        match serde_json::to_writer(&mut self.text, record) {
            Ok(()) => {
                self.text.push(b',');
                self.ends.push(self.text.len());
            }
            // It has no part that cannot be written.
            Err(_) => self.text.truncate(len),
        }
    }
}

impl Entries for Written {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn take(&mut self, count: usize) -> Written {
        if count >= self.ends.len() {
            return std::mem::take(self);
        }
        let end = count.checked_sub(1).map_or(0, |last| self.ends[last]);
        let mut ends = self.ends.split_off(count);
        ends.iter_mut().for_each(|place| *place -= end);
        let text = self.text.split_off(end);
        std::mem::replace(self, Written { text, ends })
    }

    fn drop_spare(&mut self) {}
}

/// What most tasks run for.
const REQUESTED_BY: &str = "local";
/// What most tasks run in.
const RUNTIME: &str = "python";

/// Nothing for what is as usual.
fn unusual<'a>(text: &'a str, usual: &str) -> Option<&'a str> {
    Some(text).filter(|text| *text != usual)
}

/// RECORD_TASKS with a name that no other batch has.
fn compose(own: Option<&Own>, written: &Written, number: u64) -> String {
    // Batches of an earlier life of the node must not be taken for these.
    static LIFE: LazyLock<String> = LazyLock::new(|| {
        let started = unix_milliseconds();
        format!("{started:x}-{:x}", RandomState::new().hash_one(started))
    });
    let defaults = own.map(|own| RecordDefaults {
        task_type: "CPU_TASK".to_owned(),
        status: status::SUCCESS.to_owned(),
        peer_info: own.address.clone(),
        requested_by: REQUESTED_BY.to_owned(),
        role: role::EXECUTOR.to_owned(),
        runtime: RUNTIME.to_owned(),
        peer_id: own.id.to_string(),
    });
    // The list is the last member, and its entries are written already.
    let mut json = to_json(&RecordTasks { batch: format!("{}-{number}", *LIFE), defaults, records: [(); 0] });
    json.truncate(json.len() - "]}".len());
    let records = written.text.strip_suffix(b",").unwrap_or_default();
    json.reserve_exact(records.len() + "]}".len());
    json.push_str(str::from_utf8(records).unwrap_or_default());
    json.push_str("]}");
    json
}

/// A [`TaskRecord`] that owns nothing, and says only what is not as in the batch: there is one for every task, however short
/// that is.
///
/// [`TaskRecord`]: potluck_sdk::message::history::TaskRecord
#[derive(Default, Serialize)]
struct Record<'a> {
    task_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    finished_unix_ms: u64,
    execution_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::{Own, Record, Written, compose};
    use crate::outbox::Entries;
    use potluck_sdk::PeerId;
    use potluck_sdk::message::history::RecordTasks;
    use serde_json::Value;

    fn record(task_id: &str) -> Record<'_> {
        Record { task_id, ..Record::default() }
    }

    #[test]
    fn a_message_has_the_records_that_were_taken() {
        let own = Own { address: "10.0.0.7:9000".to_owned(), id: PeerId::from_hash([7; 16]) };
        let mut written = Written::default();
        for name in ["T1", "T\"2", "Té", "T4"] {
            written.add(&record(name));
        }
        let names = |written: &Written| -> Vec<String> {
            let json = compose(Some(&own), written, 1);
            let message: RecordTasks<Vec<Value>> = serde_json::from_str(&json).unwrap();
            assert_eq!(message.defaults.unwrap().peer_info, own.address);
            message.records.iter().map(|record| record["task_id"].as_str().unwrap().to_owned()).collect()
        };
        let first = written.take(3);
        assert_eq!((first.len(), written.len()), (3, 1));
        assert_eq!(names(&first), ["T1", "T\"2", "Té"]);
        written.add(&record("T5"));
        assert_eq!(names(&written), ["T4", "T5"]);
        assert_eq!(names(&written.take(0)), [""; 0]);
        assert_eq!(written.take(1).len(), 1);
        assert_eq!(names(&written.take(9)), ["T5"]);
        assert_eq!(written.len(), 0);
    }
}
