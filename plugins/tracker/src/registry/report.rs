//! REPORT_OWNED_FILES: what holders keep and owners have. A registry that has lost everything learns it all from these.

use super::error::RegistryError;
use super::plain::{self, Place, Told};
use super::store::{self, Applied, Limits};
use super::{Asker, Registry, audit, deletions, messages, note_peer, repair};
use crate::address::Address;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{
    ENTRIES_MAX, LegacyReport, OwnedFilesReported, REPLICA_TOPIC, REPLICAS_MAX, ReplicaEvent, ReplicaState,
    ReportedFile, ReportedReplica, SignedManifest,
};
use potluck_sdk::{Caller, Level, PeerId, Reply, Request};
use rusqlite::Connection;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

/// The message, with entries that may be anything: one that cannot be read costs itself alone.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    replicas: Vec<Value>,
    #[serde(default)]
    files: Vec<Value>,
    #[serde(default)]
    free_bytes: Option<u64>,
    #[serde(default)]
    owned_files: Vec<Value>,
    #[serde(default)]
    storage_port: Option<u16>,
    #[serde(default)]
    storage_ip: Option<String>,
}

/// What came of it.
#[derive(Default)]
struct Taken {
    count: u64,
    superseded: Vec<SignedManifest>,
    /// Holders that should delete something now.
    unwanted: Vec<PeerId>,
    /// Files of which a replica is damaged, and its blob.
    damaged: Vec<(i64, String)>,
    /// Whether there are files whose block hashes are not known.
    lacks_hashes: bool,
    refused: Option<String>,
}

const UNREADABLE: RegistryError = RegistryError::Invalid("an entry cannot be read");

/// What is the same for all entries.
struct Context<'a> {
    connection: &'a Connection,
    asker: Asker,
    /// Whether the node's own user asks.
    is_local: bool,
    now: u64,
    limits: Limits,
    /// Files that may still be added on a holder's word alone.
    unconfirmed_left: Cell<u64>,
}

pub(super) fn report(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: Report = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if [&message.replicas, &message.files, &message.owned_files].iter().any(|list| list.len() > ENTRIES_MAX) {
        return reply.error(&RegistryError::TooMany.into());
    }
    if !message.owned_files.is_empty() && message.storage_port.is_none() {
        return reply.error(&RegistryError::Required("Storage port").into());
    }
    let source_ip = Some(request.source_ip);
    let place = message.storage_port.map(|port| Address::new(message.storage_ip.as_deref().or(source_ip), port));
    let place = place.and_then(Result::ok).map(|address| (address.ip, address.port));
    let is_local = request.caller == Caller::Local;
    let (limits, now, address) = (registry.limits, registry.now(), registry.address(asker.id));
    let work = move |connection: &Connection| {
        note_peer(connection, asker.id, address.as_ref(), now, message.free_bytes)?;
        let unconfirmed_left = Cell::new((limits.files / 2).saturating_sub(store::unconfirmed_count(connection)?));
        let context = Context { connection, asker, is_local, now, limits, unconfirmed_left };
        let mut taken = Taken::default();
        for entry in message.replicas {
            let result = context.replica(entry, &mut taken);
            taken.note(result)?;
        }
        for entry in message.files {
            let result = context.file(entry, &mut taken);
            taken.note(result)?;
        }
        for entry in message.owned_files {
            let result = context.plain(entry, place.as_ref());
            taken.note(result)?;
        }
        taken.unwanted.sort_unstable();
        taken.unwanted.dedup();
        Ok(taken)
    };
    let (this, reply) = (Arc::clone(registry), reply.later());
    registry.worker.run(request.json.len(), work, move |result| {
        let taken = match result {
            Ok(taken) => taken,
            Err(error) => return reply.error(&error.into()),
        };
        messages::finish(
            reply,
            Ok(OwnedFilesReported {
                status: STATUS_OK.to_owned(),
                updated_count: taken.count,
                superseded: taken.superseded,
            }),
        );
        if let Some(refused) = taken.refused {
            this.host.log(Level::Warn, &format!("part of the report of {} was not taken: {refused}", asker.id));
        }
        deletions::note(&this, taken.unwanted);
        if taken.lacks_hashes {
            audit::fetch_hashes_soon(&this);
        }
        for (file, blob) in taken.damaged {
            this.host.publish(REPLICA_TOPIC, &ReplicaEvent { blob, peer: asker.id, state: ReplicaState::Damaged });
            repair::mend_soon(&this, file);
        }
    });
}

