//! Replicas that are lost are made anew: by a holder that has a good one, at the same peer or at another one.

use super::audit::{self, Checked};
use super::calls::ask;
use super::error::RegistryError;
use super::placement::{self, Candidate};
use super::store::{self, ReplicaRow};
use super::{Asker, Registry, messages, random_below};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{OwnedFilesRepaired, RepairOwnedFiles, ReplicaState, ReplicateOwnedFile};
use potluck_sdk::{Level, PeerId, Reply, Request};
use rusqlite::{Connection, params};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a holder may take to bring a replica to another peer: this, and as long as the bytes need at the slowest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const SLOWEST_BYTES_A_SECOND: u64 = 256 << 10;
const LONGEST_ANSWER: Duration = Duration::from_secs(3600);
/// After this nothing more is begun for a file before the next round.
const FILE_SECONDS_MAX: u64 = 3600;
/// Peers that are tried for one new replica.
const TRIES_MAX: usize = 3;
/// Files that one round mends.
const FILES_A_ROUND_MAX: usize = 1000;
/// Sentences about what failed, in one answer.
const ERRORS_MAX: usize = 100;
const PAGE: usize = 100;
/// How often a thread that waits for another one sees whether the node stops.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// REPAIR_OWNED_FILES that run at a time: each has a thread.
const RUNNING_MAX: usize = 4;

/// What is to be done for a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Holders that can bring it to others.
    sources: Vec<PeerId>,
    /// Holders that are there and have a bad one.
    mend: Vec<PeerId>,
    /// Holders that are away, and have a bad one or stay away too long: others take their place.
    gone: Vec<PeerId>,
    /// Replicas that are all right, as far as is known.
    good_count: usize,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Mended {
    damaged: u64,
    repaired: u64,
    errors: Vec<String>,
}

/// `is_alive` says whether a holder is there; one that was not heard since `away_before` has been away too long.
fn plan(replicas: &[ReplicaRow], is_alive: impl Fn(PeerId) -> bool, away_before: Option<u64>) -> Plan {
    let mut plan = Plan::default();
    // Those that were found in order bring it rather than those that only say so.
    let mut sources: Vec<&ReplicaRow> = Vec::new();
    for replica in replicas {
        let is_bad = matches!(replica.state, ReplicaState::Damaged | ReplicaState::Missing);
        match (is_bad, is_alive(replica.holder)) {
            (true, true) => plan.mend.push(replica.holder),
            (true, false) => plan.gone.push(replica.holder),
            (false, true) => {
                plan.good_count += 1;
                sources.push(replica);
            }
            (false, false) if away_before.is_some_and(|limit| replica.heard < limit) => plan.gone.push(replica.holder),
            (false, false) => plan.good_count += 1,
        }
    }
    sources.sort_by_key(|replica| (replica.state != ReplicaState::Ok, std::cmp::Reverse(replica.checked)));
    plan.sources = sources.iter().map(|replica| replica.holder).collect();
    plan
}

impl Registry {
    /// Who was not heard since then has been away too long. None as long as the tracker itself is not there for so long.
    fn away_before(&self) -> Option<u64> {
        let up = self.service.instant().saturating_duration_since(self.started.0);
        (up >= self.repair_after).then(|| self.now().saturating_sub(self.repair_after.as_secs()))
    }
}

/// A file is mended by one thread at a time. Given back when that is done, however it ends.
struct Turn<'a> {
    registry: &'a Registry,
    file: i64,
}

impl Turn<'_> {
    /// Waits until nobody else is at the file; nothing when the node stops first.
    fn take(registry: &Registry, file: i64) -> Option<Turn<'_>> {
        let mut files = registry.being_mended.lock();
        while !files.insert(file) {
            registry.is_mended.wait_for(&mut files, LOOK_PAUSE);
            if registry.stopped.load(Ordering::Relaxed) {
                return None;
            }
        }
        Some(Turn { registry, file })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.registry.being_mended.lock().remove(&self.file);
        self.registry.is_mended.notify_all();
    }
}

/// Mends one file, as it is once it is its turn.
fn mend(registry: &Arc<Registry>, file: i64) -> Mended {
    let mut mended = Mended::default();
    let Some(_turn) = Turn::take(registry, file) else { return mended };
    let result = match Checked::load(registry, file) {
        Ok(Some(checked)) => try_mend(registry, &checked, &mut mended),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        mended.errors.push(error.to_string());
    }
    mended
}

