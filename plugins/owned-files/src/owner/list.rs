//! LIST_OWNED_FILES, DELETE_OWNED_FILE and REPAIR_OWNED_FILES of the node's own user, and what owner and tracker tell each
//! other when they meet again. All functions may block.

use super::Owner;
use super::call::{TRACKER, addressed, ask, ask_within, is_away, read};
use super::database::{Outgoing, OwnFile};
use super::download::forget;
use super::tracker::{find, peers, storage_peer};
use super::upload::{known_revision, unix_seconds};
use crate::error::OwnedError;
use potluck_sdk::files::{BlockHashes, CheckedManifest, FileName, HashesError, from_hex};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{
    AuditOwnedFile, DeleteOwnedFile, ENTRIES_MAX, FindOwnedFile, ListOwnedFiles, Manifest, OwnedFileDeleted,
    OwnedFileEntry, OwnedFileList, OwnedFileResponse, OwnedFilesRepaired, OwnedFilesReported, REPLICAS_MAX,
    RepairOwnedFiles, ReplicaState, ReportOwnedFiles, ReportedFile, StoragePeer,
};
use potluck_sdk::{Level, PeerId, PendingReply};
use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const LIST_LIMIT_DEFAULT: usize = 100;
/// Questions to the tracker in flight.
const QUESTIONS_MAX: usize = 8;
/// How long a holder may take to delete a blob before the deletion is left to the tracker.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for what the tracker says of the replicas of a page of files.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a holder may take to tell the hashes of a blob while there are others.
const HASHES_TIMEOUT: Duration = Duration::from_secs(20);

/// Lists files by name, each with how its replicas fare.
pub(crate) fn list(
    owner: &Owner,
    name: Option<&FileName>,
    after: &str,
    limit: Option<usize>,
) -> Result<OwnedFileList, OwnedError> {
    let limit = limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, ENTRIES_MAX);
    let mut files = match name {
        Some(name) => {
            let name_tag = owner.keys.name_tag(name);
            if owner.database.file(&name_tag)?.is_none() {
                learn_one(owner, &name_tag)?;
            }
            let file = owner.database.file(&name_tag)?;
            file.filter(|file| file.manifest.manifest.blob.is_some()).into_iter().collect()
        }
        None => owner.database.page(after, limit + 1)?,
    };
    let has_more = files.len() > limit;
    files.truncate(limit);
    let next = if has_more { files.last().and_then(|file| file.name.clone()) } else { None };
    let replicas = replicas_of(owner, &files);
    let known = peers(owner).unwrap_or_default();
    let entries = files.iter().map(|file| {
        let manifest = &file.manifest.manifest;
        let sealed = owner.keys.unseal(manifest).map(|(_, sealed)| sealed);
        let untold = || file.holders.iter().map(|id| storage_peer(*id, &known)).collect();
        OwnedFileEntry {
            filename: file.name.clone().unwrap_or_default(),
            manifest: None,
            size: sealed.as_ref().map(|sealed| sealed.size),
            sha256: sealed.as_ref().map(|sealed| sealed.sha256.clone()),
            revision: Some(manifest.revision),
            uploaded_unix_seconds: sealed.map(|sealed| sealed.uploaded_unix_seconds),
            replicas: manifest.replicas,
            storage_peers: replicas.get(&manifest.name_tag).cloned().unwrap_or_else(untold),
        }
    });
    Ok(OwnedFileList { status: STATUS_OK.to_owned(), owned_files: entries.collect(), next })
}

/// What the tracker says of the replicas of files, by their tags; nothing of those of which it cannot say anything.
fn replicas_of(owner: &Owner, files: &[OwnFile]) -> HashMap<String, Vec<StoragePeer>> {
    let (sender, answers) = mpsc::channel();
    let mut told = HashMap::new();
    let mut in_flight = 0;
    let mut remaining = files.iter();
    let until = Instant::now() + LIST_TIMEOUT;
    loop {
        while in_flight < QUESTIONS_MAX
            && let Some(file) = remaining.next()
        {
            let name_tag = file.manifest.manifest.name_tag.clone();
            let message = FindOwnedFile {
                name_tag: Some(name_tag.as_str().into()),
                requester_id: Some(owner.id.to_string().into()),
                ..FindOwnedFile::default()
            };
            let (sender, known) = (sender.clone(), file.manifest.signed.clone());
            owner.host.call_with(&addressed(TRACKER, &message), &[], move |answer| {
                let _ = sender.send((name_tag, known, answer));
            });
            in_flight += 1;
        }
        if in_flight == 0 {
            return told;
        }
        let Ok((name_tag, known, answer)) = answers.recv_timeout(time_left(until)) else { return told };
        in_flight -= 1;
        let Ok(found) = answer.map_err(OwnedError::Peer).and_then(|answer| read::<OwnedFileResponse>(&answer)) else {
            continue;
        };
        if found.found && found.manifest.is_some_and(|signed| signed == known) {
            told.insert(name_tag, found.storage_peers);
        }
    }
}

