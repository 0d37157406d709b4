//! Sockets of this process, of its children, and of nobody.

use super::*;
use netlink_packet_core::Emitable;
use rustix::process::geteuid;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

fn own() -> SocketOwner {
    SocketOwner::User(geteuid().as_raw())
}

/// A listener and where clients reach it; none when the machine has no such address.
fn listener(listen: &str, connect: IpAddr) -> Option<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).ok()?;
    let port = listener.local_addr().unwrap().port();
    Some((listener, SocketAddr::new(connect, port)))
}

fn loopback() -> (TcpListener, SocketAddr) {
    listener("127.0.0.1:0", Ipv4Addr::LOCALHOST.into()).unwrap()
}

/// As a node asks: with the addresses of the connection that it has accepted.
fn owner_of(accepted: &TcpStream) -> SocketOwner {
    socket_owner(accepted.peer_addr().unwrap(), accepted.local_addr().unwrap())
}

/// A shell that connects, says that it did, and waits for a line.
fn shell(address: SocketAddr, script: &str) -> Command {
    let mut command = Command::new("bash");
    let connect = format!("exec 3<>/dev/tcp/{}/{}; echo connected >&3; {script}", address.ip(), address.port());
    command.args(["-c", &connect]).stdin(Stdio::piped());
    command
}

/// What a child's connection is taken for, once the child has sent its line.
fn owner_of_child(listener: &TcpListener, mut child: Child) -> SocketOwner {
    let (accepted, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&accepted).read_line(&mut line).unwrap();
    let owner = owner_of(&accepted);
    drop(child.stdin.take());
    child.wait().unwrap();
    owner
}

#[test]
fn a_connection_of_this_process_is_its_users() {
    let (listener, address) = loopback();
    let _client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(owner_of(&accepted), own());
}

#[test]
fn a_client_that_has_sent_all_it_will_is_still_known() {
    let (listener, address) = loopback();
    let client = TcpStream::connect(address).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    assert_eq!(owner_of(&accepted), own());
}

#[test]
fn ipv6_and_mapped_addresses_are_found() {
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let cases: [(&str, IpAddr); 4] = [
        ("[::1]:0", Ipv6Addr::LOCALHOST.into()),
        // A listener for both families; a client of the older one, and one of the newer one.
        ("[::]:0", Ipv4Addr::LOCALHOST.into()),
        ("[::]:0", mapped.into()),
        ("127.0.0.1:0", mapped.into()),
    ];
    for (listen, connect) in cases {
        let Some((listener, address)) = listener(listen, connect) else {
            eprintln!("skipped: this machine has no IPv6");
            continue;
        };
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(owner_of(&accepted), own(), "{listen} {connect}");
    }
}

#[test]
fn a_connection_of_a_child_is_an_own_childs() {
    let (listener, address) = loopback();
    let child = shell(address, "read").spawn().unwrap();
    assert_eq!(owner_of_child(&listener, child), SocketOwner::OwnChild);
}

#[test]
fn a_connection_that_only_a_grandchild_holds_is_an_own_childs() {
    let (listener, address) = loopback();
    // A background job has no standard input of its own unless it is told so.
    let child = shell(address, "(read) <&0 & exec 3>&-; wait").spawn().unwrap();
    assert_eq!(owner_of_child(&listener, child), SocketOwner::OwnChild);
}

#[test]
fn a_socket_that_only_one_thread_of_a_child_has_is_an_own_childs() {
    let (listener, address) = loopback();
    // The thread takes a table of descriptors of its own before it makes the socket, and the first thread ends.
    let program = format!(
        r#"
import ctypes, os, socket, sys, threading
c, ready = ctypes.CDLL(None), threading.Event()
def main():
    assert c.unshare(0x400) == 0
    ready.set()
    while open(f"/proc/{{os.getpid()}}/stat").read().rpartition(") ")[2][0] != "Z": pass
    client = socket.create_connection(("127.0.0.1", {port}))
    client.sendall(b"connected\n")
    client.recv(1)
    os._exit(0)
threading.Thread(target=main).start()
ready.wait()
c.pthread_exit(None)
"#,
        port = address.port()
    );
    let mut child = Command::new("python3").args(["-c", &program]).spawn().unwrap();
    let (accepted, _) = listener.accept().unwrap();
    BufReader::new(&accepted).read_line(&mut String::new()).unwrap();
    assert_eq!(owner_of(&accepted), SocketOwner::OwnChild);
    drop(accepted);
    child.wait().unwrap();
}

