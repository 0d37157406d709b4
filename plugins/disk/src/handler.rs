//! One function a message: decode, find its lane, make the reply on a blocking thread.

use crate::error::DiskError;
use crate::fetch;
use crate::store::{FromStart, Store, hash};
use crate::upload::{Chunk, store_chunk};
use crate::work::{Work, name};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_sdk::files::{BlockHashes, FileName, to_hex};
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::message::disk::{
    DeleteFile, Encoding, FileDeleted, FileEntry, FileFacts, FileList, FilePut, FileResponse, FileStat, GetFile,
    GetFileChunk, LISTED_FILES_MAX, ListFiles, PutFile, PutFileChunk, StatFile,
};
use potluck_sdk::message::to_json;
use potluck_sdk::{Caller, PeerId, PendingReply, ProviderError, Reply, Request};
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const LIST_LIMIT_DEFAULT: usize = 100;

/// Answers one message.
pub(crate) fn answer(store: &Arc<Store>, request: Request<'_>, reply: Reply<'_>) {
    // No operation on a file: STATUS itself asks for it.
    if request.message_type == "HELD_STORAGE_BYTES" {
        let held = store.index.lock().held_by_all();
        return reply.send(&held);
    }
    store.operation_count.fetch_add(1, Ordering::Relaxed);
    let started = match request.message_type {
        "LIST_FILES" => return reply.result(list(store, request)),
        "PUT_FILE" => put(store, request),
        "PUT_FILE_CHUNK" => put_chunk(store, request),
        "GET_FILE" => get(request),
        "GET_FILE_CHUNK" => get_chunk(request),
        "DELETE_FILE" => delete(request),
        "STAT_FILE" => stat(request),
        "FETCH_FILE" => fetch::work(request),
        other => Err(ProviderError::new(ProviderError::NO_PROVIDER, format!("disk does not answer {other}"))),
    };
    let work = match started {
        Ok(work) => work,
        Err(error) => return reply.error(&error),
    };
    work.queue(store, reply.later());
}

type Started = Result<Work, ProviderError>;

/// The node whose file it will be; nobody for this node's user and providers.
fn owner(caller: Caller<'_>) -> Result<Option<PeerId>, ProviderError> {
    match caller {
        Caller::Member(id) | Caller::Task(id) => {
            id.parse().map(Some).map_err(|_| ProviderError::new(ProviderError::FORBIDDEN, "the sender has no peer id"))
        }
        Caller::Local | Caller::Plugin(_) | Caller::Web(_) => Ok(None),
    }
}

fn decode(data: Option<&str>, attachment: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
    match data {
        Some(data) => STANDARD.decode(data).map(Some).map_err(|_| DiskError::Base64),
        None if attachment.is_empty() => Ok(None),
        None => Ok(Some(attachment.to_vec())),
    }
}

fn send<T: serde::Serialize>(reply: PendingReply, result: Result<T, DiskError>) {
    match result {
        Ok(body) => reply.send(&body),
        Err(error) => reply.error(&error.into()),
    }
}

fn put(store: &Store, request: Request<'_>) -> Started {
    let message: PutFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "PUT_FILE")?;
    let owner = owner(request.caller)?;
    let sha256 = message.sha256.map(|text| text.into_owned());
    if let Some(path) = request.spooled {
        let file = File::open(path).map_err(|error| DiskError::Io("PUT_FILE", error))?;
        return Ok(Work::change(&name.clone(), 0, move |store, reply| {
            let size = file.metadata().map(|metadata| metadata.len()).map_err(|error| DiskError::Io("PUT_FILE", error));
            let stored = size.and_then(|size| store.put(&name, owner, size, sha256.as_deref(), &file));
            send(reply, stored.map(|(size, sha256)| FilePut::new(name.to_string(), size, sha256)));
        }));
    }
    let announced = message.data.as_deref().map_or(0, |data| data.len() as u64 / 4 * 3);
    if announced > store.config.file_bytes_max.saturating_add(2) {
        return Err(DiskError::TooLarge(store.config.file_bytes_max).into());
    }
    let data = decode(message.data.as_deref(), request.attachment)?.ok_or(DiskError::DataRequired("PUT_FILE"))?;
    Ok(Work::change(&name.clone(), data.len(), move |store, reply| {
        let stored = store.put(&name, owner, data.len() as u64, sha256.as_deref(), data.as_slice());
        send(reply, stored.map(|(size, sha256)| FilePut::new(name.to_string(), size, sha256)));
    }))
}

fn put_chunk(_store: &Store, request: Request<'_>) -> Started {
    let message: PutFileChunk<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "PUT_FILE_CHUNK")?;
    let owner = owner(request.caller)?;
    let upload = message.upload.unwrap_or_default().into_owned();
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if upload.is_empty() || upload.len() > 64 || !upload.bytes().all(is_fine) {
        return Err(DiskError::UploadName.into());
    }
    let data = decode(message.data.as_deref(), request.attachment)?.unwrap_or_default();
    if data.len() as u64 > ATTACHMENT_BYTES_MAX {
        return Err(DiskError::TooLarge(ATTACHMENT_BYTES_MAX).into());
    }
    let owner_text = owner.map_or(String::new(), |owner| owner.to_string());
    let text = format!("{owner_text}\0{upload}\0{name}");
    let key = to_hex(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    let chunk = Chunk {
        owner,
        upload,
        key,
        offset: message.offset,
        size: message.size,
        data,
        is_final: message.is_final,
        sha256: message.sha256.map(|text| text.into_owned()),
        abort: message.abort,
        name,
    };
    Ok(Work::change(&chunk.name.clone(), chunk.data.len(), move |store, reply| send(reply, store_chunk(store, chunk))))
}

