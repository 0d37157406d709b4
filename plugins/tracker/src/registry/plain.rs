//! Files in the original system's form: their names are no secret, no manifest says what they are, and of those that
//! an old registry knew nothing proves whose they are until the administrator binds their owner to a member (BIND_OWNER).

use super::error::RegistryError;
use super::store::{Limits, unsigned};
use super::{Asker, Registry, messages};
use crate::address::Address;
use potluck_sdk::files::FileName;
use potluck_sdk::message::STATUS_OK;
use potluck_sdk::message::owned_files::{BindOwner, OwnerBound, REPLICAS_MAX, ReplicaState, StoragePeer};
use potluck_sdk::{Reply, Request};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// Where something is.
pub(super) type Place = (String, u16);

/// A file's row.
pub(super) struct PlainRow {
    number: i64,
    pub(super) filename: String,
    pub(super) owner: String,
    pub(super) address: Place,
    pub(super) storage: Vec<Place>,
}

/// A file that somebody tells of.
pub(super) struct Told {
    pub(super) owner: String,
    pub(super) member: Option<String>,
    pub(super) filename: String,
    pub(super) address: Place,
    pub(super) storage: Vec<Place>,
}

const COLUMNS: &str = "number, filename, COALESCE(member, owner), ip, port, storage";
/// What belongs to the member ?1.
const IS_OWN: &str = "(member = ?1 OR (member IS NULL AND owner = ?1))";

fn plain_row(row: &Row<'_>) -> rusqlite::Result<PlainRow> {
    let storage: String = row.get(5)?;
    Ok(PlainRow {
        number: row.get(0)?,
        filename: row.get(1)?,
        owner: row.get(2)?,
        address: (row.get(3)?, row.get(4)?),
        storage: serde_json::from_str(&storage).unwrap_or_default(),
    })
}

/// A file of the asker's.
pub(super) fn find(connection: &Connection, asker: Asker, filename: &str) -> Result<Option<PlainRow>, RegistryError> {
    find_of(connection, &asker.id.to_string(), filename)
}

fn find_of(connection: &Connection, owner: &str, filename: &str) -> Result<Option<PlainRow>, RegistryError> {
    let sql =
        format!("SELECT {COLUMNS} FROM plain_files WHERE {IS_OWN} AND filename = ?2 ORDER BY number DESC LIMIT 1");
    Ok(connection.prepare_cached(&sql)?.query_row([owner, filename], plain_row).optional()?)
}

/// The asker's files behind a name.
pub(super) fn page(
    connection: &Connection,
    asker: Asker,
    after: &str,
    limit: usize,
) -> Result<Vec<PlainRow>, RegistryError> {
    let sql = format!("SELECT {COLUMNS} FROM plain_files WHERE {IS_OWN} AND filename > ?2 ORDER BY filename LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![asker.id.to_string(), after, limit as i64], plain_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Who has no such file, and says to be where its owner is, is told that this proves nothing.
pub(super) fn refuse_foreign(
    connection: &Connection,
    asker: Asker,
    filename: &str,
    stated_port: Option<u16>,
) -> Result<(), RegistryError> {
    let Some(port) = stated_port.filter(|port| asker.port != Some(*port)) else { return Ok(()) };
    let sql = "SELECT 1 FROM plain_files WHERE filename = ?1 AND port = ?2 LIMIT 1";
    let is_there = connection.prepare_cached(sql)?.exists(params![filename, port])?;
    if is_there { Err(RegistryError::NotOwner) } else { Ok(()) }
}

/// Adds a file, or places to one that is known.
pub(super) fn put(connection: &Connection, told: Told, limits: Limits) -> Result<(), RegistryError> {
    FileName::try_from(told.filename.as_str()).map_err(RegistryError::Name)?;
    let owner = told.member.as_deref().unwrap_or(&told.owner);
    if let Some(known) = find_of(connection, owner, &told.filename)? {
        let mut storage = known.storage;
        for place in told.storage {
            if storage.len() < REPLICAS_MAX as usize && !storage.contains(&place) {
                storage.push(place);
            }
        }
        let sql = "UPDATE plain_files SET ip = ?2, port = ?3, storage = ?4 WHERE number = ?1";
        let values = params![known.number, told.address.0, told.address.1, potluck_sdk::message::to_json(&storage)];
        connection.prepare_cached(sql)?.execute(values)?;
        return Ok(());
    }
    let sql = format!("SELECT COUNT(*), COUNT(*) FILTER (WHERE {IS_OWN}) FROM plain_files");
    let (all, own): (i64, i64) =
        connection.prepare_cached(&sql)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if unsigned(all) >= limits.files {
        return Err(RegistryError::Full(limits.files));
    }
    if unsigned(own) >= limits.files_of_one {
        return Err(RegistryError::OwnerFull(limits.files_of_one));
    }
    insert(connection, &told)
}

/// Adds one that is not there; one of the same owner and name stays.
pub(super) fn insert(connection: &Connection, told: &Told) -> Result<(), RegistryError> {
    let sql = "INSERT INTO plain_files (owner, filename, member, ip, port, storage) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (owner, filename) DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        told.owner,
        told.filename,
        told.member,
        told.address.0,
        told.address.1,
        potluck_sdk::message::to_json(&told.storage),
    ])?;
    Ok(())
}

