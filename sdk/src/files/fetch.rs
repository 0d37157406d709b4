//! A file from several sources at once: each block is checked as it comes, and a source that lies is left out.
//!
//! [`fetch`] runs on one blocking thread. How a block is asked for is up to the caller: each [`Source`] is a function that
//! sends a request and lets go of an [`Answer`] when the answer is there, which may be at once and on any thread. The file
//! grows in any order; what an earlier run has left in it is checked by the same hashes, and not asked for again.

mod plan;
#[cfg(test)]
mod tests;

use super::{BlockHashes, NewFile, write_all_at};
use crate::message::disk::FetchSource;
use plan::Plan;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How soon a cancelled download ends, at the latest.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// A block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number, from 0.
    pub index: usize,
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

type Ask = Box<dyn FnMut(Block, Answer) + Send>;

/// Somebody who has the file.
pub struct Source {
    name: String,
    ask: Ask,
}

impl Source {
    /// `name` is for the report; `ask` sends a request for a block and does not wait for the answer.
    pub fn new(name: impl Into<String>, ask: impl FnMut(Block, Answer) + Send + 'static) -> Source {
        Source { name: name.into(), ask: Box::new(ask) }
    }
}

/// The duty to hand on what a source has answered. Dropped, it counts as a failure of the source.
#[must_use = "an answer that is dropped counts as a failure of the source"]
pub struct Answer {
    sender: Option<Sender<Arrived>>,
    source: usize,
    index: usize,
}

struct Arrived {
    source: usize,
    index: usize,
    result: Result<Vec<u8>, String>,
}

impl Answer {
    /// Hands on the block, or why there is none. Never blocks.
    pub fn send(mut self, result: Result<Vec<u8>, String>) {
        self.hand_on(result);
    }

    fn hand_on(&mut self, result: Result<Vec<u8>, String>) {
        if let Some(sender) = self.sender.take() {
            // Nobody listens when the download has ended: then the block is needed no more.
            let _ = sender.send(Arrived { source: self.source, index: self.index, result });
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.hand_on(Err("the request was dropped".to_owned()));
    }
}

/// How much is asked for at a time, and how long a source may be silent.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Most blocks in flight at one source.
    pub window: usize,
    /// Most bytes in flight at all sources; one block always may be.
    pub in_flight_bytes: u64,
    /// A source that was asked and says nothing for so long is left out.
    pub silence: Duration,
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits { window: 4, in_flight_bytes: 64 << 20, silence: Duration::from_secs(30) }
    }
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetching {
    /// Bytes that are here, with those of an earlier run.
    pub received_bytes: u64,
    /// Sources that have not been left out.
    pub source_count: usize,
}

/// Why a file was not fetched. What came of it stays in the file, if that is one that stays.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The flag was set.
    #[error("the download was cancelled; ask again to go on where it stopped")]
    Cancelled,
    /// No source is left; what was wrong with each is told.
    #[error("no peer is left to fetch the file from{}; ask again to go on where it stopped", reasons(.0))]
    NoSourceLeft(Vec<FetchSource>),
    /// The file cannot be read or written here.
    #[error("the file cannot be written: {0}")]
    Io(#[from] io::Error),
}

fn reasons(sources: &[FetchSource]) -> String {
    let mut text = String::new();
    for source in sources {
        let reason = source.dropped.as_deref().unwrap_or("it was asked for nothing");
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.push_str(&format!("{}: {reason}", source.peer));
    }
    text
}

/// Fetches all blocks into a file and returns what each source has given, in the order of `sources`. It blocks until all is
/// there, no source is left, or `cancel` is set. `progress` is called at the start and after each block.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(
    hashes: &BlockHashes,
    sources: Vec<Source>,
    file: &mut NewFile,
    limits: FetchLimits,
    cancel: &AtomicBool,
    mut progress: impl FnMut(Fetching),
) -> Result<Vec<FetchSource>, FetchError> {
    let file = file.file();
    // Otherwise each block would land behind the others, wherever it belongs.
    let flags = rustix::fs::fcntl_getfl(&*file).map_err(io::Error::from)?;
    rustix::fs::fcntl_setfl(&*file, flags - OFlags::APPEND).map_err(io::Error::from)?;
    let (names, mut asks): (Vec<String>, Vec<Ask>) =
        sources.into_iter().map(|source| (source.name, source.ask)).unzip();
    let mut plan = Plan::new(hashes, names, limits);
    find_present(&mut plan, hashes, file, cancel)?;
    let (sender, receiver) = channel();
    loop {
        progress(plan.state());
        if plan.is_complete() {
            return Ok(plan.report());
        }
        // One thing that is worth a report, whatever else goes by.
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled);
            }
            // Nobody is silent whose answer is here and was not looked at.
            let arrived = receiver.try_recv().ok();
            let now = Instant::now();
            if arrived.is_none() {
                plan.leave_out_silent(now);
            }
            while let Some((source, index)) = plan.next(now) {
                let answer = Answer { sender: Some(sender.clone()), source, index };
                if let Some(ask) = asks.get_mut(source) {
                    ask(block(hashes, index), answer);
                }
            }
            if plan.source_count() == 0 && arrived.is_none() {
                return Err(FetchError::NoSourceLeft(plan.report()));
            }
            let patience = plan.deadline().map_or(CANCEL_INTERVAL, |at| at.saturating_duration_since(now));
            let wait = || receiver.recv_timeout(patience.min(CANCEL_INTERVAL)).ok();
            let Some(Arrived { source, index, result }) = arrived.or_else(wait) else { continue };
            let now = Instant::now();
            match result {
                Err(reason) => plan.failed(source, index, &reason, now),
                Ok(_) if plan.has(index) => plan.was_late(source, index, now),
                Ok(bytes) if hashes.check(index, &bytes) => {
                    write_all_at(file, &bytes, block(hashes, index).offset)?;
                    plan.received(source, index, bytes.len() as u64, now);
                    break;
                }
                Ok(_) => plan.lied(source, index, now),
            }
        }
    }
}

/// Looks for what an earlier run has left, and cuts off what does not belong to the file.
fn find_present(plan: &mut Plan, hashes: &BlockHashes, file: &mut File, cancel: &AtomicBool) -> Result<(), FetchError> {
    let length = file.metadata()?.len();
    if length > hashes.file_bytes() {
        file.set_len(hashes.file_bytes())?;
    }
    let mut bytes = Vec::new();
    for index in 0..hashes.count() {
        let block = block(hashes, index);
        if block.offset + block.length > length {
            break;
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        bytes.resize(usize::try_from(block.length).map_err(io::Error::other)?, 0);
        file.read_exact_at(&mut bytes, block.offset)?;
        if hashes.check(index, &bytes) {
            plan.is_here(index, block.length);
        }
    }
    Ok(())
}

fn block(hashes: &BlockHashes, index: usize) -> Block {
    let offset = (index as u64).saturating_mul(hashes.block_bytes());
    Block { index, offset, length: hashes.file_bytes().saturating_sub(offset).min(hashes.block_bytes()) }
}
