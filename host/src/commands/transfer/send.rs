//! Uploads: pieces are sent ahead, kept until the node has them, and sent again where it lacks them.

use super::source::{Piece, Source};
use super::{Answer, Line, PIECE_BYTES, PIECES_IN_FLIGHT, Progress, is_lost};
use crate::commands::session::{Target, parse};
use crate::commands::transfer::events::Watching;
use crate::net::client::Client;
use anyhow::{Context, bail};
use potluck_sdk::message::disk::{FileStat, PutFileChunk, StatFile};
use potluck_sdk::message::owned_files::{UPLOAD_TOPIC, UploadOwnedFile, UploadProgress};
use potluck_sdk::message::to_json;
use potluck_sdk::{ProviderError, Response};
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;

/// How long to wait until a node has forgotten an upload that cannot be gone on with.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where an upload goes.
#[derive(Clone, Copy)]
pub(in crate::commands) enum To<'a> {
    /// The node's files.
    Shared,
    /// Other peers, encrypted.
    Owned { replicas: Option<u32>, holders: &'a [String] },
}

/// What came of it.
pub(in crate::commands) enum Sent {
    /// The node has it all; its last answer.
    Complete(Response),
    /// The user pressed Ctrl-C.
    Interrupted,
}

/// The reply to a piece, of either kind.
#[derive(Deserialize)]
struct PieceReply {
    received_bytes: u64,
    complete: bool,
}

/// Uploads a file.
pub(in crate::commands) async fn run(node: &Target, to: To<'_>, name: &str, path: &Path) -> anyhow::Result<Sent> {
    let command = match to {
        To::Shared => "put-file".to_owned(),
        // Kept by others than before it is another upload.
        To::Owned { replicas, holders } => format!("upload {replicas:?} {holders:?}"),
    };
    let source = Source::open(path, &command, name, matches!(to, To::Owned { .. }))?;
    let line = Line::connect(node).await?;
    let progress = Progress::new(&format!("Sending {name}"));
    let mut upload = Upload { line, to, name, source, progress, queue: VecDeque::new(), read_to: 0, has_ended: false };
    let outcome = tokio::select! {
        biased;
        Ok(()) = ctrl_c() => Ok(Sent::Interrupted),
        outcome = upload.send() => outcome.map(Sent::Complete),
    };
    upload.progress.clear();
    let is_complete = matches!(outcome, Ok(Sent::Complete(_)));
    let mut was_stored = false;
    if upload.source.is_stdin() && !is_complete {
        // Nobody can go on with it, since what was read is gone.
        let answer = upload.line.send(upload.message(0, None, true), Arc::default()).await;
        if let Ok(Ok(reply)) = tokio::time::timeout(ABORT_TIMEOUT, answer).await {
            was_stored = parse(&reply).is_ok_and(|state: PieceReply| state.complete);
        }
    }
    if matches!(outcome, Ok(Sent::Interrupted)) {
        crate::output::note(match (upload.source.is_stdin(), upload.has_ended, to) {
            (false, true, To::Owned { .. }) => {
                "Interrupted; the node goes on storing the file, and the same command waits for it again"
            }
            (false, ..) => "Interrupted; run the same command again to go on where it stopped",
            (true, ..) if was_stored => "Interrupted too late; the file is stored",
            (true, ..) => "Interrupted; nothing was stored",
        });
    }
    outcome
}

struct Upload<'a> {
    line: Line<'a>,
    to: To<'a>,
    name: &'a str,
    source: Source,
    progress: Progress,
    /// Pieces that were read and are to be sent, in order.
    queue: VecDeque<Piece>,
    /// Where what was read ends.
    read_to: u64,
    /// Whether the last piece was read.
    has_ended: bool,
}