fn time_left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Deletes a file everywhere. Those who keep it and are away hear of it from the tracker when they are back.
pub(crate) fn delete(owner: &Owner, name: &FileName) -> Result<OwnedFileDeleted, OwnedError> {
    let name_tag = owner.keys.name_tag(name);
    // Unknown to the tracker, it must be later than whatever the tracker knows.
    let least = if learn_one(owner, &name_tag)? { 1 } else { unix_seconds() };
    // No upload may get the same revision.
    let sealing = owner.sealing.lock();
    let outgoing = owner.database.outgoing_of(&name_tag)?;
    let file = owner.database.file(&name_tag)?.filter(|file| file.manifest.manifest.blob.is_some());
    let latest = file.as_ref().map(|file| &file.manifest);
    let Some(latest) = latest.or(outgoing.first().map(|outgoing| &outgoing.manifest)).cloned() else {
        return Ok(OwnedFileDeleted {
            status: STATUS_OK.to_owned(),
            filename: name.to_string(),
            message: Some("File not found".to_owned()),
            ..OwnedFileDeleted::default()
        });
    };
    let revision = known_revision(owner, &name_tag)?.saturating_add(1).max(least);
    let tombstone = owner.keys.manifest(&name_tag, revision, 1, None)?;
    let mut holders = file.map(|file| file.holders).unwrap_or_default();
    // From here on it is deleted: whatever fails below is done when the tracker is met again.
    put_tombstone(owner, &tombstone, &holders)?;
    for outgoing in outgoing {
        holders.extend(forget_outgoing(owner, &outgoing.upload)?);
    }
    drop(sealing);
    forget(owner, &name_tag);
    holders.extend(bury(owner, &tombstone)?);
    holders.sort_unstable();
    holders.dedup();
    let (deleted, pending) = delete_at(owner, &holders, &latest, &tombstone);
    let known = peers(owner).unwrap_or_default();
    Ok(OwnedFileDeleted {
        status: STATUS_OK.to_owned(),
        filename: name.to_string(),
        deleted: true,
        message: None,
        storage_peers: deleted.into_iter().map(|id| storage_peer(id, &known)).collect(),
        pending: pending.into_iter().map(|id| storage_peer(id, &known)).collect(),
    })
}

/// Tells the tracker of a deletion; returns who kept the file as far as it knows. When it is away it hears of the deletion
/// when it is back, with all files that are reported then.
fn bury(owner: &Owner, tombstone: &CheckedManifest) -> Result<Vec<PeerId>, OwnedError> {
    let message = DeleteOwnedFile {
        manifest: Some(tombstone.signed.clone()),
        owner_id: Some(owner.id.to_string().into()),
        owner_port: Some(owner.host.node().port),
        ..DeleteOwnedFile::default()
    };
    match ask(owner.host, TRACKER, &message, &[]) {
        Ok(response) => {
            let told: OwnedFileDeleted = read(&response)?;
            Ok(told.storage_peers.iter().filter_map(|peer| peer.peer_id).collect())
        }
        Err(error) if error.code == "superseded" => Err(OwnedError::Peer(error)),
        Err(error) => {
            if !is_away(&error) {
                owner.host.log(Level::Warn, &format!("the tracker was not told of a deletion: {error}"));
            }
            Ok(Vec::new())
        }
    }
}

fn put_tombstone(owner: &Owner, tombstone: &CheckedManifest, holders: &[PeerId]) -> Result<(), OwnedError> {
    let holders = holders.to_vec();
    let manifest = tombstone.clone();
    let file = OwnFile { name: None, manifest, block_hashes: Vec::new(), holders, upload: None };
    owner.database.put_file(&file).map(|_| ())
}

/// Returns who may have got some of it.
fn forget_outgoing(owner: &Owner, key: &str) -> Result<Vec<PeerId>, OwnedError> {
    owner.end_upload(key);
    owner.checked.lock().remove(key);
    let holders = owner.database.take_holders(key)?;
    owner.staging.remove(key).map_err(|error| OwnedError::Io("DELETE_OWNED_FILE", error))?;
    Ok(holders)
}

