//! An encrypted file is brought to its holders in its turn, and registered; what is left is tried again.

use super::Owner;
use super::call::{TRACKER, ask, is_away};
use super::database::{Outgoing, OwnFile};
use super::tracker::{find, peers, storage_peer, storage_peers};
use super::transfer::{Cargo, Outcome, bring};
use super::upload::{OPERATION, known_revision};
use crate::error::OwnedError;
use potluck_sdk::files::{BlockHashes, CheckedManifest};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{OwnedFileUploaded, RegisterOwnedFile};
use potluck_sdk::message::tracker::PeerEntry;
use potluck_sdk::{Level, PeerId, ProviderError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files that are brought to holders at a time.
const TRANSFERS_MAX: u64 = 2;

type Done = Box<dyn FnOnce(Result<OwnedFileUploaded, OwnedError>) + Send>;

/// Has an encrypted file brought to its holders, in its turn; a few files at a time are, each of which holds some MiB for
/// every holder.
pub(super) fn send_in_turn(
    owner: &Arc<Owner>,
    upload: &str,
    key: &str,
    done: impl FnOnce(Result<OwnedFileUploaded, OwnedError>) + Send + 'static,
) {
    owner.note_active(key);
    // Always the same lane, so that no file is brought there twice at a time.
    let lane = format!("/transfer-{}", key.bytes().map(u64::from).sum::<u64>() % TRANSFERS_MAX);
    let (inner, upload) = (Arc::clone(owner), upload.to_owned());
    let waiting = key.to_owned();
    let work = move |done: Done| {
        let key = waiting;
        let is_to_end = Arc::clone(inner.active.lock().entry(key.clone()).or_default());
        let sent = send(&inner, &upload, &key, &is_to_end);
        inner.active.lock().remove(&key);
        // Refused and left: there may be other peers later.
        let is_left = !matches!(sent, Ok(_) | Err(OwnedError::Ended)) && !inner.is_stopping.load(Ordering::Relaxed);
        if is_left && !matches!(inner.database.outgoing(&key), Ok(None)) {
            inner.retry_later();
        }
        done(sent);
    };
    if let Err((done, full)) = owner.lanes.run_with(owner.host, &lane, 0, Box::new(done) as Done, work) {
        owner.active.lock().remove(key);
        owner.retry_later();
        done(Err(full.into()));
    }
}

/// Brings an encrypted file to its holders, and registers it.
fn send(owner: &Owner, upload: &str, key: &str, is_to_end: &AtomicBool) -> Result<OwnedFileUploaded, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    let is_aborted = || owner.is_stopping.load(Ordering::Relaxed) || is_to_end.load(Ordering::Relaxed);
    if is_aborted() {
        return Err(ended(owner));
    }
    // Somebody else may have brought it there while this one waited.
    if let Some(file) = owner.database.file_of_upload(key)? {
        return Ok(complete(owner, upload, &file, Vec::new()));
    }
    // A deletion removes what is on its way.
    let Some(mut outgoing) = checked_outgoing(owner, key)? else { return Err(OwnedError::Superseded) };
    if is_overtaken(owner, &outgoing)? {
        return Err(superseded(owner, &outgoing)?);
    }
    let file = owner.staging.read(key).map_err(io)?;
    let size = outgoing.manifest.manifest.blob.as_ref().map_or(0, |blob| blob.size);
    // Those that may have a part of it come first, if they are there.
    let begun = if outgoing.named_holders.is_empty() { present(owner, &outgoing.holders) } else { Vec::new() };
    let (holders, mut errors) = choose_holders(owner, &outgoing, &begun, size)?;
    if holders.is_empty() {
        return Err(OwnedError::NoHolders(no_holders(&errors)));
    }
    for holder in &holders {
        if !outgoing.holders.contains(holder) {
            outgoing.holders.push(*holder);
        }
    }
    if !owner.database.note_holders(key, &outgoing.holders)? {
        return Err(OwnedError::Ended);
    }
    let cargo = Cargo { upload, manifest: &outgoing.manifest, block_hashes: &outgoing.block_hashes, file: &file, size };
    let mut noted = outgoing.holders.clone();
    let replacement = |tried: &[PeerId]| {
        if !outgoing.named_holders.is_empty() {
            return None;
        }
        if let Some(holder) = begun.iter().find(|holder| !tried.contains(holder)) {
            return Some(*holder);
        }
        let holder = storage_peers(owner, 1, size, tried).ok()?.into_iter().next()?;
        noted.push(holder);
        owner.database.note_holders(key, &noted).is_ok_and(|is_wanted| is_wanted).then_some(holder)
    };
    let Outcome { holders, errors: failures, is_superseded } =
        bring(owner.host, &cargo, holders, replacement, is_aborted);
    outgoing.holders = noted;
    if is_aborted() {
        // Whoever ended it has told the holders, but a piece that was on its way may have come to them after that.
        if !owner.is_stopping.load(Ordering::Relaxed) {
            take_back(owner, &outgoing)?;
        }
        return Err(ended(owner));
    }
    errors.extend(failures);
    // They may have heard of a later version first.
    let manifest = &outgoing.manifest.manifest;
    let is_later_known = is_superseded && known_revision(owner, &manifest.name_tag)? > manifest.revision;
    if holders.is_empty() && (is_later_known || is_overtaken(owner, &outgoing)?) {
        return Err(superseded(owner, &outgoing)?);
    }
    if holders.is_empty() {
        return Err(OwnedError::NoHolders(no_holders(&errors)));
    }
    let wanted = outgoing.manifest.manifest.replicas as usize;
    if holders.len() >= wanted {
        // Others have taken the place of those that failed.
        errors.clear();
    }
    register(owner, &outgoing, &holders, &mut errors)?;
    let file = OwnFile {
        name: Some(outgoing.name.clone()),
        manifest: outgoing.manifest.clone(),
        block_hashes: outgoing.block_hashes.clone(),
        holders,
        upload: Some(outgoing.upload.clone()),
    };
    if !owner.database.put_file(&file)? {
        return Err(superseded(owner, &outgoing)?);
    }
    super::download::forget(owner, &file.manifest.manifest.name_tag);
    owner.checked.lock().remove(key);
    owner.staging.remove(&outgoing.upload).map_err(io)?;
    // This one is stored whatever becomes of those; they are tried again later, and find themselves overtaken.
    if let Err(error) = forget_overtaken(owner, &outgoing.name) {
        owner.host.log(Level::Warn, &format!("what a new version has overtaken is not forgotten yet: {error}"));
    }
    Ok(complete(owner, upload, &file, errors))
}

