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
use turns::Turns;

/// Files that are brought to holders at a time; each holds some MiB for every holder.
const TRANSFERS_MAX: usize = 2;

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
    /// Uploads that are to end, by their keys.
    aborted: Mutex<HashSet<String>>,
    /// Files that are being read.
    open: Mutex<Vec<Open>>,
    transfers: Turns,
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
            aborted: Mutex::default(),
            open: Mutex::default(),
            transfers: Turns::new(TRANSFERS_MAX),
            is_stopping: AtomicBool::new(false),
        };
        upload::forget_old(&owner).map_err(failed)?;
        Ok(Arc::new(owner))
    }

    /// The node has met the tracker: both tell each other what they know, and uploads that were left are gone on with.
    pub(crate) fn tracker_session(self: &Arc<Owner>) {
        let owner = Arc::clone(self);
        let meet = move || {
            let met = list::meet_tracker(&owner).and_then(|()| upload::go_on(&owner));
            if let Err(error) = met {
                owner.host.log(Level::Warn, &format!("owned files: the tracker was not told everything: {error}"));
            }
        };
        // When too much waits the next session does it.
        let _ = self.lanes.run(self.host, "/session", 0, meet);
    }

    pub(crate) fn file_count(&self) -> u64 {
        self.database.file_count().unwrap_or(0)
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}