/// Takes back an upload that holders may have, but that is not registered. Without a later manifest they would keep it: a
/// tombstone, or, where there is an earlier version, that one signed anew.
pub(super) fn withdraw(owner: &Owner, outgoing: Outgoing) -> Result<(), OwnedError> {
    if owner.database.remove_unsent(&outgoing.upload)? {
        return forget_outgoing(owner, &outgoing.upload).map(|_| ());
    }
    let name_tag = &outgoing.manifest.manifest.name_tag;
    let sealing = owner.sealing.lock();
    let stored = owner.database.file(name_tag)?.filter(|file| file.manifest.manifest.blob.is_some());
    let revision = known_revision(owner, name_tag)?.saturating_add(1);
    let later = match stored {
        Some(mut file) => {
            let manifest = Manifest { revision, ..file.manifest.manifest.clone() };
            file.manifest = CheckedManifest::sign(&owner.host, &manifest)?;
            owner.database.put_file(&file)?;
            file.manifest
        }
        None => {
            let tombstone = owner.keys.manifest(name_tag, revision, 1, None)?;
            put_tombstone(owner, &tombstone, &outgoing.holders)?;
            tombstone
        }
    };
    drop(sealing);
    let holders = forget_outgoing(owner, &outgoing.upload)?;
    delete_at(owner, &holders, &outgoing.manifest, &later);
    // With everything else; when that fails the next session does it.
    if let Err(error) = report(owner) {
        owner.host.log(Level::Warn, &format!("the tracker was not told of an upload that was taken back: {error}"));
    }
    Ok(())
}

/// Asks holders to delete what a manifest has replaced; returns those that have, and those that do not answer.
pub(super) fn delete_at(
    owner: &Owner,
    holders: &[PeerId],
    replaced: &CheckedManifest,
    later: &CheckedManifest,
) -> (Vec<PeerId>, Vec<PeerId>) {
    let (sender, answers) = mpsc::channel();
    let blob = replaced.manifest.blob.as_ref().map(|blob| blob.id.as_str()).unwrap_or_default();
    for id in holders {
        let message = DeleteOwnedFile {
            blob: Some(blob.into()),
            manifest: Some(later.signed.clone()),
            requester_id: Some(owner.id.to_string().into()),
            ..DeleteOwnedFile::default()
        };
        let (sender, id) = (sender.clone(), *id);
        owner.host.call_with(&addressed(&id.to_string(), &message), &[], move |answer| {
            let _ = sender.send((id, answer.is_ok()));
        });
    }
    drop(sender);
    let mut deleted = Vec::new();
    let until = Instant::now() + DELETE_TIMEOUT;
    while let Ok((id, is_deleted)) = answers.recv_timeout(time_left(until)) {
        if is_deleted {
            deleted.push(id);
        }
    }
    let pending = holders.iter().copied().filter(|id| !deleted.contains(id)).collect();
    (deleted, pending)
}

/// Has the tracker check and mend the replicas now. Does not block.
pub(crate) fn repair(owner: &Arc<Owner>, name: Option<&FileName>, reply: PendingReply) {
    let message = RepairOwnedFiles {
        name_tag: name.map(|name| owner.keys.name_tag(name).into()),
        requester_id: Some(owner.id.to_string().into()),
        ..RepairOwnedFiles::default()
    };
    let (this, host) = (Arc::clone(owner), owner.host);
    host.call_with(&addressed(TRACKER, &message), &[], move |answer| {
        let repaired = answer.map_err(OwnedError::Peer).and_then(|answer| read::<OwnedFilesRepaired>(&answer));
        match repaired {
            Ok(repaired) if repaired.errors.is_empty() => reply.send(&repaired),
            Ok(mut repaired) => host.spawn_blocking(move || {
                for error in &mut repaired.errors {
                    *error = with_names(&this, error);
                }
                reply.send(&repaired);
            }),
            Err(error) => reply.error(&error.into()),
        }
    });
}

/// What the tracker says of files by their tags, with the names that only the owner knows.
fn with_names(owner: &Owner, text: &str) -> String {
    let name = |word: &str| {
        let tag = from_hex::<32>(word).map(|_| word)?;
        owner.database.file(tag).ok().flatten()?.name
    };
    let words = text.split(' ').map(|word| {
        let tag = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        name(tag).map_or_else(|| word.to_owned(), |name| format!("{name}{}", &word[tag.len()..]))
    });
    words.collect::<Vec<String>>().join(" ")
}

/// The hashes of a blob's blocks from those who keep it.
pub(super) fn hashes_from_holders(
    owner: &Owner,
    manifest: &CheckedManifest,
    holders: &[PeerId],
) -> Result<BlockHashes, OwnedError> {
    let blob = manifest.manifest.blob.as_ref().map(|blob| blob.id.as_str()).unwrap_or_default();
    let message = AuditOwnedFile { blob: Some(blob.into()), block: None };
    let mut last = OwnedError::Hashes(HashesError);
    for id in holders {
        match ask_within(owner.host, &id.to_string(), &message, &[], HASHES_TIMEOUT) {
            Ok(response) => match manifest.block_hashes(&response.attachment) {
                Ok(hashes) => return Ok(hashes),
                Err(error) => last = error.into(),
            },
            Err(error) => last = OwnedError::Peer(error),
        }
    }
    Err(last)
}