/// Whether a later version is stored, or the file is deleted.
fn is_overtaken(owner: &Owner, outgoing: &Outgoing) -> Result<bool, OwnedError> {
    let stored = owner.database.file(&outgoing.manifest.manifest.name_tag)?;
    Ok(stored.is_some_and(|stored| stored.manifest.replaces(&outgoing.manifest)))
}

/// Why an upload was not brought to its end.
fn ended(owner: &Owner) -> OwnedError {
    if !owner.is_stopping.load(Ordering::Relaxed) {
        return OwnedError::Ended;
    }
    let text = "the node is stopping; the upload goes on when it is back";
    OwnedError::Peer(ProviderError::new(ProviderError::NODE_STOPPING, text))
}

/// Forgets an upload that a later version, or a deletion, has overtaken, also where it has been brought to. While the later
/// version is still on its way itself nothing is forgotten: a deletion in its name would take the version before from its
/// holders, too.
fn superseded(owner: &Owner, outgoing: &Outgoing) -> Result<OwnedError, OwnedError> {
    if take_back(owner, outgoing)? {
        owner.database.remove_outgoing(&outgoing.upload)?;
        owner.checked.lock().remove(&outgoing.upload);
        owner.staging.remove(&outgoing.upload).map_err(|error| OwnedError::Io(OPERATION, error))?;
    }
    Ok(OwnedError::Superseded)
}

