//! Files and replicas as rows. All functions run on the registry's worker, inside its transaction.

use super::error::RegistryError;
use potluck_sdk::PeerId;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::{REPLICAS_MAX, ReplicaState, SignedManifest};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Rows of replicas that one file may have: those of several versions, before their holders have deleted them.
const REPLICA_ROWS_MAX: i64 = 16 * REPLICAS_MAX as i64;

/// How many files there may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) files: u64,
    pub(super) files_of_one: u64,
}

/// A file's row.
pub(super) struct FileRow {
    pub(super) number: i64,
    pub(super) name_tag: String,
    pub(super) revision: u64,
    pub(super) signed: SignedManifest,
    /// None of a deleted file.
    pub(super) blob: Option<String>,
    pub(super) replicas: u32,
    pub(super) confirmed: bool,
    pub(super) registered: u64,
}

/// A replica's row, with what is known of its holder.
#[derive(Clone, Debug)]
pub(super) struct ReplicaRow {
    pub(super) holder: PeerId,
    pub(super) state: ReplicaState,
    pub(super) checked: Option<u64>,
    pub(super) ip: String,
    pub(super) port: u16,
    /// When the holder was last known to be alive.
    pub(super) heard: u64,
}

const FILE_COLUMNS: &str = "number, name_tag, revision, manifest, signature, blob, replicas, confirmed, registered";

fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        number: row.get(0)?,
        name_tag: row.get(1)?,
        revision: unsigned(row.get(2)?),
        signed: SignedManifest { manifest: row.get(3)?, signature: row.get(4)? },
        blob: row.get(5)?,
        replicas: row.get(6)?,
        confirmed: row.get(7)?,
        registered: unsigned(row.get(8)?),
    })
}

/// SQLite has signed numbers.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// As [`unsigned`], the other way.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A file of an owner, deleted or not.
pub(super) fn file(connection: &Connection, owner: &str, name_tag: &str) -> Result<Option<FileRow>, RegistryError> {
    let sql = format!("SELECT {FILE_COLUMNS} FROM files WHERE owner = ?1 AND name_tag = ?2");
    Ok(connection.prepare_cached(&sql)?.query_row([owner, name_tag], file_row).optional()?)
}

