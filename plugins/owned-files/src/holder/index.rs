//! What a holder keeps, and of whom: owners, versions, room. Nothing here touches the disk.
//!
//! A replica counts with its whole size from the moment that its manifest came: no two uploads get the same room.

use crate::config::OwnedFilesConfig;
use crate::error::OwnedError;
use potluck_sdk::PeerId;
use potluck_sdk::files::{CheckedManifest, from_hex, to_hex};
use std::collections::{HashMap, VecDeque};

/// Deletions that are remembered of one owner's files.
const DELETIONS_MAX: usize = 1000;
/// Replicas of others' files that one member may have begun to bring, and the part of the capacity that all but one of
/// them may need together. Anybody can make up owners and sign for them.
const BROUGHT_MAX: usize = 32;
const BROUGHT_SHARE: u64 = 4;

/// A blob's random id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlobId([u8; 16]);

impl BlobId {
    pub(crate) fn parse(text: &str) -> Result<BlobId, OwnedError> {
        from_hex(text).map(BlobId).ok_or(OwnedError::BlobName)
    }

    pub(crate) fn text(self) -> String {
        to_hex(&self.0)
    }
}

/// A file of an owner's: all its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    pub(crate) owner: PeerId,
    tag: [u8; 32],
}

impl FileKey {
    pub(crate) fn of(manifest: &CheckedManifest) -> Result<FileKey, OwnedError> {
        let tag = from_hex(&manifest.manifest.name_tag).ok_or(potluck_sdk::files::ManifestError::Member("name_tag"))?;
        Ok(FileKey { owner: manifest.owner, tag })
    }

    pub(crate) fn tag_text(&self) -> String {
        to_hex(&self.tag)
    }

    /// All that changes the file's versions is done in this lane, one after the other.
    pub(crate) fn lane(&self) -> String {
        format!("{}/{}", self.owner, self.tag_text())
    }
}

/// How a replica fares. It shows in the file's name too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Blocks are missing.
    Part,
    Whole,
    /// It was whole, and blocks of it have changed or are gone.
    Damaged,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) file: FileKey,
    pub(crate) revision: u64,
    pub(crate) size: u64,
    pub(crate) root: [u8; 32],
    pub(crate) state: State,
    /// Who brings a part of somebody else's file; not known after a restart.
    pub(crate) brought_by: Option<PeerId>,
    /// When something was last done with a part.
    pub(crate) touched_unix_seconds: u64,
}

/// What a manifest says about its blob.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) blob: BlobId,
    pub(crate) replica: Replica,
}

impl Wanted {
    /// Nothing for the manifest of a deletion.
    pub(crate) fn of(manifest: &CheckedManifest) -> Result<Option<Wanted>, OwnedError> {
        let Some(blob) = &manifest.manifest.blob else { return Ok(None) };
        let root = from_hex(&blob.root).ok_or(potluck_sdk::files::ManifestError::Member("blob.root"))?;
        let replica = Replica {
            file: FileKey::of(manifest)?,
            revision: manifest.manifest.revision,
            size: blob.size,
            root,
            state: State::Part,
            brought_by: None,
            touched_unix_seconds: 0,
        };
        Ok(Some(Wanted { blob: BlobId::parse(&blob.id)?, replica }))
    }
}

/// What is known of a replica that somebody brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Room was made for it.
    New,
    /// It is known under an earlier manifest, or the same.
    Known,
}

/// The latest that an owner has said of a file of which something was deleted here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) revision: u64,
    /// The blob of the version that came next; it may still be brought here.
    pub(crate) blob: Option<BlobId>,
}

impl Deletion {
    pub(crate) fn of(manifest: &CheckedManifest) -> Result<Deletion, OwnedError> {
        let blob = manifest.manifest.blob.as_ref().map(|blob| BlobId::parse(&blob.id)).transpose()?;
        Ok(Deletion { revision: manifest.manifest.revision, blob })
    }
}

#[derive(Default)]
struct Versions {
    blobs: Vec<BlobId>,
    deletion: Option<Deletion>,
}

#[derive(Default)]
struct Owner {
    bytes: u64,
    /// Files with a deletion, the oldest first.
    deletions: VecDeque<FileKey>,
}

