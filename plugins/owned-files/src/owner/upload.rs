//! UPLOAD_OWNED_FILE: pieces are encrypted as they come; the last one has the file brought to its holders.

use super::Owner;
use super::call::{ANSWER_TIMEOUT, TRACKER, ask, ask_within, is_away, read};
use super::database::{Outgoing, OwnFile};
use super::staging::Growing;
use super::transfer::{Cargo, Outcome, bring};
use crate::error::OwnedError;
use parking_lot::Mutex;
use potluck_sdk::files::{BlockHashes, CheckedManifest, FileName, to_hex};
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::node::{ListPeers, PeerList};
use potluck_sdk::message::owned_files::{
    Blob, FindOwnedFile, Manifest, OwnedFileResponse, OwnedFileUploaded, REPLICAS_MAX, RegisterOwnedFile, ReplicaState,
    RequestStoragePeers, Sealed, StoragePeer, StoragePeers,
};
use potluck_sdk::message::tracker::PeerEntry;
use potluck_sdk::{Level, PeerId, ProviderError};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const OPERATION: &str = "UPLOAD_OWNED_FILE";
/// How long this node may take to list its peers.
const PEERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Files that are brought to holders at a time.
const TRANSFERS_MAX: u64 = 2;
/// An upload that nobody has gone on with for so long makes room for another.
const IDLE_TIME: Duration = Duration::from_secs(600);

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

/// What became of a piece.
pub(crate) enum Taken {
    /// The answer.
    Answer(OwnedFileUploaded),
    /// The whole file is encrypted, and is to be brought to its holders.
    Whole,
}

/// Takes a piece.
pub(crate) fn take_piece(owner: &Arc<Owner>, piece: &Piece) -> Result<Taken, OwnedError> {
    let io = |error| OwnedError::Io(OPERATION, error);
    if piece.abort {
        return abort(owner, piece).map(Taken::Answer);
    }
    let growing = owner.growing.lock().remove(&piece.key);
    let mut growing = match growing {
        Some(growing) => growing,
        None => {
            if let Some(file) = owner.database.file_of_upload(&piece.key)? {
                let replicas = file.manifest.manifest.replicas;
                let other = format!(
                    "the file is stored already, for {replicas} replicas; to change that, delete it and upload it again"
                );
                let errors = if piece.wanted_replicas() == replicas { Vec::new() } else { vec![other] };
                return Ok(Taken::Answer(complete(owner, &piece.upload, &file, errors)));
            }
            if let Some(outgoing) = checked_outgoing(owner, &piece.key)? {
                let size = owner.keys.unseal(&outgoing.manifest.manifest).map_or(0, |(_, sealed)| sealed.size);
                if !piece.is_final || piece.end() < size {
                    return Ok(Taken::Answer(state(piece, size, false)));
                }
                renew(owner, piece, outgoing)?;
                return Ok(Taken::Whole);
            }
            let is_question = piece.data.is_empty() && !piece.is_final;
            if (is_question || piece.offset > 0) && !owner.staging.has(&piece.key) {
                return Ok(Taken::Answer(state(piece, 0, false)));
            }
            make_room(owner)?;
            owner.tidy_later();
            owner.staging.grow(&piece.key, &owner.keys).map_err(io)?
        }
    };
    match grow(owner, piece, &mut growing) {
        Ok(true) => {}
        Ok(false) => {
            let received_bytes = growing.received_bytes;
            let stored = piece.end() == received_bytes && !piece.data.is_empty();
            owner.growing.lock().insert(piece.key.clone(), growing);
            return Ok(Taken::Answer(state(piece, received_bytes, stored)));
        }
        // What the disk has of a piece is not known after an error; what it has of those before is read anew.
        Err(error) => return Err(error),
    }
    seal(owner, piece, growing)?;
    Ok(Taken::Whole)
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }

    fn wanted_replicas(&self) -> u32 {
        let named = u32::try_from(self.holders.len()).unwrap_or(REPLICAS_MAX);
        self.replicas.unwrap_or(1).max(named).clamp(1, REPLICAS_MAX)
    }
}

