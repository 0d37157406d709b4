//! Records that go in together, as they wait for it: packed while they are read, so that thousands of them take little
//! memory and no allocation each.

use crate::books::Outcome;
use crate::error::HistoryError;
use potluck_sdk::message::history::{RECORDS_PER_BATCH_MAX, RecordTasks};
use potluck_sdk::{ProviderError, Request};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::borrow::Cow;
use std::fmt;

/// Longest name of a batch, in bytes.
const BATCH_NAME_BYTES_MAX: usize = 64;
/// Names of tasks: as long as they may be, so that none is cut.
pub(crate) const TASK_ID_CHARS_MAX: usize = 256;
/// Names of functions, peers and the like.
pub(crate) const NAME_CHARS_MAX: usize = 200;
/// As the original system cuts them.
const RESULT_CHARS_MAX: usize = 100;
/// A line that is longer is a dump.
const ERROR_CHARS_MAX: usize = 500;
/// The end of the year 9998: beyond what a calendar can show nothing is to be searched for either.
const FINISHED_MS_MAX: u64 = 253_370_764_800_000;

/// Records under a name.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) name: String,
    packed: Packed,
    /// What a record has that does not say its status.
    outcome: Outcome,
    /// What a record has in place of each text that it does not say.
    texts: [String; TEXTS],
}

/// A record without what is too long or nobody's concern. Of texts, nothing is the same as an empty one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) outcome: Outcome,
    /// 0 when it does not say.
    pub(crate) finished_ms: u64,
    pub(crate) execution_us: Option<u64>,
    pub(crate) waiting_us: Option<u64>,
    pub(crate) cpu_us: Option<u64>,
    pub(crate) attempts: Option<u32>,
    pub(crate) cached: bool,
    pub(crate) confidential: bool,
    pub(crate) task_id: &'a str,
    pub(crate) task_type: &'a str,
    pub(crate) address: &'a str,
    pub(crate) requested_by: &'a str,
    pub(crate) role: &'a str,
    pub(crate) result: &'a str,
    pub(crate) error: &'a str,
    pub(crate) pid: &'a str,
    pub(crate) function: &'a str,
    pub(crate) runtime: &'a str,
    pub(crate) peer_id: &'a str,
    pub(crate) code: &'a str,
}

/// Texts of a record, and the places of those that a batch may say once.
const TEXTS: usize = 12;
const TASK_TYPE: usize = 1;
const ADDRESS: usize = 2;
const REQUESTED_BY: usize = 3;
const ROLE: usize = 4;
const RUNTIME: usize = 9;
const PEER_ID: usize = 10;

/// All but the texts, and where those end; each begins where the one before it ends.
#[derive(Debug)]
struct Row {
    /// Nothing for that of the batch.
    outcome: Option<Outcome>,
    finished_ms: u64,
    execution_us: Option<u64>,
    waiting_us: Option<u64>,
    cpu_us: Option<u64>,
    attempts: Option<u32>,
    cached: bool,
    confidential: bool,
    text_ends: [u32; TEXTS],
    /// A bit for each text that is that of the batch.
    unsaid: u16,
}

#[derive(Debug, Default)]
struct Packed {
    rows: Vec<Row>,
    texts: String,
    /// The first thing that is wrong.
    refusal: Option<HistoryError>,
}

impl Batch {
    /// Reads a RECORD_TASKS.
    pub(crate) fn read(request: &Request<'_>) -> Result<Batch, ProviderError> {
        Batch::new(request.parse()?)
    }

    fn new(message: RecordTasks<Packed>) -> Result<Batch, ProviderError> {
        let RecordTasks { batch: name, defaults, records: mut packed } = message;
        if !(1..=BATCH_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(HistoryError::Batch.into());
        }
        if let Some(refusal) = packed.refusal.take() {
            return Err(refusal.into());
        }
        let defaults = defaults.unwrap_or_default();
        let outcome = Outcome::from_word(&defaults.status);
        if outcome.is_none() && !defaults.status.is_empty() {
            return Err(HistoryError::Status(defaults.status).into());
        }
        let is_missing = |field, is_unsaid: &dyn Fn(&Row) -> bool| {
            let text = format!("RECORD_TASKS: a record lacks `{field}`, and `defaults` has none");
            if packed.rows.iter().any(is_unsaid) { Err(ProviderError::invalid(text)) } else { Ok(()) }
        };
        if outcome.is_none() {
            is_missing("status", &|row| row.outcome.is_none())?;
        }
        if defaults.task_type.is_empty() {
            is_missing("task_type", &|row| row.unsaid & 1 << TASK_TYPE != 0)?;
        }
        let mut texts: [String; TEXTS] = Default::default();
        let said = [
            (TASK_TYPE, &defaults.task_type),
            (ADDRESS, &defaults.peer_info),
            (REQUESTED_BY, &defaults.requested_by),
            (ROLE, &defaults.role),
            (RUNTIME, &defaults.runtime),
            (PEER_ID, &defaults.peer_id),
        ];
        for (place, text) in said {
            texts[place] = clipped(text, NAME_CHARS_MAX).to_owned();
        }
        Ok(Batch { name, packed, outcome: outcome.unwrap_or(Outcome::Failed), texts })
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.packed.rows.len()
    }

