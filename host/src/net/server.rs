//! Accepts connections.

use super::connection::{Connection, refuse};
use super::frame::FrameBudget;
use crate::node::Node;
use anyhow::Context;
use potluck_sdk::ProviderError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections that the kernel keeps while the node is busy.
const BACKLOG: i32 = 1024;
/// Connections that are being told why they are refused; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// Pause after an accept that failed for want of file descriptors or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound, but not yet served.
pub struct Server {
    listener: TcpListener,
    /// The address with the port that was really bound.
    pub address: SocketAddr,
}

impl Server {
    /// Binds `host:port`; port 0 takes any free one.
    pub fn bind(host: &str, port: u16) -> anyhow::Result<Server> {
        let address = resolve_loopback(host, port)?;
        let listener = std::net::TcpListener::bind(address).with_context(|| {
            format!("cannot listen on {address}; is another node running there? choose another port with --port")
        })?;
        // std listens with a backlog of 128; listening again changes only that.
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// Serves until the node stops.
    pub async fn serve(self, node: Arc<Node>) {
        let budget = FrameBudget::new(node.config.frame_bytes_total_max);
        let places = Arc::new(Semaphore::new(node.config.connections_max));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut stopping = node.stopping.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => admit(stream, peer, &node, &budget, &places, &refusals),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    node: &Arc<Node>,
    budget: &Arc<FrameBudget>,
    places: &Arc<Semaphore>,
    refusals: &Arc<Semaphore>,
) {
    let both_loopback = peer.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local.ip().is_loopback());
    if !both_loopback {
        // Plain JSON proves nothing about who sends it.
        tracing::warn!(%peer, "a connection from another machine was closed");
        return;
    }
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let text =
            format!("the node serves {} connections, as many as it may; try again later", node.config.connections_max);
        let Ok(place) = Arc::clone(refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            refuse(stream, &ProviderError::new(ProviderError::LIMIT_REACHED, text)).await;
            drop(place);
        });
        return;
    };
    let _ = stream.set_nodelay(true);
    let (node, budget) = (Arc::clone(node), Arc::clone(budget));
    tokio::spawn(async move {
        Connection::serve(stream, node, budget).await;
        drop(place);
    });
}

/// The address of a host that is this machine: connections are not encrypted, so no other is listened on or called.
pub fn resolve_loopback(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let mut addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve the host name {host:?}; use an address such as 127.0.0.1"))?;
    addresses.find(|address| address.ip().is_loopback()).with_context(|| {
        format!(
            "{host} is not this machine: connections are not encrypted yet, so only loopback is served; use 127.0.0.1"
        )
    })
}
