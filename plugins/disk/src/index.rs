//! Which files there are, whose they are, and what still fits.

use crate::config::DiskConfig;
use crate::error::DiskError;
use potluck_sdk::PeerId;
use potluck_sdk::allowance::Held;
use potluck_sdk::files::{FileName, NameIndex, NameKey};
use potluck_sdk::message::quota;
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) size: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) owner: Option<PeerId>,
    pub(crate) modified_unix_seconds: u64,
}

#[derive(Default)]
pub(crate) struct Index {
    pub(crate) files: BTreeMap<String, Entry>,
    names: NameIndex,
    /// Bytes of each owner, with what is reserved.
    bytes: HashMap<Option<PeerId>, u64>,
    pub(crate) stored_bytes: u64,
    reserved_bytes: u64,
    reserved_files: usize,
}

impl Index {
    /// Whether `caller` may write that name; the node's user may always.
    pub(crate) fn check_owner(&self, name: &FileName, caller: Option<PeerId>) -> Result<(), DiskError> {
        match self.files.get(name.as_str()) {
            Some(entry) if caller.is_some() && entry.owner != caller => Err(DiskError::NotOwner),
            _ => Ok(()),
        }
    }

    /// Checks everything that could forbid a file, and keeps room for it.
    pub(crate) fn reserve(
        &mut self,
        config: &DiskConfig,
        name: &FileName,
        owner: Option<PeerId>,
        size: u64,
    ) -> Result<(), DiskError> {
        if size > config.file_bytes_max {
            return Err(DiskError::TooLarge(config.file_bytes_max));
        }
        self.check(name, owner)?;
        let old = self.files.get(name.as_str());
        if old.is_none() && self.files.len() + self.reserved_files >= config.files_max {
            return Err(DiskError::FilesFull(config.files_max));
        }
        let freed = old.map_or(0, |old| old.size);
        let total = self.stored_bytes.saturating_add(self.reserved_bytes).saturating_add(size);
        if total.saturating_sub(freed) > config.capacity_bytes {
            return Err(DiskError::Quota { bytes: config.capacity_bytes, key: "capacity_bytes" });
        }
        let own = self.bytes.get(&owner).copied().unwrap_or(0).saturating_add(size);
        let own_freed = if old.is_some_and(|old| old.owner == owner) { freed } else { 0 };
        if owner.is_some() && own.saturating_sub(own_freed) > config.peer_bytes_max {
            return Err(DiskError::Quota { bytes: config.peer_bytes_max, key: "peer_bytes_max" });
        }
        self.hold(owner, size);
        Ok(())
    }

    /// What `owner` and all together have, without a file of that name and without the room of `size` bytes that is kept
    /// for it; and the bytes of the owner's that it takes the place of.
    pub(crate) fn held(&self, name: &FileName, owner: Option<PeerId>, size: u64) -> (Held, u64) {
        let old = self.files.get(name.as_str());
        let freed = old.map_or(0, |old| old.size);
        let own_freed = old.filter(|old| old.owner == owner).map_or(0, |old| old.size);
        let own = self.bytes.get(&owner).copied().unwrap_or(0);
        let total = self.stored_bytes.saturating_add(self.reserved_bytes);
        let without = |bytes: u64, freed: u64| bytes.saturating_sub(size).saturating_sub(freed);
        (Held { used: without(own, own_freed), used_total: without(total, freed) }, own_freed)
    }

    /// What each owner has, and all together, with the room that is kept for what is being written.
    pub(crate) fn held_by_all(&self) -> quota::Held {
        let id = |owner: &Option<PeerId>| owner.map(|owner| owner.to_string()).unwrap_or_default();
        let callers = self.bytes.iter().map(|(owner, bytes)| (id(owner), *bytes)).collect();
        quota::Held { used_total: self.stored_bytes.saturating_add(self.reserved_bytes), callers }
    }

    /// Whether a file may get that name now, whatever has happened since room was kept for it.
    pub(crate) fn check(&self, name: &FileName, caller: Option<PeerId>) -> Result<(), DiskError> {
        self.check_owner(name, caller)?;
        Ok(self.names.check(name, &NameKey::new(name))?)
    }

    /// Keeps room without asking whether there is any.
    pub(crate) fn hold(&mut self, owner: Option<PeerId>, size: u64) {
        self.reserved_bytes += size;
        self.reserved_files += 1;
        *self.bytes.entry(owner).or_default() += size;
    }

    /// Gives back what [`Index::reserve`] kept.
    pub(crate) fn release(&mut self, owner: Option<PeerId>, size: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(size);
        self.reserved_files = self.reserved_files.saturating_sub(1);
        self.subtract(owner, size);
    }

    /// A file is there now. One that came from outside under a conflicting name is listed all the same.
    pub(crate) fn insert(&mut self, name: &FileName, entry: Entry) {
        self.remove(name);
        let _ = self.names.insert(name);
        self.stored_bytes += entry.size;
        *self.bytes.entry(entry.owner).or_default() += entry.size;
        self.files.insert(name.as_str().to_owned(), entry);
    }

    pub(crate) fn remove(&mut self, name: &FileName) -> Option<Entry> {
        let entry = self.files.remove(name.as_str())?;
        self.names.remove(name);
        self.stored_bytes = self.stored_bytes.saturating_sub(entry.size);
        self.subtract(entry.owner, entry.size);
        Some(entry)
    }

    fn subtract(&mut self, owner: Option<PeerId>, size: u64) {
        if let Some(bytes) = self.bytes.get_mut(&owner) {
            *bytes = bytes.saturating_sub(size);
            if *bytes == 0 {
                self.bytes.remove(&owner);
            }
        }
    }
}
