//! One client, or another peer, that has connected to this node.

use super::admission;
use super::caller::Visitor;
use super::channel::Channel;
use super::frame::{self, FrameBudget, FrameError, Inbox};
use super::greeting::Greeted;
use super::outbound::{Buffer, Outbound};
use super::replies::{Address, Replies};
use super::spool::{Spool, SpooledFile};
use crate::audit::{AuditEvent, AuditTopic};
use crate::call::{Dispatch, Incoming, PendingCall, Response, Sink};
use crate::node::Node;
use crate::pool::unix_seconds;
use crate::router;
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::node::CancelCall;
use potluck_sdk::message::pool::{Authenticate, Hello};
use potluck_sdk::message::{FRAME_BYTES_MAX, SPOOLED_FRAME_BYTES_MAX, to_json};
use potluck_sdk::{Caller, ProviderError};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest that one frame may take to arrive.
const FRAME_TIME_MAX: Duration = Duration::from_secs(120);
/// A client that sends without pause gives way to others after this many turns.
const TURNS_BEFORE_YIELD: u32 = 16;
/// How long a closing connection tries to deliver its last replies.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a client still sends while its connection is being closed is read and thrown away up to this many bytes.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDED_AT_A_TIME: usize = 64 << 10;

/// Timers cannot be set to arbitrarily late points in time.
const DAY_SECONDS: u64 = 86_400;
/// How long somebody who is not the node's user may take to show the node's token.
const PROOF_LIMIT: Duration = Duration::from_secs(10);
/// How long after the end of its membership a node may still be heard: its renewed one may be on its way.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// A connection that a client, or another node, opened.
pub struct Connection {
    channel: Channel,
    visitor: Visitor,
    out: Outbound<Replies>,
}

impl Connection {
    /// Serves the connection until it ends, one way or another.
    pub async fn serve(greeted: Greeted, node: Arc<Node>, budget: Arc<FrameBudget>) {
        let Greeted { channel, inbox, visitor } = greeted;
        let connection = Arc::new(Connection { channel, visitor, out: Outbound::new(Replies::default()) });
        let idle = Duration::from_secs_f64(node.config.idle_seconds);
        let ended = connection.run(&node, inbox, budget, idle).await;
        if let Err(error) = &ended {
            tracing::debug!(%error, "a connection ended");
        }
        connection.close(&node).await;
        let refused = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
        // Calls that are still being answered hold the connection too, but nothing is sent over it any more.
        if refused && let Some(connection) = Arc::into_inner(connection) {
            linger(connection.channel.into_stream()).await;
        }
    }

