//! All work on the database, done by one thread at a time in the order in which it came. What waits together is committed
//! together, so that many registrations cost one wait for the disk; nobody is answered before that.

use super::error::RegistryError;
use parking_lot::Mutex;
use potluck_sdk::Host;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

/// Most pieces of work that wait.
const WORK_MAX: usize = 4096;
/// Most bytes that they hold.
const BYTES_MAX: usize = 64 << 20;
/// Most pieces of work in one transaction.
const BATCH_MAX: usize = 128;

/// What is to be done once the transaction is committed, or was not.
type Finish = Box<dyn FnOnce(Result<(), String>) + Send>;
/// It gets no connection when no transaction could be begun.
type Work = Box<dyn FnOnce(Option<&Connection>) -> Finish + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(usize, Work)>,
    bytes: usize,
    running: bool,
}

/// The database and its queue. Clones share them.
#[derive(Clone)]
pub(super) struct Worker {
    host: Host,
    queue: Arc<Mutex<Queue>>,
    connection: Arc<Mutex<Connection>>,
    /// Called after a commit that has changed something.
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl Worker {
    pub(super) fn new(host: Host, connection: Connection, changed: impl Fn() + Send + Sync + 'static) -> Worker {
        let connection = Arc::new(Mutex::new(connection));
        Worker { host, queue: Arc::default(), connection, changed: Arc::new(changed) }
    }

    /// Queues work that holds `bytes` of memory; it does not block. `done` gets what the work returned once it is on the
    /// disk; what work changed that fails is undone. When there is no room for it, `done` is told so at once.
    pub(super) fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection) -> Result<T, RegistryError> + Send + 'static,
        done: impl FnOnce(Result<T, RegistryError>) + Send + 'static,
    ) {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= WORK_MAX || (queue.bytes > 0 && queue.bytes + bytes > BYTES_MAX) {
            drop(queue);
            return done(Err(RegistryError::Busy));
        }
        queue.bytes += bytes;
        let work: Work = Box::new(move |connection| {
            let result = connection.map_or(Err(RegistryError::Busy), |it| undone_when_it_fails(it, work));
            Box::new(move |committed| match committed {
                Ok(()) => done(result),
                Err(text) => done(Err(RegistryError::NotCommitted(text))),
            })
        });
        queue.waiting.push_back((bytes, work));
        if !std::mem::replace(&mut queue.running, true) {
            drop(queue);
            let worker = self.clone();
            self.host.spawn_blocking(move || worker.drain());
        }
    }

    /// As [`Worker::run`], for a thread that may wait.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.run(0, work, move |result| drop(sender.try_send(result)));
        // The sender is dropped unused when the node stops before the work is done.
        receiver.recv().unwrap_or(Err(RegistryError::Busy))
    }

    fn drain(&self) {
        let mut connection = self.connection.lock();
        loop {
            let batch: Vec<(usize, Work)> = {
                let mut queue = self.queue.lock();
                let count = queue.waiting.len().min(BATCH_MAX);
                queue.running = count > 0;
                queue.waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let bytes: usize = batch.iter().map(|(bytes, _)| bytes).sum();
            let changes = connection.total_changes();
            let (finishes, committed) = commit_together(&mut connection, batch);
            if committed.is_ok() && connection.total_changes() != changes {
                (self.changed)();
            }
            for finish in finishes {
                // An answer that panics takes nothing else with it.
                let _ = catch_unwind(AssertUnwindSafe(|| finish(committed.clone())));
            }
            self.queue.lock().bytes -= bytes;
        }
    }
}

fn commit_together(connection: &mut Connection, batch: Vec<(usize, Work)>) -> (Vec<Finish>, Result<(), String>) {
    match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => {
            let finishes = batch.into_iter().map(|(_, work)| work(Some(&transaction))).collect();
            (finishes, transaction.commit().map_err(|error| error.to_string()))
        }
        Err(error) => (batch.into_iter().map(|(_, work)| work(None)).collect(), Err(error.to_string())),
    }
}

fn undone_when_it_fails<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    if connection.is_autocommit() {
        // SQLite has given up the whole transaction: the disk is full, or fails.
        return Err(RegistryError::Busy);
    }
    connection.execute_batch("SAVEPOINT work")?;
    let result = catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or(Err(RegistryError::Panicked));
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO work")?;
    }
    connection.execute_batch("RELEASE work")?;
    result
}
