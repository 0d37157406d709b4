//! UPLOAD_OWNED_FILE: pieces are encrypted as they come; the last one has the file brought to its holders.

use super::Owner;
use super::call::{TRACKER, ask, is_away, read};
use super::database::{Outgoing, OwnFile};
use super::staging::Growing;
use super::transfer::{Cargo, Outcome, bring};
use crate::error::OwnedError;
use potluck_sdk::files::{BlockHashes, CheckedManifest, FileName, to_hex};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::node::{ListPeers, PeerList};
use potluck_sdk::message::owned_files::{
    Blob, FindOwnedFile, OwnedFileResponse, OwnedFileUploaded, REPLICAS_MAX, RegisterOwnedFile, ReplicaState,
    RequestStoragePeers, Sealed, StoragePeer, StoragePeers,
};
use potluck_sdk::message::tracker::PeerEntry;
use potluck_sdk::{Level, PeerId};
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const OPERATION: &str = "UPLOAD_OWNED_FILE";

/// A piece of an upload, decoded.
pub(crate) struct Piece {
    pub(crate) name: FileName,
    pub(crate) upload: String,
    /// Names the upload here: another file under the same `upload` is another one.
    pub(crate) key: String,
    pub(crate) offset: u64,
    pub(crate) size: Option<u64>,
    pub(crate) data: Vec<u8>,
    pub(crate) is_final: bool,
    pub(crate) sha256: Option<String>,
    pub(crate) replicas: Option<u32>,
    pub(crate) holders: Vec<String>,
    pub(crate) abort: bool,
}

/// Takes a piece. May block as long as it takes to bring a whole file to its holders.
pub(crate) fn take_piece(owner: &Owner, piece: &Piece) -> Result<OwnedFileUploaded, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    if piece.abort {
        owner.growing.lock().remove(&piece.key);
        if let Some(outgoing) = owner.database.outgoing(&piece.key)? {
            super::list::withdraw(owner, outgoing)?;
        }
        owner.staging.remove(&piece.key).map_err(io)?;
        return Ok(state(piece, 0, false));
    }
    let growing = owner.growing.lock().remove(&piece.key);
    let mut growing = match growing {
        Some(growing) => growing,
        None => {
            if let Some(file) = owner.database.file_of_upload(&piece.key)? {
                return Ok(complete(owner, &piece.upload, &file, Vec::new()));
            }
            if let Some(outgoing) = checked_outgoing(owner, &piece.key)? {
                let size = owner.keys.unseal(&outgoing.manifest.manifest).map_or(0, |(_, sealed)| sealed.size);
                return if piece.is_final && piece.offset >= size {
                    send(owner, &piece.upload, outgoing)
                } else {
                    Ok(state(piece, size, false))
                };
            }
            let is_question = piece.data.is_empty() && !piece.is_final;
            if (is_question || piece.offset > 0) && !owner.staging.has(&piece.key) {
                return Ok(state(piece, 0, false));
            }
            if owner.growing.lock().len() >= owner.config.uploads_max {
                return Err(OwnedError::UploadsFull(owner.config.uploads_max));
            }
            owner.staging.grow(&piece.key, &owner.keys).map_err(io)?
        }
    };
    match grow(owner, piece, &mut growing) {
        Ok(true) => {}
        Ok(false) => {
            let received_bytes = growing.received_bytes;
            let stored = piece.offset + piece.data.len() as u64 == received_bytes && !piece.data.is_empty();
            owner.growing.lock().insert(piece.key.clone(), growing);
            return Ok(state(piece, received_bytes, stored));
        }
        // What the disk has of a piece is not known after an error; what it has of those before is read anew.
        Err(error) => return Err(error),
    }
    let outgoing = seal(owner, piece, growing)?;
    send(owner, &piece.upload, outgoing)
}

/// Writes a piece where it belongs. Says whether the file ends with it.
fn grow(owner: &Owner, piece: &Piece, growing: &mut Growing) -> Result<bool, OwnedError> {
    if piece.offset != growing.received_bytes {
        return Ok(false);
    }
    let total = growing.received_bytes + piece.data.len() as u64;
    let size = total.max(piece.size.unwrap_or(0));
    if size > owner.config.file_bytes_max {
        owner.staging.remove(&piece.key).map_err(|error| OwnedError::Io(OPERATION, error))?;
        return Err(OwnedError::TooLarge(owner.config.file_bytes_max));
    }
    growing.write(&piece.data).map_err(|error| OwnedError::Io(OPERATION, error))?;
    Ok(piece.is_final)
}

