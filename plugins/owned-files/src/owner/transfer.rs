//! Brings the blocks of a blob to several holders at once.
//!
//! A holder is told the manifest, answers which blocks it lacks, and gets those, a few in flight. One that goes away is tried
//! again for a while, and told the manifest again: what it has it need not be sent twice. One that refuses is given up.

use super::call::{ANSWER_TIMEOUT, addressed, is_away, read, timed_out};
use crate::error::{BUSY, OwnedError};
use potluck_sdk::files::{BlockHashes, CheckedManifest};
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::message::owned_files::{UPLOAD_TOPIC, UploadProgress, UploadToPeer, UploadedToPeer};
use potluck_sdk::{Host, PeerId, ProviderError, Response};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Blocks in flight to one holder: enough that it never waits for the next, few enough that little is sent twice.
const BLOCKS_IN_FLIGHT: u64 = 4;
/// How long a holder that was there may be away: long enough to be restarted.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a holder that never answered is tried.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const RETRY_WAIT_MIN: Duration = Duration::from_millis(250);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(4);
/// How often to look whether the upload was aborted, when nothing else happens.
const TICK: Duration = Duration::from_millis(500);
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Blocks that a holder may call wrong although they are not, before it is given up.
const REFUSALS_MAX: u32 = 8;
/// How often a holder may ask for everything, and for so many blocks more, before it is given up: some is lost whenever it
/// goes away.
const RESENDS_MAX: u64 = 4;
const RESENT_BLOCKS_MAX: u64 = 64;

/// What is brought.
pub(crate) struct Cargo<'a> {
    pub(crate) upload: &'a str,
    pub(crate) manifest: &'a CheckedManifest,
    pub(crate) block_hashes: &'a [u8],
    /// The blob.
    pub(crate) file: &'a File,
    pub(crate) size: u64,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Those that have it all.
    pub(crate) holders: Vec<PeerId>,
    /// Why others have not, a sentence each.
    pub(crate) errors: Vec<String>,
    /// Whether one of them says that it knows a later version.
    pub(crate) is_superseded: bool,
}

enum Phase {
    /// It is told the manifest as soon as this time has come.
    Begin(Instant),
    /// The answer to the manifest is awaited.
    Asked,
    /// It gets what it lacks.
    Sending,
    Done,
    Failed,
}

struct Target {
    holder: PeerId,
    phase: Phase,
    missing: VecDeque<(u64, u64)>,
    in_flight: u64,
    /// Answers to what was sent before it went away are of an earlier one.
    generation: u64,
    ever_answered: bool,
    last_progress: Instant,
    last_answer: Instant,
    wait: Duration,
    refusals: u32,
    sent_blocks: u64,
    told_at: Option<Instant>,
}

struct Answer {
    target: usize,
    generation: u64,
    /// Whether it answers a block, rather than the manifest.
    is_of_block: bool,
    result: Result<Response, ProviderError>,
}

/// Runs until all holders have it or are given up. `replacement` names another holder for one that is given up, if it can;
/// `is_aborted` ends everything.
pub(crate) fn bring(
    host: Host,
    cargo: &Cargo<'_>,
    holders: Vec<PeerId>,
    mut replacement: impl FnMut(&[PeerId]) -> Option<PeerId>,
    is_aborted: impl Fn() -> bool,
) -> Outcome {
    let (sender, answers) = mpsc::channel();
    let mut transfer = Transfer { host, cargo, sender, targets: holders.into_iter().map(Target::new).collect() };
    let mut outcome = Outcome::default();
    while transfer.targets.iter().any(Target::is_active) && !is_aborted() {
        transfer.send_what_is_due(&mut outcome);
        transfer.take_answer(&answers, &mut outcome);
        transfer.give_up_the_lost(&mut outcome);
        let failed = transfer.targets.iter().position(|target| matches!(target.phase, Phase::Failed));
        if let Some(index) = failed {
            let tried: Vec<PeerId> = transfer.targets.iter().map(|target| target.holder).collect();
            match replacement(&tried) {
                // The failed one stays in the list as one not to be tried again.
                Some(holder) => {
                    transfer.targets[index].phase = Phase::Done;
                    transfer.targets.push(Target::new(holder));
                }
                None => transfer.targets[index].phase = Phase::Done,
            }
        }
    }
    outcome
}

struct Transfer<'a> {
    host: Host,
    cargo: &'a Cargo<'a>,
    sender: Sender<Answer>,
    targets: Vec<Target>,
}