#[test]
fn a_child_of_another_user_is_an_own_child() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can start a program as another user");
        return;
    }
    let (listener, address) = loopback();
    let mut command = shell(address, "read");
    command.uid(12345).gid(12345);
    assert_eq!(owner_of_child(&listener, command.spawn().unwrap()), SocketOwner::OwnChild);
}

#[test]
fn a_closed_client_is_unknown() {
    let (listener, address) = loopback();
    let client = TcpStream::connect(address).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    drop(client);
    assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
    assert_eq!(owner_of(&accepted), SocketOwner::Unknown);
}

#[test]
fn a_socket_that_is_not_there_is_unknown() {
    let (_listener, address) = loopback();
    // The kernel finds the listener instead.
    assert_eq!(socket_owner(address, SocketAddr::new(address.ip(), 9)), SocketOwner::Unknown);
    let other = "[::1]:9".parse().unwrap();
    assert_eq!(socket_owner(address, other), SocketOwner::Unknown);
    let far = "192.0.2.1:9".parse().unwrap();
    assert_eq!(socket_owner(far, address), SocketOwner::Unknown);
}

#[test]
fn the_user_counts_only_when_every_child_was_looked_at() {
    let found = Some(Found { uid: 12345, inode: 7 });
    assert_eq!(decide(found, |_| Search::NotFound), SocketOwner::User(12345));
    assert_eq!(decide(found, |_| Search::Found), SocketOwner::OwnChild);
    assert_eq!(decide(found, |_| Search::Incomplete), SocketOwner::Unknown);
    assert_eq!(decide(None, |_| Search::NotFound), SocketOwner::Unknown);
}

/// A reply as the kernel would write it.
fn reply(client: SocketAddr, server: SocketAddr, state: u8, inode: u32) -> Vec<u8> {
    let socket = InetResponseHeader {
        family: AF_INET,
        state,
        timer: None,
        socket_id: SocketId {
            source_port: client.port(),
            destination_port: server.port(),
            source_address: client.ip(),
            destination_address: server.ip(),
            interface_id: 0,
            cookie: [1; 8],
        },
        recv_queue: 0,
        send_queue: 0,
        uid: 12345,
        inode,
    };
    let mut header = NetlinkHeader::default();
    header.sequence_number = SEQUENCE;
    header.message_type = SOCK_DIAG_BY_FAMILY;
    header.length = u32::try_from(header.buffer_len() + socket.buffer_len()).unwrap();
    let mut bytes = vec![0; header.length as usize];
    header.emit(&mut bytes);
    socket.emit(&mut bytes[header.buffer_len()..]);
    bytes
}

#[test]
fn only_the_reply_to_the_question_counts() {
    let client: SocketAddr = "127.0.0.1:1111".parse().unwrap();
    let server: SocketAddr = "127.0.0.1:2222".parse().unwrap();
    let other: SocketAddr = "127.0.0.1:3333".parse().unwrap();
    let good = reply(client, server, TCP_ESTABLISHED, 7);
    assert_eq!(read_reply(&good, client, server).unwrap().uid, 12345);
    let connecting = netlink_packet_sock_diag::constants::TCP_SYN_SENT;
    for wrong in [
        reply(other, server, TCP_ESTABLISHED, 7),
        reply(client, other, TCP_ESTABLISHED, 7),
        reply(client, server, connecting, 7),
        reply(client, server, TCP_ESTABLISHED, 0),
    ] {
        assert!(read_reply(&wrong, client, server).is_none());
    }
    for length in 0..good.len() {
        assert!(read_reply(&good[..length], client, server).is_none(), "{length} bytes");
    }
    // Another type, and another number.
    for (place, value) in [(4, 2), (8, 9)] {
        let mut wrong = good.clone();
        wrong[place] = value;
        assert!(read_reply(&wrong, client, server).is_none(), "byte {place}");
    }
}