fn state(piece: &Piece, received_bytes: u64, stored: bool) -> OwnedFileUploaded {
    OwnedFileUploaded {
        status: STATUS_OK.to_owned(),
        filename: piece.name.to_string(),
        upload: piece.upload.clone(),
        received_bytes,
        stored,
        complete: false,
        sha256: None,
        storage_peers: Vec::new(),
        errors: Vec::new(),
    }
}

/// Ends a file, and signs what it is.
fn seal(owner: &Owner, piece: &Piece, growing: Growing) -> Result<Outgoing, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    let size = growing.received_bytes;
    let sha256 = growing.finish().map_err(io)?;
    let refusal = if piece.size.is_some_and(|expected| expected != size) {
        Some(OwnedError::SizeMismatch(size))
    } else if piece.sha256.as_deref().is_some_and(|expected| !expected.eq_ignore_ascii_case(&sha256)) {
        Some(OwnedError::HashMismatch(sha256.clone()))
    } else {
        None
    };
    if let Some(refusal) = refusal {
        owner.staging.remove(&piece.key).map_err(io)?;
        return Err(refusal);
    }
    let reader = owner.staging.read(&piece.key).map_err(io)?;
    let blob_bytes = reader.metadata().map_err(io)?.len();
    let hashes = BlockHashes::read(blob_bytes, &reader).map_err(io)?;
    let name_tag = owner.keys.name_tag(&piece.name);
    let registered_revision = registered_revision(owner, &name_tag);
    let uploaded = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let sealed = Sealed { filename: piece.name.to_string(), size, sha256, uploaded_unix_seconds: uploaded };
    let named = u32::try_from(piece.holders.len()).unwrap_or(REPLICAS_MAX);
    let replicas = piece.replicas.unwrap_or(1).max(named).clamp(1, REPLICAS_MAX);
    let blob = Blob {
        id: random_blob_id()?,
        size: blob_bytes,
        block_bytes: hashes.block_bytes(),
        root: to_hex(&hashes.root()),
    };
    // Two uploads of one file get revisions of their own.
    let _one_at_a_time = owner.sealing.lock();
    let revision = registered_revision.max(known_revision(owner, &name_tag)?) + 1;
    let manifest = owner.keys.manifest(&name_tag, revision, replicas, Some((blob, &sealed)))?;
    let outgoing = Outgoing {
        upload: piece.key.clone(),
        name: piece.name.to_string(),
        manifest,
        block_hashes: hashes.to_bytes(),
        named_holders: piece.holders.clone(),
        holders: Vec::new(),
    };
    owner.database.put_outgoing(&outgoing)?;
    owner.checked.lock().insert(piece.key.clone());
    Ok(outgoing)
}

fn random_blob_id() -> Result<String, OwnedError> {
    let mut id = [0; 16];
    let failed = |_| OwnedError::Io(OPERATION, io::Error::other("the system gives no random numbers"));
    SystemRandom::new().fill(&mut id).map_err(failed)?;
    Ok(to_hex(&id))
}

/// The highest revision of a file that this node knows, on its way or stored.
pub(super) fn known_revision(owner: &Owner, name_tag: &str) -> Result<u64, OwnedError> {
    let stored = owner.database.file(name_tag)?.map_or(0, |file| file.manifest.manifest.revision);
    let outgoing = owner.database.outgoing_of(name_tag)?;
    let outgoing = outgoing.iter().map(|outgoing| outgoing.manifest.manifest.revision);
    Ok(outgoing.fold(stored, u64::max))
}

/// That which the tracker knows. It may be away; what it knows more than this node is lost then only if this node has lost
/// its own list.
pub(super) fn registered_revision(owner: &Owner, name_tag: &str) -> u64 {
    let found = find(owner, name_tag).ok().flatten();
    found.map_or(0, |found| found.manifest.manifest.revision)
}

/// What the tracker knows of a file.
pub(super) struct Registered {
    pub(super) manifest: CheckedManifest,
    /// The hashes of its blocks, when the tracker has them.
    pub(super) block_hashes: Vec<u8>,
    /// Who keeps it.
    pub(super) peers: Vec<StoragePeer>,
}

/// Asks the tracker for a file.
pub(super) fn find(owner: &Owner, name_tag: &str) -> Result<Option<Registered>, OwnedError> {
    let message = FindOwnedFile {
        name_tag: Some(name_tag.into()),
        requester_id: Some(owner.id.to_string().into()),
        ..FindOwnedFile::default()
    };
    let response = ask(owner.host, TRACKER, &message, &[]).map_err(OwnedError::Peer)?;
    let found: OwnedFileResponse = read(&response)?;
    let Some(signed) = found.manifest.filter(|_| found.found) else { return Ok(None) };
    let manifest = CheckedManifest::try_from(signed)?;
    if manifest.owner != owner.id || manifest.manifest.name_tag != name_tag {
        return Ok(None);
    }
    Ok(Some(Registered { manifest, block_hashes: response.attachment, peers: found.storage_peers }))
}

