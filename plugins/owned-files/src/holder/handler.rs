//! One function a message: decode, find its lane, make the reply on a blocking thread.

use super::index::{BlobId, FileKey};
use super::named::{Named, Source};
use super::{Holder, read, replicate, upload};
use crate::error::OwnedError;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::{
    AuditOwnedFile, DeleteOwnedFile, GetOwnedFile, OwnedFileDeleted, OwnedFileResponse, ReplicateOwnedFile,
    SignedManifest, UploadToPeer,
};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{Caller, PeerId, PendingReply, ProviderError, Reply, Request};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Answers that are read at the same time, each of at most 8 MiB.
const READS_MAX: u64 = 4;

/// Answers one message to a holder.
pub(crate) fn answer(holder: &Arc<Holder>, request: Request<'_>, reply: Reply<'_>) {
    let started = match request.message_type {
        "UPLOAD_TO_PEER" => upload_to_peer(holder, request),
        "GET_OWNED_FILE" => get(holder, request),
        "DELETE_OWNED_FILE" => delete(holder, request),
        "AUDIT_OWNED_FILE" => audit(holder, request),
        "REPLICATE_OWNED_FILE" => replicate_owned_file(holder, request),
        other => Err(ProviderError::new(ProviderError::NO_PROVIDER, format!("a holder does not answer {other}"))),
    };
    let work = match started {
        Ok(work) => work,
        Err(error) => return reply.error(&error),
    };
    let Some(lane) = work.lane else { return (work.run)(holder, reply.later()) };
    let (at, run) = (Arc::clone(holder), work.run);
    let reply = reply.later();
    let queued = holder.lanes.run_with(holder.host, &lane, work.bytes, reply, move |reply| run(&at, reply));
    if let Err((reply, full)) = queued {
        reply.error(&OwnedError::from(full).into());
    }
}

type Run = Box<dyn FnOnce(&Arc<Holder>, PendingReply) + Send>;

struct Work {
    /// Nothing for what does not block.
    lane: Option<String>,
    bytes: usize,
    run: Run,
}

type Started = Result<Work, ProviderError>;

impl Work {
    fn new(lane: String, bytes: usize, run: impl FnOnce(&Arc<Holder>, PendingReply) + Send + 'static) -> Work {
        Work { lane: Some(lane), bytes, run: Box::new(run) }
    }

    /// Reading waits for no change. A few at a time, since each may hold 8 MiB until its answer is on its way.
    fn read(run: impl FnOnce(&Arc<Holder>, PendingReply) + Send + 'static) -> Work {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Work::new(format!("/read-{}", NEXT.fetch_add(1, Ordering::Relaxed) % READS_MAX), 0, run)
    }
}

fn send<T: serde::Serialize>(reply: PendingReply, result: Result<T, OwnedError>) {
    match result {
        Ok(body) => reply.send(&body),
        Err(error) => reply.error(&error.into()),
    }
}

fn check(signed: SignedManifest) -> Result<CheckedManifest, OwnedError> {
    Ok(CheckedManifest::try_from(signed)?)
}

fn blob_of(text: Option<&str>, operation: &'static str) -> Result<BlobId, OwnedError> {
    BlobId::parse(text.ok_or(OwnedError::MemberRequired(operation, "blob"))?)
}

/// The caller's own file of a name, in the original's form.
fn named(
    holder: &Holder,
    caller: Caller<'_>,
    name: Option<&str>,
    operation: &'static str,
) -> Result<Named, OwnedError> {
    let name = name.filter(|name| !name.is_empty()).ok_or(OwnedError::MissingFields)?;
    let owner = holder.proven_owner(caller).ok_or(OwnedError::NotOwner)?;
    Named::new(holder, owner, name, operation)
}

fn upload_to_peer(holder: &Holder, request: Request<'_>) -> Started {
    let message: UploadToPeer<'_> = request.parse()?;
    if let Some(signed) = message.manifest {
        let manifest = check(signed)?;
        let lane = FileKey::of(&manifest)?.lane();
        let hashes = request.attachment.to_vec();
        let bringer = holder.proven_owner(request.caller);
        return Ok(Work::new(lane, hashes.len(), move |holder, reply| {
            send(reply, upload::begin(holder, &manifest, &hashes, bringer));
        }));
    }
    if message.blob.is_some() {
        let blob = blob_of(message.blob.as_deref(), "UPLOAD_TO_PEER")?;
        let number = message.block.ok_or(OwnedError::MemberRequired("UPLOAD_TO_PEER", "block, or a manifest"))?;
        let known = holder.index.lock().replica(blob).ok_or(OwnedError::NoBlob)?;
        let bytes = request.attachment.to_vec();
        return Ok(Work::new(known.file.lane(), bytes.len(), move |holder, reply| {
            send(reply, upload::block(holder, blob, number, &bytes));
        }));
    }
    let named = named(holder, request.caller, message.filename.as_deref(), "UPLOAD_TO_PEER")?;
    let (source, bytes) = match (request.spooled, message.data) {
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| OwnedError::Io("UPLOAD_TO_PEER", error))?;
            (Source::File(file), 0)
        }
        (None, Some(data)) => {
            let length = data.len();
            (Source::Base64(data.into_owned()), length)
        }
        (None, None) if request.attachment.is_empty() => return Err(OwnedError::MissingFields.into()),
        (None, None) => (Source::Bytes(request.attachment.to_vec()), request.attachment.len()),
    };
    Ok(Work::new(named.lane(), bytes, move |holder, reply| send(reply, named.put(holder, source))))
}

