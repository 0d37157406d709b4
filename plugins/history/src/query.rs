//! A search: which blocks may hold something, and the records in them that fit. The newest come first, and after a while
//! it stops with what it has and says where to go on.

use crate::books::Outcome;
use crate::database::BLOCK_BITS;
use crate::error::HistoryError;
use crate::index::task_hash;
use crate::table::{FLAG_CACHED, FLAG_CONFIDENTIAL};
use crate::time::local_time;
use potluck_sdk::message::history::TaskRecord;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use std::time::{Duration, Instant};

/// How long one search may take before it stops with what it has.
const TIME_MAX: Duration = Duration::from_millis(30);
/// Bytes of texts after which a page is full, so that an answer fits a frame.
const PAGE_BYTES_MAX: usize = 6 << 20;

const COLUMNS: &str =
    "records.number, status, callers.name, places.peer_id, places.address, finished_ms, task_id, function,
    task_type, records.execution_us, waiting_us, cpu_us, attempts, flags, role, pid, runtime, code, result, error";

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

/// A condition, as SQL and its parameters.
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
    let (mut of_blocks, mut of_records) = (Condition::default(), Condition::default());
    if let Some(outcome) = search.outcome {
        of_blocks.and("statuses & ? <> 0", outcome.bit());
        of_records.and("status = ?", outcome as i64);
    }
    for name in &search.callers {
        let Some(number) = caller(&transaction, name)? else { return Ok(Page::default()) };
        of_blocks.and("block IN (SELECT block FROM block_callers WHERE caller = ?)", number);
        of_records.and("caller = ?", number);
    }
    if let Some(peer) = &search.peer {
        let places = places(&transaction, peer)?;
        if places.is_empty() {
            return Ok(Page::default());
        }
        let marks = vec!["?"; places.len()].join(", ");
        of_blocks.sql += &format!(" AND block IN (SELECT block FROM block_places WHERE place IN ({marks}))");
        of_blocks.parameters.extend(places.iter().copied().map(Value::from));
        of_records.sql += &format!(" AND place IN ({marks})");
        of_records.parameters.extend(places.iter().copied().map(Value::from));
    }
    if let Some(since) = search.since_ms {
        of_blocks.and("newest_ms >= ?", integer(since));
        of_records.and("finished_ms >= ?", integer(since));
    }
    if let Some(until) = search.until_ms {
        of_blocks.and("oldest_ms < ?", integer(until));
        of_records.and("finished_ms < ?", integer(until));
    }
    if let Some(task_type) = &search.task_type {
        of_records.and("task_type = ?", task_type.clone());
    }
    if let Some(text) = &search.text {
        let pattern = like(text);
        of_records.and("(task_id LIKE ? ESCAPE '\\'", pattern.clone());
        of_records.sql += " OR function LIKE ? ESCAPE '\\')";
        of_records.parameters.push(pattern.into());
    }
    let before = search.before.map_or(i64::MAX, integer);
    of_blocks.and("block <= ?", before.saturating_sub(1) >> BLOCK_BITS);
    let sql = format!("SELECT block FROM blocks WHERE TRUE{} ORDER BY block DESC", of_blocks.sql);
    let mut blocks = transaction.prepare_cached(&sql)?;
    let mut blocks = blocks.query(params_from_iter(of_blocks.parameters))?;
    let sql = format!(
        "SELECT {COLUMNS} FROM records JOIN callers ON callers.number = caller JOIN places ON places.number = place
         WHERE records.number >= ? AND records.number < ?{} ORDER BY records.number DESC LIMIT ?",
        of_records.sql
    );
    let mut records = transaction.prepare_cached(&sql)?;
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(row) = blocks.next()? {
        let block: i64 = row.get(0)?;
        let (first, end) = (block << BLOCK_BITS, ((block + 1) << BLOCK_BITS).min(before));
        let mut parameters = vec![Value::from(first), Value::from(end)];
        parameters.extend(of_records.parameters.iter().cloned());
        parameters.push(integer((search.limit - page.records.len()) as u64).into());
        let mut rows = records.query(params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            bytes += size(&record);
            page.next = Some(record.number);
            page.records.push(record);
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        if page.records.len() >= search.limit || bytes >= PAGE_BYTES_MAX {
            break;
        }
        page.next = u64::try_from(first).ok();
        if begun.elapsed() > TIME_MAX || is_gone() {
            break;
        }
    }
    page.records.reverse();
    if let Some(next) = page.next {
        let sql = "SELECT 1 FROM records WHERE number < ? LIMIT 1";
        let has_more: Option<i64> =
            transaction.prepare_cached(sql)?.query_row([integer(next)], |row| row.get(0)).optional()?;
        page.next = has_more.map(|_| next);
    }
    // The last block that may hold something has been read to its end.
    if page.records.len() < search.limit && bytes < PAGE_BYTES_MAX && blocks.next()?.is_none() {
        page.next = None;
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
    let hash = task_hash(task_id);
    let mut blocks = transaction.prepare_cached(
        "SELECT block, hashes FROM block_tasks
         WHERE ?1 IS NULL OR block IN (SELECT block FROM block_callers WHERE caller = ?1) ORDER BY block DESC",
    )?;
    let sql = format!(
        "SELECT {COLUMNS} FROM records JOIN callers ON callers.number = caller JOIN places ON places.number = place
         WHERE records.number >= ? AND records.number < ? AND task_id = ? AND coalesce(caller = ?, TRUE)
         ORDER BY records.number DESC LIMIT 1"
    );
    let mut records = transaction.prepare_cached(&sql)?;
    let mut blocks = blocks.query([number])?;
    while let Some(row) = blocks.next()? {
        let hashes = row.get_ref(1)?.as_blob().unwrap_or_default();
        if !hashes.chunks_exact(hash.len()).any(|other| other == hash) {
            continue;
        }
        let first = row.get::<_, i64>(0)? << BLOCK_BITS;
        let found = records
            .query_row(rusqlite::params![first, first + (1 << BLOCK_BITS), task_id, number], record)
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
        if begun.elapsed() > TIME_MAX {
            return Err(HistoryError::TooLong);
        }
    }
    Ok(None)
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

fn record(row: &Row<'_>) -> Result<TaskRecord, rusqlite::Error> {
    let seconds = |column| -> Result<Option<f64>, rusqlite::Error> {
        Ok(row.get::<_, Option<i64>>(column)?.map(|time| time as f64 / 1e6))
    };
    let word = |column| -> Result<Option<String>, rusqlite::Error> {
        Ok(row.get::<_, Option<String>>(column)?.filter(|text| !text.is_empty()))
    };
    let finished_unix_ms = row.get::<_, i64>(5)? as u64;
    let flags: i64 = row.get(13)?;
    Ok(TaskRecord {
        number: row.get::<_, i64>(0)? as u64,
        task_id: row.get(6)?,
        task_type: row.get(8)?,
        status: Outcome::from_number(row.get(1)?).word().to_owned(),
        timestamp: local_time(finished_unix_ms),
        finished_unix_ms,
        execution_time: seconds(9)?,
        peer_info: word(4)?,
        requested_by: word(2)?,
        role: word(14)?,
        result: row.get(18)?,
        error: row.get(19)?,
        pid: word(15)?,
        function: word(7)?,
        runtime: word(16)?,
        peer_id: word(3)?,
        code: word(17)?,
        waiting_time: seconds(10)?,
        cpu_seconds: seconds(11)?,
        attempts: row.get(12)?,
        cached: flags & FLAG_CACHED != 0,
        confidential: flags & FLAG_CONFIDENTIAL != 0,
    })
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

/// Anything with this text in it.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
