//! What the owner knows of its own files: the newest manifest of each, who keeps it, and uploads that are on their way.
//!
//! The tracker knows all of it too, but not the names; and it may lose it. All functions may block.

use crate::error::OwnedError;
use parking_lot::Mutex;
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::SignedManifest;
use potluck_sdk::{Host, Level, PeerId};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE_NAME: &str = "owned_files.sqlite";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    -- The newest version of each file. A deleted one stays as a tombstone, so that no older manifest brings it back.
    CREATE TABLE files (
        name_tag TEXT PRIMARY KEY,
        name TEXT,
        manifest TEXT NOT NULL,
        signature TEXT NOT NULL,
        block_hashes BLOB NOT NULL,
        holders TEXT NOT NULL,
        deleted INTEGER NOT NULL,
        -- The upload that made it, so that sending the last piece again finds it complete.
        upload TEXT
    ) STRICT;
    CREATE UNIQUE INDEX files_by_name ON files (name) WHERE deleted = 0;
    CREATE INDEX files_by_upload ON files (upload);
    -- Encrypted wholly, and not yet kept by as many holders as wanted.
    CREATE TABLE outgoing (
        upload TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        manifest TEXT NOT NULL,
        signature TEXT NOT NULL,
        block_hashes BLOB NOT NULL,
        named_holders TEXT NOT NULL,
        -- Who may have got it, or a part of it.
        holders TEXT NOT NULL
    ) STRICT;
    PRAGMA user_version = 1;
";
const COLUMNS: &str = "name, manifest, signature, block_hashes, holders, upload";

/// A file as its owner knows it.
pub(crate) struct OwnFile {
    /// None of a deleted file.
    pub(crate) name: Option<String>,
    pub(crate) manifest: CheckedManifest,
    pub(crate) block_hashes: Vec<u8>,
    pub(crate) holders: Vec<PeerId>,
    pub(crate) upload: Option<String>,
}

/// An upload whose encrypted bytes are all here.
pub(crate) struct Outgoing {
    pub(crate) upload: String,
    pub(crate) name: String,
    pub(crate) manifest: CheckedManifest,
    pub(crate) block_hashes: Vec<u8>,
    /// As the client has named them; the tracker chooses when empty.
    pub(crate) named_holders: Vec<String>,
    /// Who may have got it, or a part of it.
    pub(crate) holders: Vec<PeerId>,
}

pub(crate) struct Database(Mutex<Connection>);

