//! All replicas are read once in a while, so that damage is found while there are others to mend it from.

use super::Holder;
use super::index::{BlobId, Replica, State};
use super::storage::now_unix_seconds;
use super::{read, upload};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A node that has just started has other things to do.
const FIRST_DELAY_SECONDS: u64 = 60;

/// Sets the time of the next round: so long after the last one, which may have been before a restart.
pub(super) fn arm(holder: &Arc<Holder>) {
    let period = holder.config.scrub_seconds;
    if period == 0 {
        return;
    }
    let last = holder.storage.scrubbed_unix_seconds().unwrap_or(0);
    let since = now_unix_seconds().saturating_sub(last);
    let delay = period.saturating_sub(since).max(FIRST_DELAY_SECONDS.min(period));
    let waiting = Arc::downgrade(holder);
    holder.host.run_after(Duration::from_secs(delay), move || {
        if let Some(holder) = waiting.upgrade() {
            start(&holder);
        }
    });
}

fn start(holder: &Arc<Holder>) {
    let work = Arc::clone(holder);
    holder.host.spawn_blocking(move || {
        upload::forget_abandoned(&work);
        let whole: Vec<BlobId> = {
            let index = work.index.lock();
            index.replicas().filter(|(_, replica)| replica.state == State::Whole).map(|(blob, _)| blob).collect()
        };
        next(&work, whole);
    });
}

/// Reads one replica; the next one gets its turn after whatever else waits for a thread.
fn next(holder: &Arc<Holder>, mut left: Vec<BlobId>) {
    if holder.is_stopping.load(Ordering::Relaxed) {
        return;
    }
    let Some(blob) = left.pop() else {
        // Without it the next round comes after the next start, which is early, but no harm.
        let _ = holder.storage.write_scrubbed();
        return arm(holder);
    };
    let known = holder.index.lock().replica(blob);
    if let Some(known) = known
        && known.state == State::Whole
        && matches!(is_in_order(holder, blob, &known), Ok(false))
    {
        holder.in_lane(&known.file, move |holder| {
            // It may have been mended, replaced or deleted while it was read.
            let known = holder.index.lock().replica(blob);
            if let Some(known) = known
                && known.state == State::Whole
                && matches!(is_in_order(holder, blob, &known), Ok(false))
            {
                read::mark_damaged(holder, blob, &known);
            }
        });
    }
    let work = Arc::clone(holder);
    holder.host.spawn_blocking(move || next(&work, left));
}

/// Whether all blocks are what the owner has signed. Nothing is known of a replica that cannot be opened just now.
fn is_in_order(holder: &Holder, blob: BlobId, known: &Replica) -> io::Result<bool> {
    let read = || -> io::Result<bool> {
        let hashes = holder.storage.read_hashes(known.file.owner, blob)?;
        let file = holder.storage.open_replica(known.file.owner, blob)?;
        let mut block = Vec::new();
        for index in 0..hashes.count() {
            if holder.is_stopping.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let begin = index as u64 * hashes.block_bytes();
            let length = (hashes.file_bytes() - begin).min(hashes.block_bytes());
            block.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
            file.read_exact_at(&mut block, begin)?;
            if !hashes.check(index, &block) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match read() {
        Err(error) if read::is_damage(&error) => Ok(false),
        other => other,
    }
}
