//! The guests that were sent to this node, by the SHA-256 of their bytes, so that a task need not send one again.

use parking_lot::Mutex;
use potluck_sdk::message::cpu::outcome;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const EXTENSION: &str = "wasm";
/// What a guest counts for at least: its file takes a block, and the node's memory holds its name.
const ENTRY_BYTES_MIN: u64 = 4096;
/// Digits of a name.
const NAME_DIGITS: usize = 64;

/// The store: a folder that workers read, with at most so many bytes in it.
pub(crate) struct Modules {
    folder: PathBuf,
    bytes_max: u64,
    /// A leaf lock.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    bytes: u64,
    uses: u64,
}

struct Entry {
    bytes: u64,
    last_use: u64,
    /// Tasks that need it; it stays as long as there are any.
    tasks: usize,
}

/// A guest that is needed: it is not removed before this is dropped.
pub(crate) struct Module {
    store: Arc<Modules>,
    /// Its name.
    pub(crate) sha256: Arc<str>,
}

impl Module {
    /// Its bytes, to send them on.
    pub(crate) fn read(&self) -> std::io::Result<Vec<u8>> {
        fs::read(self.store.path(&self.sha256))
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.sha256)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Some(entry) = self.store.state.lock().entries.get_mut(&self.sha256) {
            entry.tasks -= 1;
        }
    }
}

/// Why a guest cannot be had: the code and the sentence.
pub(crate) type Refusal = (&'static str, String);

impl Modules {
    /// Opens the store; what an earlier run of the node left is still there.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> std::io::Result<Modules> {
        fs::create_dir_all(folder)?;
        let mut state = State::default();
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).filter(|name| is_name(name));
            match name {
                Some(name) if path.extension().is_some_and(|extension| extension == EXTENSION) => {
                    let bytes = weight(entry.metadata()?.len());
                    state.bytes += bytes;
                    state.entries.insert(Arc::from(name), Entry { bytes, last_use: 0, tasks: 0 });
                }
                // What was being written when the node was killed.
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(Modules { folder: folder.to_owned(), bytes_max, state: Mutex::new(state) })
    }

    /// The folder that workers read.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A guest that is there already.
    pub(crate) fn find(self: &Arc<Modules>, sha256: &str) -> Result<Module, Refusal> {
        self.take(&mut self.state.lock(), sha256)
    }

    fn take(self: &Arc<Modules>, state: &mut State, sha256: &str) -> Result<Module, Refusal> {
        state.uses += 1;
        let uses = state.uses;
        let known = state.entries.get_key_value(sha256).map(|(name, _)| Arc::clone(name));
        // Somebody may have cleared the folder away; then it is sent again.
        match known.filter(|_| self.path(sha256).exists()) {
            Some(name) => {
                if let Some(entry) = state.entries.get_mut(&name) {
                    entry.last_use = uses;
                    entry.tasks += 1;
                }
                Ok(Module { store: Arc::clone(self), sha256: name })
            }
            None => {
                let text = format!("this node has no guest with the SHA-256 {sha256}; send it as the attachment");
                Err((outcome::MODULE_UNKNOWN, text))
            }
        }
    }

    /// Keeps a guest. Blocks until it is on the disk.
    pub(crate) fn keep(self: &Arc<Modules>, bytes: &[u8]) -> Result<Module, Refusal> {
        let name = name_of(bytes);
        if let Ok(known) = self.find(&name) {
            return Ok(known);
        }
        let failed =
            |error: std::io::Error| (outcome::RUNTIME_UNAVAILABLE, format!("the guest cannot be kept: {error}"));
        let temporary = self.write(&name, bytes).map_err(failed)?;
        let mut state = self.state.lock();
        let bytes = weight(bytes.len() as u64);
        // Somebody else may have sent it meanwhile, or its file has gone: it has its place already.
        let is_counted = state.entries.contains_key(name.as_str());
        let room = if is_counted { Ok(()) } else { self.make_room(&mut state, bytes) };
        let placed = room.and_then(|()| fs::rename(&temporary, self.path(&name)).map_err(failed));
        if let Err(refusal) = placed {
            let _ = fs::remove_file(&temporary);
            return Err(refusal);
        }
        if !is_counted {
            state.entries.insert(Arc::from(name.as_str()), Entry { bytes, last_use: 0, tasks: 0 });
            state.bytes += bytes;
        }
        // Under the same lock: a moment later somebody else might make room by removing it.
        self.take(&mut state, &name)
    }

    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), Refusal> {
        while state.bytes + bytes > self.bytes_max {
            let unneeded = state.entries.iter().filter(|(_, entry)| entry.tasks == 0);
            let oldest = unneeded.min_by_key(|(_, entry)| entry.last_use).map(|(name, _)| Arc::clone(name));
            let Some(name) = oldest else {
                let text =
                    format!("the guests of running tasks fill the {} bytes for them; try again later", self.bytes_max);
                return Err((outcome::QUEUE_FULL, text));
            };
            let _ = fs::remove_file(self.path(&name));
            if let Some(entry) = state.entries.remove(&name) {
                state.bytes -= entry.bytes;
            }
        }
        Ok(())
    }

    /// A whole file, under a name of its own.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path(name).with_extension(format!("{number}.new"));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(temporary)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension(EXTENSION)
    }
}

fn weight(bytes: u64) -> u64 {
    bytes.max(ENTRY_BYTES_MIN)
}

/// What a guest is called.
pub(crate) fn name_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text can name a guest.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() == NAME_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_makes_room_and_what_is_needed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Modules::open(folder.path(), 2 * ENTRY_BYTES_MIN).unwrap());
        let first = store.keep(b"first").unwrap();
        assert_eq!(first.sha256.as_ref(), name_of(b"first"));
        drop(store.keep(b"2nd").unwrap());
        // Only the second one may go.
        let third = store.keep(b"third").unwrap();
        assert!(store.find(&name_of(b"2nd")).is_err() && store.find(&first.sha256).is_ok());
        assert_eq!(store.keep(b"fourth").unwrap_err().0, outcome::QUEUE_FULL);
        drop(third);
        assert!(store.keep(b"new").is_ok());
        // Another run finds what was kept.
        let again = Arc::new(Modules::open(folder.path(), 2 * ENTRY_BYTES_MIN).unwrap());
        assert_eq!(again.find(&first.sha256).unwrap().read().unwrap(), b"first");
    }

    #[test]
    fn small_guests_count_for_a_block_each() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Modules::open(folder.path(), 4 * ENTRY_BYTES_MIN).unwrap());
        for number in 0..20_u8 {
            drop(store.keep(&[number]).unwrap());
        }
        assert_eq!((store.state.lock().entries.len(), fs::read_dir(folder.path()).unwrap().count()), (4, 4));
    }

    #[test]
    fn a_guest_whose_file_has_gone_is_missing_until_it_is_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Modules::open(folder.path(), 4 * ENTRY_BYTES_MIN).unwrap());
        let needed = store.keep(b"guest").unwrap();
        fs::remove_file(store.path(&needed.sha256)).unwrap();
        assert_eq!(store.find(&needed.sha256).unwrap_err().0, outcome::MODULE_UNKNOWN);
        assert_eq!(store.keep(b"guest").unwrap().read().unwrap(), b"guest");
        assert_eq!(store.state.lock().bytes, ENTRY_BYTES_MIN);
    }
}