/// Learns from the tracker of a later version of one file, as from before this node was restored. A tracker that is away
/// does no harm; says whether it is there.
fn learn_one(owner: &Owner, name_tag: &str) -> Result<bool, OwnedError> {
    match find(owner, name_tag) {
        Ok(Some(found)) => learn(owner, found.manifest, found.block_hashes, &found.peers).map(|()| true),
        Ok(None) => Ok(true),
        Err(OwnedError::Peer(error)) if is_away(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn learn(
    owner: &Owner,
    manifest: CheckedManifest,
    block_hashes: Vec<u8>,
    peers: &[StoragePeer],
) -> Result<(), OwnedError> {
    if owner.database.is_outgoing(&manifest)? {
        return Ok(());
    }
    let known = owner.database.file(&manifest.manifest.name_tag)?;
    let is_known = |known: &OwnFile| {
        known.manifest.signed == manifest.signed && (!known.block_hashes.is_empty() || block_hashes.is_empty())
    };
    if known.as_ref().is_some_and(is_known) {
        return learn_holders(owner, known, peers);
    }
    let is_deleted = manifest.manifest.blob.is_none();
    let name = owner.keys.unseal(&manifest.manifest).map(|(name, _)| name.to_string());
    if name.is_none() && !is_deleted {
        return Ok(());
    }
    let holders = peers.iter().filter_map(|peer| peer.peer_id).collect();
    let name = name.filter(|_| !is_deleted);
    let name_tag = manifest.manifest.name_tag.clone();
    owner.database.put_file(&OwnFile { name, manifest, block_hashes, holders, upload: None })?;
    forget(owner, &name_tag);
    Ok(())
}

/// The tracker may have had replicas made elsewhere.
fn learn_holders(owner: &Owner, known: Option<OwnFile>, peers: &[StoragePeer]) -> Result<(), OwnedError> {
    let Some(mut file) = known else { return Ok(()) };
    let is_fine = |peer: &&StoragePeer| !matches!(peer.state, ReplicaState::Missing | ReplicaState::Damaged);
    let mut holders: Vec<PeerId> = peers.iter().filter(is_fine).filter_map(|peer| peer.peer_id).collect();
    holders.sort_unstable();
    let mut before = file.holders.clone();
    before.sort_unstable();
    if holders != before && !holders.is_empty() {
        file.holders = holders;
        owner.database.put_file(&file)?;
    }
    Ok(())
}

/// The tracker is there, perhaps another one or one that has lost everything: tells it of all files, and learns from it of
/// those that this node has forgotten.
pub(crate) fn meet_tracker(owner: &Owner) -> Result<(), OwnedError> {
    report(owner)?;
    let mut after: Option<String> = None;
    loop {
        let message = ListOwnedFiles {
            after: after.clone().map(Into::into),
            limit: Some(ENTRIES_MAX),
            requester_id: Some(owner.id.to_string().into()),
            ..ListOwnedFiles::default()
        };
        let page: OwnedFileList = read(&ask(owner.host, TRACKER, &message, &[]).map_err(OwnedError::Peer)?)?;
        for entry in &page.owned_files {
            let Some(manifest) = entry.manifest.clone().and_then(|signed| CheckedManifest::try_from(signed).ok())
            else {
                continue;
            };
            if manifest.owner == owner.id {
                learn(owner, manifest, Vec::new(), &entry.storage_peers)?;
            }
        }
        let next = page.next.filter(|next| after.as_ref().is_none_or(|after| next > after));
        match next.filter(|_| !page.owned_files.is_empty()) {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Tells the tracker of all files, deleted ones too, and takes the later versions that it knows.
fn report(owner: &Owner) -> Result<(), OwnedError> {
    let mut after = String::new();
    loop {
        let files = owner.database.page_of_all(&after, ENTRIES_MAX)?;
        let Some(last) = files.last() else { return Ok(()) };
        after = last.manifest.manifest.name_tag.clone();
        let reported = files.into_iter();
        let reported = reported.map(|mut file| {
            // Of a deleted file there may be more; nobody needs them.
            file.holders.truncate(REPLICAS_MAX as usize);
            ReportedFile { manifest: file.manifest.signed, holders: file.holders }
        });
        let message = ReportOwnedFiles { files: reported.collect(), ..ReportOwnedFiles::default() };
        let reply: OwnedFilesReported = read(&ask(owner.host, TRACKER, &message, &[]).map_err(OwnedError::Peer)?)?;
        for signed in reply.superseded {
            match CheckedManifest::try_from(signed) {
                Ok(manifest) if manifest.owner == owner.id => learn(owner, manifest, Vec::new(), &[])?,
                Ok(_) => {}
                Err(error) => owner.host.log(Level::Warn, &format!("the tracker's list of own files: {error}")),
            }
        }
    }
}