fn get(holder: &Holder, request: Request<'_>) -> Started {
    let message: GetOwnedFile<'_> = request.parse()?;
    if message.blob.is_none() {
        let named = named(holder, request.caller, message.filename.as_deref(), "GET_OWNED_FILE")?;
        let is_local = request.caller == Caller::Local;
        return Ok(Work::read(move |holder, reply| named.get(holder, is_local, reply)));
    }
    let blob = blob_of(message.blob.as_deref(), "GET_OWNED_FILE")?;
    let number = message.block.ok_or(OwnedError::MemberRequired("GET_OWNED_FILE", "block"))?;
    // A blob of somebody else's and one that nobody has stored here are refused alike.
    if !is_owner(holder, request.caller, blob) {
        return Err(OwnedError::NotOwner.into());
    }
    Ok(Work::read(move |holder, reply| send_block(holder, blob, number, reply)))
}

fn is_owner(holder: &Holder, caller: Caller<'_>, blob: BlobId) -> bool {
    let owner = holder.index.lock().replica(blob).map(|replica| replica.file.owner);
    owner.is_some() && owner == holder.proven_owner(caller)
}

fn response(holder: &Holder, blob: BlobId) -> Vec<u8> {
    let known = holder.index.lock().replica(blob);
    let response = OwnedFileResponse {
        found: true,
        size: known.map(|known| known.size),
        revision: known.map(|known| known.revision),
        ..Default::default()
    };
    to_json(&response).into_bytes()
}

fn send_block(holder: &Arc<Holder>, blob: BlobId, number: u64, reply: PendingReply) {
    match read::block(holder, blob, number) {
        Ok(bytes) => reply.send_with_attachment(response(holder, blob), bytes),
        Err(error) => reply.error(&error.into()),
    }
}

fn delete(holder: &Holder, request: Request<'_>) -> Started {
    let message: DeleteOwnedFile<'_> = request.parse()?;
    if let Some(signed) = message.manifest {
        let manifest = check(signed)?;
        let lane = FileKey::of(&manifest)?.lane();
        // What an owner has signed may come from anybody; whether there is something is not for anybody to know.
        let may_know = holder.is_tracker(request.caller) || holder.proven_owner(request.caller) == Some(manifest.owner);
        return Ok(Work::new(lane, 0, move |holder, reply| {
            let deleted = upload::delete(holder, &manifest);
            if !may_know && matches!(deleted, Ok(false)) {
                return reply.error(&OwnedError::NotOwner.into());
            }
            let deleted = deleted.map(|deleted| OwnedFileDeleted {
                status: STATUS_OK.to_owned(),
                deleted,
                message: (!deleted).then(|| OwnedError::NotHere.to_string()),
                ..Default::default()
            });
            send(reply, deleted);
        }));
    }
    if message.blob.is_some() {
        let text = "the manifest that replaces the blob, signed by its owner";
        return Err(OwnedError::MemberRequired("DELETE_OWNED_FILE", text).into());
    }
    let named = named(holder, request.caller, message.filename.as_deref(), "DELETE_OWNED_FILE")?;
    Ok(Work::new(named.lane(), 0, move |holder, reply| send(reply, named.delete(holder))))
}

fn audit(holder: &Holder, request: Request<'_>) -> Started {
    let message: AuditOwnedFile<'_> = request.parse()?;
    let blob = blob_of(message.blob.as_deref(), "AUDIT_OWNED_FILE")?;
    check_tracker(holder, request.caller, blob)?;
    let number = message.block;
    Ok(Work::read(move |holder, reply| {
        if let Some(number) = number {
            return send_block(holder, blob, number, reply);
        }
        let known = holder.index.lock().replica(blob);
        let Some(known) = known else { return reply.error(&OwnedError::NoBlob.into()) };
        match holder.storage.read_hashes(known.file.owner, blob) {
            Ok(hashes) => reply.send_with_attachment(response(holder, blob), hashes.to_bytes()),
            Err(error) => reply.error(&OwnedError::Io("AUDIT_OWNED_FILE", error).into()),
        }
    }))
}

/// Only the tracker and the owner learn what is here.
fn check_tracker(holder: &Holder, caller: Caller<'_>, blob: BlobId) -> Result<(), OwnedError> {
    if holder.is_tracker(caller) || is_owner(holder, caller, blob) { Ok(()) } else { Err(OwnedError::NotTracker) }
}

fn replicate_owned_file(holder: &Holder, request: Request<'_>) -> Started {
    let message: ReplicateOwnedFile<'_> = request.parse()?;
    let blob = blob_of(message.blob.as_deref(), "REPLICATE_OWNED_FILE")?;
    let target: PeerId = message.target.ok_or(OwnedError::MemberRequired("REPLICATE_OWNED_FILE", "target"))?;
    check_tracker(holder, request.caller, blob)?;
    let run: Run = Box::new(move |holder, reply| replicate::start(holder, blob, target, reply));
    Ok(Work { lane: None, bytes: 0, run })
}
