//! All changes, made by one thread at a time in the order in which they came. Batches that wait together are committed
//! together, and nobody is answered before; the oldest records are removed between two commits.

use crate::batch::Batch;
use crate::books::Books;
use crate::config::Retention;
use crate::database;
use crate::error::HistoryError;
use crate::table::Table;
use parking_lot::Mutex;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::history::{HistoryCleared, RECORDS_PER_BATCH_MAX, TasksRecorded};
use potluck_sdk::{Host, Level, PendingReply, ProviderError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most records that wait: as many bytes as 64 MB at most, for one has a kilobyte at the very most.
const RECORDS_WAITING_MAX: usize = 60_000;
/// Most pieces of work that wait.
const WORK_MAX: usize = 4096;
/// Records of one transaction are no more than this and those of one batch.
const RECORDS_PER_COMMIT: usize = RECORDS_PER_BATCH_MAX;
/// Records that are removed between two commits.
const TRIM_COUNT: u64 = 2048;
/// How often it is seen whether records are too old.
const AGE_CHECK_MS: (u64, u64) = (1000, 3_600_000);

enum Work {
    Record(Box<Batch>, PendingReply),
    Clear(PendingReply),
    /// A search that was asked for after what stands before it.
    Then(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    records: usize,
    running: bool,
    /// Whether the host will wake us to look for records that are too old.
    timer_set: bool,
}

/// See the module.
pub(crate) struct Writer {
    host: Host,
    path: PathBuf,
    retention: Retention,
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    queue: Mutex<Queue>,
    /// Nothing after an error, until it is opened again.
    table: Mutex<Option<Table>>,
    books: Mutex<Books>,
    /// Whether a search has met with damage: the writer itself may go on for long without reading that page.
    is_damaged: AtomicBool,
}

impl Writer {
    pub(crate) fn start(
        host: Host,
        path: PathBuf,
        retention: Retention,
        now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Arc<Writer>, HistoryError> {
        let writer = Arc::new(Writer {
            host,
            path,
            retention,
            now_ms,
            queue: Mutex::default(),
            table: Mutex::default(),
            books: Mutex::default(),
            is_damaged: AtomicBool::new(false),
        });
        let mut table = writer.open()?;
        *writer.books.lock() = table.books();
        let is_overdue = table.is_overdue((writer.now_ms)());
        let is_empty = table.is_empty();
        *writer.table.lock() = Some(table);
        if is_overdue {
            writer.wake();
        } else if !is_empty {
            writer.set_timer();
        }
        Ok(writer)
    }

    /// The sums over the records, as they are on the disk.
    pub(crate) fn books(&self) -> &Mutex<Books> {
        &self.books
    }

    /// Records a batch, and answers when it is on the disk.
    pub(crate) fn record(self: &Arc<Self>, batch: Batch, reply: PendingReply) {
        let count = batch.len();
        self.push(Work::Record(Box::new(batch), reply), count);
    }

    /// A search could not read the database. It is put aside by the one who clears the history: somebody may want to
    /// save what is in it before.
    pub(crate) fn note_damage(&self) {
        self.is_damaged.store(true, Ordering::SeqCst);
    }

    /// Forgets all records.
    pub(crate) fn clear(self: &Arc<Self>, reply: PendingReply) {
        self.push(Work::Clear(reply), 0);
    }

    /// Does something once all is on the disk that has come so far: who has been told that a task has ended finds it.
    pub(crate) fn then(&self, what: impl FnOnce() + Send + 'static) {
        let mut queue = self.queue.lock();
        let is_behind = queue.running || !queue.waiting.is_empty();
        // Where too much waits, it sees what there is.
        if !is_behind || queue.waiting.len() >= WORK_MAX {
            drop(queue);
            return what();
        }
        queue.waiting.push_back(Work::Then(Box::new(what)));
    }

    fn push(self: &Arc<Self>, work: Work, count: usize) {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= WORK_MAX || (queue.records > 0 && queue.records + count > RECORDS_WAITING_MAX) {
            drop(queue);
            return match work {
                Work::Record(_, reply) | Work::Clear(reply) => reply.error(&HistoryError::Busy.into()),
                Work::Then(what) => what(),
            };
        }
        queue.records += count;
        queue.waiting.push_back(work);
        drop(queue);
        self.wake();
    }

    fn wake(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.queue.lock().running, true) {
            let writer = Arc::clone(self);
            self.host.spawn_blocking(move || writer.drain());
        }
    }

    /// Does all that waits. Only one thread is here at a time.
    fn drain(self: &Arc<Self>) {
        loop {
            let group = self.next_group();
            let count: usize = group.iter().map(Work::records).sum();
            let (answers, is_overdue, is_empty) = {
                let mut table = self.table.lock();
                // A panic leaves nothing half done: the table is opened again.
                let done = catch_unwind(AssertUnwindSafe(|| self.work(&mut table, &group)));
                let answers = done.unwrap_or(Err(HistoryError::Panicked));
                if answers.is_err() {
                    *table = None;
                }
                let now_ms = (self.now_ms)();
                let state = table.as_ref().map_or((false, true), |table| (table.is_overdue(now_ms), table.is_empty()));
                (answers, state.0, state.1)
            };
            if let Err(error) = &answers {
                self.host.log(Level::Warn, &format!("records of tasks could not be kept: {error}"));
            }
            answer(group, &answers);
            let is_trimmed = is_overdue && self.trim();
            let mut queue = self.queue.lock();
            queue.records -= count;
            if queue.waiting.is_empty() && !is_trimmed {
                queue.running = false;
                drop(queue);
                if !is_empty {
                    self.set_timer();
                }
                return;
            }
        }
    }

    /// What is committed together; one that forgets all is alone, and so is a search.
    fn next_group(&self) -> Vec<Work> {
        let mut queue = self.queue.lock();
        let mut group = Vec::new();
        let mut count = 0;
        while let Some(work) = queue.waiting.pop_front() {
            let is_alone = work.batch().is_none();
            if !group.is_empty() && (is_alone || count + work.records() > RECORDS_PER_COMMIT) {
                queue.waiting.push_front(work);
                break;
            }
            count += work.records();
            group.push(work);
            if is_alone {
                break;
            }
        }
        group
    }

    /// Returns the numbers for the answers.
    fn work(&self, table: &mut Option<Table>, group: &[Work]) -> Result<Vec<u64>, HistoryError> {
        if matches!(group, [] | [Work::Then(_)]) {
            return Ok(Vec::new());
        }
        let counts = match self.change(table, group) {
            Err(error) if error.is_damage() => {
                *table = None;
                self.put_aside(&error)?;
                self.change(table, group)?
            }
            result => result?,
        };
        if let Some(table) = table {
            table.publish(&mut self.books.lock());
        }
        Ok(counts)
    }

    fn change(&self, table: &mut Option<Table>, group: &[Work]) -> Result<Vec<u64>, HistoryError> {
        if let [Work::Clear(_)] = group {
            if self.is_damaged.swap(false, Ordering::SeqCst) {
                return Err(HistoryError::Damaged("a search could not read it".to_owned()));
            }
            return Ok(vec![self.opened(table)?.clear()?]);
        }
        let batches: Vec<&Batch> = group.iter().filter_map(Work::batch).collect();
        let counts = self.opened(table)?.record(&batches, (self.now_ms)())?;
        Ok(counts.into_iter().map(|count| count as u64).collect())
    }

    /// Removes some records; false when that is not possible now.
    fn trim(&self) -> bool {
        let mut table = self.table.lock();
        let Some(open) = table.as_mut() else { return false };
        match catch_unwind(AssertUnwindSafe(|| open.trim((self.now_ms)(), TRIM_COUNT)))
            .unwrap_or(Err(HistoryError::Panicked))
        {
            Ok(()) => {
                open.publish(&mut self.books.lock());
                true
            }
            Err(error) => {
                *table = None;
                self.host.log(Level::Warn, &format!("old records of tasks could not be removed: {error}"));
                false
            }
        }
    }

    fn opened<'a>(&self, table: &'a mut Option<Table>) -> Result<&'a mut Table, HistoryError> {
        if table.is_none() {
            let mut opened = self.open()?;
            *self.books.lock() = opened.books();
            *table = Some(opened);
        }
        table.as_mut().ok_or(HistoryError::Busy)
    }

    /// Opens the database; one that is damaged is put aside.
    fn open(&self) -> Result<Table, HistoryError> {
        match Table::open(&self.path, self.retention) {
            Err(error) if error.is_damage() => {
                self.put_aside(&error)?;
                Table::open(&self.path, self.retention)
            }
            result => result,
        }
    }

    fn put_aside(&self, error: &HistoryError) -> Result<(), HistoryError> {
        let aside = database::put_aside(&self.path, (self.now_ms)())?;
        let text = format!("{error}; it is kept as {}, and a new one begins", aside.display());
        self.host.log(Level::Warn, &text);
        Ok(())
    }

    /// Looks for records that are too old, after a while: nothing wakes up when records are kept for ever, or there are
    /// none.
    fn set_timer(self: &Arc<Self>) {
        let Some(keep_ms) = self.retention.keep_ms else { return };
        if std::mem::replace(&mut self.queue.lock().timer_set, true) {
            return;
        }
        let writer = Arc::downgrade(self);
        let delay = (keep_ms / 10).clamp(AGE_CHECK_MS.0, AGE_CHECK_MS.1);
        self.host.run_after(Duration::from_millis(delay), move || {
            let Some(writer) = writer.upgrade() else { return };
            writer.queue.lock().timer_set = false;
            // A table that is in use is seen to by its user.
            let state = writer
                .table
                .try_lock()
                .and_then(|table| table.as_ref().map(|table| (table.is_overdue((writer.now_ms)()), table.is_empty())));
            match state {
                Some((true, _)) => {
                    writer.wake();
                    writer.set_timer();
                }
                Some((false, true)) => {}
                _ => writer.set_timer(),
            }
        });
    }

    /// Does what waits, and closes the database: the node stops.
    pub(crate) fn close(self: &Arc<Self>) {
        let was_running = std::mem::replace(&mut self.queue.lock().running, true);
        if !was_running {
            self.drain();
        }
        // Waits for the one that is at work.
        *self.table.lock() = None;
    }
}

impl Work {
    fn records(&self) -> usize {
        self.batch().map_or(0, Batch::len)
    }

    fn batch(&self) -> Option<&Batch> {
        match self {
            Work::Record(batch, _) => Some(batch),
            Work::Clear(_) | Work::Then(_) => None,
        }
    }
}

fn answer(group: Vec<Work>, counts: &Result<Vec<u64>, HistoryError>) {
    for (place, work) in group.into_iter().enumerate() {
        let count = match counts {
            Ok(counts) => Ok(counts.get(place).copied().unwrap_or(0)),
            Err(error) => Err(ProviderError::from(error)),
        };
        match (work, count) {
            (Work::Record(_, reply), Ok(count)) => {
                let recorded = usize::try_from(count).unwrap_or(usize::MAX);
                reply.send(&TasksRecorded { status: STATUS_OK, recorded });
            }
            (Work::Clear(reply), Ok(removed)) => reply.send(&HistoryCleared { status: STATUS_OK, removed }),
            (Work::Record(_, reply) | Work::Clear(reply), Err(error)) => reply.error(&error),
            (Work::Then(what), _) => what(),
        }
    }
}