fn try_mend(registry: &Arc<Registry>, checked: &Checked, mended: &mut Mended) -> Result<(), RegistryError> {
    let is_alive = |holder| registry.address(holder).is_some();
    let plan = plan(&checked.replicas, is_alive, registry.away_before());
    let wanted = checked.file.replicas as usize;
    mended.damaged = (plan.mend.len() + plan.gone.len()) as u64;
    if plan.mend.is_empty() && plan.good_count >= wanted {
        return Ok(());
    }
    if plan.sources.is_empty() {
        // Those that are away may come back; one that is nowhere has to be uploaded again.
        let text = format!("nobody who is there has a good replica of {}", checked.file.name_tag);
        mended.errors.push(text);
        return Ok(());
    }
    let mut good_count = plan.good_count;
    let mut gone = plan.gone;
    let end = registry.now() + FILE_SECONDS_MAX;
    for holder in plan.mend {
        if registry.now() > end {
            return Ok(());
        }
        match replicate(registry, checked, &plan.sources, holder) {
            Ok(()) => {
                audit::record(registry, checked.file.number, checked.blob.clone(), holder, ReplicaState::Unchecked);
                good_count += 1;
                mended.repaired += 1;
            }
            Err(text) => {
                mended.errors.push(text);
                gone.push(holder);
            }
        }
    }
    let mut not: HashSet<PeerId> = checked.replicas.iter().map(|replica| replica.holder).collect();
    not.insert(checked.owner);
    while good_count < wanted && registry.now() <= end && !registry.stopped.load(Ordering::Relaxed) {
        let Some(target) = add_one(registry, checked, &plan.sources, &mut not, mended)? else { break };
        let (number, blob, replaced) = (checked.file.number, checked.blob.clone(), gone.pop());
        registry.worker.wait(move |connection| {
            store::add_replica(connection, number, &blob, target, ReplicaState::Unchecked)?;
            if let Some(replaced) = replaced {
                store::remove_replica(connection, number, &blob, replaced)?;
            }
            Ok(())
        })?;
        good_count += 1;
        mended.repaired += 1;
    }
    Ok(())
}

/// Finds a peer that takes one more replica.
fn add_one(
    registry: &Arc<Registry>,
    checked: &Checked,
    sources: &[PeerId],
    not: &mut HashSet<PeerId>,
    mended: &mut Mended,
) -> Result<Option<PeerId>, RegistryError> {
    for _ in 0..TRIES_MAX {
        let (alive, excluded, size) = (placement::alive(registry), not.clone(), checked.size);
        let candidates: Vec<Candidate> =
            registry.worker.wait(move |connection| placement::candidates(connection, alive, &excluded, size))?;
        let addresses = checked.replicas.iter().filter_map(|replica| registry.address(replica.holder));
        let used: HashSet<String> = addresses.map(|(ip, _)| ip).collect();
        let Some(target) = placement::choose(candidates, &used, 1).pop() else {
            mended.errors.push(format!("no peer has room for another replica of {}", checked.file.name_tag));
            return Ok(None);
        };
        not.insert(target.peer_id);
        match replicate(registry, checked, sources, target.peer_id) {
            Ok(()) => return Ok(Some(target.peer_id)),
            Err(text) => mended.errors.push(text),
        }
    }
    Ok(None)
}

/// A transfer that takes longer goes on without the tracker, which sees in a later round what came of it: nobody who
/// claims a large size, and is slow, keeps all others waiting.
fn patience(size: u64) -> Duration {
    (ANSWER_TIMEOUT + Duration::from_secs(size / SLOWEST_BYTES_A_SECOND)).min(LONGEST_ANSWER)
}

/// Has the first holder that can bring its replica to a peer, which has to show it then.
fn replicate(registry: &Registry, checked: &Checked, sources: &[PeerId], target: PeerId) -> Result<(), String> {
    let timeout = patience(checked.size);
    let mut last = String::new();
    for source in sources.iter().take(TRIES_MAX) {
        let message = ReplicateOwnedFile { blob: Some(checked.blob.as_str().into()), target: Some(target) };
        match ask(registry, timeout, registry.addressed(*source, &message)) {
            Ok(_) => return audit::has_arrived(registry, checked, target),
            Err(error) => {
                last = format!("the holder {source} could not bring {} to {target}: {error}", checked.file.name_tag);
            }
        }
    }
    Err(last)
}

/// A replica is said to be damaged: its file is mended soon.
pub(super) fn mend_soon(registry: &Arc<Registry>, file: i64) {
    let this = Arc::clone(registry);
    let work = move || {
        report_to_log(&this, mend(&this, file));
    };
    // When there is no room for it, the next round finds it.
    let _ = registry.mending.run(registry.host, "soon", 0, work);
}

fn report_to_log(registry: &Registry, mended: Mended) {
    for error in mended.errors {
        registry.host.log(Level::Debug, &format!("a replica could not be made anew: {error}"));
    }
}

/// Part of a round: mends the files that lack replicas.
pub(super) fn repair_all(registry: &Arc<Registry>) -> Result<(), RegistryError> {
    let away_before = store::signed(registry.away_before().unwrap_or(0));
    let mut left = FILES_A_ROUND_MAX;
    // From a random place on, so that no file waits for ever behind others that cannot be mended.
    let last: Option<i64> = registry
        .worker
        .wait(|connection| Ok(connection.query_row("SELECT MAX(number) FROM files", [], |row| row.get(0))?))?;
    let first = store::signed(random_below(store::unsigned(last.unwrap_or(0)) + 1));
    for (from, to) in [(first, i64::MAX), (0, first)] {
        let mut after = from;
        while left > 0 && after < to && !registry.stopped.load(Ordering::Relaxed) {
            let (numbers, end) = registry.worker.wait(move |connection| lacking(connection, after, to, away_before))?;
            left = left.saturating_sub(numbers.len());
            for number in numbers {
                report_to_log(registry, mend(registry, number));
            }
            let Some(end) = end else { break };
            after = end;
        }
    }
    Ok(())
}

