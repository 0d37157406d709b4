//! Who has which shared file.
//!
//! All of it is in memory: nodes repeat what they have whenever they register anew. A holder is known by the key of its
//! registration, so that what it has told goes with that.

pub(crate) mod handler;
#[cfg(test)]
mod tests;

use crate::directory::PeerKey;
use crate::error::TrackerError;
use potluck_sdk::files::{FileName, from_hex};
use potluck_sdk::message::disk::{REGISTERED_FILES_MAX, RegisterFile, RegisteredFile, UnregisterFile};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Most holders in one answer.
pub(crate) const HOLDERS_MAX: usize = 64;

/// What a holder has told of its file; nodes of the original system tell nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<[u8; 32]>,
}

/// A file that a message names, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    name: &'a str,
    facts: Facts,
}

/// The files that REGISTER_FILE names.
pub(crate) fn registered<'a>(message: &'a RegisterFile<'a>) -> Result<Vec<Named<'a>>, TrackerError> {
    // A node without files says so with an empty list.
    let single = message.filename.as_deref().filter(|name| !name.is_empty() || message.files.is_empty());
    if single.is_none() && message.files.is_empty() && !message.replace {
        return Err(TrackerError::FilenameRequired);
    }
    let single = single.map(|name| Ok(Named { name: checked_name(name)?, facts: Facts::default() }));
    let named = |file: &'a RegisteredFile<'a>| {
        let sha256 = file.sha256.as_deref().map(|text| from_hex(text).ok_or(TrackerError::Sha256)).transpose()?;
        Ok(Named { name: checked_name(&file.filename)?, facts: Facts { size: Some(file.size), sha256 } })
    };
    checked_count(message.files.len())?;
    single.into_iter().chain(message.files.iter().map(named)).collect()
}

/// The names in UNREGISTER_FILE.
pub(crate) fn unregistered<'a>(message: &'a UnregisterFile<'a>) -> Result<Vec<&'a str>, TrackerError> {
    checked_count(message.filenames.len())?;
    let names = message.filename.iter().chain(&message.filenames);
    let names = names.map(|name| checked_name(name)).collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() { Err(TrackerError::FilenameRequired) } else { Ok(names) }
}

/// A name as it may stand in a message. Which names a file may have is the business of its holders.
pub(crate) fn checked_name(name: &str) -> Result<&str, TrackerError> {
    if name.is_empty() {
        return Err(TrackerError::FilenameRequired);
    }
    // Nothing is opened by it here, but somebody may where it is told.
    FileName::try_from(name).map_err(TrackerError::Name)?;
    Ok(name)
}

fn checked_count(count: usize) -> Result<(), TrackerError> {
    if count > REGISTERED_FILES_MAX { Err(TrackerError::FilesAtOnce) } else { Ok(()) }
}

/// The files of all holders. Each stands once in `holders` and once in `names`.
pub(crate) struct SharedFiles {
    files_max: usize,
    peer_files_max: usize,
    holders: BTreeMap<(Arc<str>, PeerKey), Facts>,
    names: BTreeSet<(PeerKey, Arc<str>)>,
    counts: HashMap<PeerKey, usize>,
    /// Whom the last answer ended with that could not name all.
    last_named: PeerKey,
}

impl SharedFiles {
    pub(crate) fn new(files_max: usize, peer_files_max: usize) -> SharedFiles {
        SharedFiles {
            files_max,
            peer_files_max,
            holders: BTreeMap::new(),
            names: BTreeSet::new(),
            counts: HashMap::new(),
            last_named: PeerKey::LEAST,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// How many files a holder has.
    pub(crate) fn count(&self, peer: PeerKey) -> usize {
        self.counts.get(&peer).copied().unwrap_or(0)
    }

    /// A holder has these files too, or `replace`s by them what it had. What fits is kept even when not all does.
    pub(crate) fn register(&mut self, peer: PeerKey, files: &[Named<'_>], replace: bool) -> Result<(), TrackerError> {
        if replace {
            self.remove_peer(peer);
        }
        for file in files {
            let name = self.name(file.name);
            if let Some(facts) = self.holders.get_mut(&(Arc::clone(&name), peer)) {
                *facts = file.facts;
                continue;
            }
            if self.len() >= self.files_max {
                return Err(TrackerError::FilesFull(self.files_max));
            }
            if self.count(peer) >= self.peer_files_max {
                return Err(TrackerError::PeerFilesFull(self.peer_files_max));
            }
            self.holders.insert((Arc::clone(&name), peer), file.facts);
            self.names.insert((peer, name));
            *self.counts.entry(peer).or_default() += 1;
        }
        Ok(())
    }

    /// A holder has these files no more; those that it never had do not matter.
    pub(crate) fn unregister(&mut self, peer: PeerKey, names: &[&str]) {
        for name in names {
            self.remove(peer, Arc::from(*name));
        }
    }

    /// A holder is gone, with all that it has told.
    pub(crate) fn remove_peer(&mut self, peer: PeerKey) {
        for name in self.names_of(peer) {
            self.remove(peer, name);
        }
    }

    /// A holder has a new registration.
    pub(crate) fn move_peer(&mut self, old: PeerKey, new: PeerKey) {
        for name in self.names_of(old) {
            if let Some(facts) = self.holders.get(&(Arc::clone(&name), old)).copied() {
                self.remove(old, Arc::clone(&name));
                self.holders.insert((Arc::clone(&name), new), facts);
                if self.names.insert((new, name)) {
                    *self.counts.entry(new).or_default() += 1;
                }
            }
        }
    }

    /// Some who have a file of that name, not always the same when there are more than an answer names.
    pub(crate) fn find(&mut self, name: &str) -> Vec<(PeerKey, Facts)> {
        let name: Arc<str> = Arc::from(name);
        let key = |peer| (Arc::clone(&name), peer);
        let behind = self.holders.range(key(self.last_named)..=key(PeerKey::GREATEST));
        let before = self.holders.range(key(PeerKey::LEAST)..key(self.last_named));
        let mut found = behind.chain(before).map(|((_, peer), facts)| (*peer, *facts));
        let holders: Vec<_> = found.by_ref().take(HOLDERS_MAX).collect();
        if let Some((next, _)) = found.next() {
            self.last_named = next;
        }
        holders
    }

    /// The name, in the place where others have it already.
    fn name(&self, name: &str) -> Arc<str> {
        let name: Arc<str> = Arc::from(name);
        let key = |peer| (Arc::clone(&name), peer);
        let first = self.holders.range(key(PeerKey::LEAST)..=key(PeerKey::GREATEST)).next();
        first.map_or_else(|| Arc::clone(&name), |((known, _), _)| Arc::clone(known))
    }

    fn names_of(&self, peer: PeerKey) -> Vec<Arc<str>> {
        let from = (peer, Arc::from(""));
        let own = self.names.range(from..).take_while(|(holder, _)| *holder == peer);
        own.map(|(_, name)| Arc::clone(name)).collect()
    }

    fn remove(&mut self, peer: PeerKey, name: Arc<str>) {
        if !self.names.remove(&(peer, Arc::clone(&name))) {
            return;
        }
        self.holders.remove(&(name, peer));
        if let Some(count) = self.counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&peer);
            }
        }
    }
}
