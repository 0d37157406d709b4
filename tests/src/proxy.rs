//! Whoever is between two nodes, or in the place of one: servers and proxies of the test's own, which keep what they
//! hear, and a look at all that passes over loopback.

use rustix::net::{AddressFamily, SocketFlags, SocketType, eth, socket_with, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a connection may be silent before it is given up; only a defect reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest frame that an impostor reads.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Room for what passes over loopback while the capturing thread does not run.
const CAPTURE_BYTES: usize = 256 << 20;

/// Accepts connections until it is dropped; then nobody listens there any more.
struct Acceptor {
    address: String,
    stopping: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    fn start(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Acceptor {
        let address = listener.local_addr().unwrap().to_string();
        let (stopping, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop, count, serve) = (Arc::clone(&stopping), Arc::clone(&connections), Arc::new(serve));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Acceptor { address, stopping, connections, thread: Some(thread) }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server inside TLS with a key of its own, which is not that of the node that others take it for.
pub struct Impostor {
    acceptor: Acceptor,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Impostor {
    /// `behave` is called for each connection, and what it returns for each frame: with the answer, or nothing to close
    /// the connection.
    pub fn start<B: FnMut(&str) -> Option<String>>(
        listener: TcpListener,
        config: Arc<ServerConfig>,
        behave: impl Fn() -> B + Send + Sync + 'static,
    ) -> Impostor {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&heard);
        let acceptor = Acceptor::start(listener, move |stream| {
            let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else { return };
            let mut stream = StreamOwned::new(connection, stream);
            let mut behave = behave();
            while let Some(json) = read_frame(&mut stream) {
                hears.lock().unwrap().push(json.clone());
                let Some(answer) = behave(&json) else { return };
                let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
                if stream.write_all(&[&length, answer.as_bytes()].concat()).and_then(|()| stream.flush()).is_err() {
                    return;
                }
            }
        });
        Impostor { acceptor, heard }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.acceptor.address
    }

    /// How many have connected.
    pub fn connections(&self) -> usize {
        self.acceptor.connections.load(Ordering::SeqCst)
    }

    /// All that was said to it inside TLS.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn read_frame(stream: &mut impl Read) -> Option<String> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes(header) as usize;
    let mut json = vec![0; length.min(FRAME_BYTES_MAX)];
    stream.read_exact(&mut json).ok()?;
    Some(String::from_utf8_lossy(&json).into_owned())
}

/// A server that does not speak TLS: says something to whoever connects, and keeps what it hears.
pub struct PlainServer {
    acceptor: Acceptor,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl PlainServer {
    /// On a port of its own.
    pub fn start(says: Vec<u8>) -> PlainServer {
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let hears = Arc::clone(&heard);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let acceptor = Acceptor::start(listener, move |mut stream| {
            let _ = stream.write_all(&says);
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                hears.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        PlainServer { acceptor, heard }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.acceptor.address
    }

    /// All bytes of all connections.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().clone()
    }
}

/// Which way bytes go through a [`Relay`].
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Way {
    /// From whoever has connected.
    ToServer = 1,
    /// To whoever has connected.
    ToClient = 2,
}

/// Passes bytes on, whatever they are, and damages some when it is told to.
pub struct Relay {
    acceptor: Acceptor,
    damage: Arc<AtomicU8>,
}

impl Relay {
    /// On a port of its own; `upstream` is `host:port`.
    pub fn start(upstream: &str) -> Relay {
        let damage = Arc::new(AtomicU8::new(0));
        let (upstream, damages) = (upstream.to_owned(), Arc::clone(&damage));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let acceptor = Acceptor::start(listener, move |client| {
            let Ok(server) = TcpStream::connect(&upstream) else { return };
            let _ = server.set_nodelay(true);
            let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
            let damages_too = Arc::clone(&damages);
            thread::spawn(move || copy(client_too, server_too, &damages_too, Way::ToServer));
            copy(server, client, &damages, Way::ToClient);
        });
        Relay { acceptor, damage }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.acceptor.address
    }

    /// How many have connected.
    pub fn connections(&self) -> usize {
        self.acceptor.connections.load(Ordering::SeqCst)
    }

    /// Flips one bit of what goes this way next.
    pub fn damage_next(&self, way: Way) {
        self.damage.store(way as u8, Ordering::SeqCst);
    }

    /// Whether the bit has not been flipped yet.
    pub fn is_to_damage(&self) -> bool {
        self.damage.load(Ordering::SeqCst) != 0
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, damage: &AtomicU8, way: Way) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if damage.compare_exchange(way as u8, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            bytes[count - 1] ^= 0x10;
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Sees all that passes over loopback from or to some ports.
pub struct Capture {
    thread: JoinHandle<Vec<Vec<u8>>>,
    sentinel: Vec<u8>,
    sentinel_address: std::net::SocketAddr,
    _sentinel_socket: UdpSocket,
}

impl Capture {
    /// Begins to look, or says why this user cannot.
    pub fn start(ports: &[u16]) -> Result<Capture, String> {
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(eth::ALL))
            .map_err(|error| format!("packets cannot be seen: {error}"))?;
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, CAPTURE_BYTES);
        // For `recv`, which is the same for all sockets.
        let socket = UdpSocket::from(socket);
        let sentinel_socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
        let sentinel_address = sentinel_socket.local_addr().map_err(|error| error.to_string())?;
        let sentinel = format!("the end of the capture at {sentinel_address}").into_bytes();
        let (ports, end) = (ports.to_vec(), sentinel.clone());
        let thread = thread::spawn(move || {
            // By ports. Over loopback everything is seen twice, and may be seen out of order.
            let mut flows: HashMap<(u16, u16), Flow> = HashMap::new();
            let mut packet = vec![0; 128 << 10];
            while let Ok(length) = socket.recv(&mut packet) {
                let packet = &packet[..length];
                if packet.ends_with(&end) {
                    break;
                }
                let Some((flow, sequence, payload)) = tcp(packet) else { continue };
                if ports.contains(&flow.0) || ports.contains(&flow.1) {
                    // The first is the one that opens the connection, and has no payload.
                    let (first, segments) = flows.entry(flow).or_insert_with(|| (sequence, BTreeMap::new()));
                    if !payload.is_empty() {
                        segments.insert(sequence.wrapping_sub(*first), payload.to_vec());
                    }
                }
            }
            let streams =
                flows.into_values().map(|(_, segments)| segments.into_values().flatten().collect::<Vec<u8>>());
            streams.filter(|stream| !stream.is_empty()).collect()
        });
        Ok(Capture { thread, sentinel, sentinel_address, _sentinel_socket: sentinel_socket })
    }

    /// What has passed, one stream of bytes for each direction of a connection.
    pub fn finish(self) -> Vec<Vec<u8>> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        while !self.thread.is_finished() {
            // Again, should it be the one packet that was dropped.
            let _ = socket.send_to(&self.sentinel, self.sentinel_address);
            thread::sleep(Duration::from_millis(20));
        }
        self.thread.join().unwrap()
    }
}

/// Ports, number of the first byte, and payload of a TCP packet over IPv4.
fn tcp(packet: &[u8]) -> Option<((u16, u16), u32, &[u8])> {
    let number = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[9] != 6 {
        return None;
    }
    let segment = packet.get(usize::from(packet[0] & 0xf) * 4..)?;
    if segment.len() < 20 {
        return None;
    }
    let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
    let payload = segment.get(usize::from(segment[12] >> 4) * 4..)?;
    Some(((number(segment), number(&segment[2..])), sequence, payload))
}

/// The number of the first byte, and what was seen of the rest by its distance from that.
type Flow = (u32, BTreeMap<u32, Vec<u8>>);
