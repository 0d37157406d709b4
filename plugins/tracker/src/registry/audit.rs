//! Replicas are checked: their holder has to show a block that it could not foresee. Every so often some of all; all of
//! one owner when it asks.

use super::calls::{ask, ask_each};
use super::error::RegistryError;
use super::store::{self, FileRow, ReplicaRow};
use super::{Registry, note_peer, random_below, repair};
use potluck_sdk::files::{BlockHashes, CheckedManifest};
use potluck_sdk::message::owned_files::{AuditOwnedFile, REPLICA_TOPIC, ReplicaEvent, ReplicaState};
use potluck_sdk::{Level, PeerId, ProviderError, Response};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a holder may take to show a block of 8 MiB.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Each round checks so many replicas, or so large a part of all that each has its turn about once a day.
const CHECKS_MIN: u64 = 32;
const CHECKS_MAX: u64 = 5000;
const ROUNDS_A_DAY: u64 = 24;
/// Rows that are read at a time, so that the others who wait for the database wait shortly.
const PAGE: usize = 200;
/// Files with up to so many blocks are checked wholly when their owner asks; of larger ones so many are.
const ALL_BLOCKS_MAX: usize = 64;
const SOME_BLOCKS: usize = 16;

/// Most replicas of which it is noted since when their holder shows nothing.
const UNPROVEN_MAX: usize = 10_000;

/// Since when holders that are there do not show their replicas: file and holder, and Unix seconds.
pub(super) type Unproven = HashMap<(i64, PeerId), u64>;

/// A file whose replicas are looked at.
pub(super) struct Checked {
    pub(super) file: FileRow,
    pub(super) owner: PeerId,
    /// Its blob.
    pub(super) blob: String,
    pub(super) size: u64,
    /// None while they are not known.
    hashes: Option<BlockHashes>,
    /// The replicas that are wanted.
    pub(super) replicas: Vec<ReplicaRow>,
}

impl Checked {
    /// Reads it; nothing when the file is deleted.
    pub(super) fn load(registry: &Registry, number: i64) -> Result<Option<Checked>, RegistryError> {
        let rows = registry.worker.wait(move |connection| {
            let Some(file) = store::file_numbered(connection, number)? else { return Ok(None) };
            let replicas = store::replicas(connection, number, true, false)?;
            Ok(Some((file, replicas, store::block_hashes(connection, number)?)))
        })?;
        let Some((file, replicas, hashes)) = rows else { return Ok(None) };
        let manifest = CheckedManifest::try_from(file.signed.clone())?;
        let Some(blob) = &manifest.manifest.blob else { return Ok(None) };
        let hashes = if hashes.is_empty() { None } else { manifest.block_hashes(&hashes).ok() };
        let (owner, blob, size) = (manifest.owner, blob.id.clone(), blob.size);
        Ok(Some(Checked { file, owner, blob, size, hashes, replicas }))
    }
}

/// What came of asking for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    State(ReplicaState),
    /// The holder is away or will not answer: that says nothing of the replica.
    Unknown,
}

fn judge(hashes: &BlockHashes, block: usize, answer: &Result<Response, ProviderError>) -> Verdict {
    match answer {
        Ok(response) if hashes.check(block, &response.attachment) => Verdict::State(ReplicaState::Ok),
        Ok(_) => Verdict::State(ReplicaState::Damaged),
        Err(error) if error.code == "damaged" || error.code == "hash_mismatch" => Verdict::State(ReplicaState::Damaged),
        Err(error) if error.code == "not_found" => Verdict::State(ReplicaState::Missing),
        Err(_) => Verdict::Unknown,
    }
}

/// Has the next round begin in its time, as long as there is something to check.
pub(super) fn arm(registry: &Arc<Registry>) {
    if registry.round_armed.swap(true, Ordering::AcqRel) {
        return;
    }
    let this = Arc::clone(registry);
    registry.host.run_after(registry.audit_pause, move || {
        let round = Arc::clone(&this);
        this.host.spawn_blocking(move || {
            let changes = round.changes.load(Ordering::Acquire);
            let has_replicas = run_round(&round).unwrap_or_else(|error| {
                round.host.log(Level::Warn, &format!("replicas could not be checked: {error}"));
                true
            });
            round.round_armed.store(false, Ordering::Release);
            if has_replicas || round.changes.load(Ordering::Acquire) != changes {
                arm(&round);
            }
        });
    });
}