/// Brings an encrypted file to its holders, and registers it.
pub(super) fn send(owner: &Owner, upload: &str, outgoing: Outgoing) -> Result<OwnedFileUploaded, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    let _turn = owner.transfers.enter();
    // Somebody else may have brought it there while this one waited.
    if let Some(file) = owner.database.file_of_upload(&outgoing.upload)? {
        return Ok(complete(owner, upload, &file, Vec::new()));
    }
    // A deletion removes what is on its way.
    let Some(mut outgoing) = owner.database.outgoing(&outgoing.upload)? else { return Err(OwnedError::Superseded) };
    let stored = owner.database.file(&outgoing.manifest.manifest.name_tag)?;
    if stored.is_some_and(|stored| stored.manifest.replaces(&outgoing.manifest)) {
        return Err(superseded(owner, &outgoing)?);
    }
    let file = owner.staging.read(&outgoing.upload).map_err(io)?;
    let size = outgoing.manifest.manifest.blob.as_ref().map_or(0, |blob| blob.size);
    let (holders, mut errors) = choose_holders(owner, &outgoing, size)?;
    if holders.is_empty() {
        return Err(OwnedError::NoHolders(no_holders(&errors)));
    }
    for holder in &holders {
        if !outgoing.holders.contains(holder) {
            outgoing.holders.push(*holder);
        }
    }
    owner.database.note_holders(&outgoing.upload, &outgoing.holders)?;
    let cargo = Cargo { upload, manifest: &outgoing.manifest, block_hashes: &outgoing.block_hashes, file: &file, size };
    let mut noted = outgoing.holders.clone();
    let replacement = |tried: &[PeerId]| {
        if !outgoing.named_holders.is_empty() {
            return None;
        }
        let holder = storage_peers(owner, 1, size, tried).ok()?.into_iter().next()?;
        noted.push(holder);
        owner.database.note_holders(&outgoing.upload, &noted).ok()?;
        Some(holder)
    };
    let is_to_end = Arc::new(AtomicBool::new(false));
    owner.active.lock().insert(outgoing.upload.clone(), Arc::clone(&is_to_end));
    let is_aborted = || owner.is_stopping.load(Ordering::Relaxed) || is_to_end.load(Ordering::Relaxed);
    let Outcome { holders, errors: failures } = bring(owner.host, &cargo, holders, replacement, is_aborted);
    owner.active.lock().remove(&outgoing.upload);
    if is_aborted() {
        return Err(OwnedError::Ended);
    }
    errors.extend(failures);
    if holders.is_empty() {
        return Err(OwnedError::NoHolders(no_holders(&errors)));
    }
    let wanted = outgoing.manifest.manifest.replicas as usize;
    if holders.len() >= wanted {
        // Others have taken the place of those that failed.
        errors.clear();
    } else if errors.is_empty() {
        errors.push(format!("{} of {wanted} replicas are stored; more when there are peers for them", holders.len()));
    }
    register(owner, &outgoing, &holders, &mut errors)?;
    let file = OwnFile {
        name: Some(outgoing.name),
        manifest: outgoing.manifest,
        block_hashes: outgoing.block_hashes,
        holders,
        upload: Some(outgoing.upload.clone()),
    };
    if !owner.database.put_file(&file)? {
        return Err(OwnedError::Superseded);
    }
    owner.staging.remove(&outgoing.upload).map_err(io)?;
    Ok(complete(owner, upload, &file, errors))
}

