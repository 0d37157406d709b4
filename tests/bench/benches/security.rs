//! What encryption costs: the same node, the same words, inside TLS and in plain frames, within this machine.

mod handshake;
mod messages;
mod remote;

use crate::Setup;
use crate::client::{Client, frame, open};
use crate::report::Report;
use anyhow::{Result, ensure};
use potluck_host::net::tls::{Pin, Tls};
use potluck_tests::{Stranger, TestNode, create_pool, hello};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

/// Head of the column of the other side.
const PLAIN: &str = "plain frames";
/// Connections stay open while something else is measured.
const NODE_SETTINGS: &str = "idle_seconds = 3600.0";
/// Many and short where single messages are timed: on which cores the two ends are changes all the time.
const ROUNDS: usize = 25;
const PING: &str = r#"{"type":"PING"}"#;
const PONG: &str = r#"{"type":"PONG"}"#;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    {
        // In a pool it still takes plain frames from its own user.
        let node = TestNode::peer().plugins(format!("[node]\n{NODE_SETTINGS}\n\n[plugins.memory]\n")).start();
        let member = Member::of(&node)?;
        found(handshake::run(setup, &node, &member)?);
        found(messages::run(setup, &node, &member)?);
    }
    found(remote::run(setup)?);
    Ok(())
}

/// Another member of the pool of a node, that connects to it as nodes do.
struct Member {
    config: Arc<ClientConfig>,
    hello: Vec<u8>,
    port: u16,
}

impl Member {
    /// Makes the node the first of a pool and joins it.
    fn of(node: &TestNode) -> Result<Member> {
        let token = create_pool(node);
        let stranger = Stranger::new();
        let membership = stranger.join(node.address(), &token);
        let config = Tls::new(stranger.key())?.client(Pin::Peer(node.peer_id().parse()?))?;
        let hello = frame(&hello(&token, &membership).to_string());
        Ok(Member { config, hello, port: node.port() })
    }

    /// Handshake, and proof of membership.
    fn connect(&self) -> Result<Client<StreamOwned<ClientConnection, TcpStream>>> {
        let stream = open(self.port)?;
        let tls = ClientConnection::new(Arc::clone(&self.config), ServerName::from(Ipv4Addr::LOCALHOST))?;
        let mut client = Client::over(StreamOwned::new(tls, stream));
        client.send(&self.hello)?;
        let answer = client.receive()?;
        ensure!(answer.contains(r#""type":"HELLO""#), "the node answers {answer}");
        Ok(client)
    }
}
