//! What a message asks for, as work for a blocking thread, and the lane that it is done in.

use crate::error::DiskError;
use crate::store::Store;
use potluck_sdk::PendingReply;
use potluck_sdk::files::{FileName, NameKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Answers that are read at the same time.
const READS_MAX: u64 = 8;
/// Files that are hashed at the same time for STAT_FILE: one for each core of a small machine.
const HASHES_MAX: u64 = 2;

type Run = Box<dyn FnOnce(&Arc<Store>, PendingReply) + Send>;

/// What is done on a blocking thread.
pub(crate) struct Work {
    lane: String,
    bytes: usize,
    run: Run,
}

impl Work {
    pub(crate) fn new(
        lane: String,
        bytes: usize,
        run: impl FnOnce(&Arc<Store>, PendingReply) + Send + 'static,
    ) -> Work {
        Work { lane, bytes, run: Box::new(run) }
    }

    /// Changes of names that can conflict are made one after the other, so that each sees the one before.
    pub(crate) fn change(
        name: &FileName,
        bytes: usize,
        run: impl FnOnce(&Arc<Store>, PendingReply) + Send + 'static,
    ) -> Work {
        Work::new(NameKey::new(name).look().to_owned(), bytes, run)
    }

    /// Reading waits for no change. A few at a time, since each may hold 8 MiB until its answer is on its way.
    pub(crate) fn read(run: impl FnOnce(&Arc<Store>, PendingReply) + Send + 'static) -> Work {
        Work::new(one_of("/read", READS_MAX), 0, run)
    }

    /// Hashing may take minutes, so it has lanes of its own.
    pub(crate) fn hash(run: impl FnOnce(&Arc<Store>, PendingReply) + Send + 'static) -> Work {
        Work::new(one_of("/hash", HASHES_MAX), 0, run)
    }

    /// Queues it in its lane. When there is no room the reply says so.
    pub(crate) fn queue(self, store: &Arc<Store>, reply: PendingReply) {
        let (inner, run) = (Arc::clone(store), self.run);
        let queued = store.lanes.run_with(store.host, &self.lane, self.bytes, reply, move |reply| run(&inner, reply));
        if let Err((reply, full)) = queued {
            reply.error(&DiskError::from(full).into());
        }
    }
}

/// The next of so many lanes. No name begins with a slash, so none of them is that of a file.
fn one_of(prefix: &str, count: u64) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed) % count)
}

/// The name in a message.
pub(crate) fn name(text: Option<&str>, operation: &'static str) -> Result<FileName, DiskError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(DiskError::FilenameRequired(operation))?;
    FileName::try_from(text).map_err(|error| DiskError::Name(operation, error))
}