/// Forgets an upload that a later version, or a deletion, has overtaken, also where it has been brought to.
fn superseded(owner: &Owner, outgoing: &Outgoing) -> Result<OwnedError, OwnedError> {
    let name_tag = &outgoing.manifest.manifest.name_tag;
    let stored = owner.database.file(name_tag)?.map(|file| file.manifest);
    let registered = find(owner, name_tag).ok().flatten().map(|found| found.manifest);
    let later = [stored, registered].into_iter().flatten().find(|later| later.replaces(&outgoing.manifest));
    if let Some(later) = later {
        super::list::delete_at(owner, &outgoing.holders, &outgoing.manifest, &later);
    }
    owner.database.remove_outgoing(&outgoing.upload)?;
    owner.staging.remove(&outgoing.upload).map_err(|error| OwnedError::Io(OPERATION, error))?;
    Ok(OwnedError::Superseded)
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

/// Those whom the client has named, and as many as are missing from the tracker.
fn choose_holders(owner: &Owner, outgoing: &Outgoing, size: u64) -> Result<(Vec<PeerId>, Vec<String>), OwnedError> {
    let mut errors = Vec::new();
    let mut holders = Vec::new();
    if !outgoing.named_holders.is_empty() {
        let known = peers(owner)?;
        for named in &outgoing.named_holders {
            let id = named.parse::<PeerId>().ok().or_else(|| {
                known.iter().find(|peer| address(&peer.ip, peer.port) == *named).and_then(|peer| peer.peer_id)
            });
            match id {
                Some(id) if id == owner.id => errors.push(format!("{named} is this node; the file is here already")),
                Some(id) if !holders.contains(&id) => holders.push(id),
                Some(_) => {}
                None => errors.push(format!("no peer {named} is known here; see `potluck peers`")),
            }
        }
    }
    let wanted = outgoing.manifest.manifest.replicas as usize;
    if holders.len() < wanted && errors.is_empty() {
        match storage_peers(owner, wanted - holders.len(), size, &holders) {
            Ok(more) => holders.extend(more),
            Err(error) => errors.push(format!("the tracker names no peers: {error}")),
        }
    }
    Ok((holders, errors))
}

/// Asks the tracker who could keep a blob.
fn storage_peers(owner: &Owner, count: usize, size: u64, exclude: &[PeerId]) -> Result<Vec<PeerId>, OwnedError> {
    let mut exclude = exclude.to_vec();
    exclude.push(owner.id);
    let message = RequestStoragePeers {
        replication: i64::try_from(count).ok(),
        size: Some(size),
        exclude: exclude.clone(),
        ..RequestStoragePeers::default()
    };
    let reply: StoragePeers = read(&ask(owner.host, TRACKER, &message, &[]).map_err(OwnedError::Peer)?)?;
    let ids = reply.peers.into_iter().filter_map(|peer| peer.peer_id);
    Ok(ids.filter(|id| !exclude.contains(id)).take(count).collect())
}

/// The peers that this node knows.
pub(super) fn peers(owner: &Owner) -> Result<Vec<PeerEntry>, OwnedError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    owner.host.call_with(&potluck_sdk::message::to_json(&ListPeers {}), &[], move |answer| {
        let _ = sender.try_send(answer);
    });
    let answer = receiver.recv_timeout(Duration::from_secs(10));
    let response = answer.unwrap_or_else(|_| Err(super::call::timed_out("this node"))).map_err(OwnedError::Peer)?;
    Ok(read::<PeerList>(&response)?.peers)
}

/// As people write it.
fn address(ip: &str, port: u16) -> String {
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{ip}]:{port}"),
        _ => format!("{ip}:{port}"),
    }
}

/// The answer once a file is stored.
fn complete(owner: &Owner, upload: &str, file: &OwnFile, errors: Vec<String>) -> OwnedFileUploaded {
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

/// A holder with the address at which this node knows it.
pub(super) fn storage_peer(id: PeerId, known: &[PeerEntry]) -> StoragePeer {
    let peer = known.iter().find(|peer| peer.peer_id == Some(id));
    StoragePeer {
        ip: peer.map(|peer| peer.ip.clone()).unwrap_or_default(),
        port: peer.map_or(0, |peer| peer.port),
        peer_id: Some(id),
        state: ReplicaState::Unchecked,
        checked_unix_seconds: None,
        owned_files: None,
        free_bytes: None,
    }
}

/// An upload whose encrypted bytes are all here. Once for each start of the node they are checked; when a loss of power has
/// damaged them the upload is forgotten, and the client sends it again.
fn checked_outgoing(owner: &Owner, key: &str) -> Result<Option<Outgoing>, OwnedError> {
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

/// Goes on with the uploads that a restart, or a lack of holders, has left; returns how many remain.
pub(crate) fn go_on(owner: &Owner) -> Result<usize, OwnedError> {
    for key in owner.database.outgoing_uploads()? {
        let Some(outgoing) = checked_outgoing(owner, &key)? else { continue };
        if let Err(error) = send(owner, &key, outgoing) {
            owner.host.log(Level::Warn, &format!("an upload cannot be completed yet: {error}"));
        }
    }
    Ok(owner.database.outgoing_uploads()?.len())
}

/// Removes what nobody goes on with.
pub(crate) fn forget_old(owner: &Owner) -> io::Result<()> {
    let outgoing = owner.database.outgoing_uploads().map_err(io::Error::other)?;
    let patience = Duration::from_secs(owner.config.unfinished_seconds);
    owner.staging.forget_old(patience, |key| outgoing.iter().any(|kept| kept == key))
}