impl Upload<'_> {
    async fn send(&mut self) -> anyhow::Result<Response> {
        // A file of one piece is sent at once: if the node has it already it says so in its answer.
        let is_one_piece = self.source.size.is_some_and(|size| size <= PIECE_BYTES as u64);
        let mut begun = 0;
        if !is_one_piece && !self.source.is_stdin() {
            let (received, reply) = self.ask_received().await?;
            if let Some(complete) = reply {
                return Ok(complete);
            }
            begun = received;
            if begun > 0 {
                self.progress.note("Going on where it stopped");
            }
        }
        let mut pieces = self.source.read_from(begun)?;
        self.read_to = begun;
        self.progress.begin(self.source.size, begun);
        let mut in_flight: VecDeque<(Piece, Answer)> = VecDeque::new();
        let mut replicas = Replicas::of(self.to, &self.line.session.client);
        loop {
            let may_send = in_flight.len() < PIECES_IN_FLIGHT && !(self.has_ended && self.queue.is_empty());
            let setback = tokio::select! {
                biased;
                piece = next(&mut self.queue, &mut pieces), if may_send => {
                    let piece = piece?;
                    self.read_to = self.read_to.max(piece.end());
                    self.has_ended |= piece.is_final();
                    let message = self.message(piece.offset, piece.is_final().then_some(&piece), false);
                    let answer = self.line.send(message, Arc::clone(&piece.bytes)).await;
                    in_flight.push_back((piece, answer));
                    continue;
                }
                answer = front(&mut in_flight) => match answer {
                    Ok(reply) => {
                        let state: PieceReply = parse(&reply)?;
                        if state.complete {
                            return Ok(reply);
                        }
                        match in_flight.front() {
                            Some((piece, _)) if state.received_bytes >= piece.end() => {
                                if piece.is_final() {
                                    bail!("the node has the whole file, and does not say that it is stored; run the same command again");
                                }
                                in_flight.pop_front();
                                self.line.has_progressed();
                                self.progress.show(state.received_bytes);
                                continue;
                            }
                            _ => {
                                let text = "the node does not take the file in order; use the same version on both sides";
                                self.line.setback(&ProviderError::new(ProviderError::INTERNAL, text))?;
                                state.received_bytes
                            }
                        }
                    }
                    Err(error) if is_lost(&error) => {
                        self.line.reconnect(&error, &self.progress).await?;
                        let (received, complete) = self.ask_received().await?;
                        if let Some(complete) = complete {
                            return Ok(complete);
                        }
                        replicas = Replicas::of(self.to, &self.line.session.client);
                        received
                    }
                    Err(error) => return Err(error.into()),
                },
                (stored, size) = replicas.next(&self.source.upload), if self.has_ended => {
                    self.progress.doing(&format!("Storing {} on other peers", self.name), size, stored);
                    self.progress.show(stored);
                    continue;
                }
            };
            // The node takes nothing behind a gap, so all is sent anew from where its part ends.
            let sent = in_flight.drain(..).map(|(piece, _)| piece);
            let unsent = std::mem::take(&mut self.queue);
            self.queue = sent.chain(unsent).filter_map(|piece| piece.from(setback)).collect();
            let follows = self.queue.front().map_or(self.read_to == setback, |piece| piece.offset == setback);
            if !follows {
                if self.source.is_stdin() {
                    bail!(
                        "the node has lost a part of the file, and standard input cannot be read again; run the command again"
                    );
                }
                self.queue.clear();
                pieces = self.source.read_from(setback)?;
                (self.read_to, self.has_ended) = (setback, false);
            }
        }
    }

    /// What the node has of the file. When it has all of it, stored, also what it says of that.
    async fn ask_received(&mut self) -> anyhow::Result<(u64, Option<Response>)> {
        let question = self.message(0, None, false);
        let reply = self.line.ask(&question, &self.progress).await?;
        let state: PieceReply = parse(&reply)?;
        if state.complete {
            return Ok((state.received_bytes, Some(reply)));
        }
        if state.received_bytes == 0
            && self.has_ended
            && matches!(self.to, To::Shared)
            && let Some(size) = self.source.size
        {
            // The answer to the last piece may have been lost: a node forgets an upload that is complete.
            let request = to_json(&StatFile { filename: Some(self.name.into()), block_hashes: false });
            let reply = self.line.ask(&request, &self.progress).await?;
            let stat: FileStat = parse(&reply)?;
            if let Some(file) = stat.file
                && file.size == size
                && file.sha256.is_some()
                && file.sha256 == self.local_sha256().await?
            {
                return Ok((size, Some(reply)));
            }
        }
        Ok((state.received_bytes, None))
    }

    /// SHA-256 of the file here.
    async fn local_sha256(&self) -> anyhow::Result<Option<String>> {
        let mut pieces = self.source.read_from(self.source.size.unwrap_or(0))?;
        Ok(pieces.recv().await.transpose()?.and_then(|piece| piece.sha256))
    }

    /// The message of a piece: the last one, one before it, or the wish to forget the upload.
    fn message(&self, offset: u64, last: Option<&Piece>, abort: bool) -> String {
        let (filename, upload) = (Some(self.name.into()), Some(self.source.upload.as_str().into()));
        let (is_final, size) = (last.is_some(), self.source.size);
        let sha256 = last.and_then(|piece| piece.sha256.as_deref()).map(Into::into);
        let blake3 = last.and_then(|piece| piece.blake3.as_deref()).map(Into::into);
        match self.to {
            To::Shared => {
                to_json(&PutFileChunk { filename, upload, offset, size, data: None, is_final, sha256, abort })
            }
            To::Owned { replicas, holders } => {
                let holders = holders.iter().map(|holder| holder.as_str().into()).collect();
                to_json(&UploadOwnedFile {
                    filename,
                    upload,
                    offset,
                    size,
                    data: None,
                    is_final,
                    sha256,
                    with_blake3: true,
                    blake3,
                    replicas,
                    holders,
                    abort,
                })
            }
        }
    }
}

