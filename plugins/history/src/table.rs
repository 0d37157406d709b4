//! The records on the disk: putting some in, and taking the oldest out. Used by one thread at a time.

use crate::batch::{Batch, Record};
use crate::books::{Books, Counters, Outcome};
use crate::config::Retention;
use crate::database::{self, BLOCK_BITS};
use crate::error::HistoryError;
use crate::index::Index;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;

/// Names of batches that are kept: a recorder that sends one again does so soon.
const BATCHES_KEPT: i64 = 10_000;
/// The oldest records go when there are this many too many, or a tenth of what may be kept.
const SLACK: u64 = 1000;

const INSERT: &str = "INSERT INTO records (number, status, caller, place, finished_ms, task_id, function, task_type,
    execution_us, waiting_us, cpu_us, attempts, flags, role, pid, runtime, code, result, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Bits of the column `flags`.
pub(crate) const FLAG_CACHED: i64 = 1;
/// See [`FLAG_CACHED`].
pub(crate) const FLAG_CONFIDENTIAL: i64 = 2;

/// The open database. After an error it is to be dropped and opened again: what it knows may not be what is on the disk.
pub(crate) struct Table {
    connection: Connection,
    index: Index,
    retention: Retention,
}

impl Table {
    pub(crate) fn open(path: &Path, retention: Retention) -> Result<Table, HistoryError> {
        let connection = database::open(path)?;
        let index = Index::load(&connection)?;
        Ok(Table { connection, index, retention })
    }

    /// Puts batches in, all or none; returns how many records of each are new.
    pub(crate) fn record(&mut self, batches: &[&Batch], now_ms: u64) -> Result<Vec<usize>, HistoryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut recorded = Vec::with_capacity(batches.len());
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for batch in batches {
                let is_new = transaction
                    .prepare_cached("INSERT INTO batches (name) VALUES (?) ON CONFLICT DO NOTHING")?
                    .execute([&batch.name])?;
                if is_new == 0 {
                    recorded.push(0);
                    continue;
                }
                for record in batch.records() {
                    put(&transaction, &mut insert, &mut self.index, &record, now_ms)?;
                }
                recorded.push(batch.len());
            }
        }
        transaction
            .prepare_cached("DELETE FROM batches WHERE number <= (SELECT max(number) FROM batches) - ?")?
            .execute([BATCHES_KEPT])?;
        self.index.write(&transaction)?;
        transaction.commit()?;
        Ok(recorded)
    }

    /// Whether records are to be removed: there are too many, or the oldest is too old.
    pub(crate) fn is_overdue(&self, now_ms: u64) -> bool {
        self.surplus() > 0
            || self.cutoff(now_ms).is_some_and(|cutoff| self.index.oldest_ms.is_some_and(|oldest| oldest < cutoff))
    }

    /// Removes some of the oldest records, `count_max` at most, if they are too many or too old.
    pub(crate) fn trim(&mut self, now_ms: u64, count_max: u64) -> Result<(), HistoryError> {
        let surplus = self.surplus().min(count_max);
        let cutoff = self.cutoff(now_ms);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let by_count: Option<i64> = match surplus {
            0 => None,
            _ => transaction
                .prepare_cached("SELECT number FROM records ORDER BY number LIMIT 1 OFFSET ?")?
                .query_row([surplus as i64 - 1], |row| row.get(0))
                .optional()?,
        };
        let by_age = cutoff.map(|cutoff| last_before(&transaction, cutoff, count_max)).transpose()?.flatten();
        if let Some(bound) = by_count.max(by_age) {
            {
                let mut delete = transaction.prepare_cached(
                    "DELETE FROM records WHERE number <= ? RETURNING caller, place, status, execution_us",
                )?;
                let mut rows = delete.query([bound])?;
                while let Some(row) = rows.next()? {
                    let outcome = Outcome::from_number(row.get(2)?);
                    self.index.remove(
                        row.get(0)?,
                        row.get(1)?,
                        outcome,
                        row.get::<_, Option<i64>>(3)?.map(|time| time as u64),
                    );
                }
            }
            self.index.drop_blocks_before(&transaction, (bound + 1) >> BLOCK_BITS)?;
            self.index.write(&transaction)?;
            self.index.oldest_ms = oldest(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes all; returns how many there were.
    pub(crate) fn clear(&mut self) -> Result<u64, HistoryError> {
        let removed = self.index.all.total();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "DELETE FROM records; DELETE FROM callers; DELETE FROM places; DELETE FROM blocks;
             DELETE FROM block_callers; DELETE FROM block_places; DELETE FROM block_tasks;",
        )?;
        transaction.commit()?;
        let last = self.index.last;
        self.index = Index::load(&self.connection)?;
        // A page of before must not go on in records of afterwards.
        self.index.last = last;
        // Gives the room back, which nobody has to wait for who is reading.
        let _ = self.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
        Ok(removed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.all.total() == 0
    }

    /// Copies the sums of those that have changed since the last time.
    pub(crate) fn publish(&mut self, books: &mut Books) {
        books.all = self.index.all;
        for (name, counters) in self.index.take_published() {
            match counters {
                Some(counters) => books.by_caller.insert(name, counters),
                None => books.by_caller.remove(&name),
            };
        }
    }

    /// All sums, after opening.
    pub(crate) fn books(&mut self) -> Books {
        self.index.take_published();
        Books {
            all: self.index.all,
            by_caller: self.index.sums().collect::<std::collections::HashMap<String, Counters>>(),
        }
    }

    /// As if the disk were full when the file has this many pages.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, count: i64) {
        self.connection.pragma_update(None, "max_page_count", count).unwrap();
    }

    fn surplus(&self) -> u64 {
        let (total, max) = (self.index.all.total(), self.retention.records_max);
        if total > max + SLACK.min(max / 10) { total - max } else { 0 }
    }

    fn cutoff(&self, now_ms: u64) -> Option<u64> {
        self.retention.keep_ms.map(|keep| now_ms.saturating_sub(keep))
    }
}

/// The last of the oldest records that ended before a time; records are only roughly in the order of their ends, so one
/// that is younger keeps those behind it.
fn last_before(connection: &Connection, cutoff: u64, count_max: u64) -> Result<Option<i64>, HistoryError> {
    let mut statement = connection.prepare_cached("SELECT number, finished_ms FROM records ORDER BY number LIMIT ?")?;
    let mut rows = statement.query([count_max as i64])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= cutoff as i64 {
            break;
        }
        last = Some(row.get(0)?);
    }
    Ok(last)
}

