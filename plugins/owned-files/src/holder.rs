//! The holder: keeps encrypted blobs that their owners have signed, proves that it has them, and brings them to others.
//!
//! The rooms: `index` (what is here, and whose), `storage` (the files), `upload` (replicas come, are mended and are
//! deleted), `read` (blocks, checked), `report` (what the tracker is told), `replicate`, `scrub`, `named` (files in the
//! original's form), `handler`. All that changes the versions of one file is done in that file's lane, in order.

mod handler;
mod index;
mod named;
mod read;
mod replicate;
mod report;
mod scrub;
mod storage;
mod upload;

pub(crate) use handler::answer;

use crate::config::OwnedFilesConfig;
use index::{Deletion, FileKey, Index, Replica, State};
use parking_lot::Mutex;
use potluck_sdk::files::Lanes;
use potluck_sdk::{Caller, Host, Level, PeerId, ProviderError};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use storage::{Found, Storage};
use upload::Parts;

/// Label of the secret that hides the names of files in the original's form.
const NAMED_LABEL: &str = "owned-files holder name 1";

/// No two of its locks are held at the same time, and none while the disk works.
pub(crate) struct Holder {
    host: Host,
    config: OwnedFilesConfig,
    own_id: PeerId,
    storage: Storage,
    lanes: Lanes,
    index: Mutex<Index>,
    parts: Mutex<Parts>,
    /// Who the tracker is, since it has this node in its table.
    tracker: Mutex<Option<PeerId>>,
    /// Counts what begins to tell the tracker everything; an older one ends then.
    report_round: AtomicU64,
    untold: Mutex<report::Untold>,
    replication_count: AtomicUsize,
    named_key: ring::hmac::Key,
    is_stopping: AtomicBool,
}

/// The holder's part of the node's STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HolderStatus {
    pub(crate) replica_count: usize,
    pub(crate) stored_bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) damaged_count: usize,
}

impl Holder {
    /// Reads what is here; it blocks for a short while.
    pub(crate) fn open(host: Host, config: &OwnedFilesConfig) -> Result<Arc<Holder>, ProviderError> {
        let failed = |error: io::Error| {
            ProviderError::new("disk_failed", format!("the folder of the owned files cannot be used: {error}"))
        };
        let node = host.node();
        let storage = Storage::open(node.node_dir.join("owned_storage")).map_err(failed)?;
        let index = read_index(host, config, &storage).map_err(failed)?;
        let holder = Arc::new(Holder {
            host,
            config: config.clone(),
            own_id: node.peer_id,
            storage,
            lanes: Lanes::default(),
            index: Mutex::new(index),
            parts: Mutex::default(),
            tracker: Mutex::default(),
            report_round: AtomicU64::new(0),
            untold: Mutex::default(),
            replication_count: AtomicUsize::new(0),
            named_key: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &host.secret(NAMED_LABEL)),
            is_stopping: AtomicBool::new(false),
        });
        scrub::arm(&holder);
        Ok(holder)
    }

    /// Work that may take long ends soon.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> HolderStatus {
        let index = self.index.lock();
        HolderStatus {
            replica_count: index.replica_count(),
            stored_bytes: index.stored_bytes(),
            capacity_bytes: self.config.capacity_bytes,
            damaged_count: index.replicas().filter(|(_, replica)| replica.state == State::Damaged).count(),
        }
    }

    /// Bytes that there is room for. It blocks.
    fn free_bytes(&self) -> u64 {
        let allowed = self.config.capacity_bytes.saturating_sub(self.index.lock().stored_bytes());
        allowed.min(self.storage.free_bytes().unwrap_or(u64::MAX))
    }

    /// Whose files a caller may have: a member its own, this node's user and providers the node's. A task has none.
    fn proven_owner(&self, caller: Caller<'_>) -> Option<PeerId> {
        match caller {
            Caller::Member(id) => id.parse().ok(),
            Caller::Local | Caller::Plugin(_) | Caller::Web(_) => Some(self.own_id),
            Caller::Task(_) => None,
        }
    }

    fn is_tracker(&self, caller: Caller<'_>) -> bool {
        let tracker = *self.tracker.lock();
        match caller {
            Caller::Member(id) => tracker.is_some() && tracker == id.parse().ok(),
            Caller::Plugin(_) => tracker == Some(self.own_id),
            Caller::Local | Caller::Web(_) | Caller::Task(_) => false,
        }
    }

    /// Queues work in a file's lane that nobody waits for. What finds no room there is found again by the next scrub.
    fn in_lane(self: &Arc<Self>, file: &FileKey, work: impl FnOnce(&Arc<Holder>) + Send + 'static) {
        let holder = Arc::clone(self);
        if self.lanes.run(self.host, &file.lane(), 0, move || work(&holder)).is_err() {
            self.host.log(Level::Warn, "Too much work waits for the disk; some upkeep of replicas is put off.");
        }
    }
}

fn read_index(host: Host, config: &OwnedFilesConfig, storage: &Storage) -> io::Result<Index> {
    let mut index = Index::default();
    let mut unreadable_count = 0;
    let mut replaced = Vec::new();
    storage.scan(config.unfinished_seconds, |found| match found {
        Found::Replica { blob, manifest, state, touched_unix_seconds } => {
            if let Ok(Some(wanted)) = index::Wanted::of(&manifest) {
                index.insert(blob, Replica { state, touched_unix_seconds, ..wanted.replica });
            }
        }
        Found::Deletion(manifest) => {
            if let (Ok(file), Ok(deletion)) = (FileKey::of(&manifest), Deletion::of(&manifest)) {
                if let Some(forgotten) = index.remember(config.replicas_max, file, deletion) {
                    let _ = storage.remove_deletion(&forgotten);
                }
                replaced.push((file, deletion));
            }
        }
        Found::Named { owner, hash, size } => index.insert_named((owner, hash), size),
        Found::Unreadable => unreadable_count += 1,
    })?;
    // Something came between what a manifest has replaced and its removal.
    for (file, latest) in replaced {
        for blob in index.replaced(&file, &latest) {
            index.remove(blob);
            storage.remove(file.owner, blob)?;
        }
    }
    if unreadable_count > 0 {
        let text =
            format!("{unreadable_count} files in owned_storage cannot be used; their owners can store them again.");
        host.log(Level::Warn, &text);
    }
    Ok(index)
}
