//! A search: which blocks may hold something, and the records in them that fit. The newest come first, and after a while
//! it stops with what it has and says where to go on.

use crate::batch::{NAME_CHARS_MAX, TASK_ID_CHARS_MAX, clipped};
use crate::books::Outcome;
use crate::database::BLOCK_BITS;
use crate::error::HistoryError;
use crate::index::task_hash;
use crate::segment::{self, Stored};
use crate::time::local_time;
use potluck_sdk::message::history::TaskRecord;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long one search may take before it stops with what it has.
const TIME_MAX: Duration = Duration::from_millis(30);
/// Bytes of texts after which a page is full, so that an answer fits a frame.
const PAGE_BYTES_MAX: usize = 6 << 20;

/// The rows of a block, the newest first.
const SEGMENTS: &str = "SELECT first, records FROM segments WHERE first >= ? AND first < ? ORDER BY first DESC";

/// What to look for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) limit: usize,
    pub(crate) task_type: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) peer: Option<String>,
    /// All of these have to be the one that it ran for.
    pub(crate) callers: Vec<String>,
    pub(crate) since_ms: Option<u64>,
    pub(crate) until_ms: Option<u64>,
    pub(crate) text: Option<String>,
    pub(crate) before: Option<u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The newest last.
    pub(crate) records: Vec<TaskRecord>,
    /// Where the page before this one goes on.
    pub(crate) next: Option<u64>,
}

/// Which blocks may hold something, as SQL and its parameters.
#[derive(Default)]
struct Condition {
    sql: String,
    parameters: Vec<Value>,
}

impl Condition {
    fn and(&mut self, sql: &str, parameter: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.parameters.push(parameter.into());
    }
}

/// Finds the newest records that fit.
pub(crate) fn search(
    connection: &Connection,
    search: &Search,
    is_gone: &dyn Fn() -> bool,
) -> Result<Page, HistoryError> {
    let begun = Instant::now();
    // All steps see the same records.
    let transaction = connection.unchecked_transaction()?;
    let mut of_blocks = Condition::default();
    let mut callers = Vec::new();
    if let Some(outcome) = search.outcome {
        of_blocks.and("statuses & ? <> 0", outcome.bit());
    }
    for name in &search.callers {
        let Some(number) = caller(&transaction, name)? else { return Ok(Page::default()) };
        of_blocks.and("block IN (SELECT block FROM block_callers WHERE caller = ?)", number);
        callers.push(number);
    }
    let places = search.peer.as_deref().map(|peer| places(&transaction, peer)).transpose()?;
    if let Some(places) = &places {
        if places.is_empty() {
            return Ok(Page::default());
        }
        let marks = vec!["?"; places.len()].join(", ");
        of_blocks.sql += &format!(" AND block IN (SELECT block FROM block_places WHERE place IN ({marks}))");
        of_blocks.parameters.extend(places.iter().copied().map(Value::from));
    }
    if let Some(since) = search.since_ms {
        of_blocks.and("newest_ms >= ?", integer(since));
    }
    if let Some(until) = search.until_ms {
        of_blocks.and("oldest_ms < ?", integer(until));
    }
    let before = search.before.map_or(i64::MAX, integer);
    let fits = |record: &Stored<'_>| {
        record.number < before
            && search.outcome.is_none_or(|outcome| record.outcome == outcome)
            && callers.iter().all(|caller| record.caller == *caller)
            && places.as_ref().is_none_or(|places| places.contains(&record.place))
            && search.since_ms.is_none_or(|since| record.finished_ms >= since)
            && search.until_ms.is_none_or(|until| record.finished_ms < until)
            && search.task_type.as_ref().is_none_or(|wanted| record.texts[segment::TASK_TYPE] == wanted.as_bytes())
            && search.text.as_ref().is_none_or(|text| {
                [(segment::TASK_ID, TASK_ID_CHARS_MAX), (segment::FUNCTION, NAME_CHARS_MAX)]
                    .iter()
                    .any(|(place, chars_max)| contains(record.texts[*place], clipped(text, *chars_max).as_bytes()))
            })
    };
    of_blocks.and("block <= ?", before.saturating_sub(1) >> BLOCK_BITS);
    let sql = format!("SELECT block FROM blocks WHERE TRUE{} ORDER BY block DESC", of_blocks.sql);
    let mut blocks = transaction.prepare_cached(&sql)?;
    let mut blocks = blocks.query(params_from_iter(of_blocks.parameters))?;
    let mut segments = transaction.prepare_cached(SEGMENTS)?;
    let mut names = Names::new(&transaction);
    let mut page = Page::default();
    let mut bytes = 0;
    let mut is_over = true;
    'blocks: while let Some(row) = blocks.next()? {
        is_over = false;
        let (begin, end) = numbers(row.get(0)?);
        let mut rows = segments.query([begin, end.min(before)])?;
        while let Some(row) = rows.next()? {
            let first = row.get(0)?;
            let records = segment::read(first, row.get_ref(1)?.as_blob().unwrap_or_default())?;
            for record in records.iter().rev().filter(|record| fits(record)) {
                if page.records.len() >= search.limit || bytes >= PAGE_BYTES_MAX {
                    break 'blocks;
                }
                let record = names.record(record)?;
                bytes += size(&record);
                page.next = Some(record.number);
                page.records.push(record);
            }
            if page.records.len() >= search.limit || bytes >= PAGE_BYTES_MAX {
                break 'blocks;
            }
            page.next = u64::try_from(first).ok();
            if begun.elapsed() > TIME_MAX || is_gone() {
                break 'blocks;
            }
        }
        is_over = true;
    }
    if is_over {
        page.next = None;
    }
    page.records.reverse();
    if let Some(next) = page.next {
        let sql = "SELECT 1 FROM segments WHERE first < ? LIMIT 1";
        let has_more: Option<i64> =
            transaction.prepare_cached(sql)?.query_row([integer(next)], |row| row.get(0)).optional()?;
        page.next = has_more.map(|_| next);
    }
    Ok(page)
}

