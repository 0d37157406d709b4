//! A blob as a file that is read from its holders, block by block, a few ahead, each checked against the hashes that the
//! owner has signed. A holder that lies, is slow or is away is asked no more while others are there.

use super::call::{ANSWER_TIMEOUT, addressed, is_away, timed_out};
use crate::error::BUSY;
use potluck_sdk::files::BlockHashes;
use potluck_sdk::message::ATTACHMENT_BYTES_MAX;
use potluck_sdk::message::owned_files::GetOwnedFile;
use potluck_sdk::{Host, PeerId, ProviderError, Response};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// Blocks that are asked for ahead, for each holder.
const BLOCKS_AHEAD: u64 = 3;
/// A holder that is silent for longer is passed over while there are others.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(15);
/// Errors of a holder before it is passed over.
const FAILURES_MAX: u32 = 2;
/// How long to wait for one of the holders when all are away: this node, or they, may have just been started.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// A blob that is elsewhere.
pub(crate) struct RemoteBlob {
    host: Host,
    blob: String,
    owner: PeerId,
    hashes: Arc<BlockHashes>,
    holders: Vec<Holder>,
    /// Blocks that were asked for: who is asked, and since when.
    asked: HashMap<u64, (usize, Instant)>,
    /// Blocks that are here and were not read to their end.
    here: HashMap<u64, Vec<u8>>,
    sender: Sender<(u64, usize, Result<Response, ProviderError>)>,
    answers: Receiver<(u64, usize, Result<Response, ProviderError>)>,
    position: u64,
    next_holder: usize,
    /// When a holder was last there.
    away_since: Instant,
}

struct Holder {
    id: PeerId,
    failures: u32,
    last_error: Option<ProviderError>,
    /// When a block last came from it.
    heard_at: Instant,
}

impl RemoteBlob {
    pub(crate) fn new(host: Host, owner: PeerId, blob: &str, hashes: BlockHashes, holders: &[PeerId]) -> RemoteBlob {
        let (sender, answers) = mpsc::channel();
        let now = Instant::now();
        let holder = |id: &PeerId| Holder { id: *id, failures: 0, last_error: None, heard_at: now };
        RemoteBlob {
            host,
            blob: blob.to_owned(),
            owner,
            hashes: Arc::new(hashes),
            holders: holders.iter().map(holder).collect(),
            asked: HashMap::new(),
            here: HashMap::new(),
            sender,
            answers,
            position: 0,
            next_holder: 0,
            away_since: Instant::now(),
        }
    }

    fn size(&self) -> u64 {
        self.hashes.file_bytes()
    }