/// Files from `from` on that lack replicas, of one page; and where the next page begins.
fn lacking(
    connection: &Connection,
    from: i64,
    to: i64,
    away_before: i64,
) -> Result<(Vec<i64>, Option<i64>), RegistryError> {
    let sql = "SELECT number, replicas > (
                   SELECT COUNT(*) FROM replicas LEFT JOIN peers ON peer_id = holder
                   WHERE file = files.number AND unwanted = 0 AND state < 2 AND COALESCE(heard, 0) >= ?3
               ) OR EXISTS (SELECT 1 FROM replicas WHERE file = files.number AND unwanted = 0 AND state >= 2)
               FROM files WHERE number >= ?1 AND number < ?2 AND blob IS NOT NULL ORDER BY number LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let rows =
        statement.query_map(params![from, to, away_before, PAGE as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, bool)> = rows.collect::<Result<_, _>>()?;
    let end = rows.last().map(|(number, _)| number + 1);
    Ok((rows.into_iter().filter(|(_, lacks)| *lacks).map(|(number, _)| number).collect(), end))
}

/// REPAIR_OWNED_FILES: checks and mends the asker's files now.
pub(super) fn request(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: RepairOwnedFiles<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if let Err(error) = asker.check_hint(message.requester_id.as_deref()) {
        return reply.error(&error.into());
    }
    if registry.repairs_running.fetch_add(1, Ordering::AcqRel) >= RUNNING_MAX {
        registry.repairs_running.fetch_sub(1, Ordering::AcqRel);
        return reply.error(&RegistryError::Busy.into());
    }
    let name_tag = message.name_tag.as_deref().map(str::to_owned);
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.host.spawn_blocking(move || {
        let result = repair_own(&this, asker.id, name_tag);
        this.repairs_running.fetch_sub(1, Ordering::AcqRel);
        messages::finish(reply, result);
    });
}

fn repair_own(
    registry: &Arc<Registry>,
    owner: PeerId,
    name_tag: Option<String>,
) -> Result<OwnedFilesRepaired, RegistryError> {
    let mut answer = OwnedFilesRepaired { status: STATUS_OK.to_owned(), ..OwnedFilesRepaired::default() };
    let mut after = String::new();
    loop {
        let (behind, only) = (after.clone(), name_tag.clone());
        let page: Vec<(i64, String)> = registry.worker.wait(move |connection| {
            let owner = owner.to_string();
            let files = match only {
                Some(tag) => {
                    store::file(connection, &owner, &tag)?.into_iter().filter(|file| file.blob.is_some()).collect()
                }
                None => store::page(connection, &owner, &behind, PAGE)?,
            };
            Ok(files.into_iter().map(|file| (file.number, file.name_tag)).collect())
        })?;
        let Some((_, last)) = page.last() else { break };
        after.clone_from(last);
        for (number, _) in page {
            if registry.stopped.load(Ordering::Relaxed) {
                return Err(RegistryError::Busy);
            }
            let Some(checked) = Checked::load(registry, number)? else { continue };
            if !audit::check_file(registry, checked)? {
                continue;
            }
            answer.checked_files += 1;
            let mended = mend(registry, number);
            answer.damaged_replicas += mended.damaged;
            answer.repaired_replicas += mended.repaired;
            answer.errors.extend(mended.errors);
            answer.errors.truncate(ERRORS_MAX);
        }
        if name_tag.is_some() {
            break;
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(number: u8, state: ReplicaState, heard: u64) -> ReplicaRow {
        let holder = PeerId::from_hash([number; 16]);
        ReplicaRow { holder, state, checked: None, ip: String::new(), port: 0, heard }
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        assert_eq!(patience(0), Duration::from_secs(60));
        assert_eq!(patience(256 << 20), Duration::from_secs(60 + 1024));
        assert_eq!(patience(u64::MAX), LONGEST_ANSWER);
    }

    #[test]
    fn bad_replicas_are_mended_where_they_are_and_long_absent_ones_elsewhere() {
        let id = |number| PeerId::from_hash([number; 16]);
        let rows = [
            replica(1, ReplicaState::Unchecked, 50),
            replica(2, ReplicaState::Ok, 50),
            replica(3, ReplicaState::Damaged, 50),
            replica(4, ReplicaState::Missing, 9),
            replica(5, ReplicaState::Ok, 9),
            replica(6, ReplicaState::Ok, 20),
        ];
        let alive = |holder| [1, 2, 3].map(id).contains(&holder);
        let planned = plan(&rows, alive, Some(10));
        let expected = Plan { sources: vec![id(2), id(1)], mend: vec![id(3)], gone: vec![id(4), id(5)], good_count: 3 };
        assert_eq!(planned, expected);
        // As long as it is not known how long they have been away, they count.
        assert_eq!(plan(&rows, alive, None).good_count, 4);
    }
}