/// The newest record of a task, of one caller if that is named.
pub(crate) fn task(
    connection: &Connection,
    task_id: &str,
    of_caller: Option<&str>,
) -> Result<Option<TaskRecord>, HistoryError> {
    let begun = Instant::now();
    let transaction = connection.unchecked_transaction()?;
    let number = match of_caller.map(|name| caller(&transaction, name)).transpose()? {
        Some(None) => return Ok(None),
        Some(number) => number,
        None => None,
    };
    // Cut as the record itself.
    let task_id = clipped(task_id, TASK_ID_CHARS_MAX);
    let hash = task_hash(task_id);
    let mut blocks = transaction.prepare_cached(
        "SELECT block, hashes FROM block_tasks
         WHERE ?1 IS NULL OR block IN (SELECT block FROM block_callers WHERE caller = ?1) ORDER BY block DESC",
    )?;
    let mut segments = transaction.prepare_cached(SEGMENTS)?;
    let mut blocks = blocks.query([number])?;
    while let Some(row) = blocks.next()? {
        let hashes = row.get_ref(1)?.as_blob().unwrap_or_default();
        if !hashes.chunks_exact(hash.len()).any(|other| other == hash) {
            continue;
        }
        let (begin, end) = numbers(row.get(0)?);
        let mut rows = segments.query([begin, end])?;
        while let Some(row) = rows.next()? {
            let records = segment::read(row.get(0)?, row.get_ref(1)?.as_blob().unwrap_or_default())?;
            let found = records.iter().rev().find(|record| {
                record.texts[segment::TASK_ID] == task_id.as_bytes()
                    && number.is_none_or(|number| record.caller == number)
            });
            if let Some(record) = found {
                return Names::new(&transaction).record(record).map(Some);
            }
        }
        if begun.elapsed() > TIME_MAX {
            return Err(HistoryError::TooLong);
        }
    }
    Ok(None)
}

