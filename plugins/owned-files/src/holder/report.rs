//! What the tracker is told: everything when it has this node in its table anew, and what is found damaged or mended.

use super::Holder;
use super::index::{BlobId, State};
use potluck_sdk::files::CheckedManifest;
use potluck_sdk::message::owned_files::{ENTRIES_MAX, OwnedFilesReported, ReportOwnedFiles, ReportedReplica};
use potluck_sdk::message::to_json;
use potluck_sdk::{Level, PeerId, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A report is sent when it has so many bytes of manifests, though it could have more entries.
const BATCH_BYTES_MAX: usize = 4 << 20;

impl Holder {
    /// The tracker has this node in its table: it hears of all replicas, batch after batch.
    pub(crate) fn tracker_session(self: &Arc<Self>, tracker: PeerId) {
        *self.tracker.lock() = Some(tracker);
        let round = self.report_round.fetch_add(1, Ordering::Relaxed) + 1;
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

/// Tells of the last ones of `left`, and of the others once that is answered.
fn next_batch(holder: &Arc<Holder>, round: u64, mut left: Vec<BlobId>) {
    let mut replicas = Vec::new();
    let mut bytes = 0;
    while replicas.len() < ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
        let Some(blob) = left.pop() else { break };
        if let Some(replica) = entry(holder, blob) {
            bytes += replica.manifest.manifest.len();
            replicas.push(replica);
        }
    }
    send(holder, replicas, move |holder| {
        if !left.is_empty() && holder.report_round.load(Ordering::Relaxed) == round {
            next_batch(holder, round, left);
        }
    });
}

/// Tells of one replica. It blocks.
pub(super) fn report_one(holder: &Arc<Holder>, blob: BlobId) {
    if holder.tracker.lock().is_some()
        && let Some(replica) = entry(holder, blob)
    {
        send(holder, vec![replica], |_| {});
    }
}

fn entry(holder: &Holder, blob: BlobId) -> Option<ReportedReplica> {
    let known = holder.index.lock().replica(blob)?;
    let manifest = holder.storage.read_manifest(known.file.owner, blob).ok()?;
    Some(ReportedReplica { manifest: manifest.signed, damaged: known.state == State::Damaged })
}

/// `then` runs on a blocking thread once the tracker has answered. One that is away hears everything when it is back.
fn send(holder: &Arc<Holder>, replicas: Vec<ReportedReplica>, then: impl FnOnce(&Arc<Holder>) + Send + 'static) {
    let message = ReportOwnedFiles { replicas, free_bytes: Some(holder.free_bytes()), ..Default::default() };
    let json = to_json(&message);
    let Some(rest) = json.strip_prefix('{') else { return };
    let holder = Arc::clone(holder);
    let host = holder.host;
    host.call_with(&format!("{{\"to\":\"tracker\",{rest}"), &[], move |answer| match answer {
        Ok(response) => host.spawn_blocking(move || {
            take(&holder, &response);
            then(&holder);
        }),
        Err(error) => {
            let text = format!("The tracker has not heard which replicas are here: {error}");
            host.log(Level::Debug, &text);
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
