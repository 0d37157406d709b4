//! What owners ask: REGISTER_, FIND_, LIST_ and DELETE_OWNED_FILE. Decode, work on the database, answer.

use super::error::RegistryError;
use super::plain::{self, PlainRow, Told};
use super::store::{self, Applied, FileRow, ReplicaRow};
use super::{Asker, Registry, deletions, note_peer};
use crate::address::Address;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::{
    DeleteOwnedFile, ENTRIES_MAX, FindOwnedFile, ListOwnedFiles, OwnedFileDeleted, OwnedFileEntry, OwnedFileList,
    OwnedFileRegistered, OwnedFileResponse, REPLICAS_MAX, RegisterOwnedFile, ReplicaState, SignedManifest,
};
use potluck_sdk::message::{STATUS_OK, to_json};
use potluck_sdk::{PendingReply, Reply, Request};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use std::sync::Arc;

/// The original's words for a file that is not there.
const NOT_FOUND: &str = "File not found";
const NOT_IN_REGISTRY: &str = "File not in registry";

pub(super) fn register(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: RegisterOwnedFile<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let filename = message.filename.as_deref().unwrap_or_default().to_owned();
    let Some(signed) = &message.manifest else {
        return register_plain(registry, asker, &message, request.source_ip, reply);
    };
    let signed = signed.clone();
    if message.holders.len() > REPLICAS_MAX as usize {
        return reply.error(&RegistryError::TooMany.into());
    }
    if let Err(error) = asker.check_hint(message.owner_id.as_deref()) {
        return reply.error(&error.into());
    }
    let (holders, hashes) = (message.holders, request.attachment.to_vec());
    let bytes = request.json.len() + hashes.len();
    let (reply, address) = (reply.later(), registry.address(asker.id));
    let (limits, now) = (registry.limits, registry.now());
    let work = move |connection: &Connection| {
        let manifest = own_manifest(asker, signed)?;
        if manifest.manifest.blob.is_some() {
            // Checked before anything is believed; they may come with a later message, not wrong.
            manifest.block_hashes(&hashes)?;
        }
        note_peer(connection, asker.id, address.as_ref(), now, None)?;
        let file = match store::apply(connection, &manifest, &hashes, true, now, limits)? {
            Applied::Newest(file) | Applied::Known(file) => file,
            Applied::Superseded(_) => return Err(RegistryError::Superseded),
        };
        if let Some(blob) = &manifest.manifest.blob {
            for holder in holders {
                store::add_replica(connection, file, &blob.id, holder, ReplicaState::Unchecked)?;
            }
        }
        deletions::holders_of(connection, file)
    };
    let this = Arc::clone(registry);
    registry.worker.run(bytes, work, move |result| match result {
        Ok(unwanted) => {
            reply.send(&OwnedFileRegistered::new(filename));
            deletions::note(&this, unwanted);
        }
        Err(error) => reply.error(&error.into()),
    });
}

/// In the original's form.
fn register_plain(
    registry: &Arc<Registry>,
    asker: Asker,
    message: &RegisterOwnedFile<'_>,
    source_ip: &str,
    reply: Reply<'_>,
) {
    let (Some(filename), Some(owner_ip), Some(owner_port), Some(storage_port)) =
        (&message.filename, &message.owner_ip, message.owner_port, message.storage_port)
    else {
        return reply.error(&RegistryError::Missing.into());
    };
    if let Err(error) = asker.check_hint(message.owner_id.as_deref()) {
        return reply.error(&error.into());
    }
    let places = Address::new(Some(owner_ip), owner_port)
        .and_then(|owner| Ok((owner, Address::new(message.storage_ip.as_deref().or(Some(source_ip)), storage_port)?)));
    let Ok((owner, storage)) = places else {
        return reply
            .error(&RegistryError::Invalid("owner_ip and storage_ip must be IP addresses or host names").into());
    };
    let (id, filename) = (asker.id.to_string(), filename.clone().into_owned());
    let told = Told {
        owner: id.clone(),
        member: Some(id),
        filename: filename.clone(),
        address: (owner.ip, owner.port),
        storage: vec![(storage.ip, storage.port)],
    };
    let (limits, reply) = (registry.limits, reply.later());
    let work = move |connection: &Connection| {
        if plain::find(connection, asker, &told.filename)?.is_none() {
            plain::refuse_foreign(connection, asker, &told.filename, Some(owner_port))?;
        }
        plain::put(connection, told, limits)
    };
    registry.worker.run(filename.len(), work, move |result| {
        finish(reply, result.map(|()| OwnedFileRegistered::new(filename)));
    });
}

