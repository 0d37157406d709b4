//! Opening a connection to a node: TCP, then TLS with a pinned key, then the words that prove membership.

use super::channel::Channel;
use super::frame::{self, FrameBudget, Inbox};
use super::socket_owner::socket_user;
use super::tls::{self, ChannelBinding, Pin, Tls};
use crate::key::PublicKey;
use crate::pool::membership::Membership;
use crate::pool::{Standing, unix_seconds};
use potluck_sdk::ProviderError;
use potluck_sdk::envelope::Envelope;
use potluck_sdk::message::pool::Hello;
use potluck_sdk::message::to_json;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a node may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Pause between two looks at whose connection it is.
const OWNER_POLL: Duration = Duration::from_millis(2);
/// How long it may take from there until it has answered the first message.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read before it is known who the other side is: a list of revocations may be in it.
const FIRST_ANSWER_BYTES_MAX: usize = 8 << 20;

/// Why there is no connection. Nothing but what identifies this node was sent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody accepts connections there.
    #[error("{0} cannot be reached: {1}; nothing was sent to it")]
    Unreachable(SocketAddr, std::io::Error),
    /// Another account of this machine has the port.
    #[error(
        "{0} is served by another account of this machine (number {1}), to which this user's words are not for; if that is wanted, show the node's token with --token-file"
    )]
    OtherAccount(SocketAddr, u32),
    /// The handshake failed, which is also what a wrong key looks like.
    #[error("{0}")]
    Handshake(String),
    /// The other side has refused.
    #[error("{0}: {1}")]
    Refused(SocketAddr, ProviderError),
    /// The other side is not who it should be.
    #[error("{0} is no member of this node's pool: {1}; nothing was sent to it")]
    NotAdmitted(SocketAddr, String),
}

/// An encrypted connection on which nothing has been said.
pub struct Dialed {
    channel: Channel,
    inbox: Inbox,
    address: SocketAddr,
    /// Whose key the other side has proven to have.
    pub key: PublicKey,
    /// What both ends, and nobody between them, have in common.
    pub binding: ChannelBinding,
    /// The address of this side.
    pub local_ip: Option<IpAddr>,
}

/// Opens a TCP connection.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let attempt = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let stream = attempt
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|error| DialError::Unreachable(address, error))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Opens a TCP connection for plain frames, which prove nothing: within this machine only to a program of this user, or of
/// root. Root itself talks to everybody's.
pub async fn connect_own(address: SocketAddr) -> Result<TcpStream, DialError> {
    let stream = connect(address).await?;
    let own = rustix::process::geteuid().as_raw();
    let ends = stream.peer_addr().and_then(|remote| Ok((remote, stream.local_addr()?)));
    let (remote, local) = ends.map_err(|error| DialError::Unreachable(address, error))?;
    if own == 0 || !remote.ip().to_canonical().is_loopback() {
        return Ok(stream);
    }
    let deadline = tokio::time::Instant::now() + CONNECT_LIMIT;
    loop {
        match socket_user(remote, local) {
            Some(uid) if uid == own || uid == 0 => return Ok(stream),
            Some(uid) => return Err(DialError::OtherAccount(address, uid)),
            // The kernel names nobody before the connection is accepted.
            None if tokio::time::Instant::now() < deadline => tokio::time::sleep(OWNER_POLL).await,
            None => return Err(DialError::Unreachable(address, std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Opens an encrypted connection to whoever has the pinned key.
pub async fn encrypted(address: SocketAddr, tls: &Tls, pin: Pin) -> Result<Dialed, DialError> {
    let stream = connect(address).await?;
    let failed = |error: &dyn std::fmt::Display| DialError::Handshake(handshake_text(address, pin, &error.to_string()));
    let config = tls.client(pin).map_err(|error| failed(&error))?;
    let local_ip = stream.local_addr().ok().map(|local| local.ip().to_canonical());
    // Who is there is told by the key; no name is sent.
    let name = ServerName::from(address.ip());
    let handshake = tokio_rustls::TlsConnector::from(config).connect(name, stream);
    let connected = tokio::time::timeout(HANDSHAKE_LIMIT, handshake)
        .await
        .map_err(|_| failed(&"it did not finish the handshake in time"))?
        .map_err(|error| failed(&error))?;
    let (stream, connection) = connected.into_inner();
    let key = tls::peer_key(&connection).ok_or_else(|| failed(&"it does not speak this protocol"))?;
    let binding = tls::channel_binding(&connection).map_err(|error| failed(&error))?;
    let channel = Channel::encrypted(stream, connection.into());
    let inbox = Inbox::first_words(FIRST_ANSWER_BYTES_MAX);
    Ok(Dialed { channel, inbox, address, key, binding, local_ip })
}

fn handshake_text(address: SocketAddr, pin: Pin, error: &str) -> String {
    let who = match pin {
        Pin::Any => "a node",
        Pin::Peer(_) | Pin::Key(_) => "the node that was expected there",
    };
    format!(
        "no encrypted connection to {address}: {error}; either it is not {who}, or somebody is between; nothing was sent to it"
    )
}

impl Dialed {
    /// Sends one message and waits for the answer.
    pub async fn ask(&mut self, json: &str) -> Result<String, DialError> {
        let refused = |error: ProviderError| DialError::Refused(self.address, error);
        let lost =
            |error: std::io::Error| DialError::Handshake(handshake_text(self.address, Pin::Any, &error.to_string()));
        let exchange = async {
            frame::send(&self.channel, None, json).await?;
            frame::receive(&self.channel, &mut self.inbox).await
        };
        let answer = tokio::time::timeout(HANDSHAKE_LIMIT, exchange)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(lost)?
            .ok_or_else(|| lost(std::io::Error::other("it closed the connection")))?;
        match Envelope::scan(&answer) {
            Ok(envelope) if envelope.message_type == "ERROR" => Err(refused(ProviderError::from_json(&answer))),
            Ok(_) => Ok(answer),
            Err(error) => Err(refused(frame::invalid(&error))),
        }
    }

    /// Shows this node's membership and checks that of the other side.
    pub async fn hello(&mut self, standing: &Standing) -> Result<Membership, DialError> {
        let answer = self.ask(&to_json(&standing.hello())).await?;
        let not_admitted = |text: String| DialError::NotAdmitted(self.address, text);
        let hello: Hello<'_> = serde_json::from_str(&answer).map_err(|error| not_admitted(error.to_string()))?;
        standing.admit(&hello, &self.key, unix_seconds()).map_err(|refusal| not_admitted(refusal.to_string()))
    }

    /// Tells this user's own node that the user is here.
    pub async fn own_hello(&mut self) -> Result<(), DialError> {
        let hello = Hello { pool_id: self.key.peer_id(), membership: "".into() };
        self.ask(&to_json(&hello)).await.map(drop)
    }

    /// The connection, for whatever follows.
    pub fn into_parts(self, frames: Arc<FrameBudget>) -> (Channel, Inbox) {
        (self.channel, self.inbox.unbounded(frames))
    }
}

/// The address that this machine uses to reach another; asks the routing table and sends nothing.
pub fn local_ip_toward(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|local| local.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
}