/// The next piece: one that was read before, else the reader's.
async fn next(
    queue: &mut VecDeque<Piece>,
    pieces: &mut mpsc::Receiver<anyhow::Result<Piece>>,
) -> anyhow::Result<Piece> {
    match queue.pop_front() {
        Some(piece) => Ok(piece),
        None => pieces.recv().await.context("the thread that reads the file broke off")?,
    }
}

/// The answer to the piece that was sent first.
async fn front(in_flight: &mut VecDeque<(Piece, Answer)>) -> Result<Response, ProviderError> {
    match in_flight.front_mut() {
        Some((_, answer)) => answer.await,
        None => std::future::pending().await,
    }
}

/// How much of an owned file its holders have, as the node's events tell.
struct Replicas {
    watching: Option<Watching>,
    stored: BTreeMap<String, (u64, u64)>,
}

impl Replicas {
    fn of(to: To<'_>, client: &Arc<Client>) -> Replicas {
        let watching = matches!(to, To::Owned { .. }).then(|| Watching::new(client, UPLOAD_TOPIC));
        Replicas { watching, stored: BTreeMap::new() }
    }

    /// Waits for news; bytes stored on all holders together, and bytes that there will be.
    async fn next(&mut self, upload: &str) -> (u64, u64) {
        let Some(watching) = &mut self.watching else { return std::future::pending().await };
        loop {
            let events: Vec<UploadProgress> = watching.next().await;
            let mut is_new = false;
            for event in events.into_iter().filter(|event| event.upload == upload) {
                self.stored.insert(event.peer, (event.stored_bytes, event.size));
                is_new = true;
            }
            if is_new {
                let sum = |which: fn(&(u64, u64)) -> u64| self.stored.values().map(which).fold(0, u64::saturating_add);
                return (sum(|stored| stored.0), sum(|stored| stored.1));
            }
        }
    }
}
