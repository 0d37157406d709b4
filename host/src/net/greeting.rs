//! The beginning of a connection that was accepted: which of the two protocols it is, and who is at the other end.

use super::admission::{Admitted, FIRST_MESSAGES_MAX, Gate, Step, Stranger};
use super::caller::Visitor;
use super::channel::Channel;
use super::frame::{self, Inbox};
use super::socket_owner::{SocketOwner, socket_owner};
use super::tls;
use super::unknown::{Place, Source, Unknown};
use crate::audit::{AuditEvent, AuditTopic};
use crate::config::{LocalUsers, Plaintext};
use crate::node::Node;
use crate::pool::unix_seconds;
use potluck_sdk::envelope::Envelope;
use potluck_sdk::{PeerId, ProviderError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The first byte of TLS; the length of a frame begins with something smaller.
const TLS_FIRST_BYTE: u8 = 0x16;
/// How long somebody unknown may take to say who it is.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(10);
/// Largest message of somebody unknown.
const FIRST_FRAME_BYTES_MAX: usize = 16 << 10;

/// Those who look at the same time for whose a connection is.
static LOOKUPS: Semaphore = Semaphore::const_new(2);

/// How often it is looked whose a connection is, and the pause between.
const LOOKS_MAX: u32 = 25;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A connection whose other end is known.
pub struct Greeted {
    /// The bytes.
    pub channel: Channel,
    /// What has been read of them.
    pub inbox: Inbox,
    /// Who it is.
    pub visitor: Visitor,
}

/// Where a connection comes from and goes to; both canonical.
#[derive(Clone, Copy)]
pub struct Ends {
    /// The other side.
    pub remote: SocketAddr,
    /// This side.
    pub local: SocketAddr,
}

impl Ends {
    /// Of a connection that was accepted.
    pub fn of(stream: &TcpStream, remote: SocketAddr) -> std::io::Result<Ends> {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Ok(Ends { remote: canonical(remote), local: canonical(stream.local_addr()?) })
    }

    /// Whether it stays within this machine.
    pub fn are_loopback(&self) -> bool {
        self.remote.ip().is_loopback() && self.local.ip().is_loopback()
    }
}

/// Finds out who has connected. Nothing when the connection is to be closed, which needs no word to those who have
/// proven nothing. `unknown` bounds those of whom nothing is known; `idle` is how long this machine may take to begin.
pub async fn greet(
    stream: TcpStream,
    ends: Ends,
    node: &Arc<Node>,
    unknown: &Arc<Unknown>,
    idle: Duration,
) -> Option<Greeted> {
    // At once, before whoever it is can hand the connection on, or close it and be nobody.
    let owner = if ends.are_loopback() { Some(owner(ends).await) } else { None };
    let is_users = owner.is_some_and(|owner| matches!(owner, SocketOwner::User(uid) if is_own_user(uid, node)));
    // The user's own clients may keep as many connections as they like open before they use them.
    let source = if is_users { Source::User } else { Source::of(ends.remote.ip()) };
    let mut place = if is_users { None } else { Some(enter(unknown, source, ends, node)?) };
    let limit = if is_users { idle } else { UNKNOWN_LIMIT };
    let first = tokio::time::timeout(limit, first_byte(&stream, node)).await.ok()??;
    if first == TLS_FIRST_BYTE {
        if place.is_none() {
            place = Some(enter(unknown, source, ends, node)?);
        }
        let greeted = tokio::time::timeout(UNKNOWN_LIMIT, greet_encrypted(stream, ends, owner, node)).await;
        drop(place);
        return greeted.unwrap_or_else(|_| {
            refused(node, ends, "handshake", "it did not say who it is in time");
            None
        });
    }
    let visitor = plain_visitor(ends, owner, node, unknown, place)?;
    let inbox = Inbox::first_words(FIRST_FRAME_BYTES_MAX);
    Some(Greeted { channel: Channel::plain(stream), inbox, visitor })
}

fn enter(unknown: &Arc<Unknown>, source: Source, ends: Ends, node: &Node) -> Option<Place> {
    let place = unknown.enter(source);
    if place.is_none() {
        let text = "as many connections as may be have not said yet who they are (unknown_connections_max in [node])";
        refused(node, ends, "crowded", text);
    }
    place
}

/// The first byte, which stays where it is; nothing at the end of the connection or of the node.
async fn first_byte(stream: &TcpStream, node: &Node) -> Option<u8> {
    let mut stopping = node.stopping.subscribe();
    let mut byte = [0];
    let peeked = tokio::select! {
        peeked = stream.peek(&mut byte) => peeked,
        _ = stopping.wait_for(|stopping| *stopping) => return None,
    };
    matches!(peeked, Ok(1)).then_some(byte[0])
}

/// Who sends plain frames. They prove nothing, so it depends on where they come from.
fn plain_visitor(
    ends: Ends,
    owner: Option<SocketOwner>,
    node: &Node,
    unknown: &Arc<Unknown>,
    place: Option<Place>,
) -> Option<Visitor> {
    let stranger = |place: Option<Place>, text: String| {
        let place = match place {
            Some(place) => place,
            None => enter(unknown, Source::of(ends.remote.ip()), ends, node)?,
        };
        Some(Visitor::stranger(ends.remote, text, place))
    };
    match (node.config.plaintext, owner) {
        (Plaintext::Never, _) | (Plaintext::Loopback, None) => {
            refused(node, ends, "plaintext", "plain frames are not accepted from there");
            None
        }
        (Plaintext::Anywhere, None) => {
            let text = "plain frames from another machine prove nothing; send AUTHENTICATE with the node's token first";
            stranger(place, text.to_owned())
        }
        (Plaintext::Loopback | Plaintext::Anywhere, Some(owner)) => match owner {
            SocketOwner::OwnChild => Some(Visitor::task(ends.remote)),
            SocketOwner::User(uid) if is_own_user(uid, node) => Some(Visitor::user(ends.remote)),
            SocketOwner::User(uid) => {
                let own = rustix::process::geteuid().as_raw();
                let text = format!(
                    "this node belongs to another account of this machine (number {own}, yours is {uid}); ask its owner for the node's token and send AUTHENTICATE, or start a node of your own"
                );
                stranger(place, text)
            }
            SocketOwner::Unknown => {
                let text = "it cannot be told which account of this machine this connection belongs to; send AUTHENTICATE with the node's token first";
                stranger(place, text.to_owned())
            }
        },
    }
}

/// Who shows the node's own key: its user at the command line, or a task that has read it. On another machine it is a
/// copy, which counts for nothing.
fn own_visitor(ends: Ends, owner: Option<SocketOwner>, node: &Node) -> Option<Visitor> {
    match owner? {
        SocketOwner::OwnChild => Some(Visitor::task(ends.remote)),
        SocketOwner::User(uid) if is_own_user(uid, node) => Some(Visitor::user(ends.remote)),
        SocketOwner::User(_) | SocketOwner::Unknown => None,
    }
}

async fn owner(ends: Ends) -> SocketOwner {
    for _ in 0..LOOKS_MAX {
        // It looks through /proc, which takes its time when there are many workers; so there are few who look at once.
        let Ok(place) = LOOKUPS.acquire().await else { break };
        let looking = tokio::task::spawn_blocking(move || socket_owner(ends.remote, ends.local));
        let owner = looking.await.unwrap_or(SocketOwner::Unknown);
        drop(place);
        if owner != SocketOwner::Unknown {
            return owner;
        }
        // The node may be short of descriptors for a moment.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    SocketOwner::Unknown
}

fn is_own_user(uid: u32, node: &Node) -> bool {
    uid == rustix::process::geteuid().as_raw() || uid == 0 || node.config.local_users == LocalUsers::All
}

async fn greet_encrypted(
    stream: TcpStream,
    ends: Ends,
    owner: Option<SocketOwner>,
    node: &Arc<Node>,
) -> Option<Greeted> {
    let accepted = tokio_rustls::TlsAcceptor::from(node.tls.server()).accept(stream).await;
    let (stream, connection) = match accepted {
        Ok(accepted) => accepted.into_inner(),
        Err(error) => {
            refused(node, ends, "handshake", &error.to_string());
            return None;
        }
    };
    let stranger = tls::peer_key(&connection)
        .and_then(|key| Some(Stranger { key, binding: tls::channel_binding(&connection).ok()? }));
    let Some(stranger) = stranger else {
        refused(node, ends, "handshake", "it does not speak this protocol");
        return None;
    };
    let channel = Channel::encrypted(stream, connection.into());
    let mut inbox = Inbox::first_words(FIRST_FRAME_BYTES_MAX);
    for _ in 0..FIRST_MESSAGES_MAX {
        let json = frame::receive(&channel, &mut inbox).await.ok()??;
        let (answer, admitted) = match first_words(node, stranger, &json).await {
            Step::Answer(answer) => (answer, None),
            Step::Joined(answer, peer_id) => {
                joined(node, ends, peer_id);
                (answer, None)
            }
            Step::Admit(answer, admitted) => (answer, Some(admitted)),
            Step::Refuse(error) => {
                refused(node, ends, "admission", &format!("{}: {}", stranger.key.peer_id(), error.message));
                say_last(&channel, &error, &json).await;
                return None;
            }
        };
        let visitor = match admitted {
            None => None,
            Some(Admitted::Own) => match own_visitor(ends, owner, node) {
                Some(visitor) => Some(visitor),
                None => {
                    let text = "the node's own key counts as its user on this machine alone";
                    refused(node, ends, "admission", text);
                    say_last(&channel, &ProviderError::new(ProviderError::FORBIDDEN, text), &json).await;
                    return None;
                }
            },
            Some(Admitted::Member { pool_id, expires_unix_seconds, .. }) => {
                let visitor = Visitor::member(ends.remote, stranger.key, pool_id, expires_unix_seconds, node);
                if visitor.is_none() {
                    let text = "this node has as many connections of yours as it serves; close some";
                    say_last(&channel, &ProviderError::new(ProviderError::LIMIT_REACHED, text), &json).await;
                    return None;
                }
                visitor
            }
        };
        frame::send(&channel, id_of(&json), &answer).await.ok()?;
        if let Some(visitor) = visitor {
            return Some(Greeted { channel, inbox, visitor });
        }
    }
    refused(node, ends, "admission", "it talked without saying who it is");
    None
}

/// Looks at one message of somebody who is not let in yet.
async fn first_words(node: &Arc<Node>, stranger: Stranger, json: &str) -> Step {
    // Only a JOIN waits for the disk.
    if !json.contains("JOIN") {
        return step(node, &stranger, json);
    }
    let (own, json) = (Arc::clone(node), json.to_owned());
    let stepping = tokio::task::spawn_blocking(move || step(&own, &stranger, &json));
    stepping
        .await
        .unwrap_or_else(|_| Step::Refuse(ProviderError::new(ProviderError::NODE_STOPPING, "the node is stopping")))
}

fn step(node: &Node, stranger: &Stranger, json: &str) -> Step {
    let (standing, authority) = (node.pool.standing(), node.pool.authority());
    let gate = Gate {
        own: node.identity.key.public(),
        standing: standing.as_deref(),
        authority: authority.as_deref(),
        lifetime_seconds: node.config.membership_seconds,
        now_unix_seconds: unix_seconds(),
    };
    gate.step(stranger, json)
}

fn id_of(json: &str) -> Option<&str> {
    Envelope::scan(json).ok().and_then(|envelope| envelope.id)
}

async fn say_last(channel: &Channel, error: &ProviderError, request: &str) {
    let text = String::from_utf8_lossy(&error.to_json()).into_owned();
    let _ = frame::send(channel, id_of(request), &text).await;
    channel.say_goodbye();
}

fn refused(node: &Node, ends: Ends, action: &'static str, reason: &str) {
    tracing::debug!(remote = %ends.remote, action, reason, "a connection was refused");
    node.audit(&AuditEvent {
        topic: AuditTopic::Connection,
        action,
        caller: None,
        message_type: "",
        address: Some(ends.remote),
        reason,
    });
}

fn joined(node: &Node, ends: Ends, peer_id: PeerId) {
    tracing::info!(%peer_id, remote = %ends.remote, "a node has joined the pool");
    node.audit(&AuditEvent {
        topic: AuditTopic::Pool,
        action: "joined",
        caller: None,
        message_type: "JOIN",
        address: Some(ends.remote),
        reason: &peer_id.to_string(),
    });
}
