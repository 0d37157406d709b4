//! One function a message of the node's own user: decode, find its lane, make the reply on a blocking thread.

use super::Owner;
use super::delivery::send_in_turn;
use super::upload::{Piece, Taken, take_piece};
use super::{download, list};
use crate::error::OwnedError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::files::{FileName, to_hex};
use potluck_sdk::message::disk::Encoding;
use potluck_sdk::message::owned_files::{
    DeleteOwnedFile, DownloadOwnedFile, ListOwnedFiles, REPLICAS_MAX, RepairOwnedFiles, UploadOwnedFile,
};
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, to_json};
use potluck_sdk::{Caller, PendingReply, ProviderError, Reply, Request};
use ring::digest::{SHA256, digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Small questions that wait for the tracker at a time.
const QUESTIONS_MAX: u64 = 4;
/// Pieces that are read at a time, each of which may hold some MiB.
const DOWNLOADS_MAX: u64 = 8;
/// Digits of the longest piece in base64.
const BASE64_BYTES_MAX: usize = (ATTACHMENT_BYTES_MAX as usize).div_ceil(3) * 4;

/// Answers one message.
pub(crate) fn answer(owner: &Arc<Owner>, request: Request<'_>, reply: Reply<'_>) {
    if !matches!(request.caller, Caller::Local | Caller::Web(_) | Caller::Plugin(_)) {
        let text = "only the node's own user has its owned files; ask your own node";
        return reply.error(&ProviderError::new(ProviderError::FORBIDDEN, text));
    }
    let work = match request.message_type {
        "UPLOAD_OWNED_FILE" => upload(owner, request),
        "DOWNLOAD_OWNED_FILE" => download(request),
        "LIST_OWNED_FILES" => list(request),
        "DELETE_OWNED_FILE" => delete(request),
        "REPAIR_OWNED_FILES" => return repair(owner, request, reply),
        other => Err(ProviderError::new(ProviderError::NO_PROVIDER, format!("nobody answers {other} here"))),
    };
    let work = match work {
        Ok(work) => work,
        Err(error) => return reply.error(&error),
    };
    let (inner, run) = (Arc::clone(owner), work.run);
    let reply = reply.later();
    let queued = owner.lanes.run_with(owner.host, &work.lane, work.bytes, reply, move |reply| run(&inner, reply));
    if let Err((reply, full)) = queued {
        reply.error(&OwnedError::from(full).into());
    }
}

type Run = Box<dyn FnOnce(&Arc<Owner>, PendingReply) + Send>;

/// What is done on a blocking thread.
struct Work {
    lane: String,
    bytes: usize,
    run: Run,
}

type Started = Result<Work, ProviderError>;

fn work(lane: String, bytes: usize, run: impl FnOnce(&Arc<Owner>, PendingReply) + Send + 'static) -> Started {
    Ok(Work { lane, bytes, run: Box::new(run) })
}

/// One of the lanes for small questions. No key begins with a slash.
fn question_lane() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("/question-{}", NEXT.fetch_add(1, Ordering::Relaxed) % QUESTIONS_MAX)
}

fn send<T: serde::Serialize>(reply: PendingReply, result: Result<T, OwnedError>) {
    match result {
        Ok(body) => reply.send(&body),
        Err(error) => reply.error(&error.into()),
    }
}

fn name(text: Option<&str>, operation: &'static str) -> Result<FileName, OwnedError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(OwnedError::FilenameRequired(operation))?;
    FileName::try_from(text).map_err(|error| OwnedError::Name(operation, error))
}

fn optional_name(text: Option<&str>, operation: &'static str) -> Result<Option<FileName>, OwnedError> {
    text.map(|text| name(Some(text), operation)).transpose()
}

