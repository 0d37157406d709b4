//! Files on their way between this program and a node, in pieces of which several are in flight.
//!
//! What is in flight is bounded, so a file of any size takes the same memory. A lost connection is made anew, and a command
//! that was stopped goes on where it was when it is run again: the name of an upload follows from what is uploaded, and a
//! download grows in a file beside its target that has the SHA-256 in its name.

pub(super) mod events;
pub(super) mod progress;
pub(super) mod receive;
pub(super) mod send;
mod sink;
mod source;

use super::session::{Session, Target};
use crate::net::client::Client;
use crate::output::printable;
use anyhow::Context;
use potluck_sdk::{ProviderError, Response};
use progress::Progress;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Bytes of a piece; the blocks in which nodes keep files have as many.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces in flight: enough to keep a node busy, few enough that it holds little.
const PIECES_IN_FLIGHT: usize = 6;
/// How long to look for a node that has gone away.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
const RECONNECT_WAIT_MIN: Duration = Duration::from_millis(250);
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often something may go wrong without a step forward between.
const SETBACKS_MAX: u32 = 8;

type Answer = Pin<Box<dyn Future<Output = Result<Response, ProviderError>>>>;

/// A connection that is made anew when it is lost.
struct Line<'a> {
    node: &'a Target,
    session: Session,
    setbacks: u32,
}

impl<'a> Line<'a> {
    async fn connect(node: &'a Target) -> anyhow::Result<Line<'a>> {
        Ok(Line { node, session: Session::connect(node).await?, setbacks: 0 })
    }

    /// Sends a message, and returns the wait for its answer. Messages leave in the order of these calls.
    async fn send(&self, json: String, attachment: Arc<Vec<u8>>) -> Answer {
        let client: Arc<Client> = Arc::clone(&self.session.client);
        let mut answer: Answer = Box::pin(async move { client.request(&json, &attachment).await });
        match std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
            Poll::Ready(answered) => Box::pin(std::future::ready(answered)),
            Poll::Pending => answer,
        }
    }

    /// Sends a message until it is answered.
    async fn ask(&mut self, json: &str, progress: &Progress) -> anyhow::Result<Response> {
        loop {
            match self.send(json.to_owned(), Arc::default()).await.await {
                Err(error) if is_lost(&error) => self.reconnect(&error, progress).await?,
                answer => return Ok(answer?),
            }
        }
    }

    /// Connects anew; tries so for a while.
    async fn reconnect(&mut self, reason: &ProviderError, progress: &Progress) -> anyhow::Result<()> {
        self.setback(reason)?;
        progress.note(&format!("The connection was lost ({}); connecting anew", printable(&reason.message)));
        let until = Instant::now() + RECONNECT_TIMEOUT;
        let mut wait = RECONNECT_WAIT_MIN;
        loop {
            tokio::time::sleep(wait).await;
            match Session::connect(self.node).await {
                Ok(session) => {
                    self.session = session;
                    return Ok(());
                }
                Err(error) if Instant::now() >= until => {
                    return Err(error)
                        .context("the connection was lost; run the same command again to go on where it stopped");
                }
                Err(_) => wait = (wait * 2).min(RECONNECT_WAIT_MAX),
            }
        }
    }

    /// Counts something that went wrong. When that happens again and again it is not tried any more.
    fn setback(&mut self, reason: &ProviderError) -> anyhow::Result<()> {
        self.setbacks += 1;
        if self.setbacks > SETBACKS_MAX { Err(reason.clone().into()) } else { Ok(()) }
    }

    fn has_progressed(&mut self) {
        self.setbacks = 0;
    }
}

/// Whether an error means that the node may be back in a moment.
fn is_lost(error: &ProviderError) -> bool {
    error.code == ProviderError::PEER_LOST || error.code == ProviderError::NODE_STOPPING
}

/// Whether a path stands for standard input or output.
pub(super) fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
