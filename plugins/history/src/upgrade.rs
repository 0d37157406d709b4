//! A file of the version before, in which each record was a row.

use crate::books::Outcome;
use crate::error::HistoryError;
use crate::segment::{Segment, Stored, TEXTS};
use rusqlite::{Connection, Row};

/// In the order of the columns: the texts come last, as [`Stored`] has them.
const ROWS: &str =
    "SELECT number, status, caller, place, finished_ms, execution_us, waiting_us, cpu_us, attempts, flags,
    task_id, function, task_type, role, pid, runtime, code, result, error FROM records ORDER BY number";
const FIRST_TEXT: usize = 10;

/// Moves the rows into segments; for the transaction that says so in `user_version`.
pub(crate) fn from_rows(connection: &Connection) -> Result<(), HistoryError> {
    let mut segment = Segment::default();
    {
        let mut rows = connection.prepare(ROWS)?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            segment.push(connection, &stored(row)?)?;
        }
    }
    segment.write(connection)?;
    connection.execute_batch("DROP TABLE records")?;
    Ok(())
}

fn stored<'a>(row: &'a Row<'_>) -> Result<Stored<'a>, HistoryError> {
    let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|number| number as u64));
    let flags: i64 = row.get(9)?;
    let mut texts = [&[][..]; TEXTS];
    for (place, text) in texts.iter_mut().enumerate() {
        *text = row.get_ref(FIRST_TEXT + place)?.as_bytes_or_null().unwrap_or_default().unwrap_or_default();
    }
    Ok(Stored {
        number: row.get(0)?,
        caller: row.get(2)?,
        place: row.get(3)?,
        outcome: Outcome::from_number(row.get(1)?),
        finished_ms: number(4)?.unwrap_or_default(),
        execution_us: number(5)?,
        waiting_us: number(6)?,
        cpu_us: number(7)?,
        attempts: row.get(8)?,
        cached: flags & 1 != 0,
        confidential: flags & 2 != 0,
        texts,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Retention;
    use crate::query::{Search, search, task};
    use crate::table::Table;
    use rusqlite::Connection;

    /// The schema of version 1 as it was, and two records.
    const BEFORE: &str = "
        CREATE TABLE records (number INTEGER PRIMARY KEY, status INTEGER NOT NULL, caller INTEGER NOT NULL,
            place INTEGER NOT NULL, finished_ms INTEGER NOT NULL, task_id TEXT NOT NULL, function TEXT,
            task_type TEXT NOT NULL, execution_us INTEGER, waiting_us INTEGER, cpu_us INTEGER, attempts INTEGER,
            flags INTEGER NOT NULL, role TEXT, pid TEXT, runtime TEXT, code TEXT, result TEXT, error TEXT) STRICT;
        CREATE TABLE callers (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, successful INTEGER NOT NULL,
            failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, timed INTEGER NOT NULL,
            execution_us INTEGER NOT NULL) STRICT;
        CREATE TABLE places (number INTEGER PRIMARY KEY, peer_id TEXT NOT NULL, address TEXT NOT NULL,
            records INTEGER NOT NULL, UNIQUE (peer_id, address)) STRICT;
        CREATE INDEX places_by_address ON places (address);
        CREATE TABLE blocks (block INTEGER PRIMARY KEY, oldest_ms INTEGER NOT NULL, newest_ms INTEGER NOT NULL,
            statuses INTEGER NOT NULL) STRICT;
        CREATE TABLE block_callers (caller INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (caller, block))
            STRICT, WITHOUT ROWID;
        CREATE TABLE block_places (place INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (place, block))
            STRICT, WITHOUT ROWID;
        CREATE TABLE block_tasks (block INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
        CREATE TABLE batches (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        INSERT INTO records VALUES
            (1500, 0, 1, 1, 1767323045678, 'T1', 'main', 'CPU_TASK', 500000, 250000, 125000, 3, 1, 'EXECUTOR', 'P1',
             'python', NULL, '42', NULL),
            (1501, 1, 1, 1, 1767323045679, 'T2', NULL, 'CPU_TASK', NULL, NULL, NULL, NULL, 2, NULL, NULL, NULL,
             'timed_out', NULL, NULL);
        INSERT INTO callers VALUES (1, 'local', 1, 1, 0, 1, 500000);
        INSERT INTO places VALUES (1, 'peer', '10.0.0.7:9000', 2);
        INSERT INTO blocks VALUES (1, 1767323045678, 1767323045679, 3);
        INSERT INTO block_callers VALUES (1, 1);
        INSERT INTO block_places VALUES (1, 1);
        PRAGMA user_version = 1;";

    #[test]
    fn a_file_of_the_version_before_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.sqlite");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(BEFORE).unwrap();
        let hashes = [crate::index::task_hash("T1"), crate::index::task_hash("T2")].concat();
        old.execute("INSERT INTO block_tasks VALUES (1, ?)", [hashes]).unwrap();
        drop(old);
        // And opened once more as what it is then.
        for _ in 0..2 {
            let mut table = Table::open(&path, Retention { records_max: 1000, keep_ms: None }).unwrap();
            assert_eq!(table.books().all.total(), 2);
        }
        let reader = crate::database::open_to_read(&path).unwrap();
        let page = search(&reader, &Search { limit: 10, ..Search::default() }, &|| false).unwrap();
        let [first, second] = &page.records[..] else { panic!("{:?}", page.records) };
        assert_eq!((first.number, second.number), (1500, 1501));
        assert_eq!((&*first.task_id, first.result.as_deref(), first.attempts), ("T1", Some("42"), Some(3)));
        assert_eq!((first.cached, first.execution_time, first.cpu_seconds), (true, Some(0.5), Some(0.125)));
        assert_eq!((&*second.status, second.code.as_deref(), second.confidential), ("FAILED", Some("timed_out"), true));
        assert_eq!(task(&reader, "T2", None).unwrap().map(|task| task.number), Some(1501));
    }
}