/// Has holders delete what has been overtaken. Says whether the version, or the deletion, that has done so counts.
fn take_back(owner: &Owner, overtaken: &Outgoing) -> Result<bool, OwnedError> {
    let name_tag = &overtaken.manifest.manifest.name_tag;
    let replaces = |later: &CheckedManifest| later.replaces(&overtaken.manifest);
    let stored = owner.database.file(name_tag)?.map(|file| file.manifest).filter(replaces);
    let registered = || find(owner, name_tag).ok().flatten().map(|found| found.manifest).filter(replaces);
    let Some(later) = stored.or_else(registered) else { return Ok(false) };
    super::list::delete_at(owner, &overtaken.holders, &overtaken.manifest, &later);
    Ok(true)
}

/// Forgets what a version that counts from now on has overtaken on its way.
fn forget_overtaken(owner: &Owner, name: &str) -> Result<(), OwnedError> {
    for key in owner.database.outgoing_named(name)? {
        let Some(outgoing) = owner.database.outgoing(&key)? else { continue };
        if is_overtaken(owner, &outgoing)? {
            superseded(owner, &outgoing)?;
        }
    }
    Ok(())
}

fn no_holders(errors: &[String]) -> String {
    let reasons = match errors {
        [] => "no peer has room for it".to_owned(),
        errors => errors.join("; "),
    };
    format!("nobody keeps the file yet: {reasons}; run the same command again when there are other peers")
}

/// Tells the tracker. It hears of the file later when it is away.
fn register(
    owner: &Owner,
    outgoing: &Outgoing,
    holders: &[PeerId],
    errors: &mut Vec<String>,
) -> Result<(), OwnedError> {
    let message = RegisterOwnedFile {
        manifest: Some(outgoing.manifest.signed.clone()),
        holders: holders.to_vec(),
        ..RegisterOwnedFile::default()
    };
    match ask(owner.host, TRACKER, &message, &outgoing.block_hashes) {
        Ok(_) => Ok(()),
        Err(error) if is_away(&error) => {
            owner.host.log(Level::Warn, &format!("a file is not registered yet: {error}"));
            errors.push("the tracker is away; it is told of the file when it is back".to_owned());
            Ok(())
        }
        Err(error) if error.code == "superseded" => Err(superseded(owner, outgoing)?),
        Err(error) => Err(OwnedError::Peer(error)),
    }
}

/// Those of some peers that are in this node's table.
fn present(owner: &Owner, ids: &[PeerId]) -> Vec<PeerId> {
    let known = peers(owner).unwrap_or_default();
    ids.iter().copied().filter(|id| known.iter().any(|peer| peer.peer_id == Some(*id))).collect()
}

/// Those whom the client has named, or where it has begun, and as many as are missing from the tracker.
fn choose_holders(
    owner: &Owner,
    outgoing: &Outgoing,
    begun: &[PeerId],
    size: u64,
) -> Result<(Vec<PeerId>, Vec<String>), OwnedError> {
    let mut errors = Vec::new();
    let wanted = outgoing.manifest.manifest.replicas as usize;
    let mut holders: Vec<PeerId> = begun.iter().copied().take(wanted).collect();
    if !outgoing.named_holders.is_empty() {
        let known = peers(owner)?;
        for named in &outgoing.named_holders {
            let id = named
                .parse::<PeerId>()
                .ok()
                .or_else(|| known.iter().find(|peer| is_address_of(named, peer)).and_then(|peer| peer.peer_id));
            match id {
                Some(id) if id == owner.id => errors.push(format!("{named} is this node; name another one")),
                Some(id) if !holders.contains(&id) => holders.push(id),
                Some(_) => {}
                None => errors.push(format!("no peer {named} is known here; see `potluck peers`")),
            }
        }
    }
    if holders.len() < wanted && errors.is_empty() {
        match storage_peers(owner, wanted - holders.len(), size, &holders) {
            Ok(more) => holders.extend(more),
            Err(error) => errors.push(format!("the tracker names no peers: {error}")),
        }
    }
    Ok((holders, errors))
}

