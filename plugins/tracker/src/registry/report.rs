//! REPORT_OWNED_FILES: what holders keep and owners have. A registry that has lost everything learns it all from these.

use super::error::RegistryError;
use super::store::{self, Applied, Limits};
use super::{Asker, Registry, deletions, messages, note_peer};
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{
    ENTRIES_MAX, OwnedFilesReported, REPLICAS_MAX, ReplicaState, ReportedFile, ReportedReplica, SignedManifest,
};
use potluck_sdk::{Level, PeerId, Reply, Request};
use rusqlite::Connection;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
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

/// What is the same for all entries.
struct Context<'a> {
    connection: &'a Connection,
    asker: Asker,
    now: u64,
    limits: Limits,
}

pub(super) fn report(registry: &Arc<Registry>, asker: Asker, request: Request<'_>, reply: Reply<'_>) {
    let message: Report = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    if [&message.replicas, &message.files, &message.owned_files].iter().any(|list| list.len() > ENTRIES_MAX) {
        return reply.error(&RegistryError::TooMany.into());
    }
    let (limits, now, address) = (registry.limits, registry.now(), registry.address(asker.id));
    let work = move |connection: &Connection| {
        note_peer(connection, asker.id, address.as_ref(), now, message.free_bytes)?;
        let context = Context { connection, asker, now, limits };
        let mut taken = Taken::default();
        for entry in message.replicas {
            let result = context.replica(entry, &mut taken);
            taken.note(result)?;
        }
        for entry in message.files {
            let result = context.file(entry, &mut taken);
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
        let file = match store::apply(self.connection, &manifest, &[], false, self.now, self.limits)? {
            Applied::Newest(file) => {
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
}

fn read<T: DeserializeOwned>(entry: Value) -> Result<T, RegistryError> {
    serde_json::from_value(entry).map_err(|_| RegistryError::Invalid("an entry cannot be read"))
}