fn upload(owner: &Owner, request: Request<'_>) -> Started {
    let message: UploadOwnedFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "UPLOAD_OWNED_FILE")?;
    let upload = message.upload.unwrap_or_default().into_owned();
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if upload.is_empty() || upload.len() > 64 || !upload.bytes().all(is_fine) {
        return Err(OwnedError::UploadName.into());
    }
    if message.holders.len() > REPLICAS_MAX as usize {
        let text = format!("holders may name {REPLICAS_MAX} peers at most; leave some out");
        return Err(ProviderError::invalid(text));
    }
    let data = match message.data.as_deref() {
        // Looked at first, since this is no place for long work.
        Some(data) if data.len() > BASE64_BYTES_MAX => return Err(OwnedError::TooLarge(ATTACHMENT_BYTES_MAX).into()),
        Some(data) => STANDARD.decode(data).map_err(|_| OwnedError::Base64)?,
        None => request.attachment.to_vec(),
    };
    if data.len() as u64 > ATTACHMENT_BYTES_MAX {
        return Err(OwnedError::TooLarge(ATTACHMENT_BYTES_MAX).into());
    }
    let key = to_hex(digest(&SHA256, format!("{upload}\0{name}").as_bytes()).as_ref());
    if message.abort {
        // The upload may hold its lane until its holders have it all.
        owner.end_upload(&key);
    }
    let mut holders: Vec<String> = Vec::new();
    for holder in message.holders {
        if !holders.iter().any(|known| *known == holder) {
            holders.push(holder.into_owned());
        }
    }
    let piece = Piece {
        name,
        upload,
        key: key.clone(),
        offset: message.offset,
        size: message.size,
        data,
        is_final: message.is_final,
        sha256: message.sha256.map(|text| text.into_owned()),
        with_blake3: message.with_blake3,
        blake3: message.blake3.map(|text| text.into_owned()),
        replicas: message.replicas,
        holders,
        abort: message.abort,
    };
    work(key, piece.data.len(), move |owner, reply| match take_piece(owner, &piece) {
        Ok(Taken::Answer(uploaded)) => reply.send(&uploaded),
        Ok(Taken::Whole) => send_in_turn(owner, &piece.upload, &piece.key, move |result| send(reply, result)),
        Err(error) => reply.error(&error.into()),
    })
}

fn download(request: Request<'_>) -> Started {
    let message: DownloadOwnedFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "DOWNLOAD_OWNED_FILE")?;
    let (offset, length, revision) = (message.offset, message.length, message.revision);
    let is_raw = message.encoding == Encoding::Raw;
    // Pieces of one file are read one after the other.
    let lane = name.as_str().bytes().map(u64::from).sum::<u64>() % DOWNLOADS_MAX;
    work(format!("/download-{lane}"), 0, move |owner, reply| {
        match download::read_piece(owner, &name, offset, length, revision) {
            Ok((response, bytes)) if is_raw => reply.send_with_attachment(to_json(&response).into_bytes(), bytes),
            Ok((mut response, bytes)) => {
                response.data = response.found.then(|| STANDARD.encode(bytes));
                reply.send(&response);
            }
            Err(error) => reply.error(&error.into()),
        }
    })
}

fn list(request: Request<'_>) -> Started {
    let message: ListOwnedFiles<'_> = request.parse()?;
    let name = optional_name(message.filename.as_deref(), "LIST_OWNED_FILES")?;
    let (after, limit) = (message.after.unwrap_or_default().into_owned(), message.limit);
    work(question_lane(), 0, move |owner, reply| send(reply, list::list(owner, name.as_ref(), &after, limit)))
}

fn delete(request: Request<'_>) -> Started {
    let message: DeleteOwnedFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "DELETE_OWNED_FILE")?;
    work(question_lane(), 0, move |owner, reply| send(reply, list::delete(owner, &name)))
}

/// It takes as long as it takes to move the files, so no thread waits for it.
fn repair(owner: &Arc<Owner>, request: Request<'_>, reply: Reply<'_>) {
    let message: Result<RepairOwnedFiles<'_>, _> = request.parse();
    let name = message.and_then(|message| Ok(optional_name(message.filename.as_deref(), "REPAIR_OWNED_FILES")?));
    match name {
        Ok(name) => list::repair(owner, name.as_ref(), reply.later()),
        Err(error) => reply.error(&error),
    }
}
