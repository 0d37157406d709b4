//! One connection that this process opened to a node: many requests in flight, told apart by their ids.

use super::channel::Channel;
use super::dial::{self, DialError};
use super::frame::{self, FrameBudget, FramePlace, Inbox};
use super::outbound::{Buffer, Outbound};
use super::tls::{Pin, Tls};
use super::trust::Trust;
use crate::call::{Response, Sink};
use crate::pool::Pool;
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
use tokio::sync::oneshot;
use tokio::time::Instant;

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
/// The id of this module's own PING and CANCEL_CALL.
const PING_ID_TEXT: &str = "0";
/// The id of this module's own HELLO.
const HELLO_ID: u64 = 1;
const HELLO_ID_TEXT: &str = "1";
const FIRST_ID: u64 = 2;
/// A node that sends without pause gives way to others after this many turns.
const TURNS_BEFORE_YIELD: u32 = 16;
/// What `id` and `attachment` add to a message at most.
const ID_BYTES_MAX: usize = 64;

/// Who to connect to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// Whose key it must have; nothing for plain frames, to a node of this user on this machine.
    pub pin: Option<Pin>,
    /// With plain frames: whether the program there may belong to another account of this machine.
    pub any_account: bool,
}

impl Target {
    /// A member of this node's pool.
    pub fn member(address: SocketAddr, pin: Pin) -> Target {
        Target { address, pin: Some(pin), any_account: false }
    }

    /// A node of this user on this machine.
    pub fn own(address: SocketAddr) -> Target {
        Target { address, pin: None, any_account: false }
    }
}

/// What a process shows of itself on encrypted connections.
#[derive(Clone)]
pub struct Credentials {
    /// Its key.
    pub tls: Arc<Tls>,
    /// Its membership.
    pub pool: Arc<Pool>,
    /// What unfinished answers may hold, over all connections.
    pub frames: Arc<FrameBudget>,
}

/// A connection to a node, or the attempt at one.
pub struct Link {
    target: Target,
    out: Outbound<State>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    buffer: Buffer,
    waiting: HashMap<u64, Sink>,
    /// There once the connection is: then any thread may write to it.
    channel: Option<Arc<Channel>>,
    closed: bool,
    /// Why it was closed.
    reason: Option<ProviderError>,
}

impl Link {
    /// Starts to connect; requests may be sent at once. `connected` learns how the attempt ended.
    pub fn open(
        target: Target,
        credentials: Credentials,
        runtime: &tokio::runtime::Handle,
    ) -> (Arc<Link>, oneshot::Receiver<Result<(), DialError>>) {
        let link = Arc::new(Link { target, out: Outbound::new(State::default()), next_id: AtomicU64::new(FIRST_ID) });
        let (report, connected) = oneshot::channel();
        runtime.spawn(Arc::clone(&link).run(credentials, report));
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
            let text = format!("too many requests wait for {}; try again later", self.target.address);
            sink(Response::error(&ProviderError::new(ProviderError::LIMIT_REACHED, text)));
            return Ok(id);
        }
        let first = state.waiting.is_empty();
        state.waiting.insert(id, sink);
        frame::write(state.buffer.bytes(), Some(&id.to_string()), json.as_bytes(), attachment);
        let channel = state.channel.clone();
        let flushed = channel.is_some_and(|channel| matches!(state.buffer.flush(&channel), Ok(false)));
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

    async fn run(self: Arc<Link>, credentials: Credentials, report: oneshot::Sender<Result<(), DialError>>) {
        let (channel, inbox, mut trust) = match open(self.target, credentials).await {
            Ok(opened) => opened,
            Err(error) => {
                self.close(&ProviderError::new(ProviderError::PEER_UNREACHABLE, error.to_string()));
                let _ = report.send(Err(error));
                return;
            }
        };
        let channel = Arc::new(channel);
        self.out.lock().channel = Some(Arc::clone(&channel));
        let _ = report.send(Ok(()));
        let ended = self.talk(&channel, inbox, &mut trust).await;
        channel.say_goodbye();
        let reason = ended.map_or_else(|error| error.to_string(), |()| "it closed the connection".to_owned());
        let text = format!("{} was lost before it answered: {reason}", self.target.address);
        self.close(&ProviderError::new(ProviderError::PEER_LOST, text));
    }