pub(super) fn find(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: FindOwnedFile<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if let Err(error) = asker.check_hint(message.requester_id.as_deref()) {
        return reply.error(&error.into());
    }
    let filename = message.filename.as_deref().unwrap_or_default().to_owned();
    let stated_port = message.requester_port;
    let Some(name_tag) = message.name_tag.as_deref().map(str::to_owned) else {
        return find_plain(registry, asker, filename, stated_port, reply);
    };
    let work = move |connection: &Connection| {
        let Some(file) = store::file(connection, &asker.id.to_string(), &name_tag)? else {
            refuse_foreign_tag(connection, asker, &name_tag, stated_port)?;
            return Ok(None);
        };
        let replicas = store::replicas(connection, file.number, true, false)?;
        let hashes = store::block_hashes(connection, file.number)?;
        Ok(Some((file, replicas, hashes)))
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(request.json.len(), work, move |result| match result {
        Ok(None) => reply.send(&not_found(filename)),
        Ok(Some((file, replicas, hashes))) => {
            let owner = this.address(asker.id);
            let answer = OwnedFileResponse {
                found: file.blob.is_some(),
                revision: Some(file.revision),
                manifest: Some(file.signed),
                storage_peers: this.shown(replicas),
                owner_ip: owner.as_ref().map(|(ip, _)| ip.clone()),
                owner_port: owner.map(|(_, port)| port),
                owner_id: Some(asker.id.to_string()),
                error: file.blob.is_none().then(|| NOT_FOUND.to_owned()),
                filename,
                ..OwnedFileResponse::default()
            };
            reply.send_with_attachment(to_json(&answer).into_bytes(), hashes);
        }
        Err(error) => reply.error(&error.into()),
    });
}

/// In the original's form.
fn find_plain(registry: &Arc<Registry>, asker: Asker, filename: String, stated_port: Option<u16>, reply: Reply<'_>) {
    if filename.is_empty() {
        return reply.error(&RegistryError::Required("Filename").into());
    }
    let name = filename.clone();
    let work = move |connection: &Connection| {
        let file = plain::find(connection, asker, &name)?;
        if file.is_none() {
            plain::refuse_foreign(connection, asker, &name, stated_port)?;
        }
        Ok(file)
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(filename.len(), work, move |result| {
        let answer = result.map(|file| match file {
            None => not_found(filename),
            Some(file) => OwnedFileResponse {
                found: true,
                storage_peers: plain::shown(&this, file.storage),
                owner_ip: Some(file.address.0),
                owner_port: Some(file.address.1),
                owner_id: Some(file.owner),
                filename,
                ..OwnedFileResponse::default()
            },
        });
        finish(reply, answer);
    });
}

fn not_found(filename: String) -> OwnedFileResponse {
    OwnedFileResponse { filename, found: false, error: Some(NOT_FOUND.to_owned()), ..OwnedFileResponse::default() }
}

pub(super) fn list(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: ListOwnedFiles<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if let Err(error) = asker.check_hint(message.requester_id.as_deref()) {
        return reply.error(&error.into());
    }
    let after = message.after.as_deref().unwrap_or_default().to_owned();
    let limit = message.limit.unwrap_or(ENTRIES_MAX).clamp(1, ENTRIES_MAX);
    let work = move |connection: &Connection| {
        // One more, to see whether there are more.
        let mut entries = Vec::new();
        let after_name = after.strip_prefix(NAME_MARK);
        if after_name.is_none() {
            for file in store::page(connection, &asker.id.to_string(), &after, limit + 1)? {
                let replicas = store::replicas(connection, file.number, true, false)?;
                entries.push(Entry::Signed(file, replicas));
            }
        }
        let room = limit + 1 - entries.len();
        let plain = plain::page(connection, asker, after_name.unwrap_or_default(), room)?;
        entries.extend(plain.into_iter().map(Entry::Plain));
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| has_more).map(Entry::mark);
        Ok((entries, next))
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(request.json.len(), work, move |result| {
        let shown = result.map(|(entries, next)| OwnedFileList {
            status: STATUS_OK.to_owned(),
            owned_files: entries.into_iter().map(|entry| entry.shown(&this)).collect(),
            next,
        });
        finish(reply, shown);
    });
}

/// What `next` begins with once the files with tags are all listed: those with names follow. It sorts behind all tags.
const NAME_MARK: &str = "name/";

/// A file in a list.
enum Entry {
    Signed(FileRow, Vec<ReplicaRow>),
    Plain(PlainRow),
}

impl Entry {
    fn mark(&self) -> String {
        match self {
            Entry::Signed(file, _) => file.name_tag.clone(),
            Entry::Plain(file) => format!("{NAME_MARK}{}", file.filename),
        }
    }

    fn shown(self, registry: &Registry) -> OwnedFileEntry {
        let empty = OwnedFileEntry {
            filename: String::new(),
            manifest: None,
            size: None,
            sha256: None,
            revision: None,
            uploaded_unix_seconds: None,
            replicas: 0,
            storage_peers: Vec::new(),
        };
        match self {
            Entry::Signed(file, replicas) => OwnedFileEntry {
                manifest: Some(file.signed),
                revision: Some(file.revision),
                uploaded_unix_seconds: Some(file.registered),
                replicas: file.replicas,
                storage_peers: registry.shown(replicas),
                ..empty
            },
            Entry::Plain(file) => OwnedFileEntry {
                filename: file.filename,
                replicas: u32::try_from(file.storage.len()).unwrap_or(u32::MAX),
                storage_peers: plain::shown(registry, file.storage),
                ..empty
            },
        }
    }
}

pub(super) fn delete(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: DeleteOwnedFile<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if let Err(error) = asker.check_hint(message.owner_id.as_deref()) {
        return reply.error(&error.into());
    }
    let filename = message.filename.as_deref().unwrap_or_default().to_owned();
    let Some(signed) = message.manifest else {
        return delete_plain(registry, asker, filename, message.owner_port, reply);
    };
    let (limits, now, address) = (registry.limits, registry.now(), registry.address(asker.id));
    let work = move |connection: &Connection| {
        let manifest = own_manifest(asker, signed)?;
        if manifest.manifest.blob.is_some() {
            return Err(RegistryError::Invalid("the manifest deletes nothing: it has a blob; sign one without"));
        }
        note_peer(connection, asker.id, address.as_ref(), now, None)?;
        let known = store::file(connection, &asker.id.to_string(), &manifest.manifest.name_tag)?;
        // A tombstone of a file that is not known here is kept as well: it keeps out what holders may report of it.
        let file = match store::apply(connection, &manifest, &[], true, now, limits)? {
            Applied::Newest(file) | Applied::Known(file) => file,
            Applied::Superseded(_) => return Err(RegistryError::Superseded),
        };
        // Asked once more, since the answer was lost, it was there as well.
        let was_there =
            known.is_some_and(|known| known.blob.is_some() || known.signed.manifest == manifest.signed.manifest);
        Ok((was_there, store::replicas(connection, file, true, true)?, deletions::holders_of(connection, file)?))
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(request.json.len(), work, move |result| match result {
        Ok((deleted, replicas, unwanted)) => {
            reply.send(&OwnedFileDeleted {
                status: STATUS_OK.to_owned(),
                filename,
                deleted,
                message: (!deleted).then(|| NOT_IN_REGISTRY.to_owned()),
                storage_peers: this.shown(replicas),
                pending: Vec::new(),
            });
            deletions::note(&this, unwanted);
        }
        Err(error) => reply.error(&error.into()),
    });
}

/// In the original's form. Who keeps it is told by the asker itself.
fn delete_plain(registry: &Arc<Registry>, asker: Asker, filename: String, stated_port: Option<u16>, reply: Reply<'_>) {
    if filename.is_empty() {
        return reply.error(&RegistryError::Required("Filename").into());
    }
    let name = filename.clone();
    let work = move |connection: &Connection| {
        let file = plain::find(connection, asker, &name)?;
        match &file {
            Some(file) => plain::remove(connection, file)?,
            None => plain::refuse_foreign(connection, asker, &name, stated_port)?,
        }
        Ok(file)
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(filename.len(), work, move |result| {
        let answer = result.map(|file| OwnedFileDeleted {
            status: STATUS_OK.to_owned(),
            filename,
            deleted: file.is_some(),
            message: file.is_none().then(|| NOT_IN_REGISTRY.to_owned()),
            storage_peers: file.map(|file| plain::shown(&this, file.storage)).unwrap_or_default(),
            pending: Vec::new(),
        });
        finish(reply, answer);
    });
}

/// A manifest that the asker has signed.
fn own_manifest(asker: Asker, signed: SignedManifest) -> Result<CheckedManifest, RegistryError> {
    let manifest = CheckedManifest::try_from(signed)?;
    if manifest.owner == asker.id { Ok(manifest) } else { Err(RegistryError::NotOwner) }
}

/// Who has no such file, and says to be where its owner is, is told that this proves nothing. Who does not say so is not
/// told that there is one.
fn refuse_foreign_tag(
    connection: &Connection,
    asker: Asker,
    name_tag: &str,
    stated_port: Option<u16>,
) -> Result<(), RegistryError> {
    let Some(port) = stated_port.filter(|port| asker.port != Some(*port)) else { return Ok(()) };
    let sql = "SELECT 1 FROM files JOIN peers ON peer_id = owner WHERE name_tag = ?1 AND port = ?2 LIMIT 1";
    let found = connection.prepare_cached(sql)?.query_row(params![name_tag, port], |_| Ok(())).optional()?;
    if found.is_some() { Err(RegistryError::NotOwner) } else { Ok(()) }
}

pub(super) fn finish<T: Serialize>(reply: PendingReply, result: Result<T, RegistryError>) {
    match result {
        Ok(answer) => reply.send(&answer),
        Err(error) => reply.error(&error.into()),
    }
}
