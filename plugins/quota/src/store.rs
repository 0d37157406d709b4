//! What was used, on disk.

use crate::ledger::Use;
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const FILE_NAME: &str = "quota.sqlite";
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE uses (
        resource TEXT NOT NULL,
        -- The id of another node; empty for this one's user.
        caller TEXT NOT NULL,
        -- From when it counts, in milliseconds since 1970.
        stamp INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        PRIMARY KEY (resource, stamp, caller)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("quota.sqlite is of version {0}, which this program does not know; use a newer one, or remove the file")]
    Version(i64),
}

/// Where uses are kept.
pub(crate) trait Store: Send {
    /// All that may still count, oldest first.
    fn load(&mut self) -> Result<Vec<Use>, StoreError>;
    /// Adds uses; they are on the disk when it returns. Forgets those of each resource that began to count before a time.
    fn add(&mut self, uses: &[Use], forget_before: &[(String, u64)]) -> Result<(), StoreError>;
}

pub(crate) struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens the file in its folder, or makes one that only its owner can read.
    pub(crate) fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
        let path = folder.join(FILE_NAME);
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let connection = Connection::open(&path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Every commit is on the disk before it is answered.
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version: Option<i64> = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).optional()?;
        match version.unwrap_or_default() {
            0 => connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?,
            SCHEMA_VERSION => {}
            other => return Err(StoreError::Version(other)),
        }
        Ok(SqliteStore { connection })
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Vec<Use>, StoreError> {
        let mut statement =
            self.connection.prepare("SELECT resource, caller, stamp, amount FROM uses ORDER BY stamp")?;
        let rows = statement.query_map([], |row| {
            Ok(Use {
                resource: row.get(0)?,
                caller: row.get(1)?,
                stamp: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
                amount: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
            })
        })?;
        Ok(rows.collect::<Result<Vec<Use>, rusqlite::Error>>()?)
    }

    fn add(&mut self, uses: &[Use], forget_before: &[(String, u64)]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        {
            let mut add = transaction.prepare_cached(
                "INSERT INTO uses (resource, caller, stamp, amount) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
            )?;
            for one in uses {
                add.execute(params![one.resource, one.caller, number(one.stamp), number(one.amount)])?;
            }
            let mut forget = transaction.prepare_cached("DELETE FROM uses WHERE resource = ?1 AND stamp <= ?2")?;
            for (resource, stamp) in forget_before {
                forget.execute(params![resource, number(*stamp)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// SQLite's whole numbers have a sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
