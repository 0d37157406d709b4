//! One connection that this process opened to a node: many requests in flight, told apart by their ids.

use super::frame::{self, Inbox};
use super::outbound::{Buffer, Outbound};
use crate::call::{Response, Sink};
use potluck_sdk::ProviderError;
use potluck_sdk::abi::{REPLY_ERROR, REPLY_OK};
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::node::CancelCall;
use potluck_sdk::message::{ATTACHMENT_BYTES_MAX, FRAME_BYTES_MAX, to_json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A link with nothing in flight is closed after this time: before the other side does so, which might be just when a
/// request is on its way.
const IDLE: Duration = Duration::from_secs(20);
/// With requests in flight and silence for this long, the other side is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(10);
/// With requests in flight and silence for this long, it is not.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// Most requests in flight on one link.
const WAITING_MAX: usize = 65_536;
/// Most bytes that wait for the socket.
const UNSENT_BYTES_MAX: usize = 64 << 20;
/// The id of this module's own PING; requests count from 1.
const PING_ID: u64 = 0;
const PING_ID_TEXT: &str = "0";
/// What `id` and `attachment` add to a message at most.
const ID_BYTES_MAX: usize = 64;

/// A connection to a node, or the attempt at one.
pub struct Link {
    address: SocketAddr,
    out: Outbound<State>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    buffer: Buffer,
    waiting: HashMap<u64, Sink>,
    /// There once the connection is: then any thread may write to it.
    stream: Option<Arc<TcpStream>>,
    closed: bool,
    /// Why it was closed.
    reason: Option<ProviderError>,
}

impl Link {
    /// Starts to connect; requests may be sent at once. `connected` learns how the attempt ended.
    pub fn open(
        address: SocketAddr,
        runtime: &tokio::runtime::Handle,
    ) -> (Arc<Link>, oneshot::Receiver<std::io::Result<()>>) {
        let link =
            Arc::new(Link { address, out: Outbound::new(State::default()), next_id: AtomicU64::new(PING_ID + 1) });
        let (report, connected) = oneshot::channel();
        runtime.spawn(Arc::clone(&link).run(report));
        (link, connected)
    }

    /// Sends a message, an object without `id`; the sink is called once, with the reply or with `peer_unreachable` or
    /// `peer_lost`. Returns the message's id, or gives the sink back when the link is closed.
    pub fn send(&self, json: &str, attachment: &[u8], sink: Sink) -> Result<u64, Sink> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if json.len() + ID_BYTES_MAX > FRAME_BYTES_MAX || attachment.len() as u64 > ATTACHMENT_BYTES_MAX {
            let text = format!(
                "the message has {} bytes and an attachment of {}, over the limit of {FRAME_BYTES_MAX} or {ATTACHMENT_BYTES_MAX}; send larger data in chunks, as attachments",
                json.len(),
                attachment.len()
            );
            sink(Response::error(&ProviderError::new("frame_too_large", text)));
            return Ok(id);
        }
        let mut state = self.out.lock();
        if state.closed {
            return Err(sink);
        }
        if state.waiting.len() >= WAITING_MAX || state.buffer.len() > UNSENT_BYTES_MAX {
            drop(state);
            let text = format!("too many requests wait for {}; try again later", self.address);
            sink(Response::error(&ProviderError::new(ProviderError::LIMIT_REACHED, text)));
            return Ok(id);
        }
        let first = state.waiting.is_empty();
        state.waiting.insert(id, sink);
        frame::write(state.buffer.bytes(), Some(&id.to_string()), json.as_bytes(), attachment);
        let stream = state.stream.clone();
        let flushed = stream.is_some_and(|stream| state.buffer.flush(&stream).is_ok() && state.buffer.is_empty());
        drop(state);
        // The task watches for silence while somebody waits, so it must know of the first.
        if !flushed || first {
            self.out.wake();
        }
        Ok(id)
    }

    /// Tells the other side that nobody waits for an answer any more. Whatever answer comes still goes to the sink.
    pub fn cancel(&self, id: u64) {
        let mut state = self.out.lock();
        if state.closed || !state.waiting.contains_key(&id) {
            return;
        }
        let message = to_json(&CancelCall { call: id });
        // The answer to this is nobody's concern: it has the id of a PING.
        frame::write(state.buffer.bytes(), Some(PING_ID_TEXT), message.as_bytes(), b"");
        drop(state);
        self.out.wake();
    }

    /// Why the link was closed.
    pub fn closing_reason(&self) -> Option<ProviderError> {
        self.out.lock().reason.clone()
    }

    /// Whether new requests must go over another link.
    pub fn is_closed(&self) -> bool {
        self.out.lock().closed
    }

    async fn run(self: Arc<Link>, report: oneshot::Sender<std::io::Result<()>>) {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await;
        let stream = match connect.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Arc::new(stream),
            Err(error) => {
                let text = format!("{} cannot be reached: {error}; nothing was sent to it", self.address);
                self.close(&ProviderError::new(ProviderError::PEER_UNREACHABLE, text));
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = stream.set_nodelay(true);
        self.out.lock().stream = Some(Arc::clone(&stream));
        let _ = report.send(Ok(()));
        let ended = self.talk(&stream).await;
        let reason = ended.map_or_else(|error| error.to_string(), |()| "it closed the connection".to_owned());
        let text = format!("{} was lost before it answered: {reason}", self.address);
        self.close(&ProviderError::new(ProviderError::PEER_LOST, text));
    }

    async fn talk(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut inbox = Inbox::connecting();
        let mut last_bytes = Instant::now();
        let mut pinged = false;
        loop {
            while let Some(place) = inbox.next_frame().map_err(std::io::Error::other)? {
                let (json, attachment) = inbox.frame(&place).map_err(std::io::Error::other)?;
                self.receive(json, attachment)?;
            }
            inbox.rest();
            let (unsent, waiting) = {
                let mut state = self.out.lock();
                state.buffer.flush(stream)?;
                (!state.buffer.is_empty(), !state.waiting.is_empty())
            };
            let patience = match (waiting, pinged) {
                (false, _) => IDLE,
                (true, false) => PING_AFTER,
                (true, true) => LOST_AFTER,
            };
            tokio::select! {
                biased;
                () = self.out.woken() => {
                    if !waiting {
                        // Silence counts from the first request on.
                        last_bytes = Instant::now();
                    }
                }
                ready = stream.readable() => {
                    ready?;
                    match inbox.read_from(stream)? {
                        Some(0) => return Ok(()),
                        Some(_) => (last_bytes, pinged) = (Instant::now(), false),
                        None => {}
                    }
                }
                ready = stream.writable(), if unsent => ready?,
                () = tokio::time::sleep_until(last_bytes + patience) => {
                    let mut state = self.out.lock();
                    if state.waiting.is_empty() {
                        if waiting {
                            last_bytes = Instant::now();
                            continue;
                        }
                        state.closed = true;
                        return Ok(());
                    }
                    if pinged {
                        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not answer"));
                    }
                    pinged = true;
                    frame::write(state.buffer.bytes(), Some(PING_ID_TEXT), br#"{"type":"PING"}"#, b"");
                }
            }
        }
    }

    fn receive(&self, json: &str, attachment: &[u8]) -> std::io::Result<()> {
        let envelope = Envelope::scan(json).map_err(std::io::Error::other)?;
        let Some(id) = envelope.id.and_then(|id| id.parse::<u64>().ok()) else {
            // A node says without id why it closes the connection.
            let reason = ProviderError::from_json(json);
            self.out.lock().reason = Some(reason.clone());
            return Err(std::io::Error::other(reason.message));
        };
        let Some(sink) = self.out.lock().waiting.remove(&id) else { return Ok(()) };
        let reply = if envelope.message_type == "ERROR" { REPLY_ERROR } else { REPLY_OK };
        sink(Response {
            reply,
            json: envelope.rewrite("").into_bytes().into(),
            attachment: attachment.to_vec().into(),
        });
        Ok(())
    }

    fn close(&self, error: &ProviderError) {
        let waiting: Vec<Sink> = {
            let mut state = self.out.lock();
            state.closed = true;
            state.reason.get_or_insert_with(|| error.clone());
            state.stream = None;
            state.buffer = Buffer::default();
            state.waiting.drain().map(|(_, sink)| sink).collect()
        };
        for sink in waiting {
            sink(Response::error(error));
        }
    }
}
