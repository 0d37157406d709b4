//! Accepts connections, and listens where the node's configuration and its pool allow.

use super::connection::{Connection, refuse};
use super::frame::FrameBudget;
use super::greeting::{Ends, greet};
use super::unknown::Unknown;
use crate::node::Node;
use anyhow::Context;
use potluck_sdk::ProviderError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// Connections that the kernel keeps while the node is busy.
const BACKLOG: i32 = 1024;
/// Connections that are being told why they are refused; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// Pause after an accept that failed for want of file descriptors or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is bound.
pub struct Server {
    listener: TcpListener,
    /// The address with the port that was really bound.
    pub address: SocketAddr,
}

/// What connections share.
struct Limits {
    budget: Arc<FrameBudget>,
    /// Connections at a time.
    places: Arc<Semaphore>,
    /// Connections from which it is not known yet who is at the other end.
    unknown: Arc<Unknown>,
    refusals: Arc<Semaphore>,
}

impl Server {
    /// Binds an address; port 0 takes any free one.
    pub fn bind(address: SocketAddr) -> anyhow::Result<Server> {
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
    pub async fn serve(mut self, node: Arc<Node>) {
        let limits = Limits {
            budget: FrameBudget::new(node.config.frame_bytes_total_max),
            places: Arc::new(Semaphore::new(node.config.connections_max)),
            unknown: Unknown::new(node.config.unknown_connections_max),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        };
        let mut stopping = node.stopping.subscribe();
        let mut pool = node.pool.changes();
        loop {
            let wanted = SocketAddr::new(node.addresses.wanted(node.pool.standing().is_some()), self.address.port());
            if wanted != self.address {
                self = self.moved_to(wanted, &node, &limits).await;
            }
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
                _ = pool.changed() => continue,
            };
            match accepted {
                Ok((stream, remote)) => admit(stream, remote, &node, &limits),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Listens elsewhere, on the same port. For a moment both sockets have it, so that nobody is turned away; where that
    /// cannot be, the old one goes first, and if the new one cannot be had its address is taken again.
    async fn moved_to(self, wanted: SocketAddr, node: &Arc<Node>, limits: &Limits) -> Server {
        let former = self.address;
        let beside = self.bind_beside(wanted);
        self.take_in_the_rest(node, limits);
        let mut target = wanted;
        let mut server = beside;
        loop {
            match server {
                Ok(server) => {
                    tracing::info!(address = %server.address, "listening");
                    node.addresses.listens_on(server.address.ip());
                    return server;
                }
                Err(error) => {
                    tracing::debug!(%target, error = format!("{error:#}"), "cannot listen there");
                    server = Server::bind(target);
                    if server.is_err() {
                        // Whichever is free first: a node that listens nowhere helps nobody.
                        target = if target == wanted { former } else { wanted };
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Binds an address whose port this socket has. Nobody else can do so: both must allow it, and only now they do.
    fn bind_beside(&self, wanted: SocketAddr) -> anyhow::Result<Server> {
        use rustix::net::sockopt::set_socket_reuseport;
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        set_socket_reuseport(&self.listener, true)?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(wanted)?;
        set_socket_reuseport(&socket, false)?;
        let listener = socket.listen(BACKLOG as u32)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// Admits those who have connected already, and closes the socket.
    fn take_in_the_rest(self, node: &Arc<Node>, limits: &Limits) {
        let Ok(listener) = self.listener.into_std() else { return };
        while let Ok((stream, remote)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                admit(stream, remote, node, limits);
            }
        }
    }
}

fn admit(stream: TcpStream, remote: SocketAddr, node: &Arc<Node>, limits: &Limits) {
    let Ok(ends) = Ends::of(&stream, remote) else { return };
    let Ok(place) = Arc::clone(&limits.places).try_acquire_owned() else {
        // Only this machine is told why: others have proven nothing.
        if !ends.are_loopback() {
            return;
        }
        let text =
            format!("the node serves {} connections, as many as it may; try again later", node.config.connections_max);
        let Ok(place) = Arc::clone(&limits.refusals).try_acquire_owned() else { return };
        tokio::spawn(async move {
            refuse(stream, &ProviderError::new(ProviderError::LIMIT_REACHED, text)).await;
            drop(place);
        });
        return;
    };
    let _ = stream.set_nodelay(true);
    let (node, budget, unknown) = (Arc::clone(node), Arc::clone(&limits.budget), Arc::clone(&limits.unknown));
    tokio::spawn(async move {
        let idle = Duration::from_secs_f64(node.config.idle_seconds);
        if let Some(greeted) = greet(stream, ends, &node, &unknown, idle).await {
            Connection::serve(greeted, node, budget).await;
        }
        drop(place);
    });
}

/// All addresses of this machine, of both kinds where there are both.
pub fn any_address() -> IpAddr {
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
