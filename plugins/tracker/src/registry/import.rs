//! Reads `owned_files.json` of the original system, in its old and its new format, when the registry is made. An entry
//! that cannot be read costs itself and a warning.

use super::error::RegistryError;
use super::plain::{self, Told};
use potluck_sdk::files::from_hex;
use potluck_sdk::{Host, Level, PeerId};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file, which the registry itself writes as well.
pub(super) const FILE_NAME: &str = "owned_files.json";
/// What was imported is kept under this name, since the registry writes its own.
const KEPT_NAME: &str = "owned_files.imported.json";
/// Warnings that are written one by one.
const WARNINGS_MAX: usize = 100;

#[derive(Deserialize)]
struct Entry {
    owner: Owner,
    storage: Vec<Place>,
}

#[derive(Deserialize)]
struct Owner {
    ip: String,
    port: u16,
    /// Missing in the old format.
    #[serde(default)]
    peer_id: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    ip: String,
    port: u16,
}

/// Imports the file in the registry's folder, if there is one.
pub(super) fn import(host: Host, connection: &Connection, folder: &Path) -> Result<(), RegistryError> {
    let path = folder.join(FILE_NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let warn = |text: String| host.log(Level::Warn, &text);
    fs::copy(&path, folder.join(KEPT_NAME))?;
    let entries: Map<String, Value> = match serde_json::from_slice(&text) {
        Ok(entries) => entries,
        Err(error) => {
            warn(format!("{} cannot be imported: {error}; it is kept as {KEPT_NAME}", path.display()));
            return Ok(());
        }
    };
    let (mut imported, mut refused) = (0_usize, 0_usize);
    for (key, value) in entries {
        if is_own(&key) {
            continue;
        }
        match serde_json::from_value::<Entry>(value) {
            Ok(entry) => {
                plain::insert(connection, &told(key, entry))?;
                imported += 1;
            }
            Err(error) => {
                refused += 1;
                if refused <= WARNINGS_MAX {
                    let key: String = key.chars().take(100).collect();
                    warn(format!("the entry {key:?} of {} cannot be imported: {error}", path.display()));
                }
            }
        }
    }
    if imported + refused > 0 {
        let text = format!(
            "{imported} files were imported from {}, {refused} entries were not; bind their owners with BIND_OWNER",
            path.display()
        );
        host.log(Level::Info, &text);
    }
    Ok(())
}

/// Whether this registry has written the entry: of such files it learns everything from holders and owners.
fn is_own(key: &str) -> bool {
    key.split_once('/').is_some_and(|(owner, tag)| owner.parse::<PeerId>().is_ok() && from_hex::<32>(tag).is_some())
}

fn told(key: String, entry: Entry) -> Told {
    let Owner { ip, port, peer_id } = entry.owner;
    let owner = peer_id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("port_{port}"));
    // As this registry writes it, when it was lost and the file was not.
    let filename = match key.strip_prefix(&owner).and_then(|rest| rest.strip_prefix('/')) {
        Some(filename) if !filename.is_empty() => filename.to_owned(),
        _ => key,
    };
    let storage = entry.storage.into_iter().map(|place| (place.ip, place.port)).collect();
    Told { owner, member: None, filename, address: (ip, port), storage }
}