    /// Asks for the blocks from one on, as far ahead as is useful.
    fn ask_ahead(&mut self, first: u64) -> io::Result<()> {
        let block_bytes = self.hashes.block_bytes().max(1);
        let live = self.holders.iter().filter(|holder| holder.failures < FAILURES_MAX).count() as u64;
        let ahead = (BLOCKS_AHEAD * live.max(1)).min(ATTACHMENT_BYTES_MAX / block_bytes).max(2);
        let end = (self.hashes.count() as u64).min(first + ahead);
        // What lies behind or far ahead is of an earlier place.
        self.here.retain(|block, _| (first..end).contains(block));
        for block in first..end {
            if !self.here.contains_key(&block) && !self.asked.contains_key(&block) {
                self.ask(block)?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, block: u64) -> io::Result<()> {
        let count = self.holders.len();
        let index = loop {
            let in_turn = (0..count).map(|step| (self.next_holder + step) % count);
            if let Some(index) = in_turn.into_iter().find(|index| self.holders[*index].failures < FAILURES_MAX) {
                break index;
            }
            let may_come_back =
                |holder: &Holder| holder.last_error.as_ref().is_some_and(|error| is_away(error) || error.code == BUSY);
            if self.away_since.elapsed() > PATIENCE || !self.holders.iter().any(may_come_back) {
                return Err(self.gone());
            }
            std::thread::sleep(RETRY_WAIT);
            self.holders.iter_mut().filter(|holder| may_come_back(holder)).for_each(|holder| holder.failures = 0);
        };
        self.next_holder = index + 1;
        self.asked.insert(block, (index, Instant::now()));
        let message = GetOwnedFile {
            blob: Some(self.blob.as_str().into()),
            block: Some(block),
            requester_id: Some(self.owner.to_string().into()),
            ..GetOwnedFile::default()
        };
        let sender = self.sender.clone();
        self.host.call_with(&addressed(&self.holders[index].id.to_string(), &message), &[], move |result| {
            let _ = sender.send((block, index, result));
        });
        Ok(())
    }

    fn gone(&self) -> io::Error {
        let reasons = self.holders.iter().filter_map(|holder| {
            let error = holder.last_error.as_ref()?;
            Some(format!("{}: {}", holder.id, error.message))
        });
        let reasons: Vec<String> = reasons.collect();
        let text = if reasons.is_empty() { "nobody is known to keep it".to_owned() } else { reasons.join("; ") };
        io::Error::new(io::ErrorKind::NotConnected, text)
    }

    /// Waits until a block is here.
    fn wait_for(&mut self, block: u64) -> io::Result<()> {
        while !self.here.contains_key(&block) {
            match self.answers.recv_timeout(Duration::from_secs(1)) {
                Ok((block, index, result)) => self.take(block, index, result)?,
                Err(_) => self.ask_others()?,
            }
        }
        Ok(())
    }

    fn take(&mut self, block: u64, index: usize, result: Result<Response, ProviderError>) -> io::Result<()> {
        let error = match result {
            Ok(response) if self.hashes.check(usize::try_from(block).unwrap_or(usize::MAX), &response.attachment) => {
                self.away_since = Instant::now();
                self.holders[index].heard_at = self.away_since;
                if self.asked.remove(&block).is_some() {
                    self.here.insert(block, response.attachment);
                }
                return Ok(());
            }
            Ok(_) => ProviderError::new("hash_mismatch", "it sent bytes that are not those of the file"),
            Err(error) => error,
        };
        // Somebody else is asked already.
        if self.asked.get(&block).is_none_or(|(asked, _)| *asked != index) {
            return Ok(());
        }
        self.asked.remove(&block);
        self.fail(index, error);
        self.ask(block)
    }

    fn fail(&mut self, index: usize, error: ProviderError) {
        let holder = &mut self.holders[index];
        // One that is away, lies or refuses will do so the next time.
        let is_certain = is_away(&error) || error.code == "hash_mismatch" || error.code == ProviderError::FORBIDDEN;
        holder.failures += if is_certain { FAILURES_MAX } else { 1 };
        holder.last_error = Some(error);
    }

    /// How long a holder may be silent: one that is slow is better than none.
    fn patience(&self, index: usize) -> Duration {
        let is_alone = self.holders.iter().enumerate().all(|(other, it)| other == index || it.failures >= FAILURES_MAX);
        if is_alone { ANSWER_TIMEOUT } else { BLOCK_TIMEOUT }
    }

    /// Asks others for the blocks that do not come.
    fn ask_others(&mut self) -> io::Result<()> {
        let asked: Vec<(u64, usize, Instant)> =
            self.asked.iter().map(|(block, (index, at))| (*block, *index, *at)).collect();
        for (block, index, asked_at) in asked {
            let silence = asked_at.max(self.holders[index].heard_at).elapsed();
            let patience = self.patience(index);
            if silence > patience {
                self.asked.remove(&block);
                let id = self.holders[index].id;
                self.fail(index, timed_out(&id.to_string(), patience));
                self.ask(block)?;
            }
        }
        Ok(())
    }
}

impl Read for RemoteBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size() || buffer.is_empty() {
            return Ok(0);
        }
        let block_bytes = self.hashes.block_bytes();
        let block = self.position / block_bytes;
        if !self.here.contains_key(&block) {
            self.away_since = Instant::now();
            self.ask_ahead(block)?;
            self.wait_for(block)?;
        }
        let Some(bytes) = self.here.get(&block) else { return Ok(0) };
        let begin = usize::try_from(self.position % block_bytes).map_err(io::Error::other)?;
        let count = buffer.len().min(bytes.len().saturating_sub(begin));
        buffer[..count].copy_from_slice(&bytes[begin..begin + count]);
        self.position += count as u64;
        let is_read = begin + count == bytes.len();
        if is_read {
            self.here.remove(&block);
            self.ask_ahead(block + 1)?;
        }
        Ok(count)
    }
}

impl Seek for RemoteBlob {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.size().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "the position lies before the beginning");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}
