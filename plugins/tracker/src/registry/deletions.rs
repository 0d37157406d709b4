//! Deletions that holders have not confirmed. A holder that is away is told when it is heard again.
//!
//! What is to be deleted stands in the database: replicas that are not wanted any more. Here is only who has such, and
//! when it may be asked again.

use super::error::RegistryError;
use super::{Registry, store};
use parking_lot::Mutex;
use potluck_sdk::message::owned_files::{DeleteOwnedFile, SignedManifest};
use potluck_sdk::{Level, PeerId, ProviderError};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Most messages to one holder that wait for their answer.
const BATCH_MAX: usize = 16;
/// Time in which one that does not answer is not asked again; it doubles up to the longest.
const FIRST_PAUSE_SECONDS: u64 = 30;
const LONGEST_PAUSE_SECONDS: u64 = 3600;
/// A holder that has not answered for this long will not.
const ANSWER_SECONDS: u64 = 300;

/// Holders with replicas that they should delete.
pub(super) struct Deletions(Mutex<HashMap<PeerId, Turn>>);

#[derive(Default)]
struct Turn {
    /// Before this time it is not asked.
    not_before: u64,
    pause_seconds: u64,
}

/// One replica that a holder should delete.
struct Unwanted {
    file: i64,
    blob: String,
    /// What has replaced it.
    signed: SignedManifest,
}

impl Deletions {
    pub(super) fn load(connection: &Connection) -> Result<Deletions, RegistryError> {
        let sql = "SELECT DISTINCT holder FROM replicas WHERE unwanted = 1";
        let mut statement = connection.prepare(sql)?;
        let holders = statement.query_map([], |row| row.get::<_, String>(0))?;
        let mut turns = HashMap::new();
        for holder in holders {
            if let Ok(holder) = holder?.parse() {
                turns.insert(holder, Turn::default());
            }
        }
        Ok(Deletions(Mutex::new(turns)))
    }
}

/// The holders that should delete replicas of a file.
pub(super) fn holders_of(connection: &Connection, file: i64) -> Result<Vec<PeerId>, RegistryError> {
    let sql = "SELECT DISTINCT holder FROM replicas JOIN files ON files.number = file
               WHERE file = ?1 AND unwanted = 1 AND confirmed = 1";
    let mut statement = connection.prepare_cached(sql)?;
    let holders = statement.query_map([file], |row| row.get::<_, String>(0))?;
    Ok(holders.collect::<Result<Vec<String>, _>>()?.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Some holders should delete something: those that are there are told at once.
pub(super) fn note(registry: &Arc<Registry>, holders: Vec<PeerId>) {
    for holder in holders {
        registry.deletions.0.lock().entry(holder).or_default();
        heard(registry, holder);
    }
}

/// A holder is there.
pub(super) fn heard(registry: &Arc<Registry>, holder: PeerId) {
    let now = registry.now();
    {
        let mut turns = registry.deletions.0.lock();
        let Some(turn) = turns.get_mut(&holder).filter(|turn| turn.not_before <= now) else { return };
        turn.not_before = now + ANSWER_SECONDS;
    }
    if registry.address(holder).is_none() {
        return wait(registry, holder, 0);
    }
    send(registry, holder);
}

/// A holder is not asked for a time.
fn wait(registry: &Registry, holder: PeerId, seconds: u64) {
    let now = registry.now();
    if let Some(turn) = registry.deletions.0.lock().get_mut(&holder) {
        turn.not_before = now + seconds;
    }
}

fn send(registry: &Arc<Registry>, holder: PeerId) {
    let work = move |connection: &Connection| {
        let sql = "SELECT file, replicas.blob, manifest, signature FROM replicas JOIN files ON files.number = file
                   WHERE holder = ?1 AND unwanted = 1 AND confirmed = 1 LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![holder.to_string(), BATCH_MAX as i64], |row| {
            let signed = SignedManifest { manifest: row.get(2)?, signature: row.get(3)? };
            Ok(Unwanted { file: row.get(0)?, blob: row.get(1)?, signed })
        })?;
        Ok(rows.collect::<Result<Vec<Unwanted>, _>>()?)
    };
    let this = Arc::clone(registry);
    registry.worker.run(0, work, move |result| match result {
        Ok(batch) if batch.is_empty() => {
            this.deletions.0.lock().remove(&holder);
        }
        Ok(batch) => ask(&this, holder, batch),
        Err(error) => {
            this.host.log(Level::Warn, &format!("deletions for the holder {holder} wait: {error}"));
            wait(&this, holder, FIRST_PAUSE_SECONDS);
        }
    });
}

/// What the answers to one batch were.
struct Answers {
    left: usize,
    done: Vec<(i64, String)>,
    failed: Option<ProviderError>,
}

fn ask(registry: &Arc<Registry>, holder: PeerId, batch: Vec<Unwanted>) {
    let answers = Arc::new(Mutex::new(Answers { left: batch.len(), done: Vec::new(), failed: None }));
    for Unwanted { file, blob, signed } in batch {
        let message = DeleteOwnedFile {
            blob: Some(blob.as_str().into()),
            manifest: Some(signed),
            requester_id: Some(registry.own_id.to_string().into()),
            ..DeleteOwnedFile::default()
        };
        let json = registry.addressed(holder, &message);
        let (this, answers) = (Arc::clone(registry), Arc::clone(&answers));
        registry.host.call_with(&json, &[], move |answer| {
            let mut all = answers.lock();
            match answer {
                // Whether it was there still or not, it is gone.
                Ok(_) => all.done.push((file, blob)),
                // A holder deletes what its owner has replaced, whoever asks. It refuses only when there is nothing, and it
                // does not know this tracker, or not yet, and so does not say that there is nothing.
                Err(error) if error.code == ProviderError::FORBIDDEN => all.done.push((file, blob)),
                Err(error) => all.failed = Some(error),
            }
            all.left -= 1;
            if all.left == 0 {
                let (done, failed) = (std::mem::take(&mut all.done), all.failed.take());
                drop(all);
                finish(&this, holder, done, failed);
            }
        });
    }
}

fn finish(registry: &Arc<Registry>, holder: PeerId, done: Vec<(i64, String)>, failed: Option<ProviderError>) {
    let work = move |connection: &Connection| {
        for (file, blob) in &done {
            store::remove_unwanted(connection, *file, blob, holder)?;
        }
        Ok(())
    };
    let this = Arc::clone(registry);
    registry.worker.run(0, work, move |result| {
        let failed = failed.map(|error| error.to_string()).or(result.err().map(|error| error.to_string()));
        match failed {
            None => send(&this, holder),
            Some(text) => {
                this.host.log(Level::Debug, &format!("deletions for the holder {holder} wait: {text}"));
                let now = this.now();
                if let Some(turn) = this.deletions.0.lock().get_mut(&holder) {
                    turn.pause_seconds = (turn.pause_seconds * 2).clamp(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS);
                    turn.not_before = now + turn.pause_seconds;
                }
            }
        }
    });
}
