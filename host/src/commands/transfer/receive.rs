//! Downloads: pieces are asked for ahead, written in order, and checked by the SHA-256 of the whole file.

use super::sink::Sink;
pub(in crate::commands) use super::sink::{Destination, base_name};
use super::{Answer, Line, PIECE_BYTES, PIECES_IN_FLIGHT, Progress, is_lost};
use crate::commands::session::{Target, parse};
use anyhow::{Context, bail, ensure};
use potluck_sdk::message::disk::{Encoding, FileStat, GetFileChunk, StatFile};
use potluck_sdk::message::owned_files::DownloadOwnedFile;
use potluck_sdk::message::to_json;
use potluck_sdk::{ProviderError, Response};
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::signal::ctrl_c;

/// The code of the answer to who asks for a version that is there no more.
const FILE_CHANGED: &str = "file_changed";
/// How often a file may change while it is read.
const CHANGES_MAX: usize = 3;

/// What to download.
#[derive(Clone, Copy)]
pub(in crate::commands) enum Wanted<'a> {
    /// A file of the node; which one of that name, if somebody knows.
    Shared { sha256: Option<&'a str> },
    /// An owned file.
    Owned,
}

/// What came of it.
pub(in crate::commands) enum Received {
    /// The file is where it should be, checked.
    File { size: u64, sha256: String },
    /// There is none; what the node says.
    NotFound(Response),
    /// The user pressed Ctrl-C.
    Interrupted,
}

/// The reply to a request for a piece, of either kind.
#[derive(Deserialize)]
struct Head {
    found: bool,
    size: Option<u64>,
    sha256: Option<String>,
    revision: Option<u64>,
}

/// The version that is read from beginning to end.
struct Version {
    size: u64,
    sha256: String,
    revision: Option<u64>,
}

/// What became of the attempt to read one version.
enum Attempt {
    Done(Received),
    Changed(ProviderError),
}

/// Downloads a file.
pub(in crate::commands) async fn run(
    node: &Target,
    wanted: Wanted<'_>,
    name: &str,
    destination: &Destination,
) -> anyhow::Result<Received> {
    destination.check()?;
    let line = Line::connect(node).await?;
    let mut download =
        Download { line, wanted, name, destination, progress: Progress::new(&format!("Receiving {name}")) };
    let outcome = tokio::select! {
        biased;
        Ok(()) = ctrl_c() => {
            download_interrupted(destination);
            Ok(Received::Interrupted)
        }
        outcome = download.receive() => outcome,
    };
    download.progress.clear();
    outcome
}

fn download_interrupted(destination: &Destination) {
    let text = match destination {
        Destination::File { .. } => "Interrupted; run the same command again to go on where it stopped",
        Destination::Stdout => "Interrupted; what was written is not the whole file",
        Destination::Nowhere => "Interrupted",
    };
    crate::output::note(text);
}

struct Download<'a> {
    line: Line<'a>,
    wanted: Wanted<'a>,
    name: &'a str,
    destination: &'a Destination,
    progress: Progress,
}

