//! A holder brings its replica to another peer, when the tracker or the owner asks it to.
//!
//! That takes as long as the bytes need, on a thread of the host's; so only a few are made at the same time, each with
//! a few blocks under way.

use super::index::{BlobId, State};
use super::{Holder, read};
use crate::error::OwnedError;
use potluck_sdk::message::owned_files::{UploadToPeer, UploadedToPeer};
use potluck_sdk::message::to_json;
use potluck_sdk::{PeerId, PendingReply, ProviderError, Response};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const REPLICATIONS_MAX: usize = 2;
/// Blocks that are on their way.
const WINDOW: usize = 4;
/// A target that has not answered for so long will not; one that has a part of a large replica hashes it first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// How often it is seen whether the replication was given up, while an answer is waited for.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Ranges of missing blocks that one answer can tell.
const RANGES_MAX: u64 = 1000;

/// Given back when the replication ends, however it does.
struct Slot(Arc<Holder>);

impl Slot {
    fn take(holder: &Arc<Holder>) -> Result<Slot, OwnedError> {
        let taken = holder.replication_count.fetch_add(1, Ordering::AcqRel);
        let slot = Slot(Arc::clone(holder));
        if taken >= REPLICATIONS_MAX { Err(OwnedError::ReplicationsFull(REPLICATIONS_MAX)) } else { Ok(slot) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.replication_count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Begins it; the answer comes when the target has all.
pub(super) fn start(holder: &Arc<Holder>, blob: BlobId, target: PeerId, reply: PendingReply) {
    let slot = match Slot::take(holder) {
        Ok(slot) => slot,
        Err(error) => return reply.error(&error.into()),
    };
    holder.host.spawn_blocking(move || {
        let holder = &slot.0;
        let copied = Transfer { holder, blob, target, reply: &reply }.run();
        match copied {
            Ok(answer) => reply.send(&answer),
            Err(error) => reply.error(&error.into()),
        }
    });
}

struct Transfer<'a> {
    holder: &'a Arc<Holder>,
    blob: BlobId,
    target: PeerId,
    reply: &'a PendingReply,
}

type Answer = Receiver<Result<Response, ProviderError>>;

impl Transfer<'_> {
    fn run(&self) -> Result<UploadedToPeer, OwnedError> {
        let io = |error| OwnedError::Io("REPLICATE_OWNED_FILE", error);
        let known = self.holder.index.lock().replica(self.blob).ok_or(OwnedError::NoBlob)?;
        if known.state == State::Part {
            return Err(OwnedError::NoBlob);
        }
        let manifest = self.holder.storage.read_manifest(known.file.owner, self.blob).map_err(io)?.signed;
        let hashes = self.holder.storage.read_hashes(known.file.owner, self.blob).map_err(io)?;
        let offer = UploadToPeer { manifest: Some(manifest), ..Default::default() };
        let bytes = hashes.to_bytes();
        let mut stored_bytes = None;
        // An honest target needs no more rounds than there are ranges to tell of.
        for _ in 0..hashes.count() as u64 / RANGES_MAX + 3 {
            let answer = self.wait(&self.send(&offer, &bytes))?;
            if answer.complete {
                return Ok(answer);
            }
            if stored_bytes.is_some_and(|before| before >= answer.size) {
                break;
            }
            stored_bytes = Some(answer.size);
            if let Some(answer) = self.send_blocks(&answer.missing, hashes.count() as u64)? {
                return Ok(answer);
            }
        }
        let text = "the other peer takes the blocks, but says that some are missing; choose another peer";
        Err(OwnedError::Peer(ProviderError::new(ProviderError::INTERNAL, text)))
    }

    /// The answer that says that all is there, if one did.
    fn send_blocks(&self, missing: &[(u64, u64)], count: u64) -> Result<Option<UploadedToPeer>, OwnedError> {
        let mut under_way: VecDeque<Answer> = VecDeque::new();
        let mut complete = None;
        let mut take = |answer: Answer| -> Result<(), OwnedError> {
            let answer = self.wait(&answer)?;
            if answer.complete {
                complete = Some(answer);
            }
            Ok(())
        };
        let mut next = 0;
        for (begin, end) in missing.iter().copied() {
            // Ranges that are out of order are not served twice.
            for block in begin.max(next)..end.min(count) {
                if self.is_given_up() {
                    return Err(given_up());
                }
                let bytes = read::block(self.holder, self.blob, block)?;
                if under_way.len() >= WINDOW
                    && let Some(oldest) = under_way.pop_front()
                {
                    take(oldest)?;
                }
                let blob = Some(self.blob.text().into());
                let message = UploadToPeer { blob, block: Some(block), ..Default::default() };
                under_way.push_back(self.send(&message, &bytes));
                next = block + 1;
            }
        }
        under_way.into_iter().try_for_each(&mut take)?;
        Ok(complete)
    }

    fn send(&self, message: &UploadToPeer<'_>, attachment: &[u8]) -> Answer {
        let json = to_json(message);
        let rest = json.strip_prefix('{').unwrap_or_default();
        let (sender, receiver) = channel();
        self.holder.host.call_with(&format!("{{\"to\":\"{}\",{rest}", self.target), attachment, move |answer| {
            // Nobody waits for it after a failure.
            let _ = sender.send(answer);
        });
        receiver
    }

    fn is_given_up(&self) -> bool {
        self.reply.is_cancelled() || self.holder.is_stopping.load(Ordering::Relaxed)
    }

    fn wait(&self, answer: &Answer) -> Result<UploadedToPeer, OwnedError> {
        wait(answer, Instant::now() + ANSWER_TIMEOUT, || self.is_given_up())
    }
}

fn given_up() -> OwnedError {
    let text = "the replication was given up; ask for it again";
    OwnedError::Peer(ProviderError::new(ProviderError::NODE_STOPPING, text))
}

/// Waits as long as somebody wants the answer, but not for ever: a target that says nothing would keep the slot.
fn wait(answer: &Answer, deadline: Instant, is_given_up: impl Fn() -> bool) -> Result<UploadedToPeer, OwnedError> {
    let answer = loop {
        match answer.recv_timeout(LOOK_PAUSE.min(deadline.saturating_duration_since(Instant::now()))) {
            Ok(answer) => break answer,
            Err(RecvTimeoutError::Timeout) if is_given_up() => return Err(given_up()),
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(RecvTimeoutError::Timeout) => {
                let text = "the other peer does not answer; choose another one";
                return Err(OwnedError::Peer(ProviderError::new(ProviderError::PEER_LOST, text)));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(given_up()),
        }
    };
    let response = answer.map_err(OwnedError::Peer)?;
    serde_json::from_str(&response.json).map_err(|error| {
        let text = format!("the other peer has answered something else: {error}");
        OwnedError::Peer(ProviderError::new(ProviderError::INTERNAL, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_says_nothing_is_not_waited_for_without_end() {
        let (_sender, answer) = channel();
        let code = |result: Result<UploadedToPeer, OwnedError>| ProviderError::from(result.unwrap_err()).code;
        assert_eq!(code(wait(&answer, Instant::now(), || false)), ProviderError::PEER_LOST);
        assert_eq!(code(wait(&answer, Instant::now() + ANSWER_TIMEOUT, || true)), ProviderError::NODE_STOPPING);
    }
}
