//! Blocks are read for their owner, the tracker and other holders; none leaves that is not what the owner has signed.

use super::Holder;
use super::index::{BlobId, Replica, State};
use super::storage::now_unix_seconds;
use crate::error::OwnedError;
use potluck_sdk::files::BlockHashes;
use potluck_sdk::message::owned_files::{REPLICA_TOPIC, ReplicaEvent, ReplicaState};
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Reads a block. A replica that turns out to be damaged is marked and reported.
pub(super) fn block(holder: &Arc<Holder>, blob: BlobId, number: u64) -> Result<Vec<u8>, OwnedError> {
    let known = holder.index.lock().replica(blob).ok_or(OwnedError::NoBlob)?;
    match read(holder, blob, &known, number)? {
        Some(bytes) => Ok(bytes),
        None if known.state == State::Part => Err(OwnedError::NoBlob),
        None => {
            suspect(holder, blob, &known, number);
            Err(OwnedError::Damaged)
        }
    }
}

/// Nothing when the block is not what it should be.
fn read(holder: &Holder, blob: BlobId, known: &Replica, number: u64) -> Result<Option<Vec<u8>>, OwnedError> {
    let block_bytes = BlockHashes::block_bytes_for(known.size);
    let begin = number.checked_mul(block_bytes).filter(|begin| *begin < known.size).ok_or(OwnedError::NoBlob)?;
    let length = usize::try_from(block_bytes.min(known.size - begin)).map_err(|_| OwnedError::NoBlob)?;
    let checked = || -> io::Result<Option<Vec<u8>>> {
        let hashes = holder.storage.read_hashes(known.file.owner, blob)?;
        let file = holder.storage.open_replica(known.file.owner, blob)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, begin)?;
        let index = usize::try_from(number).map_err(io::Error::other)?;
        Ok(hashes.check(index, &bytes).then_some(bytes))
    };
    match checked() {
        Err(error) if is_damage(&error) => Ok(None),
        other => other.map_err(|error| OwnedError::Io("GET_OWNED_FILE", error)),
    }
}

/// Whether the disk has lost something, rather than the process some resource.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
        || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Looks at a block again, in the replica's lane, and marks the replica as damaged if it is.
fn suspect(holder: &Arc<Holder>, blob: BlobId, known: &Replica, number: u64) {
    if known.state != State::Whole {
        return;
    }
    holder.in_lane(&known.file, move |holder| {
        let known = holder.index.lock().replica(blob);
        if let Some(known) = known
            && matches!(read(holder, blob, &known, number), Ok(None))
        {
            mark_damaged(holder, blob, &known);
        }
    });
}

/// Runs in the replica's lane. The damage shows in the name, so that it is known after a restart too.
pub(super) fn mark_damaged(holder: &Arc<Holder>, blob: BlobId, known: &Replica) {
    if known.state != State::Whole {
        return;
    }
    // When the file is not even there, the replica is made anew under the new name.
    let _ = holder.storage.rename(known.file.owner, blob, State::Whole, State::Damaged);
    holder.index.lock().update(blob, |replica| {
        (replica.state, replica.touched_unix_seconds) = (State::Damaged, now_unix_seconds());
    });
    let event = ReplicaEvent { blob: blob.text(), peer: holder.own_id, state: ReplicaState::Damaged };
    holder.host.publish(REPLICA_TOPIC, &event);
    super::report::report_one(holder, blob);
}