/// Whether somebody means a peer by `192.0.2.7:9000` or `[2001:db8::7]:9000`, however that is written.
fn is_address_of(named: &str, peer: &PeerEntry) -> bool {
    match (named.parse::<SocketAddr>(), peer.ip.parse::<IpAddr>()) {
        (Ok(named), Ok(ip)) => named == SocketAddr::new(ip, peer.port),
        _ => named == peer.address(),
    }
}

/// The answer once a file is stored.
pub(super) fn complete(owner: &Owner, upload: &str, file: &OwnFile, mut errors: Vec<String>) -> OwnedFileUploaded {
    let wanted = file.manifest.manifest.replicas as usize;
    if file.holders.len() < wanted && errors.is_empty() {
        let count = file.holders.len();
        errors.push(format!("{count} of {wanted} replicas are stored; more when there are peers for them"));
    }
    let sealed = owner.keys.unseal(&file.manifest.manifest).map(|(_, sealed)| sealed);
    let known = peers(owner).unwrap_or_default();
    OwnedFileUploaded {
        status: STATUS_OK.to_owned(),
        filename: file.name.clone().unwrap_or_default(),
        upload: upload.to_owned(),
        received_bytes: sealed.as_ref().map_or(0, |sealed| sealed.size),
        stored: true,
        complete: true,
        sha256: sealed.map(|sealed| sealed.sha256),
        storage_peers: file.holders.iter().map(|id| storage_peer(*id, &known)).collect(),
        errors,
    }
}

/// An upload whose encrypted bytes are all here. Once for each start of the node they are checked; when a loss of power has
/// damaged them the upload is forgotten, and the client sends it again.
pub(super) fn checked_outgoing(owner: &Owner, key: &str) -> Result<Option<Outgoing>, OwnedError> {
    let Some(outgoing) = owner.database.outgoing(key)? else { return Ok(None) };
    if owner.checked.lock().contains(key) {
        return Ok(Some(outgoing));
    }
    let blob_bytes = outgoing.manifest.manifest.blob.as_ref().map_or(0, |blob| blob.size);
    let hashes = owner.staging.read(key).and_then(|file| BlockHashes::read(blob_bytes, file));
    if hashes.is_ok_and(|hashes| hashes.to_bytes() == outgoing.block_hashes) {
        owner.checked.lock().insert(key.to_owned());
        return Ok(Some(outgoing));
    }
    owner.host.log(Level::Warn, "the encrypted bytes of an upload were lost; its client has to send it again");
    super::list::withdraw(owner, outgoing)?;
    Ok(None)
}

/// Goes on with the uploads that a restart, or a lack of holders, has left.
pub(crate) fn go_on(owner: &Arc<Owner>) -> Result<(), OwnedError> {
    if !owner.is_going_on.swap(true, Ordering::Relaxed) {
        match owner.database.outgoing_uploads() {
            Ok(keys) => send_next(owner, keys),
            Err(error) => {
                owner.is_going_on.store(false, Ordering::Relaxed);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Sends one after the other, so that what somebody waits for never waits for many that lead to nothing.
fn send_next(owner: &Arc<Owner>, mut keys: Vec<String>) {
    let next = std::iter::from_fn(|| keys.pop()).find(|key| !owner.note_active(key));
    let Some(key) = next.filter(|_| !owner.is_stopping.load(Ordering::Relaxed)) else {
        owner.is_going_on.store(false, Ordering::Relaxed);
        return;
    };
    let this = Arc::clone(owner);
    send_in_turn(owner, &key, &key, move |sent| {
        match sent {
            // It was called at once, and would be for all the others; they are tried again later.
            Err(OwnedError::Busy(_)) => return this.is_going_on.store(false, Ordering::Relaxed),
            Err(error) => this.host.log(Level::Debug, &format!("an upload cannot be completed yet: {error}")),
            Ok(_) => {}
        }
        send_next(&this, keys);
    });
}