/// The client may want other holders than before, when those it has named are away for good, or another number of them.
fn renew(owner: &Owner, piece: &Piece, outgoing: Outgoing) -> Result<(), OwnedError> {
    let before = &outgoing.manifest.manifest;
    let replicas = piece.wanted_replicas();
    if replicas == before.replicas && piece.holders == outgoing.named_holders {
        return Ok(());
    }
    let _one_at_a_time = owner.sealing.lock();
    let mut signed = outgoing.manifest.signed;
    if replicas != before.replicas {
        let revision = known_revision(owner, &before.name_tag)?.saturating_add(1);
        let manifest = Manifest { revision, replicas, ..before.clone() };
        signed = CheckedManifest::sign(&owner.host, &manifest)?.signed;
    }
    owner.database.renew(&piece.key, &signed, &piece.holders)
}

/// Forgets an upload, and takes it back where it has been brought to.
fn abort(owner: &Owner, piece: &Piece) -> Result<OwnedFileUploaded, OwnedError> {
    owner.growing.lock().remove(&piece.key);
    if let Some(outgoing) = owner.database.outgoing(&piece.key)? {
        super::list::withdraw(owner, outgoing)?;
    }
    owner.staging.remove(&piece.key).map_err(|error| OwnedError::Io(OPERATION, error))?;
    match owner.database.file_of_upload(&piece.key)? {
        // Too late: only a deletion takes it back now.
        Some(file) => Ok(complete(owner, &piece.upload, &file, Vec::new())),
        None => Ok(state(piece, 0, false)),
    }
}

/// Makes room for one more upload in the making, in place of one that nobody has gone on with for long. What the disk has
/// of that stays, and is read anew when somebody does go on.
fn make_room(owner: &Owner) -> Result<(), OwnedError> {
    let mut growing = owner.growing.lock();
    if growing.len() < owner.config.uploads_max {
        return Ok(());
    }
    let longest = growing.iter().min_by_key(|(_, growing)| growing.used_at);
    match longest.filter(|(_, growing)| growing.used_at.elapsed() > IDLE_TIME).map(|(key, _)| key.clone()) {
        Some(key) => drop(growing.remove(&key)),
        None => return Err(OwnedError::UploadsFull(owner.config.uploads_max)),
    }
    Ok(())
}