    async fn talk(&self, channel: &Channel, mut inbox: Inbox, trust: &mut Option<Trust>) -> std::io::Result<()> {
        let mut last_bytes = Instant::now();
        let mut pinged = false;
        let mut turns = 0_u32;
        loop {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_BEFORE_YIELD) {
                tokio::task::yield_now().await;
            }
            while let Some(place) = inbox.next_frame().map_err(std::io::Error::other)? {
                if let Some(answered) = self.receive(&inbox, &place, trust.as_mut())? {
                    let attachment = inbox.take_attachment(&place);
                    answered.finish(attachment);
                }
            }
            if let Some(trust) = trust
                && let Some(hello) = trust.look().map_err(std::io::Error::other)?
            {
                frame::write(self.out.lock().buffer.bytes(), Some(HELLO_ID_TEXT), hello.as_bytes(), b"");
            }
            if let Some(read) = inbox.read_from(channel)? {
                if read == 0 {
                    return Ok(());
                }
                (last_bytes, pinged) = (Instant::now(), false);
                continue;
            }
            inbox.rest();
            let (unsent, waiting) = {
                let mut state = self.out.lock();
                (state.buffer.flush(channel)?, !state.waiting.is_empty())
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
                ready = channel.readable() => ready?,
                ready = channel.writable(), if unsent => ready?,
                () = Trust::doubt(trust) => {}
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

    /// Looks at a frame; returns the answer to a request that waits, which lacks its attachment.
    fn receive(
        &self,
        inbox: &Inbox,
        place: &FramePlace,
        trust: Option<&mut Trust>,
    ) -> std::io::Result<Option<Answered>> {
        let (json, _) = inbox.frame(place).map_err(std::io::Error::other)?;
        let envelope = Envelope::scan(json).map_err(std::io::Error::other)?;
        let Some(id) = envelope.id.and_then(|id| id.parse::<u64>().ok()) else {
            // A node says without id why it closes the connection.
            let reason = ProviderError::from_json(json);
            self.out.lock().reason = Some(reason.clone());
            return Err(std::io::Error::other(reason.message));
        };
        if id == HELLO_ID
            && let Some(trust) = trust
        {
            return trust.renewed(json).map(|()| None).map_err(std::io::Error::other);
        }
        if id >= self.next_id.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("it answers what was not asked"));
        }
        let Some(sink) = self.out.lock().waiting.remove(&id) else { return Ok(None) };
        let reply = if envelope.message_type == "ERROR" { REPLY_ERROR } else { REPLY_OK };
        Ok(Some(Answered { sink, reply, json: envelope.rewrite("").into_bytes() }))
    }

    fn close(&self, error: &ProviderError) {
        let waiting: Vec<Sink> = {
            let mut state = self.out.lock();
            state.closed = true;
            state.reason.get_or_insert_with(|| error.clone());
            state.channel = None;
            state.buffer = Buffer::default();
            state.waiting.drain().map(|(_, sink)| sink).collect()
        };
        for sink in waiting {
            sink(Response::error(error));
        }
    }
}

/// The answer to a request that waits.
struct Answered {
    sink: Sink,
    reply: u32,
    json: Vec<u8>,
}

impl Answered {
    fn finish(self, attachment: Vec<u8>) {
        let Answered { sink, reply, json } = self;
        sink(Response { reply, json: json.into(), attachment: attachment.into(), body: None });
    }
}

/// Connects, and on an encrypted connection finds out whether the other side may be talked to.
async fn open(target: Target, credentials: Credentials) -> Result<(Channel, Inbox, Option<Trust>), DialError> {
    let Some(pin) = target.pin else {
        let stream = if target.any_account {
            dial::connect(target.address).await?
        } else {
            dial::connect_own(target.address).await?
        };
        let channel = Channel::plain(stream);
        return Ok((channel, Inbox::connecting().unbounded(credentials.frames), None));
    };
    // From before the standing is looked at: what changes while the other side takes its time is noticed afterwards.
    let changes = credentials.pool.changes();
    let mut dialed = dial::encrypted(target.address, &credentials.tls, pin).await?;
    let trust = match credentials.pool.standing() {
        Some(standing) => {
            let membership = dialed.hello(&standing).await?;
            let mut trust = Trust::new(dialed.key, &membership, &standing, credentials.pool, changes);
            trust.look().map_err(|reason| DialError::NotAdmitted(target.address, reason))?;
            Some(trust)
        }
        // Without a pool there is only this user's own node, which has the key that was pinned.
        None => {
            dialed.own_hello().await?;
            None
        }
    };
    let (channel, inbox) = dialed.into_parts(credentials.frames);
    Ok((channel, inbox, trust))
}
