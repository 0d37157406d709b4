//! The file behind the registry: its schema, and how it is opened.

use super::error::RegistryError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FOLDER_NAME: &str = "tracker_state";
const FILE_NAME: &str = "registry.sqlite";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    -- The newest version of each file. Rows stay for ever: a deleted file is a tombstone, which keeps older manifests out.
    CREATE TABLE files (
        number INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        name_tag TEXT NOT NULL,
        revision INTEGER NOT NULL,
        manifest TEXT NOT NULL,
        signature TEXT NOT NULL,
        -- Empty while they are not known.
        block_hashes BLOB NOT NULL,
        -- Null of a deleted file.
        blob TEXT,
        replicas INTEGER NOT NULL,
        -- Whether the owner itself has said so, and not only a holder that shows its manifest.
        confirmed INTEGER NOT NULL,
        registered INTEGER NOT NULL,
        UNIQUE (owner, name_tag)
    ) STRICT;
    CREATE INDEX files_by_tag ON files (name_tag);
    CREATE INDEX files_without_hashes ON files (number) WHERE blob IS NOT NULL AND length(block_hashes) = 0;
    CREATE INDEX files_unconfirmed ON files (number) WHERE confirmed = 0;
    -- Who keeps what. One that is of no use any more stays until its holder has deleted it.
    CREATE TABLE replicas (
        number INTEGER PRIMARY KEY,
        file INTEGER NOT NULL REFERENCES files (number),
        blob TEXT NOT NULL,
        holder TEXT NOT NULL,
        state INTEGER NOT NULL,
        checked INTEGER,
        unwanted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (file, blob, holder)
    ) STRICT;
    CREATE INDEX replicas_unwanted ON replicas (holder) WHERE unwanted = 1;
    -- Peers that keep or own something, as they were last heard, and how much. Deleted files count as well.
    CREATE TABLE peers (
        peer_id TEXT PRIMARY KEY,
        ip TEXT NOT NULL DEFAULT '',
        port INTEGER NOT NULL DEFAULT 0,
        heard INTEGER NOT NULL DEFAULT 0,
        free_bytes INTEGER,
        replica_count INTEGER NOT NULL DEFAULT 0,
        file_count INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
        INSERT INTO peers (peer_id, file_count) VALUES (new.owner, 1)
            ON CONFLICT (peer_id) DO UPDATE SET file_count = file_count + 1;
    END;
    CREATE TRIGGER replica_added AFTER INSERT ON replicas BEGIN
        INSERT INTO peers (peer_id, replica_count) VALUES (new.holder, 1)
            ON CONFLICT (peer_id) DO UPDATE SET replica_count = replica_count + 1;
    END;
    CREATE TRIGGER replica_removed AFTER DELETE ON replicas BEGIN
        UPDATE peers SET replica_count = replica_count - 1 WHERE peer_id = old.holder;
    END;
    -- Files in the original system's form, whose names are no secret. `owner` is what was said of their owner, which proves
    -- nothing; `member` is whose they are.
    CREATE TABLE plain_files (
        number INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        filename TEXT NOT NULL,
        member TEXT,
        ip TEXT NOT NULL,
        port INTEGER NOT NULL,
        -- JSON: pairs of ip and port.
        storage TEXT NOT NULL,
        UNIQUE (owner, filename)
    ) STRICT;
    CREATE INDEX plain_files_by_member ON plain_files (member, filename);
    CREATE INDEX plain_files_by_name ON plain_files (filename);
    PRAGMA user_version = 1;
";

/// The registry's folder in that of the node.
pub(super) fn folder(node_dir: &Path) -> PathBuf {
    node_dir.join(FOLDER_NAME)
}

/// Opens the registry in its folder, or makes one that only its owner can read, with what `first` puts into it.
pub(super) fn open(
    folder: &Path,
    first: impl FnOnce(&Connection) -> Result<(), RegistryError>,
) -> Result<Connection, RegistryError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(FILE_NAME);
    // SQLite gives its other files the mode of this one, so the mode comes first.
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    File::open(folder)?.sync_all()?;
    let mut connection = Connection::open(&path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Every commit is on the disk before it is answered.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(SCHEMA)?;
            first(&transaction)?;
        }
        SCHEMA_VERSION => {}
        _ => return Err(RegistryError::Version { found: version, known: SCHEMA_VERSION }),
    }
    transaction.commit()?;
    Ok(connection)
}

/// Opens it for reading beside the one that writes.
pub(super) fn open_to_read(folder: &Path) -> Result<Connection, RegistryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(FILE_NAME), flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}