impl Download<'_> {
    async fn receive(&mut self) -> anyhow::Result<Received> {
        for _ in 0..CHANGES_MAX {
            match self.attempt().await? {
                Attempt::Done(received) => return Ok(received),
                // What is out cannot be taken back.
                Attempt::Changed(error) if *self.destination == Destination::Stdout => return Err(error.into()),
                Attempt::Changed(_) => self.progress.note("The file was changed meanwhile; beginning anew"),
            }
        }
        bail!("the file is changed all the time; try again later")
    }

    async fn attempt(&mut self) -> anyhow::Result<Attempt> {
        let sha256 = match self.wanted {
            Wanted::Shared { sha256 } => sha256.map(str::to_owned),
            Wanted::Owned => None,
        };
        let first = self.line.ask(&self.request(0, sha256.as_deref(), None), &self.progress).await?;
        let head: Head = parse(&first)?;
        if !head.found {
            return Ok(Attempt::Done(Received::NotFound(first)));
        }
        let size = head.size.context("the node does not tell how large the file is")?;
        let sha256 = match head.sha256.or(sha256) {
            Some(sha256) => sha256,
            None => self.sha256().await?,
        };
        let version = Version { size, sha256: sha256.to_ascii_lowercase(), revision: head.revision };
        let (sink, present) = Sink::open(self.destination, &version.sha256, size)?;
        if present > 0 {
            self.progress.note("Going on where it stopped");
        }
        self.progress.begin(Some(size), present);
        let writer = sink.start(present)?;
        let pieces = self.pieces(&version, present, first, &writer).await;
        let changed = match pieces {
            // The writer's own error says more than that it takes nothing.
            Ok(None) | Err(Stop::WriterFailed) => None,
            Ok(Some(changed)) => Some(changed),
            Err(Stop::Error(error)) => return Err(error),
        };
        let (sink, sha256) = writer.finish().await?;
        if let Some(changed) = changed {
            sink.discard();
            return Ok(Attempt::Changed(changed));
        }
        if sha256 != version.sha256 {
            sink.discard();
            let advice = match self.destination {
                Destination::Stdout => "do not use what was written",
                _ => "nothing was saved, run the command again",
            };
            bail!(
                "what came is not the file that the node has: its SHA-256 is {sha256}, not {}; {advice}",
                version.sha256
            );
        }
        sink.finish(self.destination)?;
        Ok(Attempt::Done(Received::File { size, sha256 }))
    }

    /// Reads and hands on what is missing, beginning with the piece that is there already if that is of use. Returns the
    /// node's answer when the file was changed.
    async fn pieces(
        &mut self,
        version: &Version,
        present: u64,
        first: Response,
        writer: &super::sink::Writer,
    ) -> Result<Option<ProviderError>, Stop> {
        let mut position = present;
        if present == 0 {
            position = self.take(version, 0, first, writer).await?;
        }
        // Those that were asked for, and where each begins.
        let mut in_flight: VecDeque<(u64, Answer)> = VecDeque::new();
        let mut next = position;
        while position < version.size {
            while in_flight.len() < PIECES_IN_FLIGHT && next < version.size {
                let request = self.request(next, Some(&version.sha256), version.revision);
                in_flight.push_back((next, self.line.send(request, Arc::default()).await));
                next = next.saturating_add(PIECE_BYTES as u64);
            }
            let Some((offset, answer)) = in_flight.pop_front() else { break };
            match answer.await {
                Ok(piece) => {
                    let expected = (version.size - offset).min(PIECE_BYTES as u64);
                    position = self.take(version, offset, piece, writer).await?;
                    self.line.has_progressed();
                    if position - offset < expected {
                        // A node may give less than was asked for.
                        in_flight.clear();
                        next = position;
                    }
                }
                Err(error) if error.code == FILE_CHANGED => return Ok(Some(error)),
                Err(error) if is_lost(&error) => {
                    in_flight.clear();
                    next = position;
                    self.line.reconnect(&error, &self.progress).await?;
                }
                Err(error) => return Err(Stop::Error(error.into())),
            }
        }
        Ok(None)
    }

    /// Hands a piece on; returns where the next one begins.
    async fn take(
        &self,
        version: &Version,
        offset: u64,
        piece: Response,
        writer: &super::sink::Writer,
    ) -> Result<u64, Stop> {
        let head: Head = parse(&piece)?;
        let check = || -> anyhow::Result<()> {
            ensure!(head.found, "the file was removed meanwhile");
            let length = piece.attachment.len() as u64;
            ensure!(
                length <= (version.size - offset).min(PIECE_BYTES as u64) && (length > 0 || version.size == offset),
                "the node sent {length} bytes at {offset} of {}; use the same version on both sides",
                version.size
            );
            Ok(())
        };
        check()?;
        let position = offset + piece.attachment.len() as u64;
        if !writer.write(piece.attachment).await {
            return Err(Stop::WriterFailed);
        }
        self.progress.show(position);
        Ok(position)
    }

    fn request(&self, offset: u64, sha256: Option<&str>, revision: Option<u64>) -> String {
        let (filename, length) = (Some(self.name.into()), Some(PIECE_BYTES as u64));
        match self.wanted {
            Wanted::Shared { .. } => {
                let sha256 = sha256.map(Into::into);
                to_json(&GetFileChunk { filename, offset, length, sha256, encoding: Encoding::Raw })
            }
            Wanted::Owned => {
                to_json(&DownloadOwnedFile { filename, offset, length, revision, encoding: Encoding::Raw })
            }
        }
    }

    /// Asks for the SHA-256 of a file of the node that came from outside.
    async fn sha256(&mut self) -> anyhow::Result<String> {
        let request = to_json(&StatFile { filename: Some(self.name.into()), block_hashes: false });
        let reply = self.line.ask(&request, &self.progress).await?;
        let stat: FileStat = parse(&reply)?;
        stat.file.and_then(|file| file.sha256).context("the node does not tell the SHA-256 of the file")
    }
}

/// Why no more pieces are read.
enum Stop {
    /// The thread that writes takes no more.
    WriterFailed,
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Stop {
        Stop::Error(error)
    }
}