impl Taken {
    /// Counts an entry. A database that fails costs the whole report, so that it is sent again.
    fn note(&mut self, result: Result<(), RegistryError>) -> Result<(), RegistryError> {
        match result {
            Ok(()) => self.count += 1,
            Err(error @ (RegistryError::Database(_) | RegistryError::Io(_))) => return Err(error),
            Err(error) => self.refused = Some(error.to_string()),
        }
        Ok(())
    }
}

impl Context<'_> {
    /// A replica that the asker keeps.
    fn replica(&self, entry: Value, taken: &mut Taken) -> Result<(), RegistryError> {
        let entry: ReportedReplica = read(entry)?;
        let manifest = CheckedManifest::try_from(entry.manifest)?;
        let Some(blob) = &manifest.manifest.blob else {
            return Err(RegistryError::Invalid("a replica's manifest has no blob"));
        };
        let state = if entry.damaged { ReplicaState::Damaged } else { ReplicaState::Unchecked };
        if self.unconfirmed_left.get() == 0 && !self.knows(&manifest)? {
            return Err(RegistryError::UnconfirmedFull);
        }
        let file = match store::apply(self.connection, &manifest, &[], false, self.now, self.limits)? {
            Applied::Newest(file) => {
                self.unconfirmed_left.set(self.unconfirmed_left.get().saturating_sub(1));
                taken.lacks_hashes = true;
                file
            }
            Applied::Known(file) => file,
            Applied::Superseded(known) => {
                // A later one that only another holder has shown is no reason to delete anything.
                if known.confirmed {
                    taken.superseded.push(known.signed);
                }
                known.number
            }
        };
        store::add_replica(self.connection, file, &blob.id, self.asker.id, state)?;
        if entry.damaged {
            taken.damaged.push((file, blob.id.clone()));
        }
        taken.unwanted.extend(deletions::holders_of(self.connection, file)?);
        Ok(())
    }

    fn knows(&self, manifest: &CheckedManifest) -> Result<bool, RegistryError> {
        let known = store::file(self.connection, &manifest.owner.to_string(), &manifest.manifest.name_tag)?;
        Ok(known.is_some())
    }

    /// A file of the asker's own, perhaps a deleted one.
    fn file(&self, entry: Value, taken: &mut Taken) -> Result<(), RegistryError> {
        let entry: ReportedFile = read(entry)?;
        if entry.holders.len() > REPLICAS_MAX as usize {
            return Err(RegistryError::TooMany);
        }
        let manifest = CheckedManifest::try_from(entry.manifest)?;
        if manifest.owner != self.asker.id {
            return Err(RegistryError::NotOwner);
        }
        let file = match store::apply(self.connection, &manifest, &[], true, self.now, self.limits)? {
            Applied::Newest(file) | Applied::Known(file) => file,
            Applied::Superseded(known) => {
                taken.superseded.push(known.signed);
                return Ok(());
            }
        };
        taken.lacks_hashes = true;
        if let Some(blob) = &manifest.manifest.blob {
            for holder in entry.holders {
                store::add_replica_if_new(self.connection, file, &blob.id, holder)?;
            }
        }
        taken.unwanted.extend(deletions::holders_of(self.connection, file)?);
        Ok(())
    }

    /// A file in the original's form that the asker keeps. No signature says whose it is: others than the node's own user
    /// add only themselves, to what is known.
    fn plain(&self, entry: Value, place: Option<&Place>) -> Result<(), RegistryError> {
        let entry = LegacyReport::deserialize(&entry).map_err(|_| UNREADABLE)?;
        let place = place.ok_or(RegistryError::Invalid("storage_ip must be an IP address or a host name"))?;
        let (Some(filename), Some(port)) = (entry.filename, entry.owner_port) else {
            return Err(RegistryError::Missing);
        };
        let owner = entry.owner_id.filter(|id| !id.is_empty()).map_or(format!("port_{port}"), Cow::into_owned);
        if plain::add_place(self.connection, &owner, &filename, place.clone())? {
            return Ok(());
        }
        if !self.is_local {
            return Err(RegistryError::Invalid("an entry is of a file that its owner has not registered"));
        }
        let address = Address::new(entry.owner_ip.as_deref(), port);
        let address = address.map_err(|_| RegistryError::Invalid("owner_ip must be an IP address or a host name"))?;
        let told = Told {
            owner,
            member: None,
            filename: filename.into_owned(),
            address: (address.ip, address.port),
            storage: vec![place.clone()],
        };
        plain::put(self.connection, told, self.limits)
    }
}

fn read<T: DeserializeOwned>(entry: Value) -> Result<T, RegistryError> {
    serde_json::from_value(entry).map_err(|_| UNREADABLE)
}
