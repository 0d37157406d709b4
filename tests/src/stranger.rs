//! A node of the test's own making: it has a key, speaks TLS and frames, and says what the test wants it to say.

use crate::wire::{Frame, frame_bytes};
use crate::{LIMIT, TestNode};
use potluck_host::key::KeyPair;
use potluck_host::net::tls::{ChannelBinding, Pin, Tls, channel_binding, peer_key};
use potluck_host::pool::proof;
use potluck_host::pool::token::JoinToken;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// Somebody who knocks at nodes.
pub struct Stranger {
    key: KeyPair,
    tls: Tls,
}

/// An encrypted connection to a node.
pub struct TlsWire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// RFC 9266.
    pub binding: ChannelBinding,
    next_id: u64,
}

impl Stranger {
    /// With a new key.
    pub fn new() -> Stranger {
        Stranger::with_key(KeyPair::generate().unwrap())
    }

    /// With the key of a data directory.
    pub fn with_key_of(data_dir: &Path) -> Stranger {
        Stranger::with_key(KeyPair::load(&data_dir.join("identity.key")).unwrap())
    }

    /// With this key.
    pub fn with_key(key: KeyPair) -> Stranger {
        let tls = Tls::new(&key).unwrap();
        Stranger { key, tls }
    }

    /// Its key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The id that follows from its key.
    pub fn peer_id(&self) -> String {
        self.key.public().peer_id().to_string()
    }

    /// Connects, and finishes the handshake whoever is there.
    pub fn connect(&self, address: &str) -> TlsWire {
        self.try_connect(address).unwrap_or_else(|error| panic!("no handshake with {address}: {error}"))
    }

    /// As [`Stranger::connect`], where that may fail.
    pub fn try_connect(&self, address: &str) -> std::io::Result<TlsWire> {
        TlsWire::open(address, self.tls.client(Pin::Any).unwrap())
    }

    /// The JOIN with which this stranger uses a token on a connection.
    pub fn join_message(&self, wire: &TlsWire, token: &str) -> Value {
        let token: JoinToken = token.parse().unwrap();
        let proof = proof::prove(&proof::join_key(&token.secret), &wire.binding, &self.key.public(), token.pool_id);
        json!({
            "type": "JOIN", "pool_id": token.pool_id, "token_id": token.token_id_text(),
            "proof": base64(&proof), "name": "stranger",
        })
    }

    /// Joins with a token and returns the membership.
    pub fn join(&self, address: &str, token: &str) -> String {
        let mut wire = self.connect(address);
        let message = self.join_message(&wire, token);
        let reply = wire.call(message);
        assert_eq!(reply["type"], "MEMBERSHIP", "{reply}");
        reply["membership"].as_str().unwrap().to_owned()
    }

    /// Connects and shows a membership.
    pub fn enter(&self, address: &str, token: &str, membership: &str) -> TlsWire {
        let mut wire = self.connect(address);
        let reply = wire.call(hello(token, membership));
        assert_eq!(reply["type"], "HELLO", "{reply}");
        wire
    }

    /// Joins with a token, and connects as a member to any node of the pool.
    pub fn member_at(&self, node: &TestNode, tracker: &TestNode, token: &str) -> TlsWire {
        let membership = self.join(tracker.address(), token);
        self.enter(node.address(), token, &membership)
    }
}

impl Default for Stranger {
    fn default() -> Stranger {
        Stranger::new()
    }
}

/// The HELLO that shows a membership of a token's pool.
pub fn hello(token: &str, membership: &str) -> Value {
    let token: JoinToken = token.parse().unwrap();
    json!({ "type": "HELLO", "pool_id": token.pool_id, "membership": membership })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes)
}

impl TlsWire {
    /// Connects with settings of the test's own.
    pub fn open(address: &str, config: Arc<ClientConfig>) -> std::io::Result<TlsWire> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let binding = channel_binding(&connection).map_err(std::io::Error::other)?;
        Ok(TlsWire { stream: StreamOwned::new(connection, stream), binding, next_id: 1 })
    }

    /// The id of the node at the other end, which follows from its key.
    pub fn peer_id(&self) -> String {
        peer_key(&self.stream.conn).unwrap().peer_id().to_string()
    }

    /// Sends a message.
    pub fn send(&mut self, json: impl ToString) {
        self.try_send(&json.to_string()).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// As [`TlsWire::send`], where the node may have closed the connection.
    pub fn try_send(&mut self, json: &str) -> std::io::Result<()> {
        self.stream.write_all(&frame_bytes(json))?;
        self.stream.flush()
    }

    /// Sends these bytes, which need not be a frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame; nothing when the node has closed the connection.
    pub fn read_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).ok()?;
        let mut json = vec![0; u32::from_be_bytes(header) as usize];
        self.stream.read_exact(&mut json).ok()?;
        let mut frame = Frame { json: String::from_utf8(json).unwrap(), attachment: Vec::new() };
        if frame.json.contains("\"attachment\"") {
            let length = frame.value()["attachment"].as_u64().unwrap_or(0);
            frame.attachment = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut frame.attachment).ok()?;
        }
        Some(frame)
    }

    /// The next frame's JSON.
    pub fn read(&mut self) -> Value {
        self.read_frame().expect("the node closed the connection instead of answering").value()
    }

    /// Sends a message, under an id of its own, and waits for the answer to it.
    pub fn call(&mut self, message: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        self.send(crate::with(message, json!({ "id": id })));
        loop {
            let reply = self.read();
            // What a node says as it closes a connection has no id.
            if reply["id"] == id || reply["id"].is_null() {
                return reply;
            }
        }
    }

    /// Waits until the node closes the connection, whatever it says before.
    pub fn expect_end(&mut self) {
        while self.read_frame().is_some() {}
    }
}
