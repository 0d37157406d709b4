//! Searches, one after the other on a thread of the host's, beside the one that writes.

use crate::database;
use crate::error::HistoryError;
use parking_lot::Mutex;
use potluck_sdk::{Host, PendingReply};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most searches that wait; each takes some milliseconds.
const WAITING_MAX: usize = 1000;

/// Answers with the text of a reply. The function says whether nobody waits for it any more.
type Question = Box<dyn FnOnce(&Connection, &dyn Fn() -> bool) -> Result<String, HistoryError> + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Question, PendingReply)>,
    running: bool,
}

/// See the module.
pub(crate) struct Reader {
    host: Host,
    path: PathBuf,
    queue: Mutex<Queue>,
    /// With the file that it has open: another one may take its name.
    connection: Mutex<Option<(FileId, Connection)>>,
}

/// Device and number of a file.
type FileId = (u64, u64);

impl Reader {
    pub(crate) fn new(host: Host, path: PathBuf) -> Arc<Reader> {
        Arc::new(Reader { host, path, queue: Mutex::default(), connection: Mutex::default() })
    }

    /// Queues a question; it does not block.
    pub(crate) fn ask(
        self: &Arc<Self>,
        reply: PendingReply,
        question: impl FnOnce(&Connection, &dyn Fn() -> bool) -> Result<String, HistoryError> + Send + 'static,
    ) {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= WAITING_MAX {
            drop(queue);
            return reply.error(&HistoryError::Busy.into());
        }
        queue.waiting.push_back((Box::new(question), reply));
        if !std::mem::replace(&mut queue.running, true) {
            drop(queue);
            let reader = Arc::clone(self);
            self.host.spawn_blocking(move || reader.drain());
        }
    }

    fn drain(&self) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.waiting.pop_front();
                queue.running = next.is_some();
                next
            };
            let Some((question, reply)) = next else { return };
            if reply.is_cancelled() {
                continue;
            }
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(question, &reply)));
            match answer.unwrap_or(Err(HistoryError::Panicked)) {
                Ok(json) => reply.send_json(json.into_bytes()),
                Err(error) => reply.error(&error.into()),
            }
        }
    }

    fn answer(&self, question: Question, reply: &PendingReply) -> Result<String, HistoryError> {
        let mut connection = self.connection.lock();
        let file = file_id(&self.path)?;
        let open = match connection.take().filter(|(opened, _)| *opened == file) {
            Some((_, open)) => open,
            None => database::open_to_read(&self.path)?,
        };
        let answer = question(&open, &|| reply.is_cancelled())?;
        // Only a connection that has done well is used again.
        *connection = Some((file, open));
        Ok(answer)
    }

    /// The node stops.
    pub(crate) fn close(&self) {
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        drop(waiting);
        *self.connection.lock() = None;
    }
}

fn file_id(path: &Path) -> Result<FileId, std::io::Error> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