/// When the first record ended.
pub(crate) fn oldest(connection: &Connection) -> Result<Option<u64>, HistoryError> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT finished_ms FROM records ORDER BY number LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(oldest.map(|oldest| oldest as u64))
}

fn put(
    connection: &Connection,
    insert: &mut rusqlite::Statement<'_>,
    index: &mut Index,
    record: &Record<'_>,
    now_ms: u64,
) -> Result<(), HistoryError> {
    let finished_ms = if record.finished_ms == 0 { now_ms } else { record.finished_ms };
    let caller = index.caller(record.requested_by);
    let place = index.place(record.peer_id, record.address);
    let number =
        index.add(connection, caller, place, record.outcome, record.execution_us, finished_ms, record.task_id)?;
    let mut flags = 0;
    for (is_set, flag) in [(record.cached, FLAG_CACHED), (record.confidential, FLAG_CONFIDENTIAL)] {
        flags |= if is_set { flag } else { 0 };
    }
    let integer = |value: Option<u64>| value.map(|value| value as i64);
    insert.execute(params![
        number,
        record.outcome as i64,
        caller,
        place,
        finished_ms as i64,
        record.task_id,
        told(record.function),
        record.task_type,
        integer(record.execution_us),
        integer(record.waiting_us),
        integer(record.cpu_us),
        record.attempts,
        flags,
        told(record.role),
        told(record.pid),
        told(record.runtime),
        told(record.code),
        told(record.result),
        told(record.error),
    ])?;
    Ok(())
}

/// Nothing for an empty text.
fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