impl Target {
    fn new(holder: PeerId) -> Target {
        let now = Instant::now();
        Target {
            holder,
            phase: Phase::Begin(now),
            missing: VecDeque::new(),
            in_flight: 0,
            generation: 0,
            ever_answered: false,
            last_progress: now,
            last_answer: now,
            wait: RETRY_WAIT_MIN,
            refusals: 0,
            sent_blocks: 0,
            told_at: None,
        }
    }

    fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Done)
    }

    /// Begins anew, a while later.
    fn begin_later(&mut self) {
        self.generation += 1;
        self.in_flight = 0;
        self.missing.clear();
        self.phase = Phase::Begin(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
    }

    fn next_block(&mut self) -> Option<u64> {
        let range = self.missing.front_mut()?;
        let block = range.0;
        range.0 += 1;
        if range.0 >= range.1 {
            self.missing.pop_front();
        }
        Some(block)
    }
}

impl Transfer<'_> {
    fn send_what_is_due(&mut self, outcome: &mut Outcome) {
        let block_bytes = BlockHashes::block_bytes_for(self.cargo.size);
        let window = BLOCKS_IN_FLIGHT.min((ATTACHMENT_BYTES_MAX / block_bytes).max(2));
        for index in 0..self.targets.len() {
            if matches!(self.targets[index].phase, Phase::Begin(due) if due <= Instant::now()) {
                self.send_manifest(index);
            }
            while matches!(self.targets[index].phase, Phase::Sending)
                && self.targets[index].in_flight < window
                && let Some(block) = self.targets[index].next_block()
            {
                if let Err(error) = self.send_block(index, block, block_bytes) {
                    self.fail(index, &format!("the encrypted file cannot be read: {error}"), outcome);
                }
            }
        }
    }

    fn send_manifest(&mut self, index: usize) {
        let message = UploadToPeer {
            blob: self.cargo.manifest.manifest.blob.as_ref().map(|blob| blob.id.as_str().into()),
            manifest: Some(self.cargo.manifest.signed.clone()),
            ..UploadToPeer::default()
        };
        self.targets[index].phase = Phase::Asked;
        self.targets[index].last_answer = Instant::now();
        self.send(index, &message, self.cargo.block_hashes, false);
    }

    fn send_block(&mut self, index: usize, block: u64, block_bytes: u64) -> std::io::Result<()> {
        let offset = block.saturating_mul(block_bytes);
        let length = self.cargo.size.saturating_sub(offset).min(block_bytes);
        let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        self.cargo.file.read_exact_at(&mut bytes, offset)?;
        let message = UploadToPeer {
            blob: self.cargo.manifest.manifest.blob.as_ref().map(|blob| blob.id.as_str().into()),
            block: Some(block),
            ..UploadToPeer::default()
        };
        if self.targets[index].in_flight == 0 {
            self.targets[index].last_answer = Instant::now();
        }
        self.targets[index].in_flight += 1;
        self.targets[index].sent_blocks += 1;
        self.send(index, &message, &bytes, true);
        Ok(())
    }

    fn send(&self, index: usize, message: &UploadToPeer<'_>, attachment: &[u8], is_of_block: bool) {
        let (sender, generation) = (self.sender.clone(), self.targets[index].generation);
        let json = addressed(&self.targets[index].holder.to_string(), message);
        self.host.call_with(&json, attachment, move |result| {
            let _ = sender.send(Answer { target: index, generation, is_of_block, result });
        });
    }

    fn take_answer(&mut self, answers: &Receiver<Answer>, outcome: &mut Outcome) {
        let now = Instant::now();
        let next_due = self.targets.iter().filter_map(|target| match target.phase {
            Phase::Begin(due) => Some(due.saturating_duration_since(now)),
            _ => None,
        });
        let wait = next_due.min().unwrap_or(TICK).min(TICK);
        let mut answer = match answers.recv_timeout(wait) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        };
        loop {
            self.take(answer, outcome);
            match answers.try_recv() {
                Ok(next) => answer = next,
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, answer: Answer, outcome: &mut Outcome) {
        let target = &mut self.targets[answer.target];
        if answer.generation != target.generation || !target.is_active() || matches!(target.phase, Phase::Failed) {
            return;
        }
        target.last_answer = Instant::now();
        let uploaded = answer.result.map_err(OwnedError::Peer).and_then(|response| read::<UploadedToPeer>(&response));
        let uploaded = match uploaded {
            Ok(uploaded) => uploaded,
            Err(OwnedError::Peer(error)) if is_away(&error) => return target.begin_later(),
            Err(OwnedError::Peer(error)) if is_passing(&error) && target.refusals < REFUSALS_MAX => {
                target.refusals += 1;
                return target.begin_later();
            }
            Err(error) => {
                outcome.is_superseded |= matches!(&error, OwnedError::Peer(error) if error.code == "superseded");
                return self.fail(answer.target, &error.to_string(), outcome);
            }
        };
        target.ever_answered = true;
        if answer.is_of_block {
            target.in_flight -= 1;
            target.last_progress = target.last_answer;
            (target.wait, target.refusals) = (RETRY_WAIT_MIN, 0);
        } else {
            let count = self.cargo.size.div_ceil(BlockHashes::block_bytes_for(self.cargo.size));
            let ranges = uploaded.missing.iter().map(|(begin, end)| (*begin, (*end).min(count)));
            target.missing = ranges.filter(|(begin, end)| begin < end).collect();
            if target.sent_blocks > RESENDS_MAX.saturating_mul(count).saturating_add(RESENT_BLOCKS_MAX) {
                return self.fail(answer.target, "it asks again and again for what it has got", outcome);
            }
            target.phase = Phase::Sending;
        }
        if uploaded.complete {
            target.phase = Phase::Done;
            outcome.holders.push(target.holder);
        } else if target.missing.is_empty() && target.in_flight == 0 {
            if !answer.is_of_block {
                let text = "it says that it lacks nothing and has not all";
                return self.fail(answer.target, text, outcome);
            }
            // It names only so many missing blocks at a time; what follows is asked for.
            target.phase = Phase::Begin(target.last_answer);
        }
        self.tell(answer.target, uploaded.complete, uploaded.size);
    }

    fn tell(&mut self, index: usize, is_done: bool, stored_bytes: u64) {
        let target = &mut self.targets[index];
        let now = Instant::now();
        if !is_done && target.told_at.is_some_and(|told| now.duration_since(told) < PROGRESS_INTERVAL) {
            return;
        }
        target.told_at = Some(now);
        let progress = UploadProgress {
            upload: self.cargo.upload.to_owned(),
            peer: target.holder.to_string(),
            stored_bytes: if is_done { self.cargo.size } else { stored_bytes.min(self.cargo.size) },
            size: self.cargo.size,
        };
        self.host.publish(UPLOAD_TOPIC, &progress);
    }

    fn give_up_the_lost(&mut self, outcome: &mut Outcome) {
        let now = Instant::now();
        for index in 0..self.targets.len() {
            let target = &mut self.targets[index];
            let waits = matches!(target.phase, Phase::Asked) || target.in_flight > 0;
            if waits && now.duration_since(target.last_answer) > ANSWER_TIMEOUT {
                target.begin_later();
            }
            let patience = if target.ever_answered { PATIENCE } else { FIRST_PATIENCE };
            let is_lost =
                matches!(target.phase, Phase::Begin(_)) && now.duration_since(target.last_progress) > patience;
            if is_lost && target.wait > RETRY_WAIT_MIN {
                let text = timed_out(&target.holder.to_string(), patience).message;
                self.fail(index, &text, outcome);
            }
        }
    }

    fn fail(&mut self, index: usize, text: &str, outcome: &mut Outcome) {
        let target = &mut self.targets[index];
        target.generation += 1;
        target.phase = Phase::Failed;
        outcome.errors.push(format!("{} does not keep the file: {text}", target.holder));
    }
}

/// Refusals that mean: the same again, a moment later.
fn is_passing(error: &ProviderError) -> bool {
    error.code == BUSY || error.code == "hash_mismatch"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_leave_in_the_order_of_what_is_missing() {
        let mut target = Target::new(PeerId::from_hash([1; 16]));
        target.missing = VecDeque::from([(0, 2), (5, 6)]);
        let blocks: Vec<u64> = std::iter::from_fn(|| target.next_block()).collect();
        assert_eq!(blocks, [0, 1, 5]);
    }

    #[test]
    fn a_message_for_another_node_names_it_first() {
        let json = addressed("tracker", &UploadToPeer { block: Some(3), ..UploadToPeer::default() });
        assert_eq!(json, r#"{"to":"tracker","type":"UPLOAD_TO_PEER","block":3}"#);
    }
}