/// The first number of a block, and the one behind its last.
fn numbers(block: i64) -> (i64, i64) {
    (block << BLOCK_BITS, (block + 1) << BLOCK_BITS)
}

fn caller(connection: &Connection, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT number FROM callers WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// A peer has had few addresses, and those from before its last ones are the oldest.
fn places(connection: &Connection, peer: &str) -> Result<Vec<i64>, rusqlite::Error> {
    const PLACES_MAX: usize = 500;
    let sql = "SELECT number FROM places WHERE peer_id = ?1 UNION SELECT number FROM places WHERE address = ?1
        ORDER BY number DESC LIMIT ?2";
    connection.prepare_cached(sql)?.query_map(rusqlite::params![peer, PLACES_MAX as i64], |row| row.get(0))?.collect()
}

/// What a record has only the numbers of, each looked up once.
struct Names<'c> {
    connection: &'c Connection,
    callers: HashMap<i64, String>,
    /// Peer and address.
    places: HashMap<i64, (String, String)>,
}

impl<'c> Names<'c> {
    fn new(connection: &'c Connection) -> Names<'c> {
        Names { connection, callers: HashMap::new(), places: HashMap::new() }
    }

    /// A record as it is told.
    fn record(&mut self, stored: &Stored<'_>) -> Result<TaskRecord, HistoryError> {
        let seconds = |time: Option<u64>| time.map(|time| time as f64 / 1e6);
        let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut texts = [""; segment::TEXTS];
        for (text, bytes) in texts.iter_mut().zip(stored.texts) {
            *text = str::from_utf8(bytes).map_err(|error| HistoryError::Damaged(error.to_string()))?;
        }
        let caller = self.caller(stored.caller)?;
        let caller = word(caller);
        let (peer_id, address) = self.place(stored.place)?;
        Ok(TaskRecord {
            number: stored.number as u64,
            task_id: texts[segment::TASK_ID].to_owned(),
            task_type: texts[segment::TASK_TYPE].to_owned(),
            status: stored.outcome.word().to_owned(),
            timestamp: local_time(stored.finished_ms),
            finished_unix_ms: stored.finished_ms,
            execution_time: seconds(stored.execution_us),
            peer_info: word(address),
            requested_by: caller,
            role: word(texts[segment::ROLE]),
            result: word(texts[segment::RESULT]),
            error: word(texts[segment::ERROR]),
            pid: word(texts[segment::PID]),
            function: word(texts[segment::FUNCTION]),
            runtime: word(texts[segment::RUNTIME]),
            peer_id: word(peer_id),
            code: word(texts[segment::CODE]),
            waiting_time: seconds(stored.waiting_us),
            cpu_seconds: seconds(stored.cpu_us),
            attempts: stored.attempts,
            cached: stored.cached,
            confidential: stored.confidential,
        })
    }

    fn caller(&mut self, number: i64) -> Result<&str, HistoryError> {
        if !self.callers.contains_key(&number) {
            let mut statement = self.connection.prepare_cached("SELECT name FROM callers WHERE number = ?")?;
            let name = statement.query_row([number], |row| row.get(0)).optional()?.unwrap_or_default();
            self.callers.insert(number, name);
        }
        Ok(self.callers.get(&number).map_or("", |name| name))
    }

    fn place(&mut self, number: i64) -> Result<(&str, &str), HistoryError> {
        if !self.places.contains_key(&number) {
            let mut statement =
                self.connection.prepare_cached("SELECT peer_id, address FROM places WHERE number = ?")?;
            let place = statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            self.places.insert(number, place.unwrap_or_default());
        }
        Ok(self.places.get(&number).map_or(("", ""), |(peer_id, address)| (peer_id, address)))
    }
}

/// Bytes of the texts that vary, and something for the rest.
fn size(record: &TaskRecord) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    400 + record.task_id.len()
        + [&record.result, &record.error, &record.function, &record.pid, &record.peer_info, &record.requested_by]
            .map(text)
            .iter()
            .sum::<usize>()
}

/// Whether a text is in another one, in any case of the letters a to z.
fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