    /// The records, in their order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut begin = 0;
        self.packed.rows.iter().map(move |row| {
            let texts: [&str; TEXTS] = std::array::from_fn(|place| {
                let end = row.text_ends[place] as usize;
                let from = std::mem::replace(&mut begin, end);
                if row.unsaid & 1 << place != 0 {
                    return self.texts[place].as_str();
                }
                self.packed.texts.get(from..end).unwrap_or_default()
            });
            let [
                task_id,
                task_type,
                address,
                requested_by,
                role,
                result,
                error,
                pid,
                function,
                runtime,
                peer_id,
                code,
            ] = texts;
            Record {
                outcome: row.outcome.unwrap_or(self.outcome),
                finished_ms: row.finished_ms,
                execution_us: row.execution_us,
                waiting_us: row.waiting_us,
                cpu_us: row.cpu_us,
                attempts: row.attempts,
                cached: row.cached,
                confidential: row.confidential,
                task_id,
                task_type,
                address,
                requested_by,
                role,
                result,
                error,
                pid,
                function,
                runtime,
                peer_id,
                code,
            }
        })
    }

    #[cfg(test)]
    pub(crate) fn of(name: &str, records: &[potluck_sdk::message::history::TaskRecord]) -> Batch {
        Batch::of_text(name, &potluck_sdk::message::to_json(&records))
    }

    #[cfg(test)]
    pub(crate) fn of_text(name: &str, records: &str) -> Batch {
        let records = serde_json::from_str(records).unwrap();
        Batch::new(RecordTasks { batch: name.to_owned(), defaults: None, records }).unwrap()
    }
}

impl Packed {
    fn push(&mut self, record: &Arrived<'_>) {
        if self.rows.len() == RECORDS_PER_BATCH_MAX {
            self.refusal.get_or_insert(HistoryError::TooMany);
            return;
        }
        let outcome = match record.status.as_deref() {
            None => None,
            Some(word) => match Outcome::from_word(word) {
                Some(outcome) => Some(outcome),
                None => {
                    self.refusal.get_or_insert_with(|| HistoryError::Status(word.to_owned()));
                    return;
                }
            },
        };
        // Nobody is to learn of these.
        let (result, error) = if record.confidential { (&None, &None) } else { (&record.result, &record.error) };
        let id = Some(Cow::Borrowed(&*record.task_id));
        let texts = [
            (&id, TASK_ID_CHARS_MAX),
            (&record.task_type, NAME_CHARS_MAX),
            (&record.peer_info, NAME_CHARS_MAX),
            (&record.requested_by, NAME_CHARS_MAX),
            (&record.role, NAME_CHARS_MAX),
            (result, RESULT_CHARS_MAX),
            (error, ERROR_CHARS_MAX),
            (&record.pid, NAME_CHARS_MAX),
            (&record.function, NAME_CHARS_MAX),
            (&record.runtime, NAME_CHARS_MAX),
            (&record.peer_id, NAME_CHARS_MAX),
            (&record.code, NAME_CHARS_MAX),
        ];
        let mut unsaid = 0;
        let mut text_ends = [0; TEXTS];
        for (place, (text, chars_max)) in texts.into_iter().enumerate() {
            match text {
                Some(text) => self.texts.push_str(clipped(text, chars_max)),
                None => unsaid |= 1 << place,
            }
            // A message is far smaller than 4 GiB.
            text_ends[place] = self.texts.len() as u32;
        }
        self.rows.push(Row {
            outcome,
            finished_ms: record.finished_unix_ms.min(FINISHED_MS_MAX),
            execution_us: record.execution_time.and_then(microseconds),
            waiting_us: record.waiting_time.and_then(microseconds),
            cpu_us: record.cpu_seconds.and_then(microseconds),
            attempts: record.attempts,
            cached: record.cached,
            confidential: record.confidential,
            text_ends,
            unsaid,
        });
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed, D::Error> {
        struct Records;
        impl<'de> Visitor<'de> for Records {
            type Value = Packed;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Packed, A::Error> {
                let mut packed = Packed::default();
                while let Some(record) = list.next_element::<Arrived<'de>>()? {
                    packed.push(&record);
                }
                Ok(packed)
            }
        }
        deserializer.deserialize_seq(Records)
    }
}

/// A [`TaskRecord`] as it comes, of which only what needs it is copied.
///
/// [`TaskRecord`]: potluck_sdk::message::history::TaskRecord
#[derive(Deserialize)]
struct Arrived<'a> {
    #[serde(borrow)]
    task_id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    task_type: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    finished_unix_ms: u64,
    #[serde(default)]
    execution_time: Option<f64>,
    #[serde(borrow, default, deserialize_with = "text")]
    peer_info: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    requested_by: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    result: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    pid: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    function: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    runtime: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    peer_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    code: Option<Cow<'a, str>>,
    #[serde(default)]
    waiting_time: Option<f64>,
    #[serde(default)]
    cpu_seconds: Option<f64>,
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(default)]
    cached: bool,
    #[serde(default)]
    confidential: bool,
}

/// A text that may be missing or null, borrowed where it can be: serde itself would copy it.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Option<Cow<'de, str>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string or null")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_str(self)
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Some(Cow::Borrowed(text)))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(Cow::Owned(text.to_owned())))
        }
    }
    deserializer.deserialize_option(Text)
}

/// The beginning of a text, as it is kept.
pub(crate) fn clipped(text: &str, chars_max: usize) -> &str {
    // Most texts are short, and have no more characters than bytes.
    if text.len() <= chars_max {
        return text;
    }
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Nothing for what is no length of time.
fn microseconds(seconds: f64) -> Option<u64> {
    (seconds.is_finite() && seconds >= 0.0).then(|| (seconds * 1e6).min(1e15) as u64)
}
