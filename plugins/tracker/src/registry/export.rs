//! Writes `owned_files.json` beside the database, in the shape that the original system has documented, for people and
//! programs that look. Nothing is ever read from it while the database is there.

use super::error::RegistryError;
use super::plain::Place;
use super::{Registry, database, import};
use potluck_sdk::Level;
use rusqlite::Connection;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TEMPORARY_NAME: &str = "owned_files.tmp";
/// Least time between two files.
const PAUSE: Duration = Duration::from_secs(1);
/// A large registry is written less often: this part of the time is spent on it at most.
const BUSY_PART: u32 = 10;

#[derive(Serialize)]
struct Entry {
    owner: Owner,
    storage: Vec<Storage>,
}

#[derive(Serialize)]
struct Owner {
    ip: String,
    port: u16,
    peer_id: String,
}

#[derive(Serialize)]
struct Storage {
    ip: String,
    port: u16,
}

/// Something has changed: the file is written in a moment.
pub(super) fn arm(registry: &Arc<Registry>) {
    if registry.export_armed.swap(true, Ordering::AcqRel) {
        return;
    }
    let this = Arc::clone(registry);
    let pause = PAUSE.max(*registry.export_pause.lock());
    registry.host.run_after(pause, move || {
        let exported = Arc::clone(&this);
        this.host.spawn_blocking(move || {
            let changes = exported.changes.load(Ordering::Acquire);
            let started = Instant::now();
            if let Err(error) = write(&exported.folder) {
                exported.host.log(Level::Warn, &format!("{} could not be written: {error}", import::FILE_NAME));
            }
            *exported.export_pause.lock() = started.elapsed() * BUSY_PART;
            exported.export_armed.store(false, Ordering::Release);
            if exported.changes.load(Ordering::Acquire) != changes {
                arm(&exported);
            }
        });
    });
}

fn write(folder: &Path) -> Result<(), RegistryError> {
    let connection = database::open_to_read(folder)?;
    let temporary = folder.join(TEMPORARY_NAME);
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    let mut writer = Writer { out: BufWriter::new(file), is_first: true };
    // One look at the whole, whatever is written meanwhile.
    connection.execute_batch("BEGIN")?;
    write_files(&connection, &mut writer)?;
    write_plain_files(&connection, &mut writer)?;
    connection.execute_batch("COMMIT")?;
    writer.out.write_all(if writer.is_first { b"{}\n" } else { b"\n}\n" })?;
    let file = writer.out.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(import::FILE_NAME))?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

struct Writer {
    out: BufWriter<File>,
    is_first: bool,
}

impl Writer {
    fn entry(&mut self, key: &str, entry: &Entry) -> Result<(), RegistryError> {
        let begin = if std::mem::replace(&mut self.is_first, false) { "{\n" } else { ",\n" };
        let value = serde_json::to_string_pretty(entry).map_err(std::io::Error::other)?.replace('\n', "\n  ");
        write!(self.out, "{begin}  {}: {value}", potluck_sdk::message::to_json(key))?;
        Ok(())
    }
}

fn write_files(connection: &Connection, writer: &mut Writer) -> Result<(), RegistryError> {
    let sql = "SELECT files.number, owner, name_tag, COALESCE(ip, ''), COALESCE(port, 0)
               FROM files LEFT JOIN peers ON peer_id = owner WHERE blob IS NOT NULL ORDER BY owner, name_tag";
    let mut files = connection.prepare(sql)?;
    let sql = "SELECT COALESCE(ip, ''), COALESCE(port, 0) FROM replicas LEFT JOIN peers ON peer_id = holder
               WHERE file = ?1 AND unwanted = 0 ORDER BY number";
    let mut replicas = connection.prepare(sql)?;
    let mut rows = files.query([])?;
    while let Some(row) = rows.next()? {
        let (number, peer_id, name_tag): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let storage = replicas.query_map([number], |row| Ok(Storage { ip: row.get(0)?, port: row.get(1)? }))?;
        let storage = storage.collect::<Result<_, _>>()?;
        let key = format!("{peer_id}/{name_tag}");
        writer.entry(&key, &Entry { owner: Owner { ip: row.get(3)?, port: row.get(4)?, peer_id }, storage })?;
    }
    Ok(())
}

fn write_plain_files(connection: &Connection, writer: &mut Writer) -> Result<(), RegistryError> {
    let sql = "SELECT owner, filename, COALESCE(member, owner), ip, port, storage FROM plain_files
               ORDER BY owner, filename";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (owner, filename, storage): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(5)?);
        let places: Vec<Place> = serde_json::from_str(&storage).unwrap_or_default();
        let storage = places.into_iter().map(|(ip, port)| Storage { ip, port }).collect();
        let owned_by = Owner { ip: row.get(3)?, port: row.get(4)?, peer_id: row.get(2)? };
        writer.entry(&format!("{owner}/{filename}"), &Entry { owner: owned_by, storage })?;
    }
    Ok(())
}
