//! The encrypted connection itself: who gets through the handshake, what it carries, and what it costs to be slow.

use potluck_host::net::client::Client;
use potluck_tests::{
    Cluster, LIMIT, NodeBuilder, Stranger, TestNode, TlsWire, Wire, frame_bytes, task, wait_for, with,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A message that nobody but a member may send.
const STATUS: &str = r#"{"type":"STATUS"}"#;

fn quiet_peer() -> NodeBuilder {
    TestNode::peer().plugins("[node]\ndiscovery = false\n[plugins.memory]\n")
}

/// A certificate of OpenSSL's making, with its key.
struct Certificate {
    _folder: TempDir,
    key: PathBuf,
    certificate: PathBuf,
}

impl Certificate {
    fn new(algorithm: &[&str]) -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-subj", "/CN=potluck", "-days", "2", "-newkey"])
            .args(algorithm)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Certificate { _folder: folder, key, certificate }
    }

    fn ed25519() -> &'static Certificate {
        static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
        CERTIFICATE.get_or_init(|| Certificate::new(&["ed25519"]))
    }

    fn args(&self) -> [&str; 4] {
        ["-cert", text(&self.certificate), "-key", text(&self.key)]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `openssl s_client` has seen until the node closed the connection.
struct Seen {
    /// With `-quiet` what the node has said, and nothing else.
    stdout: Vec<u8>,
    stderr: String,
}

impl Seen {
    #[track_caller]
    fn alert(&self, name: &str) {
        assert!(self.stderr.contains(name), "{}", self.stderr);
    }

    /// The frames that the node has sent.
    #[track_caller]
    fn frames(&self) -> Vec<Value> {
        let mut rest = &self.stdout[..];
        let mut frames = Vec::new();
        while let Some((header, behind)) = rest.split_first_chunk() {
            let (json, behind) = behind.split_at(u32::from_be_bytes(*header) as usize);
            frames.push(serde_json::from_slice(json).unwrap());
            rest = behind;
        }
        assert!(rest.is_empty(), "{rest:?}");
        frames
    }
}

/// Connects with OpenSSL, sends these bytes, and waits until the node closes the connection.
fn s_client(node: &TestNode, args: &[&str], input: &[u8]) -> Seen {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", node.address(), "-ign_eof"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open, since its end would end the connection.
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended in the handshake.
    let _ = stdin.write_all(input);
    let output = child.wait_with_output().unwrap();
    Seen { stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

// The handshake.

#[test]
fn tls_1_2_is_not_spoken() {
    let node = quiet_peer().start();
    let own = Certificate::ed25519().args();
    for version in [["-tls1_2"], ["-no_tls1_3"]] {
        let seen = s_client(&node, &[&version[..], &own, &["-quiet"]].concat(), &frame_bytes(STATUS));
        seen.alert("alert protocol version");
        assert!(seen.stdout.is_empty(), "{:?}", seen.stdout);
    }
    node.check_serving_memory();
}

#[test]
fn without_a_certificate_nothing_is_said() {
    let cluster = Cluster::start(1);
    for node in [&cluster.tracker, &cluster.peers[0]] {
        for alpn in [&["-alpn", "potluck/1"][..], &[]] {
            let seen = s_client(node, &[alpn, &["-tls1_3", "-quiet"]].concat(), &frame_bytes(STATUS));
            seen.alert("alert certificate required");
            assert!(seen.stdout.is_empty(), "{:?}", seen.stdout);
        }
    }
}

#[test]
fn a_certificate_of_another_kind_of_key_is_refused() {
    let node = quiet_peer().start();
    for algorithm in [&["rsa:2048"][..], &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &["ed448"]] {
        let certificate = Certificate::new(algorithm);
        let seen = s_client(
            &node,
            &[&certificate.args()[..], &["-alpn", "potluck/1", "-quiet"]].concat(),
            &frame_bytes(STATUS),
        );
        assert!(seen.stdout.is_empty(), "{algorithm:?}: {:?}", seen.stdout);
        assert!(seen.stderr.contains("alert"), "{algorithm:?}: {}", seen.stderr);
    }
}

#[test]
fn an_unknown_key_gets_one_refusal_and_the_end() {
    let cluster = Cluster::start(1);
    let alone = quiet_peer().start();
    let certificate = Certificate::ed25519().args();
    let args = [&certificate[..], &["-alpn", "potluck/1", "-quiet"]].concat();
    let pool_id = cluster.tracker.call(json!({ "type": "IDENTITY" }))["pool"]["pool_id"].clone();
    let hello = json!({ "type": "HELLO", "pool_id": pool_id, "membership": "" }).to_string();
    let renew = r#"{"type":"RENEW_MEMBERSHIP"}"#;
    let authenticate = r#"{"type":"AUTHENTICATE","token":"x"}"#;
    for node in [&cluster.tracker, &cluster.peers[0], &alone] {
        for message in [STATUS, &hello, renew, authenticate, r#"{"type":"PING"}"#] {
            // More follows at once, of which nobody wants to know.
            let input = [frame_bytes(message), frame_bytes(STATUS), frame_bytes(STATUS)].concat();
            let frames = s_client(node, &args, &input).frames();
            assert!(frames.len() <= 1, "{message}: {frames:#?}");
            for frame in frames {
                assert_eq!(frame["type"], "ERROR", "{message}: {frame:#}");
                assert!(frame["code"] == "forbidden" || frame["code"] == "no_pool", "{message}: {frame:#}");
            }
        }
    }
}

#[test]
fn no_session_can_be_resumed() {
    let cluster = Cluster::start(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("session.pem");
    let args = [&Certificate::ed25519().args()[..], &["-alpn", "potluck/1", "-sess_out", text(&file)]].concat();
    let seen = s_client(&cluster.tracker, &args, &frame_bytes(STATUS));
    let shown = String::from_utf8_lossy(&seen.stdout);
    assert!(shown.contains("New, TLSv1.3") && shown.contains("forbidden"), "{shown}");
    assert!(!shown.contains("Session Ticket"), "{shown}");
    assert!(!file.exists(), "a session was kept");
    let seen = s_client(&cluster.tracker, &[&args[..], &["-reconnect"]].concat(), &frame_bytes(STATUS));
    let shown = String::from_utf8_lossy(&seen.stdout);
    assert!(shown.contains("reconnect") && !shown.contains("Reused"), "{shown}");
    assert!(!file.exists(), "a session was kept");
}

#[test]
fn another_protocol_inside_tls_is_refused() {
    let node = quiet_peer().start();
    let certificate = Certificate::ed25519().args();
    for protocol in ["h2", "http/1.1", "potluck/2", "potluck"] {
        let args = [&certificate[..], &["-alpn", protocol, "-quiet"]].concat();
        let seen = s_client(&node, &args, &frame_bytes(STATUS));
        seen.alert("alert no application protocol");
        assert!(seen.stdout.is_empty(), "{:?}", seen.stdout);
    }
    let seen = s_client(&node, &[&certificate[..], &["-quiet"]].concat(), &frame_bytes(STATUS));
    assert!(seen.stdout.is_empty(), "{:?}", seen.stdout);
}

// What is not a frame.

#[test]
fn what_is_not_a_frame_is_closed_without_a_word() {
    let cluster = Cluster::start(1);
    let token = cluster.token(json!({ "reusable": true }));
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for node in [&cluster.tracker, &cluster.peers[0]] {
        for bytes in [&http[..], b"SSH-2.0-OpenSSH_9.0\r\n", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02no"] {
            let mut plain = node.wire();
            plain.send_bytes(http);
            plain.expect_end();
            let mut wire = Stranger::new().connect(node.address());
            // It may be closed before all was sent.
            let _ = wire.send_bytes(bytes);
            if let Some(frame) = wire.read_frame() {
                assert_eq!(frame.value()["code"], "invalid_message", "{}", frame.json);
                wire.expect_end();
            }
        }
        // A member is no better.
        let mut wire = Stranger::new().member_at(node, &cluster.tracker, &token);
        let _ = wire.send_bytes(http);
        assert_eq!(wire.read_frame(), None);
    }
    cluster.peers[0].check_serving();
}

#[test]
fn what_is_not_tls_is_closed_without_an_answer() {
    let node = quiet_peer().start();
    for rest in [&b"\x03\x01\xff\xff"[..], b"garbage that is no record of TLS", &[0; 600], &[0x16; 70_000]] {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // It may be closed before all was sent.
        let _ = stream.write_all(&[&[0x16], rest].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // At most an alert: that is a record of this type with two bytes.
        assert!(answer.is_empty() || (answer[0] == 0x15 && answer.len() == 7), "{answer:?}");
    }
    node.check_serving_memory();
}

#[test]
fn before_it_has_said_who_it_is_nobody_sends_anything_large() {
    let cluster = Cluster::start(0);
    let token = cluster.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    let padded = |bytes: usize| {
        let empty = json!({ "type": "PING", "x": "" }).to_string();
        json!({ "type": "PING", "x": "x".repeat(bytes - empty.len()) }).to_string()
    };
    let mut wire = stranger.connect(cluster.tracker.address());
    wire.send(padded(16 << 10));
    assert_eq!(wire.read()["code"], "forbidden");
    for length in [(16 << 10) + 1, 1 << 20, (16 << 20) - 1, 1 << 30] {
        // The announcement is enough.
        let mut wire = stranger.connect(cluster.tracker.address());
        wire.send_bytes(&u32::to_be_bytes(length)).unwrap();
        assert_eq!(wire.read_frame(), None, "{length}");
    }
    // Nor does it attach anything.
    let mut wire = stranger.connect(cluster.tracker.address());
    let mut bytes = frame_bytes(r#"{"type":"PING","attachment":1048576}"#);
    bytes.resize(bytes.len() + 65536, 0);
    let _ = wire.send_bytes(&bytes);
    if let Some(frame) = wire.read_frame() {
        assert_eq!(frame.value()["type"], "ERROR", "{}", frame.json);
    }
    wire.expect_end();
    // A member does.
    let mut wire = stranger.member_at(&cluster.tracker, &cluster.tracker, &token);
    wire.send(padded(1 << 20));
    assert_eq!(wire.read()["type"], "PONG");
}

// Plain frames.

#[test]
fn a_node_that_takes_no_plain_frames_says_nothing_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[node]\nplaintext = \"never\"\ndiscovery = false\n[plugins.memory]\n";
    let node = TestNode::peer().plugins(settings).data_dir(folder.path().join("data")).start();
    let token = std::fs::read_to_string(node.data_dir().join("access.token")).unwrap();
    let authenticate = json!({ "type": "AUTHENTICATE", "token": token.trim() }).to_string();
    let says_nothing = || {
        for message in [STATUS, r#"{"type":"PING"}"#, &authenticate] {
            let mut wire = Wire::connect(node.address());
            // It may be closed before all was sent.
            let _ = wire.try_send_bytes(&frame_bytes(message));
            assert!(wire.read_some().is_empty());
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |message: Value| -> Value {
        let asked = runtime.block_on(async {
            let client = Client::connect_as(node.address(), node.data_dir()).await.unwrap();
            client.request(&message.to_string(), &[]).await
        });
        serde_json::from_str(&asked.unwrap().json).unwrap()
    };
    says_nothing();
    // Its user comes inside TLS, and may do what only its user may.
    assert_eq!(ask(json!({ "type": "SET_MEM", "key": "k", "value": [1] }))["status"], "OK");
    assert_eq!(ask(json!({ "type": "GET_MEM", "key": "k" }))["value"], json!([1]));
    assert_eq!(ask(json!({ "type": "POOL_CREATE", "name": "t" }))["type"], "POOL_TOKEN");
    assert_eq!(ask(json!({ "type": "POOL_TOKENS" }))["type"], "POOL_TOKEN_LIST");
    assert_eq!(ask(json!({ "type": "GET_MEM", "key": "k" }))["value"], json!([1]));
    says_nothing();
    // Somebody else's key does not make a user.
    let other = quiet_peer().start();
    let refused = runtime.block_on(Client::connect_as(node.address(), other.data_dir()));
    assert!(refused.is_err());
}

// What it carries.

#[test]
fn large_messages_go_both_ways() {
    let cluster = Cluster::start_with(2, |_, builder| builder.memory("value_bytes_max = 15000000"));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let token = cluster.token(json!({}));
    let mut wire = Stranger::new().member_at(far, &cluster.tracker, &token);
    for (number, length) in [1 << 20, 6 << 20, 12 << 20].into_iter().enumerate() {
        // Different everywhere, so that a lost or doubled piece shows.
        let value: String = (0..length / 8).map(|word| format!("{word:08}")).collect();
        let key = format!("large {number}");
        assert_eq!(wire.call(json!({ "type": "SET_MEM", "key": key, "value": value }))["status"], "OK");
        let get = json!({ "type": "GET_MEM", "key": key });
        assert!(wire.call(get.clone())["value"] == value, "{length}");
        assert!(near.call(with(get, json!({ "to": far.peer_id() })))["value"] == value, "{length}");
        let key = format!("from near {number}");
        let set = json!({ "type": "SET_MEM", "key": key, "value": value, "to": far.peer_id() });
        assert_eq!(near.call(set)["status"], "OK");
        assert!(far.call(json!({ "type": "GET_MEM", "key": key }))["value"] == value, "{length}");
    }
    // One byte more than a frame may have.
    wire.send_bytes(&u32::to_be_bytes((16 << 20) + 1)).unwrap();
    assert_eq!(wire.read()["type"], "ERROR");
    wire.expect_end();
}

/// Prints its result, which is 7.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\01\00\00\00")
    (data (i32.const 16) "7")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// A guest for `runtime: "wasm"` that has so many bytes.
fn guest(length: usize) -> Vec<u8> {
    let mut guest = wat::parse_str(GUEST).unwrap();
    // A section for tools: its number, its length in five groups of seven bits, the length of its name, and bytes.
    let content = length - guest.len() - 6;
    guest.push(0);
    guest.extend((0..5).map(|group| (content >> (7 * group)) as u8 & 0x7f | if group < 4 { 0x80 } else { 0 }));
    guest.push(3);
    guest.extend_from_slice(b"pad");
    guest.resize(length, 0xa5);
    guest
}

#[test]
fn large_attachments_arrive_whole_and_larger_ones_not_at_all() {
    let cluster = Cluster::start(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let token = cluster.token(json!({}));
    let mut wire = Stranger::new().member_at(far, &cluster.tracker, &token);
    let message = json!({ "type": "CPU_TASK", "runtime": "wasm", "args": [], "confidential": true });
    let send = |wire: &mut TlsWire, length: usize, bytes: &[u8]| {
        let announced = with(message.clone(), json!({ "attachment": length }));
        let _ = wire.send_bytes(&[&frame_bytes(&announced.to_string())[..], bytes].concat());
        wire.read()
    };
    for length in [3 << 20, 8 << 20] {
        let guest = guest(length);
        let reply = send(&mut wire, length, &guest);
        assert_eq!((&reply["type"], &reply["result"]), (&json!("CPU_RESULT"), &json!(7)), "{reply:#}");
        let reply = near.call_with(with(message.clone(), json!({ "to": far.peer_id() })), &guest).value();
        assert_eq!((&reply["type"], &reply["result"]), (&json!("CPU_RESULT"), &json!(7)), "{reply:#}");
    }
    let reply = send(&mut wire, (8 << 20) + 1, &[]);
    assert_eq!(reply["type"], "ERROR", "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains("over the limit of 8388608"), "{reply:#}");
    wire.expect_end();
    far.check_serving();
}

#[test]
fn thousands_of_requests_in_flight_find_their_answers() {
    let cluster = Cluster::start_with(1, |_, builder| builder.cpu("workers = 2"));
    let token = cluster.token(json!({}));
    let mut wire = Stranger::new().member_at(&cluster.peers[0], &cluster.tracker, &token);
    const COUNT: usize = 6000;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        let message = match number % 3 {
            _ if number % 60 == 0 => task("def main(x): return x", json!([number])),
            0 => json!({ "type": "PING" }),
            1 => json!({ "type": "SET_MEM", "key": number, "value": [number] }),
            _ => json!({ "type": "GET_MEM", "key": number - 1 }),
        };
        bytes.extend(frame_bytes(&with(message, json!({ "id": number })).to_string()));
    }
    wire.send_bytes(&bytes).unwrap();
    let mut replies = BTreeMap::new();
    for _ in 0..COUNT {
        let reply = wire.read();
        assert!(replies.insert(reply["id"].as_u64().unwrap() as usize, reply).is_none());
    }
    for (number, reply) in &replies {
        match number % 3 {
            _ if number % 60 == 0 => assert_eq!(reply["result"], json!(number), "{reply:#}"),
            0 => assert_eq!(reply["type"], "PONG", "{reply:#}"),
            1 => assert_eq!(reply["status"], "OK", "{reply:#}"),
            _ => assert_eq!(reply["value"], json!([number - 1]), "{reply:#}"),
        }
    }
}

#[test]
fn a_frame_may_come_in_any_pieces() {
    let cluster = Cluster::start(1);
    let token = cluster.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    let membership = stranger.join(cluster.tracker.address(), &token);
    let peer = &cluster.peers[0];
    let mut wire = stranger.enter(peer.address(), &token, &membership);
    let frame = frame_bytes(r#"{"type":"PING","id":"é"}"#);
    for cut in 1..frame.len() {
        for piece in [&frame[..cut], &frame[cut..]] {
            wire.send_bytes(piece).unwrap();
        }
        let reply = wire.read();
        assert_eq!((&reply["type"], &reply["id"]), (&json!("PONG"), &json!("é")), "{cut}");
    }
    for byte in &frame {
        wire.send_bytes(&[*byte]).unwrap();
    }
    assert_eq!(wire.read()["type"], "PONG");
    // The first words too.
    let first = frame_bytes(&potluck_tests::hello(&token, &membership).to_string());
    for cut in 1..8 {
        let mut wire = stranger.connect(peer.address());
        for piece in [&first[..cut], &first[cut..]] {
            wire.send_bytes(piece).unwrap();
        }
        assert_eq!(wire.read()["type"], "HELLO");
    }
    // And what follows may come along with them.
    let mut wire = stranger.connect(peer.address());
    wire.send_bytes(&[first, frame].concat()).unwrap();
    assert_eq!((&wire.read()["type"], &wire.read()["type"]), (&json!("HELLO"), &json!("PONG")));
}

#[test]
fn a_connection_that_ends_inside_a_frame_leaves_nothing_behind() {
    let cluster = Cluster::start(1);
    let token = cluster.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    let membership = stranger.join(cluster.tracker.address(), &token);
    let peer = &cluster.peers[0];
    let frame = frame_bytes(r#"{"type":"SET_MEM","key":"half","value":1}"#);
    for cut in [1, 3, 4, 5, frame.len() - 1] {
        let mut wire = stranger.enter(peer.address(), &token, &membership);
        wire.send_bytes(&frame[..cut]).unwrap();
        drop(wire);
        let mut wire = stranger.connect(peer.address());
        wire.send_bytes(&frame[..cut]).unwrap();
    }
    wait_for("the connections to be forgotten", || {
        let members = cluster.tracker.call(json!({ "type": "POOL_MEMBERS" }));
        let entries = members["members"].as_array().unwrap();
        entries.iter().any(|member| member["peer_id"] == stranger.peer_id() && member["connected"] == false)
    });
    assert_eq!(peer.call(json!({ "type": "GET_MEM", "key": "half" }))["found"], false);
    peer.check_serving();
}

// Slowness.

#[test]
fn whoever_is_slow_to_say_who_it_is_makes_room_for_others() {
    let tracker = TestNode::tracker().node("unknown_connections_max = 2");
    let cluster = Cluster::start_under(tracker, 0, |_, builder| builder);
    let token = cluster.token(json!({ "reusable": true }));
    let address = cluster.tracker.address();
    let stranger = Stranger::new();
    let membership = stranger.join(address, &token);
    // Whoever has said who it is takes none of the two places.
    let mut members = [(); 3].map(|()| stranger.enter(address, &token, &membership));

    let mut half = TcpStream::connect(address).unwrap();
    half.set_read_timeout(Some(LIMIT)).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
    let mut silent = stranger.connect(address);
    wait_for("both places to be taken", || stranger.try_connect(address).is_err());
    // This machine's user needs none.
    for _ in 0..3 {
        assert_eq!(cluster.tracker.status()["status"], "OK");
    }
    for member in &mut members {
        assert_eq!(member.call(json!({ "type": "PING" }))["type"], "PONG");
    }
    // Both are given up, and whoever comes then is served.
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest);
    silent.expect_end();
    wait_for("somebody to get in", || stranger.try_connect(address).is_ok());
    stranger.enter(address, &token, &membership);
}

#[test]
fn whoever_connects_and_says_nothing_is_given_up() {
    let node = TestNode::peer().plugins("[node]\nidle_seconds = 0.5\n[plugins.memory]\n").start();
    let mut silent = TcpStream::connect(node.address()).unwrap();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    node.check_serving_memory();
}

/// For nodes that have only memory.
trait ServesMemory {
    fn check_serving_memory(&self);
}

impl ServesMemory for TestNode {
    fn check_serving_memory(&self) {
        assert_eq!(self.call(json!({ "type": "SET_MEM", "key": "serves", "value": 1 }))["status"], "OK");
        assert_eq!(self.call(json!({ "type": "GET_MEM", "key": "serves" }))["value"], 1);
    }
}