/// Under one lock, which is held for moments.
#[derive(Default)]
pub(crate) struct Index {
    replicas: HashMap<BlobId, Replica>,
    files: HashMap<FileKey, Versions>,
    owners: HashMap<PeerId, Owner>,
    /// Files in the original's form: the hash of the name, and the size.
    named: HashMap<(PeerId, [u8; 32]), u64>,
    stored_bytes: u64,
    deletion_count: usize,
}

impl Index {
    pub(crate) fn replica(&self, blob: BlobId) -> Option<Replica> {
        self.replicas.get(&blob).copied()
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (BlobId, &Replica)> {
        self.replicas.iter().map(|(blob, replica)| (*blob, replica))
    }

    pub(crate) fn replica_count(&self) -> usize {
        self.replicas.len() + self.named.len()
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Takes a replica in, unless its owner has said something later, or there is no room.
    pub(crate) fn admit(&mut self, config: &OwnedFilesConfig, wanted: &Wanted) -> Result<Admission, OwnedError> {
        let Wanted { blob, replica } = wanted;
        if let Some(versions) = self.files.get(&replica.file) {
            if let Some(deletion) = versions.deletion
                && (replica.revision < deletion.revision
                    || (replica.revision == deletion.revision && deletion.blob != Some(*blob)))
            {
                return Err(OwnedError::Superseded);
            }
            for (other, revision) in versions.blobs.iter().filter_map(|id| Some((id, self.replicas.get(id)?.revision)))
            {
                if revision > replica.revision {
                    return Err(OwnedError::Superseded);
                }
                if revision == replica.revision && other != blob {
                    return Err(OwnedError::Taken);
                }
            }
        }
        match self.replicas.get(blob) {
            Some(known) if (known.file, known.root, known.size) == (replica.file, replica.root, replica.size) => {
                return Ok(Admission::Known);
            }
            Some(_) => return Err(OwnedError::Taken),
            None => {}
        }
        self.make_room(config, replica.file.owner, replica.size)?;
        self.check_brought(config, replica)?;
        self.insert(*blob, *replica);
        Ok(Admission::New)
    }

    /// Checks that there is room for so many more bytes of an owner's.
    fn make_room(&self, config: &OwnedFilesConfig, owner: PeerId, size: u64) -> Result<(), OwnedError> {
        if self.replica_count() >= config.replicas_max {
            return Err(OwnedError::ReplicasFull(config.replicas_max));
        }
        self.check_bytes(config, owner, size, 0)
    }

    fn check_bytes(&self, config: &OwnedFilesConfig, owner: PeerId, size: u64, old: u64) -> Result<(), OwnedError> {
        if size > blob_bytes_max(config) {
            return Err(OwnedError::TooLarge(config.file_bytes_max));
        }
        let of_owner = self.owners.get(&owner).map_or(0, |owner| owner.bytes);
        let limits = [
            (self.stored_bytes, config.capacity_bytes, "capacity_bytes"),
            (of_owner, config.owner_bytes_max, "owner_bytes_max"),
        ];
        for (used, bytes, key) in limits {
            if used.saturating_sub(old).saturating_add(size) > bytes {
                return Err(OwnedError::Quota { bytes, key });
            }
        }
        Ok(())
    }

    /// Checks what a member has begun to bring of others' files.
    fn check_brought(&self, config: &OwnedFilesConfig, replica: &Replica) -> Result<(), OwnedError> {
        if replica.brought_by.is_none() {
            return Ok(());
        }
        let unfinished =
            self.replicas.values().filter(|it| it.state == State::Part && it.brought_by == replica.brought_by);
        let (count, bytes) =
            unfinished.fold((0, 0u64), |(count, bytes), it| (count + 1, bytes.saturating_add(it.size)));
        let bytes_max = config.capacity_bytes / BROUGHT_SHARE;
        if count >= BROUGHT_MAX {
            return Err(OwnedError::UploadsFull(count));
        }
        // One is let in however large it is: what is to be repaired may be.
        if count > 0 && bytes.saturating_add(replica.size) > bytes_max {
            return Err(OwnedError::Quota { bytes: bytes_max, key: "capacity_bytes" });
        }
        Ok(())
    }

    fn count(&mut self, owner: PeerId, size: u64) {
        self.stored_bytes = self.stored_bytes.saturating_add(size);
        let owner = self.owners.entry(owner).or_default();
        owner.bytes = owner.bytes.saturating_add(size);
    }

    fn discount(&mut self, id: PeerId, size: u64) {
        self.stored_bytes = self.stored_bytes.saturating_sub(size);
        if let Some(owner) = self.owners.get_mut(&id) {
            owner.bytes = owner.bytes.saturating_sub(size);
            if owner.bytes == 0 && owner.deletions.is_empty() {
                self.owners.remove(&id);
            }
        }
    }

    /// Takes a replica in, without asking for room: it is on the disk. Another one with its id stays.
    pub(crate) fn insert(&mut self, blob: BlobId, replica: Replica) -> bool {
        if self.replicas.contains_key(&blob) {
            return false;
        }
        self.count(replica.file.owner, replica.size);
        self.replicas.insert(blob, replica);
        self.files.entry(replica.file).or_default().blobs.push(blob);
        true
    }

    /// Changes what is known of a replica; not its file or its size.
    pub(crate) fn update(&mut self, blob: BlobId, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = self.replicas.get_mut(&blob) {
            change(replica);
        }
    }

    pub(crate) fn remove(&mut self, blob: BlobId) -> Option<Replica> {
        let replica = self.replicas.remove(&blob)?;
        self.discount(replica.file.owner, replica.size);
        if let Some(versions) = self.files.get_mut(&replica.file) {
            versions.blobs.retain(|other| *other != blob);
            if versions.blobs.is_empty() && versions.deletion.is_none() {
                self.files.remove(&replica.file);
            }
        }
        Some(replica)
    }

    /// The replicas that a later version replaces.
    pub(crate) fn replaced(&self, file: &FileKey, by: &Deletion) -> Vec<BlobId> {
        let blobs = self.files.get(file).map_or(&[][..], |versions| &versions.blobs);
        let is_old = |blob: &&BlobId| {
            by.blob != Some(**blob) && self.replicas.get(*blob).is_some_and(|known| known.revision < by.revision)
        };
        blobs.iter().filter(is_old).copied().collect()
    }

    /// The last deletion of a file that is remembered.
    pub(crate) fn deletion(&self, file: &FileKey) -> Option<Deletion> {
        self.files.get(file)?.deletion
    }

    /// Remembers a deletion, and returns the one that is forgotten for it.
    pub(crate) fn remember(&mut self, total_max: usize, file: FileKey, deletion: Deletion) -> Option<FileKey> {
        let known = &mut self.files.entry(file).or_default().deletion;
        if known.replace(deletion).is_some() {
            return None;
        }
        self.deletion_count += 1;
        let own = &mut self.owners.entry(file.owner).or_default().deletions;
        own.push_back(file);
        let crowded = if own.len() > DELETIONS_MAX {
            file.owner
        } else if self.deletion_count > total_max.max(DELETIONS_MAX) {
            // Who has deleted most can spare one.
            *self.owners.iter().max_by_key(|(_, owner)| owner.deletions.len())?.0
        } else {
            return None;
        };
        let oldest = self.owners.get_mut(&crowded)?.deletions.pop_front()?;
        self.deletion_count -= 1;
        if let Some(versions) = self.files.get_mut(&oldest) {
            versions.deletion = None;
            if versions.blobs.is_empty() {
                self.files.remove(&oldest);
            }
        }
        self.discount(crowded, 0);
        Some(oldest)
    }

    /// Keeps room for a file in the original's form, in the place of an older one of that name.
    pub(crate) fn reserve_named(
        &mut self,
        config: &OwnedFilesConfig,
        key: (PeerId, [u8; 32]),
        size: u64,
    ) -> Result<(), OwnedError> {
        let old = match self.named.get(&key) {
            Some(old) => *old,
            None => {
                self.make_room(config, key.0, size)?;
                0
            }
        };
        self.check_bytes(config, key.0, size, old)?;
        self.insert_named(key, size);
        Ok(())
    }

    pub(crate) fn named(&self, key: &(PeerId, [u8; 32])) -> Option<u64> {
        self.named.get(key).copied()
    }

    pub(crate) fn insert_named(&mut self, key: (PeerId, [u8; 32]), size: u64) {
        self.remove_named(&key);
        self.count(key.0, size);
        self.named.insert(key, size);
    }

    pub(crate) fn remove_named(&mut self, key: &(PeerId, [u8; 32])) -> Option<u64> {
        let size = self.named.remove(key)?;
        self.discount(key.0, size);
        Some(size)
    }
}

/// The limit is for files; encryption adds 16 bytes to each 64 KiB, and a header.
fn blob_bytes_max(config: &OwnedFilesConfig) -> u64 {
    config.file_bytes_max.saturating_add(config.file_bytes_max / 1024).saturating_add(64 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(tag: u8, revision: u64, size: u64) -> Replica {
        Replica {
            file: FileKey { owner: PeerId::from_hash([1; 16]), tag: [tag; 32] },
            revision,
            size,
            root: [0; 32],
            state: State::Part,
            brought_by: None,
            touched_unix_seconds: 0,
        }
    }

    fn admit(index: &mut Index, blob: u8, replica: Replica) -> Result<Admission, String> {
        let config = OwnedFilesConfig { capacity_bytes: 100, replicas_max: 3, ..OwnedFilesConfig::default() };
        let wanted = Wanted { blob: BlobId([blob; 16]), replica };
        index.admit(&config, &wanted).map_err(|error| potluck_sdk::ProviderError::from(error).code.into_owned())
    }

    #[test]
    fn only_the_latest_version_is_taken_and_one_blob_a_revision() {
        let mut index = Index::default();
        assert_eq!(admit(&mut index, 1, replica(1, 5, 10)), Ok(Admission::New));
        assert_eq!(admit(&mut index, 1, replica(1, 5, 10)), Ok(Admission::Known));
        assert_eq!(admit(&mut index, 2, replica(1, 4, 10)), Err("superseded".to_owned()));
        assert_eq!(admit(&mut index, 2, replica(1, 5, 10)), Err("conflict".to_owned()));
        assert_eq!(admit(&mut index, 1, replica(2, 5, 10)), Err("conflict".to_owned()));
        assert_eq!(admit(&mut index, 2, replica(1, 6, 10)), Ok(Admission::New));
        let latest = Deletion { revision: 6, blob: Some(BlobId([2; 16])) };
        assert_eq!(index.replaced(&replica(1, 0, 0).file, &latest), [BlobId([1; 16])]);
    }

    #[test]
    fn room_is_given_back_and_never_given_twice() {
        let mut index = Index::default();
        assert_eq!(admit(&mut index, 1, replica(1, 1, 60)), Ok(Admission::New));
        assert_eq!(admit(&mut index, 2, replica(2, 1, 60)), Err("limit_reached".to_owned()));
        assert_eq!(admit(&mut index, 2, replica(2, 1, u64::MAX)), Err("file_too_large".to_owned()));
        index.remove(BlobId([1; 16])).unwrap();
        assert_eq!((index.stored_bytes(), index.owners.len(), index.files.len()), (0, 0, 0));
        for number in 1..4 {
            assert_eq!(admit(&mut index, number, replica(number, 1, 1)), Ok(Admission::New));
        }
        assert_eq!(admit(&mut index, 4, replica(4, 1, 1)), Err("limit_reached".to_owned()));
    }

    #[test]
    fn a_deletion_is_remembered_until_too_many_follow() {
        let mut index = Index::default();
        let file = replica(1, 0, 0).file;
        assert_eq!(index.remember(10, file, Deletion { revision: 3, blob: None }), None);
        assert_eq!(admit(&mut index, 1, replica(1, 3, 1)), Err("superseded".to_owned()));
        assert_eq!(index.remember(10, file, Deletion { revision: 4, blob: Some(BlobId([1; 16])) }), None);
        assert_eq!(admit(&mut index, 2, replica(1, 4, 1)), Err("superseded".to_owned()));
        assert_eq!(admit(&mut index, 1, replica(1, 4, 1)), Ok(Admission::New));
        let mut forgotten = Vec::new();
        for number in 0..DELETIONS_MAX {
            let mut tag = [9; 32];
            tag[..8].copy_from_slice(&number.to_le_bytes());
            let file = FileKey { owner: file.owner, tag };
            forgotten.extend(index.remember(10, file, Deletion { revision: 1, blob: None }));
        }
        assert_eq!(forgotten, [file]);
        assert_eq!(index.deletion_count, DELETIONS_MAX);
    }
}