fn get(request: Request<'_>) -> Started {
    let message: GetFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "GET_FILE")?;
    let is_raw = message.encoding == Encoding::Raw;
    let is_local = matches!(request.caller, Caller::Local);
    Ok(Work::read(move |store, reply| match store.open_file(&name) {
        Ok(Some((file, entry))) => {
            if entry.size > ATTACHMENT_BYTES_MAX && (is_raw || !is_local) {
                return reply.error(&DiskError::UseChunks.into());
            }
            let length = entry.size;
            respond(reply, file, entry, None, 0, length, is_raw);
        }
        other => send(reply, other.map(|_| missing(&name))),
    }))
}

fn get_chunk(request: Request<'_>) -> Started {
    let message: GetFileChunk<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "GET_FILE_CHUNK")?;
    let is_raw = message.encoding == Encoding::Raw;
    let (offset, length) = (message.offset, message.length.unwrap_or(ATTACHMENT_BYTES_MAX).min(ATTACHMENT_BYTES_MAX));
    let expected = message.sha256.map(|text| text.into_owned());
    Ok(Work::read(move |store, reply| match store.open_file(&name) {
        Ok(Some((file, entry))) => {
            let same = |known: &str| expected.as_deref().is_none_or(|expected| expected.eq_ignore_ascii_case(known));
            if entry.sha256.as_deref().is_some_and(|known| !same(known)) {
                return reply.error(&DiskError::Changed.into());
            }
            let length = entry.size.saturating_sub(offset).min(length);
            respond(reply, file, entry, Some(offset), offset, length, is_raw);
        }
        other => send(reply, other.map(|_| missing(&name))),
    }))
}

fn missing(name: &FileName) -> FileResponse {
    FileResponse { filename: name.to_string(), ..FileResponse::default() }
}

fn respond(
    reply: PendingReply,
    file: File,
    entry: FileEntry,
    told_offset: Option<u64>,
    offset: u64,
    length: u64,
    is_raw: bool,
) {
    let response = FileResponse {
        filename: entry.filename,
        found: true,
        size: Some(entry.size),
        sha256: entry.sha256,
        offset: told_offset,
        data: None,
    };
    let json = to_json(&response).into_bytes();
    if !is_raw {
        return reply.send_file(json, "data", file, offset, length);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => reply.send_with_attachment(json, bytes),
        Err(error) => reply.error(&DiskError::Io("GET_FILE", error).into()),
    }
}

fn delete(request: Request<'_>) -> Started {
    let message: DeleteFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "DELETE_FILE")?;
    let owner = owner(request.caller)?;
    Ok(Work::change(&name.clone(), 0, move |store, reply| {
        let deleted = store.delete(&name, owner);
        send(
            reply,
            deleted.map(|deleted| FileDeleted { status: "OK".to_owned(), filename: name.to_string(), deleted }),
        );
    }))
}

fn list(store: &Store, request: Request<'_>) -> Result<FileList, ProviderError> {
    let message: ListFiles<'_> = request.parse()?;
    let prefix = message.prefix.unwrap_or_default();
    let limit = message.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LISTED_FILES_MAX);
    let index = store.index.lock();
    let begin = match message.after.as_deref() {
        Some(after) if after >= &*prefix => Bound::Excluded(after),
        _ => Bound::Included(&*prefix),
    };
    let matching = index.files.range::<str, _>((begin, Bound::Unbounded));
    let mut matching = matching.take_while(|(name, _)| name.starts_with(&*prefix));
    let files: Vec<FileEntry> = matching
        .by_ref()
        .take(limit)
        .map(|(name, entry)| FileEntry {
            filename: name.clone(),
            size: entry.size,
            sha256: entry.sha256.clone(),
            modified_unix_seconds: entry.modified_unix_seconds,
            owner: entry.owner,
        })
        .collect();
    let next = if matching.next().is_some() { files.last().map(|file| file.filename.clone()) } else { None };
    Ok(FileList {
        status: "OK".to_owned(),
        files,
        next,
        file_count: index.files.len(),
        total_bytes: index.stored_bytes,
    })
}

fn stat(request: Request<'_>) -> Started {
    let message: StatFile<'_> = request.parse()?;
    let name = name(message.filename.as_deref(), "STAT_FILE")?;
    let block_hashes = message.block_hashes;
    Ok(Work::hash(move |store, reply| {
        match store.open_file(&name).and_then(|found| describe(&name, found, block_hashes)) {
            Ok((stat, hashes)) => reply.send_with_attachment(to_json(&stat).into_bytes(), hashes),
            Err(error) => reply.error(&error.into()),
        }
    }))
}

fn describe(
    name: &FileName,
    found: Option<(File, FileEntry)>,
    block_hashes: bool,
) -> Result<(FileStat, Vec<u8>), DiskError> {
    let io = |error| DiskError::Io("STAT_FILE", error);
    let mut stat = FileStat { status: "OK".to_owned(), filename: name.to_string(), ..FileStat::default() };
    let Some((file, mut entry)) = found else { return Ok((stat, Vec::new())) };
    if entry.sha256.is_none() {
        entry.sha256 = Some(hash(&file).map_err(io)?);
    }
    let mut bytes = Vec::new();
    if block_hashes {
        let hashes = BlockHashes::read(entry.size, FromStart::new(&file)).map_err(io)?;
        stat.block_bytes = Some(hashes.block_bytes());
        bytes = hashes.to_bytes();
    }
    stat.found = true;
    stat.file = Some(FileFacts {
        size: entry.size,
        sha256: entry.sha256,
        modified_unix_seconds: entry.modified_unix_seconds,
        owner: entry.owner,
    });
    Ok((stat, bytes))
}
