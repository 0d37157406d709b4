//! What the tracker is told: everything when it has this node in its table anew, and what is found damaged or mended.

use super::Holder;
use super::index::{BlobId, State};
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::{ENTRIES_MAX, OwnedFilesReported, ReportOwnedFiles, ReportedReplica};
use potluck_sdk::message::to_json;
use potluck_sdk::{Level, PeerId, Response};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A report is sent when it has so many bytes of manifests, though it could have more entries.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What the tracker has not taken is told again after this; it doubles up to the longest.
const FIRST_PAUSE_SECONDS: u64 = 60;
const LONGEST_PAUSE_SECONDS: u64 = 3600;

/// What the tracker has not taken: it was busy, say.
#[derive(Default)]
pub(super) struct Untold {
    blobs: HashSet<BlobId>,
    /// Whether a time is set to tell it again.
    is_armed: bool,
    pause_seconds: u64,
}

impl Holder {
    /// The tracker has this node in its table: it hears of all replicas, batch after batch.
    pub(crate) fn tracker_session(self: &Arc<Self>, tracker: PeerId) {
        *self.tracker.lock() = Some(tracker);
        let round = self.report_round.fetch_add(1, Ordering::Relaxed) + 1;
        {
            let mut untold = self.untold.lock();
            (untold.blobs, untold.pause_seconds) = (HashSet::new(), 0);
        }
        let holder = Arc::clone(self);
        self.host.spawn_blocking(move || {
            let kept: Vec<BlobId> = {
                let index = holder.index.lock();
                index.replicas().filter(|(_, replica)| replica.state != State::Part).map(|(blob, _)| blob).collect()
            };
            next_batch(&holder, round, kept);
        });
    }
}

/// Tells of the last ones of `left`, and of the others once that is answered. It blocks.
fn next_batch(holder: &Arc<Holder>, round: u64, mut left: Vec<BlobId>) {
    let (mut replicas, mut told) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    while replicas.len() < ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
        let Some(blob) = left.pop() else { break };
        if let Some(replica) = entry(holder, blob) {
            bytes += replica.manifest.manifest.len();
            replicas.push(replica);
            told.push(blob);
        }
    }
    send(holder, replicas, move |holder, is_taken| {
        if holder.report_round.load(Ordering::Relaxed) != round {
            return;
        }
        if !is_taken {
            left.append(&mut told);
            return tell_again(holder, left);
        }
        holder.untold.lock().pause_seconds = 0;
        if !left.is_empty() {
            next_batch(holder, round, left);
        }
    });
}

/// Tells of one replica. It blocks.
pub(super) fn report_one(holder: &Arc<Holder>, blob: BlobId) {
    let is_tracker_known = holder.tracker.lock().is_some();
    if is_tracker_known {
        next_batch(holder, holder.report_round.load(Ordering::Relaxed), vec![blob]);
    }
}

/// Tells of replicas after a while, unless the tracker hears everything before that.
fn tell_again(holder: &Arc<Holder>, blobs: Vec<BlobId>) {
    let seconds = {
        let mut untold = holder.untold.lock();
        untold.blobs.extend(blobs);
        if std::mem::replace(&mut untold.is_armed, true) {
            return;
        }
        untold.pause_seconds = (untold.pause_seconds * 2).clamp(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS);
        untold.pause_seconds
    };
    let waiting = Arc::downgrade(holder);
    holder.host.run_after(Duration::from_secs(seconds), move || {
        let Some(holder) = waiting.upgrade() else { return };
        let work = Arc::clone(&holder);
        holder.host.spawn_blocking(move || {
            let blobs = {
                let mut untold = work.untold.lock();
                untold.is_armed = false;
                std::mem::take(&mut untold.blobs)
            };
            next_batch(&work, work.report_round.load(Ordering::Relaxed), blobs.into_iter().collect());
        });
    });
}

fn entry(holder: &Holder, blob: BlobId) -> Option<ReportedReplica> {
    let known = holder.index.lock().replica(blob)?;
    let manifest = holder.storage.read_manifest(known.file.owner, blob).ok()?;
    Some(ReportedReplica { manifest: manifest.signed, damaged: known.state == State::Damaged })
}

/// `then` learns whether the tracker has taken it; it may block only if it has.
fn send(holder: &Arc<Holder>, replicas: Vec<ReportedReplica>, then: impl FnOnce(&Arc<Holder>, bool) + Send + 'static) {
    let message = ReportOwnedFiles { replicas, free_bytes: Some(holder.free_bytes()), ..Default::default() };
    let json = to_json(&message);
    let Some(rest) = json.strip_prefix('{') else { return };
    let holder = Arc::clone(holder);
    let host = holder.host;
    host.call_with(&format!("{{\"to\":\"tracker\",{rest}"), &[], move |answer| match answer {
        Ok(response) => host.spawn_blocking(move || {
            take(&holder, &response);
            then(&holder, true);
        }),
        Err(error) => {
            let text = format!("The tracker has not heard which replicas are here: {error}");
            host.log(Level::Debug, &text);
            then(&holder, false);
        }
    });
}

/// Deletes what later manifests have replaced, which the tracker has told in its answer.
fn take(holder: &Arc<Holder>, response: &Response) {
    let Ok(answer) = serde_json::from_str::<OwnedFilesReported>(&response.json) else { return };
    for signed in answer.superseded.into_iter().take(ENTRIES_MAX) {
        let Ok(manifest) = CheckedManifest::try_from(signed) else { continue };
        let Ok(file) = super::FileKey::of(&manifest) else { continue };
        holder.in_lane(&file, move |holder| {
            if let Err(error) = super::upload::delete(holder, &manifest) {
                holder.host.log(Level::Warn, &format!("A deleted replica could not be removed: {error}"));
            }
        });
    }
}
