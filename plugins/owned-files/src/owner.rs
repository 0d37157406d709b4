//! The owner's role: encrypts, brings files to holders, finds and decrypts them again.
//!
//! `keys` (what only the owner can do), `staging` (files on their way out), `upload`, `delivery` and `transfer`, `remote` and
//! `download`, `list` (all that is about files that are stored), `tracker` (what it is asked), `call` (asking and waiting), `database` (what the owner knows), `handler` (one function a message).

mod call;
mod database;
mod delivery;
mod download;
mod handler;
mod keys;
mod list;
mod remote;
mod sealing;
mod staging;
mod tracker;
mod transfer;
mod upload;

use crate::config::OwnedFilesConfig;
use database::Database;
use download::Open;
pub(crate) use handler::answer;
use keys::Keys;
use parking_lot::Mutex;
use potluck_sdk::files::Lanes;
use potluck_sdk::{Host, Level, PeerId, ProviderError};
use staging::{Growing, Staging};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often uploads that lack holders are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How soon after an upload has begun the unfinished ones are looked through, at the earliest.
const TIDY_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// The owner's side of the provider.
pub(crate) struct Owner {
    host: Host,
    id: PeerId,
    config: OwnedFilesConfig,
    keys: Keys,
    database: Database,
    staging: Staging,
    lanes: Lanes,
    /// Uploads whose pieces are coming, by their keys.
    growing: Mutex<HashMap<String, Growing>>,
    /// Uploads whose encrypted bytes are known to be as they should, by their keys.
    checked: Mutex<HashSet<String>>,
    /// Held while an upload gets its revision.
    sealing: Mutex<()>,
    /// Uploads that are being brought to holders, or wait for that, by their keys; true for those that are to end.
    active: Mutex<HashMap<String, Arc<AtomicBool>>>,
    /// Files that are being read.
    open: Mutex<Vec<Open>>,
    /// Tags of the names that are read just now, unless there has been another version since.
    reading: Mutex<HashSet<String>>,
    is_going_on: AtomicBool,
    is_retrying: AtomicBool,
    is_tidying: AtomicBool,
    is_stopping: AtomicBool,
}

impl Owner {
    pub(crate) fn open(host: Host, config: &OwnedFilesConfig) -> Result<Arc<Owner>, ProviderError> {
        let node = host.node();
        let failed = |error: std::io::Error| {
            let text = format!("the folder of the files on their way out cannot be used: {error}");
            ProviderError::new("disk_failed", text)
        };
        let owner = Owner {
            host,
            id: node.peer_id,
            config: config.clone(),
            keys: Keys::new(host)?,
            database: Database::open(host, &node.node_dir, node.peer_id)?,
            staging: Staging::open(&node.node_dir).map_err(failed)?,
            lanes: Lanes::default(),
            growing: Mutex::default(),
            checked: Mutex::default(),
            sealing: Mutex::default(),
            active: Mutex::default(),
            open: Mutex::default(),
            reading: Mutex::default(),
            is_going_on: AtomicBool::new(false),
            is_retrying: AtomicBool::new(false),
            is_tidying: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        };
        let owner = Arc::new(owner);
        if upload::forget_old(&owner).map_err(failed)? > 0 {
            owner.tidy_later();
        }
        Ok(owner)
    }

    /// The node has met the tracker: both tell each other what they know, and uploads that were left are gone on with.
    pub(crate) fn tracker_session(self: &Arc<Owner>) {
        let owner = Arc::clone(self);
        let meet = move || {
            if let Err(error) = list::meet_tracker(&owner) {
                owner.host.log(Level::Warn, &format!("owned files: the tracker was not told everything: {error}"));
            }
            owner.go_on();
        };
        // When too much waits the next session does it.
        let _ = self.lanes.run(self.host, "/session", 0, meet);
    }

    pub(crate) fn file_count(&self) -> u64 {
        self.database.file_count().unwrap_or(0)
    }

    /// Goes on with the uploads that were left.
    fn go_on(self: &Arc<Owner>) {
        if let Err(error) = delivery::go_on(self) {
            self.host.log(Level::Warn, &format!("owned files: uploads cannot be gone on with: {error}"));
        }
    }

    /// Some uploads lack holders: there may be other peers later.
    fn retry_later(self: &Arc<Owner>) {
        // One timer is enough.
        if self.is_retrying.swap(true, Ordering::Relaxed) {
            return;
        }
        let owner = Arc::clone(self);
        self.host.run_after(RETRY_INTERVAL, move || {
            owner.is_retrying.store(false, Ordering::Relaxed);
            let again = Arc::clone(&owner);
            let _ = owner.lanes.run(owner.host, "/session", 0, move || again.go_on());
        });
    }

    /// Has uploads forgotten that nobody goes on with, while there are any.
    fn tidy_later(self: &Arc<Owner>) {
        if self.is_tidying.swap(true, Ordering::Relaxed) {
            return;
        }
        let owner = Arc::clone(self);
        let wait = Duration::from_secs(self.config.unfinished_seconds).max(TIDY_INTERVAL_MIN);
        self.host.run_after(wait, move || {
            owner.is_tidying.store(false, Ordering::Relaxed);
            let again = Arc::clone(&owner);
            let tidy = move || match upload::forget_old(&again) {
                Ok(0) => {}
                Ok(_) => again.tidy_later(),
                Err(error) => {
                    again.host.log(Level::Warn, &format!("owned files: old uploads cannot be removed: {error}"));
                    again.tidy_later();
                }
            };
            let _ = owner.lanes.run(owner.host, "/session", 0, tidy);
        });
    }

    /// Notes that an upload waits to be brought to holders; returns whether somebody has it brought already.
    fn note_active(&self, key: &str) -> bool {
        let mut active = self.active.lock();
        match active.get(key) {
            // One that is to end is of an earlier time.
            Some(is_to_end) if !is_to_end.load(Ordering::Relaxed) => true,
            _ => {
                active.insert(key.to_owned(), Arc::default());
                false
            }
        }
    }

    /// Ends an upload that is being brought to holders, or waits for that.
    fn end_upload(&self, key: &str) {
        if let Some(is_to_end) = self.active.lock().get(key) {
            is_to_end.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}