    async fn run(
        self: &Arc<Connection>,
        node: &Arc<Node>,
        mut inbox: Inbox,
        budget: Arc<FrameBudget>,
        idle: Duration,
    ) -> std::io::Result<()> {
        let mut stopping = node.stopping.subscribe();
        let mut pool = node.pool.changes();
        // Whatever has changed since the other side was let in is looked at first.
        pool.mark_changed();
        let mut last_bytes = Instant::now();
        let mut frame_begun: Option<Instant> = None;
        let timer = tokio::time::sleep(idle);
        tokio::pin!(timer);
        let mut turns = 0_u32;
        let mut budget = Some(budget);
        let proof_due = Instant::now() + PROOF_LIMIT;
        loop {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_BEFORE_YIELD) {
                tokio::task::yield_now().await;
            }
            // Whoever has proven nothing sends no more than it needs for that.
            if let Some(budget) = budget.take_if(|_| !self.visitor.is_unproven()) {
                inbox = inbox.accepted(budget);
                self.out.lock().takes_large = self.is_own_user();
            }
            let is_unproven = self.visitor.is_unproven();
            if self.visitor.has_guessed_enough() || (is_unproven && Instant::now() >= proof_due) {
                return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "no token"));
            }
            // Here, and not only where it waits: somebody who never stops talking must not outlive its membership.
            if let Some(member) = self.visitor.as_member()
                && (pool.has_changed().unwrap_or(false) || member.expires_unix_seconds() < unix_seconds())
            {
                pool.mark_unchanged();
                self.check_member(node)?;
            }
            let mut outcome = self.handle_frames(node, &mut inbox);
            if let Err(FrameError::TooLarge(frame_bytes, _)) = outcome
                && frame_bytes <= SPOOLED_FRAME_BYTES_MAX
                && self.is_own_user()
                && node.routes.take_spooled()
            {
                match self.spool(node, &mut inbox, frame_bytes, &mut stopping).await? {
                    Spooled::Handled => {
                        last_bytes = Instant::now();
                        continue;
                    }
                    Spooled::Ended => return Ok(()),
                    Spooled::TooLarge => outcome = Err(FrameError::TooLarge(frame_bytes, FRAME_BYTES_MAX)),
                }
            }
            let (handled, stopped) = match outcome {
                Ok(handled) => handled,
                Err(error) => {
                    let Some((code, text)) = frame::last_words(&error) else {
                        return Err(std::io::Error::other(error));
                    };
                    let said = ProviderError::new(code, text);
                    self.out.lock().write(None, Response::error(&said));
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
                }
            };
            // Flushed only now, when no whole request is left: one write for all replies of a pipeline.
            let Waiting { readable, unsent, in_flight } = self.flush(node)?;
            if stopped && readable {
                // There is room again, and what has arrived already makes no socket readable.
                continue;
            }
            if readable {
                match inbox.read_from(&self.channel)? {
                    Some(0) => return Ok(()),
                    Some(_) => {
                        last_bytes = Instant::now();
                        continue;
                    }
                    None => {}
                }
            }
            // Nothing to do but wait: the next lines are off the hot path.
            inbox.rest();
            self.out.lock().buffer.rest();
            let waits_for_rest = inbox.is_partial() && readable;
            frame_begun = match (waits_for_rest, handled) {
                (false, _) => None,
                (true, 0) => frame_begun.or(Some(last_bytes)),
                (true, _) => Some(last_bytes),
            };
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping), if in_flight == 0 && !unsent => return Ok(()),
                () = self.out.woken() => {
                    if in_flight == 0 && unsent {
                        // A piece of a file is on its way: the client reads.
                        last_bytes = Instant::now();
                    }
                }
                ready = self.channel.readable(), if readable => ready?,
                ready = self.channel.writable(), if unsent => ready?,
                // Looked at above.
                Ok(()) = wait_for_change(&mut pool), if self.visitor.as_member().is_some() => {}
                () = self.expired() => {}
                () = tokio::time::sleep_until(proof_due), if is_unproven => {}
                () = &mut timer => {
                    let now = Instant::now();
                    let slow = frame_begun.is_some_and(|begun| now - begun > FRAME_TIME_MAX);
                    if slow || (in_flight == 0 && now >= last_bytes + idle) {
                        return Ok(());
                    }
                    timer.as_mut().reset(if in_flight == 0 { last_bytes + idle } else { now + idle });
                }
            }
        }
    }

    /// Handles every whole frame that has arrived, as far as replies find room; returns how many, and whether some may be
    /// left for want of room.
    fn handle_frames(self: &Arc<Connection>, node: &Arc<Node>, inbox: &mut Inbox) -> Result<(usize, bool), FrameError> {
        let mut handled = 0;
        let mut busy = self.out.lock().is_busy();
        while !busy {
            let Some(place) = inbox.next_frame()? else { break };
            let (json, attachment) = inbox.frame(&place)?;
            let was_unproven = self.visitor.is_unproven();
            busy = self.handle(node, json, attachment, None);
            handled += 1;
            // What follows the token is read by other limits.
            if was_unproven && (!self.visitor.is_unproven() || self.visitor.has_guessed_enough()) {
                return Ok((handled, true));
            }
        }
        Ok((handled, busy))
    }

    /// Handles one request; returns whether no more should be read for the moment.
    fn handle(
        self: &Arc<Connection>,
        node: &Arc<Node>,
        json: &str,
        attachment: &[u8],
        mut spooled: Option<SpooledFile>,
    ) -> bool {
        let scanned = Envelope::scan(json);
        let id = scanned.as_ref().ok().and_then(|envelope| envelope.id);
        let mut deferred = None;
        let dispatched = match &scanned {
            Ok(envelope) if envelope.message_type == "AUTHENTICATE" && self.visitor.is_unproven() => {
                Dispatch::Ready(self.authenticate(node, json))
            }
            Ok(envelope) => match self.visitor.caller(node, envelope.for_task) {
                // These belong to the connection.
                Ok(_) if envelope.message_type == "CANCEL_CALL" => Dispatch::Ready(self.cancel_call(json)),
                Ok(_) if envelope.message_type == "HELLO" => Dispatch::Ready(self.hello(node, json)),
                Ok(_) if envelope.message_type == "AUTHENTICATE" => Dispatch::Ready(self.authenticate(node, json)),
                Ok(caller) => {
                    let path = spooled.as_ref().map(SpooledFile::path);
                    let source_ip = &self.visitor.source_ip;
                    // What a task says of itself over a connection of its own proves nothing.
                    let process = match caller {
                        _ if self.visitor.is_task() || envelope.process.is_empty() => Cow::Borrowed(""),
                        // Nor is a process of another node the one of this node that has its number.
                        Caller::Task(peer) if peer != node.id_text => format!("{}@{peer}", envelope.process).into(),
                        _ => Cow::Borrowed(envelope.process),
                    };
                    let process = &*process;
                    let incoming = Incoming { json, attachment, caller, process, source_ip, spooled: path.as_deref() };
                    router::route(node, envelope, incoming, &mut || {
                        let (address, number) = self.out.lock().expect(id);
                        deferred = Some(number);
                        self.sink(address, number, spooled.take())
                    })
                }
                Err(refusal) => Dispatch::Ready(self.refuse(node, envelope.message_type, &refusal)),
            },
            Err(error) => Dispatch::Ready(Response::error(&frame::invalid(error))),
        };
        let mut replies = self.out.lock();
        match dispatched {
            Dispatch::Ready(response) => replies.answer(id, response),
            Dispatch::Pending(pending) => {
                // Unless it was answered meanwhile.
                if let Some(number) = deferred
                    && !pending.is_answered()
                {
                    replies.pending.insert(number, (id.map(str::to_owned), pending));
                }
            }
        }
        replies.is_busy()
    }

    /// Whether it is the node's own user, on this machine: then messages may be larger than a frame.
    fn is_own_user(&self) -> bool {
        self.channel.is_plain() && self.visitor.is_user() && self.visitor.address.ip().is_loopback()
    }

    /// Hands the socket what waits for it, and has more read of a file that is being sent.
    fn flush(self: &Arc<Connection>, node: &Node) -> std::io::Result<Waiting> {
        let (waiting, is_streaming) = {
            let mut replies = self.out.lock();
            if replies.closed {
                return Err(std::io::Error::other("the client does not read its replies"));
            }
            if let Some(error) = replies.broken.take() {
                tracing::warn!(%error, "a reply was cut off: its file cannot be read as far as was promised");
                return Err(error);
            }
            let unsent = replies.buffer.flush(&self.channel)?;
            let is_streaming = replies.is_streaming();
            let (readable, in_flight) = (!replies.is_busy(), replies.in_flight);
            (Waiting { readable, unsent: unsent || is_streaming, in_flight }, is_streaming)
        };
        if is_streaming {
            self.read_piece(node);
        }
        Ok(waiting)
    }

    /// Reads the next piece of the file that is being sent, where it may block.
    fn read_piece(self: &Arc<Connection>, node: &Node) {
        let Some(piece) = self.out.lock().next_piece() else { return };
        let connection = Arc::clone(self);
        node.runtime.spawn_blocking(move || {
            let text = piece.read();
            connection.out.lock().add_piece(&piece, text);
            connection.out.wake();
        });
    }

    /// Reads a message that is larger than a frame, and handles it.
    async fn spool(
        self: &Arc<Connection>,
        node: &Arc<Node>,
        inbox: &mut Inbox,
        frame_bytes: usize,
        stopping: &mut watch::Receiver<bool>,
    ) -> std::io::Result<Spooled> {
        let mut spool = Spool::begin(node);
        let due = Instant::now() + FRAME_TIME_MAX;
        inbox.take(frame::HEADER_BYTES);
        let mut left = frame_bytes;
        let mut turns = 0_u32;
        while left > 0 {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_BEFORE_YIELD) {
                tokio::task::yield_now().await;
            }
            let arrived = inbox.take(left);
            if !arrived.is_empty() {
                left -= arrived.len();
                if spool.push(arrived).is_err() {
                    return Ok(Spooled::TooLarge);
                }
                spool.write().await;
                continue;
            }
            let Waiting { unsent, in_flight, .. } = self.flush(node)?;
            match inbox.read_from(&self.channel)? {
                Some(0) => return Ok(Spooled::Ended),
                Some(_) => continue,
                None => {}
            }
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping), if in_flight == 0 && !unsent => return Ok(Spooled::Ended),
                () = self.out.woken() => {}
                ready = self.channel.readable() => ready?,
                ready = self.channel.writable(), if unsent => ready?,
                () = tokio::time::sleep_until(due) => {
                    return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, FrameError::Slow));
                }
            }
        }
        let (json, spooled) = spool.finish().await;
        let refusal = match (Envelope::scan(&json), spooled) {
            (Ok(envelope), Ok(file)) if envelope.attachment_length == 0 => {
                self.handle(node, &json, b"", Some(file));
                return Ok(Spooled::Handled);
            }
            // What follows would be taken for a frame.
            (Ok(envelope), _) if envelope.attachment_length > 0 => return Ok(Spooled::TooLarge),
            (_, Err(refusal)) => refusal,
            (Err(error), Ok(_)) => frame::invalid(&error),
            (Ok(_), Ok(_)) => return Ok(Spooled::TooLarge),
        };
        let envelope = Envelope::scan(&json).ok();
        self.out.lock().answer(envelope.and_then(|envelope| envelope.id), Response::error(&refusal));
        Ok(Spooled::Handled)
    }

    /// Another node shows a newer membership.
    fn hello(&self, node: &Node, json: &str) -> Response {
        let Some((member, standing)) = self.visitor.as_member().zip(node.pool.standing()) else {
            let text = "HELLO is for the nodes of a pool, over an encrypted connection";
            return self.refuse(node, "HELLO", &ProviderError::new(ProviderError::FORBIDDEN, text));
        };
        match serde_json::from_str::<Hello<'_>>(json) {
            Err(error) => Response::error(&ProviderError::invalid(format!("HELLO: {error}"))),
            Ok(hello) => match standing.admit(&hello, &member.key, unix_seconds()) {
                Ok(membership) => {
                    member.renewed(membership.expires_unix_seconds);
                    Response::ok(to_json(&standing.hello()))
                }
                Err(refusal) => {
                    // What it has shown before counts no more: the connection ends with this answer.
                    member.renewed(0);
                    self.refuse(node, "HELLO", &admission::not_admitted(&refusal))
                }
            },
        }
    }

    /// Somebody shows the node's token, to be taken for its user.
    fn authenticate(&self, node: &Node, json: &str) -> Response {
        let shown = match serde_json::from_str::<Authenticate<'_>>(json) {
            Ok(message) => message.token,
            Err(error) => {
                self.visitor.note_wrong_token();
                return Response::error(&ProviderError::invalid(format!("AUTHENTICATE: {error}")));
            }
        };
        if self.visitor.as_member().is_some() || !node.access_token.is(&shown) {
            self.visitor.note_wrong_token();
            let text = "this is not the node's token; it stands in access.token in the node's data directory";
            return self.refuse(node, "AUTHENTICATE", &ProviderError::new(ProviderError::FORBIDDEN, text));
        }
        self.visitor.accept_token();
        Response::ok(&br#"{"type":"STATUS","status":"AUTHENTICATED"}"#[..])
    }

    fn refuse(&self, node: &Node, message_type: &str, refusal: &ProviderError) -> Response {
        node.audit(&AuditEvent {
            topic: AuditTopic::Refused,
            action: "refused",
            caller: self.visitor.known_caller(node),
            message_type,
            address: Some(self.visitor.address),
            reason: &refusal.message,
        });
        Response::error(refusal)
    }

    /// Ends the connection of a node that is a member no more; the words that say so are delivered with what was answered
    /// before.
    fn check_member(&self, node: &Node) -> std::io::Result<()> {
        let Some(member) = self.visitor.as_member() else { return Ok(()) };
        let reason = match node.pool.standing() {
            None => "this node has left the pool",
            Some(standing) if standing.pool_id != member.pool_id => "this node is in another pool now",
            Some(standing) if standing.is_revoked(&member.peer_id) => "the pool has revoked this node's membership",
            Some(_) if member.expires_unix_seconds().saturating_add(EXPIRY_GRACE.as_secs()) <= unix_seconds() => {
                "this node's membership has expired"
            }
            Some(_) => return Ok(()),
        };
        let said = ProviderError::new(ProviderError::FORBIDDEN, reason);
        let refusal = self.refuse(node, "", &said);
        self.out.lock().write(None, refusal);
        Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason))
    }

    /// Waits until the membership that a node has shown has expired, for good.
    async fn expired(&self) {
        let Some(member) = self.visitor.as_member() else { return std::future::pending().await };
        let left = member.expires_unix_seconds().saturating_sub(unix_seconds());
        tokio::time::sleep(Duration::from_secs(left.min(DAY_SECONDS)) + EXPIRY_GRACE).await;
    }

    /// The client does not wait for one of its requests any more.
    fn cancel_call(&self, json: &str) -> Response {
        let call = match serde_json::from_str::<CancelCall>(json) {
            Ok(message) => message.call.to_string(),
            Err(error) => return Response::error(&ProviderError::invalid(format!("CANCEL_CALL: {error}"))),
        };
        let found = {
            let replies = self.out.lock();
            let mut pending = replies.pending.values();
            pending.find(|(id, _)| id.as_ref() == Some(&call)).map(|(_, pending)| Arc::clone(pending))
        };
        if let Some(pending) = found {
            pending.cancel();
        }
        Response::ok(&br#"{"type":"STATUS","status":"OK"}"#[..])
    }

    /// Where a deferred answer goes: into the buffer, and from the answering thread straight into the socket.
    fn sink(self: &Arc<Connection>, address: Address, pending_number: u64, spooled: Option<SpooledFile>) -> Sink {
        let connection = Arc::clone(self);
        Box::new(move |response| {
            let mut replies = connection.out.lock();
            let forgotten = replies.pending.remove(&pending_number);
            if replies.is_given_up() && !replies.closed {
                replies.closed = true;
                replies.buffer = Buffer::default();
                drop(replies);
                connection.out.wake();
            } else if !replies.closed {
                let was_busy = replies.is_busy();
                replies.deliver(&address, response);
                let flushed = replies.buffer.flush(&connection.channel);
                let wake = was_busy || !matches!(flushed, Ok(false)) || replies.in_flight == 0;
                drop(replies);
                if wake {
                    connection.out.wake();
                }
            } else {
                drop(replies);
            }
            drop(forgotten);
            drop(spooled);
        })
    }

    /// Tells those who still work for the client that it is gone, and delivers what was answered before.
    async fn close(self: &Arc<Connection>, node: &Arc<Node>) {
        let abandoned: Vec<Arc<PendingCall>> = {
            let mut replies = self.out.lock();
            replies.closed = true;
            replies.pending.drain().map(|(_, (_, pending))| pending).collect()
        };
        for pending in abandoned {
            pending.cancel();
        }
        let deliver = async {
            loop {
                let (unsent, is_streaming) = {
                    let mut replies = self.out.lock();
                    let Ok(unsent) = replies.buffer.flush(&self.channel) else { return };
                    (unsent, replies.is_streaming())
                };
                if !unsent && !is_streaming {
                    return;
                }
                self.read_piece(node);
                tokio::select! {
                    () = self.out.woken() => {}
                    ready = self.channel.writable(), if unsent => if ready.is_err() { return },
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE, deliver).await;
        self.channel.say_goodbye();
    }
}

/// What is to be waited for.
struct Waiting {
    /// More requests: there is room for their replies.
    readable: bool,
    /// Room for replies.
    unsent: bool,
    /// Answers.
    in_flight: usize,
}

/// What became of a message larger than a frame.
enum Spooled {
    /// It was handled, or refused.
    Handled,
    /// The client, or the node, has ended.
    Ended,
    /// It is none that may be so large.
    TooLarge,
}

/// Waits for a change, and leaves it to be noticed by `has_changed`.
async fn wait_for_change(changes: &mut watch::Receiver<u64>) -> Result<(), watch::error::RecvError> {
    changes.changed().await?;
    changes.mark_changed();
    Ok(())
}

/// Ends a connection so that the last words are read: a socket that is closed with unread bytes in it takes back what it
/// has sent. So the client is told that nothing follows, and what it still sends is thrown away for a while.
async fn linger(stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    let mut stream = stream;
    let discard = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut waste = Vec::with_capacity(DISCARDED_AT_A_TIME);
        let mut discarded = 0;
        while discarded < DISCARDED_BYTES_MAX && stream.readable().await.is_ok() {
            waste.clear();
            match stream.try_read_buf(&mut waste) {
                Ok(0) => return,
                Ok(count) => discarded += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(GOODBYE, discard).await;
}

/// Refuses a connection with one sentence.
pub async fn refuse(stream: TcpStream, error: &ProviderError) {
    let channel = Channel::plain(stream);
    if frame::send(&channel, None, &String::from_utf8_lossy(&error.to_json())).await.is_ok() {
        linger(channel.into_stream()).await;
    }
}