impl Database {
    /// Opens the list of this owner's files. One that is damaged, and one of another owner whose identity the node had
    /// before, is put aside: what is missing is learnt from the tracker.
    pub(crate) fn open(host: Host, folder: &Path, owner: PeerId) -> Result<Database, OwnedError> {
        let aside = match Database::open_any(folder).and_then(|database| Ok((database.owner()?, database))) {
            Ok((Some(former), _)) if former != owner => former.short(),
            Ok((_, database)) => return Ok(database),
            Err(OwnedError::Database(error)) if is_damaged(&error) => "damaged".to_owned(),
            Err(error) => return Err(error),
        };
        let text = format!("the list of own files is put aside as owned_files.{aside}.sqlite, and is made anew");
        host.log(Level::Warn, &text);
        for suffix in ["", "-wal", "-shm"] {
            let to = folder.join(format!("owned_files.{aside}.sqlite{suffix}"));
            match std::fs::rename(folder.join(format!("{FILE_NAME}{suffix}")), to) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(OwnedError::Io("putting the list of own files aside", error));
                }
                _ => {}
            }
        }
        Database::open_any(folder)
    }

    fn open_any(folder: &Path) -> Result<Database, OwnedError> {
        let path = folder.join(FILE_NAME);
        let io = |error| OwnedError::Io("opening the list of own files", error);
        // SQLite gives its other files the mode of this one, so the mode comes first.
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(io)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        let mut connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => transaction.execute_batch(SCHEMA)?,
            SCHEMA_VERSION => {}
            _ => {
                let text = format!("it is of version {version} and this node knows {SCHEMA_VERSION}; update Potluck");
                return Err(io(std::io::Error::other(text)));
            }
        }
        transaction.commit()?;
        Ok(Database(Mutex::new(connection)))
    }

    /// Who has signed what is in it.
    fn owner(&self) -> Result<Option<PeerId>, OwnedError> {
        let sql = "SELECT manifest, signature FROM files UNION ALL SELECT manifest, signature FROM outgoing LIMIT 1";
        Ok(self.0.lock().query_row(sql, [], |row| manifest(row, 0)).optional()?.map(|manifest| manifest.owner))
    }

    /// The newest version of a file, deleted or not.
    pub(crate) fn file(&self, name_tag: &str) -> Result<Option<OwnFile>, OwnedError> {
        let sql = format!("SELECT {COLUMNS} FROM files WHERE name_tag = ?1");
        Ok(self.0.lock().query_row(&sql, [name_tag], own_file).optional()?)
    }

    /// The file that an upload has made.
    pub(crate) fn file_of_upload(&self, upload: &str) -> Result<Option<OwnFile>, OwnedError> {
        let sql = format!("SELECT {COLUMNS} FROM files WHERE upload = ?1 AND deleted = 0");
        Ok(self.0.lock().query_row(&sql, [upload], own_file).optional()?)
    }

    /// Files by name, behind one.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Result<Vec<OwnFile>, OwnedError> {
        let sql = format!("SELECT {COLUMNS} FROM files WHERE deleted = 0 AND name > ?1 ORDER BY name LIMIT ?2");
        self.select(&sql, params![after, limit as i64])
    }

    /// All files, deleted ones too, by tag, behind one.
    pub(crate) fn page_of_all(&self, after_tag: &str, limit: usize) -> Result<Vec<OwnFile>, OwnedError> {
        let sql = format!("SELECT {COLUMNS} FROM files WHERE name_tag > ?1 ORDER BY name_tag LIMIT ?2");
        self.select(&sql, params![after_tag, limit as i64])
    }

    fn select(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<OwnFile>, OwnedError> {
        let connection = self.0.lock();
        let mut statement = connection.prepare(sql)?;
        let files = statement.query_map(parameters, own_file)?.collect::<Result<_, _>>()?;
        Ok(files)
    }

    /// Number of files, and bytes of their blobs' manifests that are not deleted.
    pub(crate) fn file_count(&self) -> Result<u64, OwnedError> {
        let sql = "SELECT COUNT(*) FROM files WHERE deleted = 0";
        let count: i64 = self.0.lock().query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Takes a version of a file, unless a later one is known. Says whether it was taken.
    pub(crate) fn put_file(&self, file: &OwnFile) -> Result<bool, OwnedError> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = format!("SELECT {COLUMNS} FROM files WHERE name_tag = ?1");
        let manifest = &file.manifest;
        let known = transaction.query_row(&sql, [&manifest.manifest.name_tag], own_file).optional()?;
        if known.is_some_and(|known| known.manifest.manifest.revision > manifest.manifest.revision) {
            return Ok(false);
        }
        transaction.execute(
            "INSERT OR REPLACE INTO files
                (name_tag, name, manifest, signature, block_hashes, holders, deleted, upload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                manifest.manifest.name_tag,
                file.name,
                manifest.signed.manifest,
                manifest.signed.signature,
                file.block_hashes,
                potluck_sdk::message::to_json(&file.holders),
                manifest.manifest.blob.is_none(),
                file.upload,
            ],
        )?;
        if let Some(upload) = &file.upload {
            transaction.execute("DELETE FROM outgoing WHERE upload = ?1", [upload])?;
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Whether a manifest is that of an upload on its way: others may know it before it counts.
    pub(crate) fn is_outgoing(&self, manifest: &CheckedManifest) -> Result<bool, OwnedError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM outgoing WHERE manifest = ?1)";
        Ok(self.0.lock().query_row(sql, [&manifest.signed.manifest], |row| row.get(0))?)
    }

    pub(crate) fn outgoing(&self, upload: &str) -> Result<Option<Outgoing>, OwnedError> {
        let sql = "SELECT upload, name, manifest, signature, block_hashes, named_holders, holders FROM outgoing
                   WHERE upload = ?1";
        Ok(self.0.lock().query_row(sql, [upload], outgoing).optional()?)
    }

    /// The uploads of one file that are on their way.
    pub(crate) fn outgoing_of(&self, name_tag: &str) -> Result<Vec<Outgoing>, OwnedError> {
        let mut found = Vec::new();
        for upload in self.outgoing_uploads()? {
            let outgoing = self.outgoing(&upload)?;
            found.extend(outgoing.filter(|outgoing| outgoing.manifest.manifest.name_tag == name_tag));
        }
        Ok(found)
    }

    /// The uploads on their way.
    pub(crate) fn outgoing_uploads(&self) -> Result<Vec<String>, OwnedError> {
        self.uploads("SELECT upload FROM outgoing", [])
    }

    /// The uploads on their way of one name.
    pub(crate) fn outgoing_named(&self, name: &str) -> Result<Vec<String>, OwnedError> {
        self.uploads("SELECT upload FROM outgoing WHERE name = ?1", [name])
    }

    fn uploads(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<String>, OwnedError> {
        let connection = self.0.lock();
        let mut statement = connection.prepare(sql)?;
        let uploads = statement.query_map(parameters, |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(uploads)
    }

    pub(crate) fn put_outgoing(&self, outgoing: &Outgoing) -> Result<(), OwnedError> {
        self.0.lock().execute(
            "INSERT OR REPLACE INTO outgoing
                (upload, name, manifest, signature, block_hashes, named_holders, holders)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                outgoing.upload,
                outgoing.name,
                outgoing.manifest.signed.manifest,
                outgoing.manifest.signed.signature,
                outgoing.block_hashes,
                potluck_sdk::message::to_json(&outgoing.named_holders),
                potluck_sdk::message::to_json(&outgoing.holders),
            ],
        )?;
        Ok(())
    }

    /// Notes who may get an upload, before the first byte of it leaves. Says whether it is still wanted.
    pub(crate) fn note_holders(&self, upload: &str, holders: &[PeerId]) -> Result<bool, OwnedError> {
        let holders = potluck_sdk::message::to_json(holders);
        Ok(self.0.lock().execute("UPDATE outgoing SET holders = ?2 WHERE upload = ?1", [upload, &holders])? > 0)
    }

    /// Removes an upload unless somebody may have got some of it. Says whether it was removed.
    pub(crate) fn remove_unsent(&self, upload: &str) -> Result<bool, OwnedError> {
        Ok(self.0.lock().execute("DELETE FROM outgoing WHERE upload = ?1 AND holders = '[]'", [upload])? > 0)
    }

    /// Removes an upload; returns who may have got some of it: nobody else gets any from now on.
    pub(crate) fn take_holders(&self, upload: &str) -> Result<Vec<PeerId>, OwnedError> {
        let sql = "DELETE FROM outgoing WHERE upload = ?1 RETURNING holders";
        Ok(self.0.lock().query_row(sql, [upload], |row| list(row, 0)).optional()?.unwrap_or_default())
    }

    /// Takes another manifest of the same bytes, and other peers as those that the client has named.
    pub(crate) fn renew(
        &self,
        upload: &str,
        manifest: &SignedManifest,
        named_holders: &[String],
    ) -> Result<(), OwnedError> {
        let named_holders = potluck_sdk::message::to_json(named_holders);
        let sql = "UPDATE outgoing SET manifest = ?2, signature = ?3, named_holders = ?4 WHERE upload = ?1";
        self.0.lock().execute(sql, [upload, &manifest.manifest, &manifest.signature, &named_holders])?;
        Ok(())
    }

    pub(crate) fn remove_outgoing(&self, upload: &str) -> Result<(), OwnedError> {
        self.0.lock().execute("DELETE FROM outgoing WHERE upload = ?1", [upload])?;
        Ok(())
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    let is_file = matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
    is_file || matches!(error, rusqlite::Error::FromSqlConversionFailure(..))
}

fn own_file(row: &Row<'_>) -> rusqlite::Result<OwnFile> {
    Ok(OwnFile {
        name: row.get(0)?,
        manifest: manifest(row, 1)?,
        block_hashes: row.get(3)?,
        holders: list(row, 4)?,
        upload: row.get(5)?,
    })
}

fn outgoing(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    Ok(Outgoing {
        upload: row.get(0)?,
        name: row.get(1)?,
        manifest: manifest(row, 2)?,
        block_hashes: row.get(4)?,
        named_holders: list(row, 5)?,
        holders: list(row, 6)?,
    })
}

/// A manifest in two columns; checked again, since a file may be damaged.
fn manifest(row: &Row<'_>, column: usize) -> rusqlite::Result<CheckedManifest> {
    let signed = SignedManifest { manifest: row.get(column)?, signature: row.get(column + 1)? };
    CheckedManifest::try_from(signed).map_err(|error| unreadable(column, error))
}

fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}
