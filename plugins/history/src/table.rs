//! The records on the disk: putting some in, and taking the oldest out. Used by one thread at a time.

use crate::batch::{Batch, Record};
use crate::books::{Books, Counters};
use crate::config::Retention;
use crate::database::{self, BLOCK_BITS};
use crate::error::HistoryError;
use crate::index::Index;
use crate::segment::{self, Segment, Stored, TEXTS};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Names of batches that are kept: a recorder that sends one again does so soon.
const BATCHES_KEPT: i64 = 10_000;
/// The oldest records go when there are this many too many, or a tenth of what may be kept.
const SLACK: u64 = 1000;

/// The open database. After an error it is to be dropped and opened again: what it knows may not be what is on the disk.
pub(crate) struct Table {
    connection: Connection,
    index: Index,
    /// Where the next record goes.
    segment: Segment,
    retention: Retention,
}

impl Table {
    pub(crate) fn open(path: &Path, retention: Retention) -> Result<Table, HistoryError> {
        let connection = database::open(path)?;
        let segment = Segment::newest(&connection)?;
        let index = Index::load(&connection, segment.last())?;
        Ok(Table { connection, index, segment, retention })
    }

    /// Puts batches in, all or none; returns how many records of each are new.
    pub(crate) fn record(&mut self, batches: &[&Batch], now_ms: u64) -> Result<Vec<usize>, HistoryError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut recorded = Vec::with_capacity(batches.len());
        for batch in batches {
            let is_new = transaction
                .prepare_cached("INSERT INTO batches (name) VALUES (?) ON CONFLICT DO NOTHING")?
                .execute([&batch.name])?;
            if is_new == 0 {
                recorded.push(0);
                continue;
            }
            for record in batch.records() {
                put(&transaction, &mut self.index, &mut self.segment, &record, now_ms)?;
            }
            recorded.push(batch.len());
        }
        self.segment.write(&transaction)?;
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
        let cutoff = self.cutoff(now_ms).unwrap_or(0);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Records are only roughly in the order of their ends: one that is younger keeps those behind it.
        let (mut count, mut is_old) = (0, true);
        let mut goes = |record: &Stored<'_>| {
            is_old &= count < count_max && record.finished_ms < cutoff;
            let goes = count < surplus || is_old;
            count += u64::from(goes);
            goes
        };
        let (mut last_removed, mut last_touched) = (None, None);
        let mut rest = Segment::default();
        {
            let mut segments = transaction.prepare_cached("SELECT first, records FROM segments ORDER BY first")?;
            let mut rows = segments.query([])?;
            while let Some(row) = rows.next()? {
                let first: i64 = row.get(0)?;
                let records = segment::read(first, row.get_ref(1)?.as_blob().unwrap_or_default())?;
                let removed = records.iter().take_while(|record| goes(record)).count();
                let (removed, kept) = records.split_at(removed);
                for record in removed {
                    self.index.remove(record.caller, record.place, record.outcome, record.execution_us);
                    (last_removed, last_touched) = (Some(record.number), Some(first));
                }
                if !kept.is_empty() {
                    if !removed.is_empty() {
                        kept.iter().try_for_each(|record| rest.push(&transaction, record))?;
                    }
                    break;
                }
            }
        }
        if let (Some(last_removed), Some(last_touched)) = (last_removed, last_touched) {
            transaction.prepare_cached("DELETE FROM segments WHERE first <= ?")?.execute([last_touched])?;
            rest.write(&transaction)?;
            if self.segment.first().is_some_and(|first| first <= last_touched) {
                self.segment = Segment::newest(&transaction)?;
            }
            self.index.drop_blocks_before(&transaction, (last_removed + 1) >> BLOCK_BITS)?;
            self.index.write(&transaction)?;
            self.index.oldest_ms = segment::oldest_ms(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes all; returns how many there were.
    pub(crate) fn clear(&mut self) -> Result<u64, HistoryError> {
        let removed = self.index.all.total();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "DELETE FROM segments; DELETE FROM callers; DELETE FROM places; DELETE FROM blocks;
             DELETE FROM block_callers; DELETE FROM block_places; DELETE FROM block_tasks;",
        )?;
        transaction.commit()?;
        let last = self.index.last();
        // A page of before must not go on in records of afterwards.
        self.index = Index::load(&self.connection, last)?;
        self.segment = Segment::default();
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

fn put(
    connection: &Connection,
    index: &mut Index,
    segment: &mut Segment,
    record: &Record<'_>,
    now_ms: u64,
) -> Result<(), HistoryError> {
    let finished_ms = if record.finished_ms == 0 { now_ms } else { record.finished_ms };
    let caller = index.caller(record.requested_by);
    let place = index.place(record.peer_id, record.address);
    let number =
        index.add(connection, caller, place, record.outcome, record.execution_us, finished_ms, record.task_id)?;
    let mut texts = [&[][..]; TEXTS];
    let said = [
        (segment::TASK_ID, record.task_id),
        (segment::FUNCTION, record.function),
        (segment::TASK_TYPE, record.task_type),
        (segment::ROLE, record.role),
        (segment::PID, record.pid),
        (segment::RUNTIME, record.runtime),
        (segment::CODE, record.code),
        (segment::RESULT, record.result),
        (segment::ERROR, record.error),
    ];
    for (place, text) in said {
        texts[place] = text.as_bytes();
    }
    let stored = Stored {
        number,
        caller,
        place,
        outcome: record.outcome,
        finished_ms,
        execution_us: record.execution_us,
        waiting_us: record.waiting_us,
        cpu_us: record.cpu_us,
        attempts: record.attempts,
        cached: record.cached,
        confidential: record.confidential,
        texts,
    };
    segment.push(connection, &stored)
}
