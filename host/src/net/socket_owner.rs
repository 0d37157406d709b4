//! Who owns the client's end of a connection over loopback: which user, and whether it is a program of this node's own.
//!
//! The kernel says which user a socket belongs to and its number (sock_diag, asked for exactly this socket); whether a
//! worker, or whatever a worker started, holds it is read from `/proc`. All doubt is [`SocketOwner::Unknown`].
//!
//! A hardened worker can neither make a socket nor start a program, so this is for those that are trusted with both.
//! They run the user's own work, and one of them that sets out to be taken for that user can still do it:
//! - it starts a program that outlives it, and so is no longer below this process (a double fork alone does not do:
//!   a worker keeps what it starts below itself as long as it lives);
//! - it has other programs of the user open the socket, or gives it to them;
//! - it hides the socket while this node looks: sent into a local socket and not yet received, or handed from process
//!   to process all the while.
//!
//! None of these makes a task of one user's another user.

mod descendants;

use descendants::{Search, search};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, Parseable};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use rustix::io::retry_on_intr;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with};
use std::net::SocketAddr;

/// Tells an answer from any other message; each question has a socket of its own.
const SEQUENCE: u32 = 1;
/// A socket and its attributes take some two hundred bytes; what comes after is not read.
const REPLY_BYTES_MAX: usize = 4096;

/// Who is at the other end of a connection over loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOwner {
    /// A program of this user; of the root user when it is 0.
    User(u32),
    /// A program that this node has started, or that was started by such a one, whatever its user.
    OwnChild,
    /// It cannot be told: the client has closed already, is on another machine, or hides, or the kernel does not say.
    Unknown,
}

/// A socket that the kernel knows.
#[derive(Clone, Copy)]
struct Found {
    uid: u32,
    inode: u32,
}

/// Who owns the socket that is bound to `client` and connected to `server`, both as this node sees them.
///
/// Waits for nobody, but reads the descriptors of all processes below this one: some tens of microseconds for each of
/// their threads.
pub fn socket_owner(client: SocketAddr, server: SocketAddr) -> SocketOwner {
    decide(find(canonical(client), canonical(server)), search)
}

/// The account that the socket belongs to which is bound to `client` and connected to `server`. Much cheaper than
/// [`socket_owner`].
pub fn socket_user(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    find(canonical(client), canonical(server)).map(|found| found.uid)
}

fn decide(found: Option<Found>, search: impl FnOnce(u32) -> Search) -> SocketOwner {
    match found.map(|found| (found.uid, search(found.inode))) {
        Some((_, Search::Found)) => SocketOwner::OwnChild,
        Some((uid, Search::NotFound)) => SocketOwner::User(uid),
        Some((_, Search::Incomplete)) | None => SocketOwner::Unknown,
    }
}

/// A socket for both families sees an IPv4 client at a mapped address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn find(client: SocketAddr, server: SocketAddr) -> Option<Found> {
    let request = request(client, server)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG)).ok()?;
    retry_on_intr(|| sendto(&socket, &request, SendFlags::empty(), &kernel)).ok()?;
    // The kernel has answered before sending returns.
    let mut reply = [0; REPLY_BYTES_MAX];
    let (received, _, sender) = retry_on_intr(|| recvfrom(&socket, &mut reply[..], RecvFlags::empty())).ok()?;
    if SocketAddrNetlink::try_from(sender?).ok()?.pid() != 0 {
        return None;
    }
    read_reply(&reply[..received], client, server)
}

/// The question, which also finds a socket of the newer family that is connected to the mapped form of an address.
fn request(client: SocketAddr, server: SocketAddr) -> Option<Vec<u8>> {
    let family = match (client, server) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => AF_INET,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => AF_INET6,
        _ => return None,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = SEQUENCE;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: client.port(),
            destination_port: server.port(),
            source_address: client.ip(),
            destination_address: server.ip(),
            interface_id: 0,
            // Whichever socket it is.
            cookie: [0xFF; 8],
        },
    };
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(SockDiagMessage::InetRequest(request)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    Some(bytes)
}

/// Only the fixed part is read: a kernel may add attributes.
fn read_reply(reply: &[u8], client: SocketAddr, server: SocketAddr) -> Option<Found> {
    let message = NetlinkBuffer::new_checked(reply).ok()?;
    if message.message_type() != SOCK_DIAG_BY_FAMILY || message.sequence_number() != SEQUENCE {
        return None;
    }
    let socket = InetResponseHeader::parse(message.payload()).ok()?;
    let id = &socket.socket_id;
    let source = canonical(SocketAddr::new(id.source_address, id.source_port));
    let destination = canonical(SocketAddr::new(id.destination_address, id.destination_port));
    // Where the socket is gone, the kernel offers one that listens at its address.
    let asked_for = source == client && destination == server;
    // The client may have sent all that it will. In no other state is it the socket that was accepted: one that still
    // connects from there is another's.
    let open = [TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2].contains(&socket.state);
    // Without a number no process holds it any more, and the user is not always the one that it had.
    (asked_for && open && socket.inode != 0).then_some(Found { uid: socket.uid, inode: socket.inode })
}

#[cfg(test)]
mod tests;
