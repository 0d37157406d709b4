//! The owner's role: encrypts, brings files to holders, finds and decrypts them again.
//!
//! `keys` (what only the owner can do), `staging` (files on their way out), `upload` and `transfer`, `remote` and `download`,
//! `list` (all that is about files that are stored), `database` (what the owner knows), `handler` (one function a message).

mod call;
mod database;
mod download;
mod handler;
mod keys;
mod list;
mod remote;
mod staging;
mod transfer;
mod turns;
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
use turns::Turns;

/// Files that are brought to holders at a time; each holds some MiB for every holder.
const TRANSFERS_MAX: usize = 2;
/// How often uploads that lack holders are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

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
    /// Uploads that are being brought to holders, by their keys; true for those that are to end.
    active: Mutex<HashMap<String, Arc<AtomicBool>>>,
    /// Files that are being read.
    open: Mutex<Vec<Open>>,
    transfers: Turns,
    is_retrying: AtomicBool,
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
            database: Database::open(&node.node_dir)?,
            staging: Staging::open(&node.node_dir).map_err(failed)?,
            lanes: Lanes::default(),
            growing: Mutex::default(),
            checked: Mutex::default(),
            sealing: Mutex::default(),
            active: Mutex::default(),
            open: Mutex::default(),
            transfers: Turns::new(TRANSFERS_MAX),
            is_retrying: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        };
        upload::forget_old(&owner).map_err(failed)?;
        Ok(Arc::new(owner))
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

    /// Goes on with the uploads that were left, and again later while some remain: there may be other peers then.
    fn go_on(self: &Arc<Owner>) {
        match upload::go_on(self) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => self.host.log(Level::Warn, &format!("owned files: uploads cannot be gone on with: {error}")),
        }
        // One timer is enough; another session may have set it.
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

    /// Ends an upload if it is being brought to holders just now.
    fn end_upload(&self, key: &str) {
        if let Some(is_to_end) = self.active.lock().get(key) {
            is_to_end.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}