/// A file by the number of its row.
pub(super) fn file_numbered(connection: &Connection, number: i64) -> Result<Option<FileRow>, RegistryError> {
    let sql = format!("SELECT {FILE_COLUMNS} FROM files WHERE number = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([number], file_row).optional()?)
}

/// The files of an owner that are not deleted, behind a tag.
pub(super) fn page(
    connection: &Connection,
    owner: &str,
    after_tag: &str,
    limit: usize,
) -> Result<Vec<FileRow>, RegistryError> {
    let sql = format!(
        "SELECT {FILE_COLUMNS} FROM files WHERE owner = ?1 AND name_tag > ?2 AND blob IS NOT NULL
         ORDER BY name_tag LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![owner, after_tag, limit as i64], file_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The hashes of a blob's blocks; empty while they are not known.
pub(super) fn block_hashes(connection: &Connection, file: i64) -> Result<Vec<u8>, RegistryError> {
    let sql = "SELECT block_hashes FROM files WHERE number = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([file], |row| row.get(0))?)
}

/// Remembers hashes that were found to be right.
pub(super) fn set_block_hashes(
    connection: &Connection,
    file: i64,
    blob: &str,
    hashes: &[u8],
) -> Result<(), RegistryError> {
    let sql = "UPDATE files SET block_hashes = ?3 WHERE number = ?1 AND blob = ?2";
    connection.prepare_cached(sql)?.execute(params![file, blob, hashes])?;
    Ok(())
}

/// The replicas of a file: those that are wanted, or those that its holders should delete, or both.
pub(super) fn replicas(
    connection: &Connection,
    file: i64,
    wanted: bool,
    unwanted: bool,
) -> Result<Vec<ReplicaRow>, RegistryError> {
    let sql = "SELECT holder, state, checked, COALESCE(ip, ''), COALESCE(port, 0), COALESCE(heard, 0)
               FROM replicas LEFT JOIN peers ON peer_id = holder
               WHERE file = ?1 AND ((unwanted = 0 AND ?2) OR (unwanted = 1 AND ?3)) ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![file, wanted, unwanted], |row| {
        let holder: String = row.get(0)?;
        let holder = holder.parse::<PeerId>().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok(ReplicaRow {
            holder,
            state: state_from(row.get(1)?),
            checked: row.get::<_, Option<i64>>(2)?.map(unsigned),
            ip: row.get(3)?,
            port: row.get(4)?,
            heard: unsigned(row.get(5)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn state_from(number: i64) -> ReplicaState {
    match number {
        0 => ReplicaState::Ok,
        2 => ReplicaState::Damaged,
        3 => ReplicaState::Missing,
        _ => ReplicaState::Unchecked,
    }
}

fn state_number(state: ReplicaState) -> i64 {
    match state {
        ReplicaState::Ok => 0,
        // Whether a holder is away is seen from the directory; it says nothing of the replica.
        ReplicaState::Unchecked | ReplicaState::Away => 1,
        ReplicaState::Damaged => 2,
        ReplicaState::Missing => 3,
    }
}

/// What became of a manifest that somebody has shown.
pub(super) enum Applied {
    /// It is the newest now, in this row.
    Newest(i64),
    /// It was known, in this row.
    Known(i64),
    /// This one is later.
    Superseded(FileRow),
}

/// Takes a manifest, unless a later one is known. `confirmed` says that it comes from the owner itself, whose word
/// also replaces a later one that holders say to have and have not proved: an upload that was never finished.
pub(super) fn apply(
    connection: &Connection,
    manifest: &CheckedManifest,
    hashes: &[u8],
    confirmed: bool,
    now: u64,
    limits: Limits,
) -> Result<Applied, RegistryError> {
    let owner = manifest.owner.to_string();
    let said = &manifest.manifest;
    if i64::try_from(said.revision).is_err() {
        return Err(RegistryError::Invalid("the manifest's revision is too high; use one below 2^63"));
    }
    let blob = said.blob.as_ref().map(|blob| blob.id.as_str());
    let known = file(connection, &owner, &said.name_tag)?;
    let number = match known {
        None => {
            check_limits(connection, &owner, limits)?;
            let sql = "INSERT INTO files (owner, name_tag, revision, manifest, signature, block_hashes, blob, replicas,
                                          confirmed, registered)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            connection.prepare_cached(sql)?.execute(params![
                owner,
                said.name_tag,
                signed(said.revision),
                manifest.signed.manifest,
                manifest.signed.signature,
                hashes,
                blob,
                said.replicas,
                confirmed,
                signed(now),
            ])?;
            return Ok(Applied::Newest(connection.last_insert_rowid()));
        }
        Some(known) if known.signed.manifest == manifest.signed.manifest => {
            if confirmed && !known.confirmed {
                let sql = "UPDATE files SET confirmed = 1 WHERE number = ?1";
                connection.prepare_cached(sql)?.execute([known.number])?;
            }
            if !hashes.is_empty()
                && let Some(blob) = blob
            {
                set_block_hashes(connection, known.number, blob, hashes)?;
            }
            return Ok(Applied::Known(known.number));
        }
        Some(known) if known.revision >= said.revision => {
            if !confirmed || known.confirmed || has_proven_replica(connection, known.number)? {
                return Ok(Applied::Superseded(known));
            }
            known.number
        }
        Some(known) => known.number,
    };
    let sql = "UPDATE files SET revision = ?2, manifest = ?3, signature = ?4,
                   block_hashes = CASE WHEN blob IS ?6 AND length(?5) = 0 THEN block_hashes ELSE ?5 END,
                   blob = ?6, replicas = ?7, confirmed = ?8, registered = ?9
               WHERE number = ?1";
    connection.prepare_cached(sql)?.execute(params![
        number,
        signed(said.revision),
        manifest.signed.manifest,
        manifest.signed.signature,
        hashes,
        blob,
        said.replicas,
        confirmed,
        signed(now),
    ])?;
    let sql = "UPDATE replicas SET unwanted = (blob IS NOT ?2) WHERE file = ?1";
    connection.prepare_cached(sql)?.execute(params![number, blob])?;
    // The newest manifest deletes all that it has replaced at once: one row for each holder says enough.
    let sql = "DELETE FROM replicas WHERE file = ?1 AND unwanted = 1 AND number NOT IN (
                   SELECT MAX(number) FROM replicas WHERE file = ?1 AND unwanted = 1 GROUP BY holder)";
    connection.prepare_cached(sql)?.execute([number])?;
    Ok(Applied::Newest(number))
}

/// Whether a holder has proved that it has the newest version.
fn has_proven_replica(connection: &Connection, file: i64) -> Result<bool, RegistryError> {
    let sql = "SELECT 1 FROM replicas WHERE file = ?1 AND unwanted = 0 AND state = 0";
    Ok(connection.prepare_cached(sql)?.exists([file])?)
}

/// How many files there are that only holders have shown. Anybody can make up owners and sign for them.
pub(super) fn unconfirmed_count(connection: &Connection) -> Result<u64, RegistryError> {
    let sql = "SELECT COUNT(*) FROM files WHERE confirmed = 0";
    Ok(unsigned(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}

fn check_limits(connection: &Connection, owner: &str, limits: Limits) -> Result<(), RegistryError> {
    // Rows are never removed, so the last number is their count.
    let last: Option<i64> =
        connection.prepare_cached("SELECT MAX(number) FROM files")?.query_row([], |row| row.get(0))?;
    if unsigned(last.unwrap_or(0)) >= limits.files {
        return Err(RegistryError::Full(limits.files));
    }
    let sql = "SELECT file_count FROM peers WHERE peer_id = ?1";
    let own: Option<i64> = connection.prepare_cached(sql)?.query_row([owner], |row| row.get(0)).optional()?;
    if unsigned(own.unwrap_or(0)) >= limits.files_of_one {
        return Err(RegistryError::OwnerFull(limits.files_of_one));
    }
    Ok(())
}

/// Notes that a holder has, or is said to have, a replica. Whether it is wanted is seen from the file.
pub(super) fn add_replica(
    connection: &Connection,
    file: i64,
    blob: &str,
    holder: PeerId,
    state: ReplicaState,
) -> Result<(), RegistryError> {
    let holder = holder.to_string();
    let sql = "SELECT COUNT(*), COUNT(*) FILTER (WHERE blob = ?2 AND holder = ?3) FROM replicas WHERE file = ?1";
    let (count, known): (i64, i64) =
        connection.prepare_cached(sql)?.query_row(params![file, blob, holder], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if known == 0 && count >= REPLICA_ROWS_MAX {
        // Whoever has not been heard for so many versions hears of the deletion when it reports what it has.
        let sql =
            "DELETE FROM replicas WHERE number = (SELECT MIN(number) FROM replicas WHERE file = ?1 AND unwanted = 1)";
        if connection.prepare_cached(sql)?.execute([file])? == 0 {
            return Err(RegistryError::TooMany);
        }
    }
    // What was found in order stays so when it is said once more to be there.
    let sql = "INSERT INTO replicas (file, blob, holder, state, unwanted)
               SELECT ?1, ?2, ?3, ?4, blob IS NOT ?2 FROM files WHERE number = ?1
               ON CONFLICT (file, blob, holder) DO UPDATE SET
                   state = CASE WHEN state = 0 AND excluded.state = 1 THEN 0 ELSE excluded.state END,
                   unwanted = excluded.unwanted";
    connection.prepare_cached(sql)?.execute(params![file, blob, holder, state_number(state)])?;
    Ok(())
}

/// As [`add_replica`], for what an owner believes: what is known of the replica stays.
pub(super) fn add_replica_if_new(
    connection: &Connection,
    file: i64,
    blob: &str,
    holder: PeerId,
) -> Result<(), RegistryError> {
    let sql = "SELECT 1 FROM replicas WHERE file = ?1 AND blob = ?2 AND holder = ?3";
    let known = connection.prepare_cached(sql)?.exists(params![file, blob, holder.to_string()])?;
    if known { Ok(()) } else { add_replica(connection, file, blob, holder, ReplicaState::Unchecked) }
}

/// Notes how a replica fares. Says whether that is news.
pub(super) fn set_state(
    connection: &Connection,
    file: i64,
    blob: &str,
    holder: PeerId,
    state: ReplicaState,
    checked: Option<u64>,
) -> Result<bool, RegistryError> {
    let holder = holder.to_string();
    let sql = "SELECT state FROM replicas WHERE file = ?1 AND blob = ?2 AND holder = ?3";
    let known: Option<i64> =
        connection.prepare_cached(sql)?.query_row(params![file, blob, holder], |row| row.get(0)).optional()?;
    let sql = "UPDATE replicas SET state = ?4, checked = COALESCE(?5, checked)
               WHERE file = ?1 AND blob = ?2 AND holder = ?3";
    connection.prepare_cached(sql)?.execute(params![file, blob, holder, state_number(state), checked.map(signed)])?;
    Ok(known.is_some_and(|known| known != state_number(state)))
}

/// Forgets a replica: its holder has deleted it, or another one has taken its place.
pub(super) fn remove_replica(
    connection: &Connection,
    file: i64,
    blob: &str,
    holder: PeerId,
) -> Result<(), RegistryError> {
    let sql = "DELETE FROM replicas WHERE file = ?1 AND blob = ?2 AND holder = ?3";
    connection.prepare_cached(sql)?.execute(params![file, blob, holder.to_string()])?;
    Ok(())
}

/// Forgets a replica that its holder has deleted, unless it is wanted again meanwhile.
pub(super) fn remove_unwanted(
    connection: &Connection,
    file: i64,
    blob: &str,
    holder: PeerId,
) -> Result<(), RegistryError> {
    let sql = "DELETE FROM replicas WHERE file = ?1 AND blob = ?2 AND holder = ?3 AND unwanted = 1";
    connection.prepare_cached(sql)?.execute(params![file, blob, holder.to_string()])?;
    Ok(())
}