/// Writes a piece where it belongs. Says whether the file ends with it.
fn grow(owner: &Owner, piece: &Piece, growing: &mut Growing) -> Result<bool, OwnedError> {
    if piece.offset != growing.received_bytes {
        // The last piece comes again when the node has ended between it and the answer.
        return Ok(piece.is_final && piece.end() == growing.received_bytes);
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
fn seal(owner: &Owner, piece: &Piece, growing: Growing) -> Result<(), OwnedError> {
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
    let least = least_revision(owner, &name_tag);
    let sealed = Sealed { filename: piece.name.to_string(), size, sha256, uploaded_unix_seconds: unix_seconds() };
    let blob = Blob {
        id: random_blob_id()?,
        size: blob_bytes,
        block_bytes: hashes.block_bytes(),
        root: to_hex(&hashes.root()),
    };
    // Two uploads of one file get revisions of their own.
    let _one_at_a_time = owner.sealing.lock();
    let revision = known_revision(owner, &name_tag)?.saturating_add(1).max(least);
    let manifest = owner.keys.manifest(&name_tag, revision, piece.wanted_replicas(), Some((blob, &sealed)))?;
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
    Ok(())
}

fn random_blob_id() -> Result<String, OwnedError> {
    let mut id = [0; 16];
    let failed = |_| OwnedError::Io(OPERATION, io::Error::other("the system gives no random numbers"));
    SystemRandom::new().fill(&mut id).map_err(failed)?;
    Ok(to_hex(&id))
}

/// The highest revision of a file that this node knows, on its way or stored.
pub(super) fn known_revision(owner: &Owner, name_tag: &str) -> Result<u64, OwnedError> {
    // In this order, since what is on its way becomes a stored version, and not the other way round.
    let outgoing = owner.database.outgoing_of(name_tag)?;
    let outgoing = outgoing.iter().map(|outgoing| outgoing.manifest.manifest.revision);
    let stored = owner.database.file(name_tag)?.map_or(0, |file| file.manifest.manifest.revision);
    Ok(outgoing.fold(stored, u64::max))
}

/// The least revision that a new version may have, as far as the tracker knows. When it is away and this node has lost its
/// list, no later manifest than those that are out may be made up by counting; the time is later than any count.
fn least_revision(owner: &Owner, name_tag: &str) -> u64 {
    match find(owner, name_tag) {
        Ok(found) => found.map_or(1, |found| found.manifest.manifest.revision.saturating_add(1)),
        Err(_) => unix_seconds(),
    }
}

pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
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
    find_within(owner, name_tag, ANSWER_TIMEOUT)
}

/// As [`find`], with another time.
pub(super) fn find_within(owner: &Owner, name_tag: &str, timeout: Duration) -> Result<Option<Registered>, OwnedError> {
    let message = FindOwnedFile {
        name_tag: Some(name_tag.into()),
        requester_id: Some(owner.id.to_string().into()),
        ..FindOwnedFile::default()
    };
    let response = ask_within(owner.host, TRACKER, &message, &[], timeout).map_err(OwnedError::Peer)?;
    let found: OwnedFileResponse = read(&response)?;
    let Some(signed) = found.manifest.filter(|_| found.found) else { return Ok(None) };
    let manifest = CheckedManifest::try_from(signed)?;
    if manifest.owner != owner.id || manifest.manifest.name_tag != name_tag {
        return Ok(None);
    }
    Ok(Some(Registered { manifest, block_hashes: response.attachment, peers: found.storage_peers }))
}

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
    let cell = Arc::new(Mutex::new(Some(done)));
    let (inner, upload, taken) = (Arc::clone(owner), upload.to_owned(), Arc::clone(&cell));
    let waiting = key.to_owned();
    let work = move || {
        let key = waiting;
        let is_to_end = Arc::clone(inner.active.lock().entry(key.clone()).or_default());
        let sent = send(&inner, &upload, &key, &is_to_end);
        inner.active.lock().remove(&key);
        // Refused and left: there may be other peers later.
        let is_left = !matches!(sent, Ok(_) | Err(OwnedError::Ended)) && !inner.is_stopping.load(Ordering::Relaxed);
        if is_left && !matches!(inner.database.outgoing(&key), Ok(None)) {
            inner.retry_later();
        }
        let done = taken.lock().take();
        if let Some(done) = done {
            done(sent);
        }
    };
    if let Err(full) = owner.lanes.run(owner.host, &lane, 0, work) {
        owner.active.lock().remove(key);
        owner.retry_later();
        let done = cell.lock().take();
        if let Some(done) = done {
            done(Err(full.into()));
        }
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
    if is_aborted() {
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
        name: Some(outgoing.name),
        manifest: outgoing.manifest,
        block_hashes: outgoing.block_hashes,
        holders,
        upload: Some(outgoing.upload.clone()),
    };
    if !owner.database.put_file(&file)? {
        return Err(OwnedError::Superseded);
    }
    super::download::forget(owner, &file.manifest.manifest.name_tag);
    owner.checked.lock().remove(key);
    owner.staging.remove(&outgoing.upload).map_err(io)?;
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
    owner.checked.lock().remove(&outgoing.upload);
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
    let answer = receiver.recv_timeout(PEERS_TIMEOUT);
    let response =
        answer.unwrap_or_else(|_| Err(super::call::timed_out("this node", PEERS_TIMEOUT))).map_err(OwnedError::Peer)?;
    Ok(read::<PeerList>(&response)?.peers)
}

/// Whether somebody means a peer by `192.0.2.7:9000` or `[2001:db8::7]:9000`, however that is written.
fn is_address_of(named: &str, peer: &PeerEntry) -> bool {
    match (named.parse::<SocketAddr>(), peer.ip.parse::<IpAddr>()) {
        (Ok(named), Ok(ip)) => named == SocketAddr::new(ip, peer.port),
        _ => named == peer.address(),
    }
}

/// The answer once a file is stored.
fn complete(owner: &Owner, upload: &str, file: &OwnFile, mut errors: Vec<String>) -> OwnedFileUploaded {
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
        if let Err(error) = sent {
            this.host.log(Level::Debug, &format!("an upload cannot be completed yet: {error}"));
        }
        send_next(&this, keys);
    });
}

/// Removes what nobody goes on with; returns how many files remain.
pub(crate) fn forget_old(owner: &Owner) -> io::Result<usize> {
    let outgoing: HashSet<String> = owner.database.outgoing_uploads().map_err(io::Error::other)?.into_iter().collect();
    let patience = Duration::from_secs(owner.config.unfinished_seconds);
    owner.growing.lock().retain(|_, growing| growing.used_at.elapsed() <= patience);
    owner.staging.forget_old(patience, |key| outgoing.contains(key) || owner.growing.lock().contains_key(key))
}
