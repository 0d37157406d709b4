//! The file behind the registry: its schema, how it is opened, and how the index is read from it.

use super::{Index, Member, read};
use crate::key::PublicKey;
use anyhow::{Context, bail};
use rusqlite::Connection;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FILE_NAME: &str = "pool.sqlite";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE tokens (
        token_id TEXT PRIMARY KEY,
        join_key BLOB NOT NULL,
        reusable INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        uses INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE members (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        peer_id TEXT NOT NULL UNIQUE,
        key BLOB NOT NULL,
        name TEXT NOT NULL,
        joined INTEGER NOT NULL,
        token_id TEXT,
        revoked INTEGER
    ) STRICT;
    -- Revoked ids that are on the pool's list, and of no member that this registry knows: it may come from an old copy.
    CREATE TABLE forgotten (peer_id TEXT PRIMARY KEY, revoked INTEGER NOT NULL) STRICT;
    CREATE TABLE revocations (version INTEGER NOT NULL) STRICT;
    INSERT INTO revocations (version) VALUES (0);
    PRAGMA user_version = 1;
";

/// Opens the database in a folder, or makes one that only its owner can read.
pub(super) fn open(folder: &Path) -> anyhow::Result<Connection> {
    let path = folder.join(FILE_NAME);
    let open = || -> anyhow::Result<Connection> {
        // SQLite gives its other files the mode of this one, so the mode comes first.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?
            .set_permissions(Permissions::from_mode(0o600))?;
        File::open(folder)?.sync_all()?;
        let mut connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Every commit is on the disk before it returns: no power cut brings back a token that is good once.
        connection.pragma_update(None, "synchronous", "FULL")?;
        prepare(&mut connection)?;
        Ok(connection)
    };
    open().with_context(|| {
        format!("cannot open the pool's registry {}; if it is damaged, restore it from a copy", path.display())
    })
}

fn prepare(connection: &mut Connection) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => transaction.execute_batch(SCHEMA)?,
        SCHEMA_VERSION => {}
        _ => bail!("it is of version {version} and this node knows version {SCHEMA_VERSION}; update Potluck"),
    }
    transaction.commit()?;
    Ok(())
}

/// Reads all members.
pub(super) fn read_index(connection: &Connection) -> anyhow::Result<Index> {
    let version = connection.query_row("SELECT version FROM revocations", [], |row| row.get(0))?;
    let mut index = Index { revocations_version: read(version), ..Index::default() };
    let mut statement = connection.prepare("SELECT peer_id, key, name, revoked IS NOT NULL FROM members")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (written, key): (String, PublicKey) = (row.get(0)?, PublicKey(row.get(1)?));
        let peer_id = key.peer_id();
        if written != peer_id.to_string() {
            bail!("the member {written:?} has the key of another; restore the registry from a copy");
        }
        let member = Member { key, name: row.get(2)?, revoked: row.get(3)? };
        index.revoked_count += usize::from(member.revoked);
        index.members.insert(peer_id, member);
    }
    let mut statement = connection.prepare("SELECT peer_id FROM forgotten")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let written: String = row.get(0)?;
        let peer_id = written.parse().with_context(|| format!("{written:?} is no peer id"))?;
        index.forgotten.insert(peer_id);
    }
    index.revoked_count += index.forgotten.len();
    Ok(index)
}
