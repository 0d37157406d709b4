//! The file behind the history: its schema, and how it is opened.
//!
//! Records are numbered in the order in which they came. Instead of an index over each column, which would cost more
//! than the record itself, every 1024 numbers make a block, and what occurs in a block is written down once: the span of
//! time, which statuses, for whom, where, and a short hash of each task's name. A search reads only the blocks in which
//! something may be found.

use crate::error::HistoryError;
use crate::upgrade;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records of one block, as a power of two.
pub(crate) const BLOCK_BITS: u32 = 10;

const SCHEMA_VERSION: i64 = 2;
/// Records, some dozen in a row; see `segment`.
const SEGMENTS: &str = "CREATE TABLE segments (first INTEGER PRIMARY KEY, records BLOB NOT NULL) STRICT";
const SCHEMA: &str = "
    -- For whom tasks ran, and what their records come to. A row goes with its last record.
    CREATE TABLE callers (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        successful INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cancelled INTEGER NOT NULL,
        -- Of those whose time is known.
        timed INTEGER NOT NULL,
        execution_us INTEGER NOT NULL
    ) STRICT;
    -- Where tasks ran. A row goes with its last record.
    CREATE TABLE places (
        number INTEGER PRIMARY KEY,
        peer_id TEXT NOT NULL,
        address TEXT NOT NULL,
        records INTEGER NOT NULL,
        UNIQUE (peer_id, address)
    ) STRICT;
    CREATE INDEX places_by_address ON places (address);
    CREATE TABLE blocks (
        block INTEGER PRIMARY KEY,
        oldest_ms INTEGER NOT NULL,
        newest_ms INTEGER NOT NULL,
        -- A bit for each status.
        statuses INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE block_callers (caller INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (caller, block))
        STRICT, WITHOUT ROWID;
    CREATE TABLE block_places (place INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (place, block))
        STRICT, WITHOUT ROWID;
    -- Four bytes for each record's task.
    CREATE TABLE block_tasks (block INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
    -- The newest batches, so that one that comes again is known.
    CREATE TABLE batches (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    PRAGMA user_version = 2;
";

/// Opens the database for writing, or makes one that only its owner can read. SQLite gives its other files the mode of
/// this one, so the mode comes first.
pub(crate) fn open(path: &Path) -> Result<Connection, HistoryError> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    // Of a new file: each page is written twice, and a larger one costs hardly more.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What is answered is on the disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // 16 MiB: pages that change again and again are written to their place once.
    connection.pragma_update(None, "wal_autocheckpoint", 2048)?;
    connection.pragma_update(None, "journal_size_limit", 32 << 20)?;
    connection.set_prepared_statement_cache_capacity(64);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(SEGMENTS)?;
            transaction.execute_batch(SCHEMA)?;
        }
        1 => {
            transaction.execute_batch(SEGMENTS)?;
            upgrade::from_rows(&transaction)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        SCHEMA_VERSION => {}
        _ => return Err(HistoryError::Version { found: version, known: SCHEMA_VERSION }),
    }
    transaction.commit()?;
    Ok(connection)
}

/// Opens it for reading beside the one that writes.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Renames a damaged database, so that somebody can look at it; returns its new name. Only the last three are kept.
pub(crate) fn put_aside(path: &Path, unix_ms: u64) -> Result<PathBuf, HistoryError> {
    const KEPT: usize = 3;
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut aside = name(&format!(".damaged-{unix_ms}"));
    let mut count = 1;
    while aside.exists() {
        aside = name(&format!(".damaged-{unix_ms}-{count}"));
        count += 1;
    }
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        // The log of a damaged database would be played into the new one.
        match fs::remove_file(name(suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let prefix = name(".damaged-");
    if let (Some(folder), Some(prefix)) = (path.parent(), prefix.file_name()) {
        let prefix = prefix.as_encoded_bytes();
        let mut old: Vec<PathBuf> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix)))
            .collect();
        old.sort();
        for path in old.iter().rev().skip(KEPT) {
            fs::remove_file(path)?;
        }
    }
    Ok(aside)
}