/// A holder says that it has a file that is known already, of the owner that it names.
pub(super) fn add_place(
    connection: &Connection,
    owner: &str,
    filename: &str,
    place: Place,
) -> Result<bool, RegistryError> {
    let Some(mut known) = find_of(connection, owner, filename)? else { return Ok(false) };
    if !known.storage.contains(&place) && known.storage.len() < REPLICAS_MAX as usize {
        known.storage.push(place);
        let storage = potluck_sdk::message::to_json(&known.storage);
        let sql = "UPDATE plain_files SET storage = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute(params![known.number, storage])?;
    }
    Ok(true)
}

pub(super) fn remove(connection: &Connection, row: &PlainRow) -> Result<(), RegistryError> {
    connection.prepare_cached("DELETE FROM plain_files WHERE number = ?1")?.execute([row.number])?;
    Ok(())
}

/// Places as they are shown. Which peer is there is known while it is alive.
pub(super) fn shown(registry: &Registry, places: Vec<Place>) -> Vec<StoragePeer> {
    registry.service.with_state(|state, _, _| {
        let shown = |(ip, port): Place| {
            let address = Address { ip, port };
            let is_alive = state.directory.key_at(&address).is_some();
            StoragePeer {
                peer_id: state.directory.id_at(&address),
                ip: address.ip,
                port,
                state: if is_alive { ReplicaState::Unchecked } else { ReplicaState::Away },
                checked_unix_seconds: None,
                owned_files: None,
                free_bytes: None,
            }
        };
        places.into_iter().map(shown).collect()
    })
}

/// BIND_OWNER: the administrator says which member an owner is that an older system knew.
pub(super) fn bind(registry: &Arc<Registry>, request: Request<'_>, reply: Reply<'_>) {
    let message: BindOwner<'_> = match request.parse() {
        Ok(message) => message,
        Err(error) => return reply.error(&error),
    };
    let Some((owner, member)) = message.owner.map(|owner| owner.into_owned()).zip(message.peer_id) else {
        return reply.error(&RegistryError::Required("owner and peer_id").into());
    };
    let reply = reply.later();
    let work = move |connection: &Connection| {
        let sql = "UPDATE plain_files SET member = ?2 WHERE owner = ?1";
        let count = connection.prepare_cached(sql)?.execute([&owner, &member.to_string()])?;
        if count == 0 { Err(RegistryError::UnknownOwner(owner.chars().take(64).collect())) } else { Ok(count as u64) }
    };
    registry.worker.run(request.json.len(), work, move |result| {
        messages::finish(reply, result.map(|file_count| OwnerBound { status: STATUS_OK.to_owned(), file_count }));
    });
}