/// Says whether there are replicas at all.
fn run_round(registry: &Arc<Registry>) -> Result<bool, RegistryError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM replicas)";
    let has_replicas = registry.worker.wait(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))?;
    if has_replicas {
        note_who_is_there(registry)?;
        fetch_hashes(registry)?;
        check_some(registry)?;
        repair::repair_all(registry)?;
    }
    Ok(has_replicas)
}

/// Notes which holders are alive, and where.
fn note_who_is_there(registry: &Arc<Registry>) -> Result<(), RegistryError> {
    let mut after = String::new();
    loop {
        let behind = after.clone();
        let ids: Vec<String> = registry.worker.wait(move |connection| {
            let sql = "SELECT peer_id FROM peers WHERE peer_id > ?1 ORDER BY peer_id LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![behind, PAGE as i64], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let Some(last) = ids.last() else { return Ok(()) };
        after.clone_from(last);
        let ids = ids.iter().filter_map(|id| id.parse::<PeerId>().ok());
        let there: Vec<_> = registry.service.with_state(|state, _, _| {
            let address = |id| state.directory.peer(id).map(|entry| (id, (entry.ip.clone(), entry.port)));
            ids.filter_map(address).collect()
        });
        let now = registry.now();
        registry.worker.wait(move |connection| {
            for (id, address) in &there {
                note_peer(connection, *id, Some(address), now, None)?;
            }
            Ok(())
        })?;
    }
}

/// Checks one block of each of some replicas, from a random place on.
fn check_some(registry: &Arc<Registry>) -> Result<(), RegistryError> {
    let (count, last): (i64, Option<i64>) = registry.worker.wait(|connection| {
        let sql = "SELECT COUNT(*), MAX(number) FROM replicas";
        Ok(connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    })?;
    let (count, last) = (store::unsigned(count), store::unsigned(last.unwrap_or(0)));
    let mut left = (count / ROUNDS_A_DAY).clamp(CHECKS_MIN, CHECKS_MAX).min(count) as usize;
    let first = store::signed(random_below(last + 1));
    // From there to the end, and then from the beginning to there.
    for (mut from, to) in [(first, i64::MAX), (0, first)] {
        while left > 0 {
            let limit = left.min(PAGE);
            let page: Vec<(i64, i64, String)> = registry.worker.wait(move |connection| {
                let sql = "SELECT number, file, holder FROM replicas
                           WHERE number >= ?1 AND number < ?2 AND unwanted = 0 ORDER BY number LIMIT ?3";
                let mut statement = connection.prepare_cached(sql)?;
                let values = params![from, to, limit as i64];
                let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })?;
            let Some((last, ..)) = page.last() else { break };
            from = last + 1;
            left -= page.len();
            check_page(registry, page);
        }
    }
    Ok(())
}

fn check_page(registry: &Arc<Registry>, page: Vec<(i64, i64, String)>) {
    let questions = page.into_iter().filter_map(|(_, file, holder)| {
        let holder: PeerId = holder.parse().ok()?;
        registry.address(holder)?;
        // One at a time, when its turn comes: the hashes of a page of large files would be many.
        let checked = Checked::load(registry, file).ok()??;
        let hashes = checked.hashes?;
        let block = random_below(hashes.count().max(1) as u64) as usize;
        let json = challenge(registry, holder, &checked.blob, Some(block));
        Some(((file, checked.blob, holder, hashes, block), json))
    });
    ask_each(registry, ANSWER_TIMEOUT, questions, |(file, blob, holder, hashes, block), answer| {
        match judge(&hashes, block, &answer) {
            Verdict::State(state) => {
                registry.unproven.lock().remove(&(file, holder));
                record(registry, file, blob, holder, state);
            }
            Verdict::Unknown => {
                note_silence(registry, &blob, holder, answer.err());
                if is_silent_for_long(registry, file, holder) {
                    record(registry, file, blob, holder, ReplicaState::Missing);
                }
            }
        }
    });
}

/// A holder that is there, and shows nothing for as long as one that is away is waited for, has nothing: else whoever
/// answers that it is busy would pass.
fn is_silent_for_long(registry: &Registry, file: i64, holder: PeerId) -> bool {
    let now = registry.now();
    let mut unproven = registry.unproven.lock();
    if unproven.len() >= UNPROVEN_MAX && !unproven.contains_key(&(file, holder)) {
        unproven.clear();
    }
    let since = *unproven.entry((file, holder)).or_insert(now);
    now.saturating_sub(since) >= registry.repair_after.as_secs()
}

/// Whether a peer shows a block of what was brought to it just now: who only says that it has it would be brought it again
/// and again, and nobody else instead.
pub(super) fn has_arrived(registry: &Registry, checked: &Checked, holder: PeerId) -> Result<(), String> {
    let Some(hashes) = checked.hashes.as_ref().filter(|hashes| hashes.count() > 0) else { return Ok(()) };
    let block = random_below(hashes.count() as u64) as usize;
    let answer = ask(registry, ANSWER_TIMEOUT, challenge(registry, holder, &checked.blob, Some(block)));
    match (judge(hashes, block, &answer), answer) {
        (Verdict::State(ReplicaState::Ok), _) => Ok(()),
        (_, Err(error)) => Err(format!("{holder} does not show what was brought to it: {error}")),
        (_, Ok(_)) => Err(format!("{holder} shows something else than what was brought to it")),
    }
}

fn note_silence(registry: &Registry, blob: &str, holder: PeerId, error: Option<ProviderError>) {
    if let Some(error) = error
        && registry.host.log_enabled(Level::Debug)
    {
        registry.host.log(Level::Debug, &format!("{holder} did not show its replica of {blob}: {error}"));
    }
}

fn challenge(registry: &Registry, holder: PeerId, blob: &str, block: Option<usize>) -> String {
    registry.addressed(holder, &AuditOwnedFile { blob: Some(blob.into()), block: block.map(|block| block as u64) })
}

/// Notes how a replica fares, and tells when that is news.
pub(super) fn record(registry: &Arc<Registry>, file: i64, blob: String, holder: PeerId, state: ReplicaState) {
    let checked = (state == ReplicaState::Ok).then(|| registry.now());
    let this = Arc::clone(registry);
    let for_row = blob.clone();
    let work = move |connection: &Connection| store::set_state(connection, file, &for_row, holder, state, checked);
    registry.worker.run(0, work, move |result| match result {
        Ok(true) => {
            if matches!(state, ReplicaState::Damaged | ReplicaState::Missing) {
                this.host.log(Level::Warn, &format!("the replica of {blob} at {holder} is {state:?}"));
            }
            this.host.publish(REPLICA_TOPIC, &ReplicaEvent { blob, peer: holder, state });
        }
        Ok(false) => {}
        Err(error) => this.host.log(Level::Warn, &format!("the state of a replica could not be noted: {error}")),
    });
}

/// Checks all replicas of a file whose holders are there, many blocks of each. False when it was deleted meanwhile.
pub(super) fn check_file(registry: &Arc<Registry>, checked: Checked) -> Result<bool, RegistryError> {
    let number = checked.file.number;
    let checked = match &checked.hashes {
        Some(_) => Some(checked),
        None => {
            fetch_hashes_of(registry, &checked)?;
            Checked::load(registry, number)?
        }
    };
    let Some(checked) = checked else { return Ok(false) };
    let Checked { blob, hashes: Some(hashes), replicas, .. } = checked else { return Ok(true) };
    for replica in replicas {
        if registry.address(replica.holder).is_none() {
            continue;
        }
        let questions = some_blocks(hashes.count()).into_iter();
        let questions = questions.map(|block| (block, challenge(registry, replica.holder, &blob, Some(block))));
        let mut found = Verdict::Unknown;
        ask_each(registry, ANSWER_TIMEOUT, questions, |block, answer| match judge(&hashes, block, &answer) {
            // The worst counts.
            Verdict::State(ReplicaState::Ok) if found != Verdict::Unknown => {}
            Verdict::Unknown => note_silence(registry, &blob, replica.holder, answer.err()),
            verdict => found = verdict,
        });
        if let Verdict::State(state) = found {
            record(registry, number, blob.clone(), replica.holder, state);
        }
    }
    Ok(true)
}

fn some_blocks(count: usize) -> Vec<usize> {
    if count <= ALL_BLOCKS_MAX {
        return (0..count).collect();
    }
    let mut blocks = HashSet::new();
    while blocks.len() < SOME_BLOCKS {
        blocks.insert(random_below(count as u64) as usize);
    }
    blocks.into_iter().collect()
}

/// Asks holders for the hashes of blobs that came without: in reports.
pub(super) fn fetch_hashes_soon(registry: &Arc<Registry>) {
    if !registry.fetch_waits.swap(true, Ordering::AcqRel) {
        let this = Arc::clone(registry);
        registry.host.spawn_blocking(move || {
            this.fetch_waits.store(false, Ordering::Release);
            let _one_at_a_time = this.fetching.lock();
            if let Err(error) = fetch_hashes(&this) {
                this.host.log(Level::Warn, &format!("hashes of owned files could not be fetched: {error}"));
            }
        });
    }
}

fn fetch_hashes(registry: &Arc<Registry>) -> Result<(), RegistryError> {
    let mut after = 0;
    while !registry.stopped.load(Ordering::Relaxed) {
        let next: Option<i64> = registry.worker.wait(move |connection| {
            let sql = "SELECT number FROM files WHERE blob IS NOT NULL AND length(block_hashes) = 0 AND number > ?1
                       ORDER BY number LIMIT 1";
            Ok(connection.prepare_cached(sql)?.query_row([after], |row| row.get(0)).optional()?)
        })?;
        let Some(number) = next else { break };
        after = number;
        if let Ok(Some(checked)) = Checked::load(registry, number) {
            fetch_hashes_of(registry, &checked)?;
        }
    }
    Ok(())
}

/// Asks the holders of a file one after another until one shows the right hashes.
fn fetch_hashes_of(registry: &Arc<Registry>, checked: &Checked) -> Result<(), RegistryError> {
    let Ok(manifest) = CheckedManifest::try_from(checked.file.signed.clone()) else { return Ok(()) };
    for replica in &checked.replicas {
        if registry.address(replica.holder).is_none() {
            continue;
        }
        let answer = ask(registry, ANSWER_TIMEOUT, challenge(registry, replica.holder, &checked.blob, None));
        match answer {
            Ok(response) if manifest.block_hashes(&response.attachment).is_ok() => {
                let (number, blob, hashes) = (checked.file.number, checked.blob.clone(), response.attachment);
                let work = move |connection: &Connection| store::set_block_hashes(connection, number, &blob, &hashes);
                return registry.worker.wait(work);
            }
            Err(error) if error.code == "not_found" => {
                record(registry, checked.file.number, checked.blob.clone(), replica.holder, ReplicaState::Missing);
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(attachment: &[u8]) -> Result<Response, ProviderError> {
        Ok(Response { json: String::new(), attachment: attachment.to_vec() })
    }

    #[test]
    fn only_the_very_block_that_was_asked_for_proves_a_replica() {
        let content: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 1000) as u8).collect();
        let hashes = BlockHashes::read(content.len() as u64, &content[..]).unwrap();
        let (first, second) = (&content[..1 << 20], &content[1 << 20..2 << 20]);
        assert_eq!(judge(&hashes, 1, &response(second)), Verdict::State(ReplicaState::Ok));
        for wrong in [first, &second[1..], &[]] {
            assert_eq!(judge(&hashes, 1, &response(wrong)), Verdict::State(ReplicaState::Damaged));
        }
        let error = |code: &'static str| Err(ProviderError::new(code, "text"));
        assert_eq!(judge(&hashes, 1, &error("damaged")), Verdict::State(ReplicaState::Damaged));
        assert_eq!(judge(&hashes, 1, &error("not_found")), Verdict::State(ReplicaState::Missing));
        for code in [ProviderError::PEER_LOST, ProviderError::FORBIDDEN, "busy"] {
            assert_eq!(judge(&hashes, 1, &error(code)), Verdict::Unknown);
        }
    }

    #[test]
    fn small_files_are_checked_wholly_and_large_ones_in_part() {
        assert_eq!(some_blocks(3), [0, 1, 2]);
        assert_eq!(some_blocks(64).len(), 64);
        let some = some_blocks(65);
        assert!(some.len() == SOME_BLOCKS && some.iter().all(|block| *block < 65));
    }
}
