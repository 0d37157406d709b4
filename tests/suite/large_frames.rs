//! Messages and replies larger than a frame, through the real ABI, with a plugin in C.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_tests::{TestNode, Wire, c_library, status_line, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// Larger than a frame once it is Base64.
const BYTES: usize = 15 << 20;
/// What a node holds at most while it takes and sends such messages: far less than one of them.
const RESIDENT_KIB_MAX: u64 = 64 << 10;

struct Spooler {
    node: TestNode,
    _libraries: TempDir,
}

impl Spooler {
    fn start() -> Spooler {
        let libraries = tempfile::Builder::new().prefix("potluck-spooler-").tempdir().unwrap();
        let path = c_library("spooler", libraries.path());
        let node = TestNode::peer().plugins(format!("[plugins.spooler]\npath = {}\n", json!(path))).start();
        Spooler { node, _libraries: libraries }
    }

    fn connect(&self) -> Wire {
        Wire::connect(self.node.address())
    }

    fn spool(&self) -> PathBuf {
        self.node.data_dir().join("spool")
    }

    /// The names in the folder for `data` that has arrived.
    fn spooled_names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.spool()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn content() -> Vec<u8> {
    (0..BYTES).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn put(bytes: &[u8], more: &str) -> String {
    format!(r#"{{"type":"SPOOL_PUT",{more}"data":"{}"}}"#, STANDARD.encode(bytes))
}

fn data_of(reply: &Value) -> Vec<u8> {
    STANDARD.decode(reply["data"].as_str().unwrap_or_else(|| panic!("no data in {reply}"))).unwrap()
}

fn assert_error(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply:#}");
}

#[test]
fn data_larger_than_a_frame_reaches_the_provider_as_a_file_that_is_removed_after_the_answer() {
    let spooler = Spooler::start();
    let (mut wire, content) = (spooler.connect(), content());
    let reply = wire.call(put(&content, r#""id":5,"#));
    assert_eq!((&reply["id"], &reply["bytes"]), (&json!(5), &json!(BYTES)), "{reply}");
    assert_eq!(reply["sum"], json!(sum(&content)));
    assert_eq!((&reply["mode"], &reply["has_data"]), (&json!(0o600), &json!(false)));
    assert!(reply["path"].as_str().unwrap().starts_with(spooler.spool().to_str().unwrap()), "{reply}");
    wait_for("the file is removed", || spooler.spooled_names().is_empty());
    assert_eq!(wire.call(json!({ "type": "PING", "id": 6 })), json!({ "id": 6, "type": "PONG" }));
}

#[test]
fn a_provider_may_move_the_file_away() {
    let spooler = Spooler::start();
    let reply = spooler.connect().call(put(&content(), r#""move":true,"#));
    let moved = format!("{}.moved", reply["path"].as_str().unwrap());
    assert_eq!(fs::read(moved).unwrap().len(), BYTES);
}

#[test]
fn small_messages_of_such_a_type_keep_their_data() {
    let spooler = Spooler::start();
    let reply = spooler.connect().call(put(b"small", ""));
    assert_eq!((&reply["path"], &reply["has_data"]), (&json!(""), &json!(true)));
}

#[test]
fn a_file_is_sent_as_base64_and_later_replies_come_behind_it() {
    let spooler = Spooler::start();
    let (mut wire, content) = (spooler.connect(), content());
    wire.call(put(&content, ""));
    for more in [json!({ "id": 1 }), json!({ "id": 1, "later": true })] {
        let mut message = more;
        message["type"] = json!("SPOOL_GET");
        wire.send(message);
        wire.send(json!({ "type": "PING", "id": 2 }));
        let reply = wire.read();
        assert_eq!((&reply["type"], &reply["id"]), (&json!("KEPT"), &json!(1)));
        assert!(data_of(&reply) == content, "the data is another");
        assert_eq!(wire.read()["id"], 2);
    }
    let peak = status_line(spooler.node.pid(), "VmHWM");
    let kib: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < RESIDENT_KIB_MAX, "the node has held {peak}");
}

#[test]
fn a_file_that_is_shorter_than_promised_ends_the_connection_inside_the_reply() {
    let spooler = Spooler::start();
    let mut wire = spooler.connect();
    wire.call(put(&content(), ""));
    wire.send(json!({ "type": "SPOOL_GET", "too_long": true }));
    let mut received = Vec::new();
    loop {
        let some = wire.read_some();
        if some.is_empty() {
            break;
        }
        received.extend_from_slice(&some);
    }
    let (header, json) = received.split_first_chunk::<4>().unwrap();
    let announced = u32::from_be_bytes(*header) as usize;
    assert!(announced > BYTES && json.len() < announced, "{} of {announced} bytes", json.len());
    assert!(spooler.node.log_text().contains("a reply was cut off"));
    assert_eq!(spooler.connect().call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn data_that_is_no_base64_is_refused_with_its_position_and_the_connection_goes_on() {
    let spooler = Spooler::start();
    let mut wire = spooler.connect();
    let text = put(&content(), r#""id":"a","#);
    let start = text.find("\"data\":\"").unwrap() + 8;
    let mut bytes = text.into_bytes();
    bytes[start + 5000] = b'*';
    let reply = wire.call(String::from_utf8(bytes).unwrap());
    assert_error(&reply, "invalid_message", "character 5000 ");
    assert_eq!(reply["id"], "a");
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    wait_for("nothing is left", || spooler.spooled_names().is_empty());
}

#[test]
fn other_types_are_refused_at_once_when_the_type_stands_first_and_else_at_the_end() {
    let spooler = Spooler::start();
    let data = STANDARD.encode(content());
    let mut wire = spooler.connect();
    let text = format!(r#"{{"type":"SPOOL_NOT","data":"{data}"}}"#);
    wire.send_bytes(&u32::try_from(text.len()).unwrap().to_be_bytes());
    wire.send_bytes(&text.as_bytes()[..1000]);
    assert_error(&wire.read(), "frame_too_large", "chunks");
    wire.expect_end();
    let mut wire = spooler.connect();
    assert_error(&wire.call(format!(r#"{{"data":"{data}","type":"SPOOL_NOT"}}"#)), "frame_too_large", "chunks");
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn a_message_over_the_largest_size_is_refused_at_once() {
    let spooler = Spooler::start();
    let mut wire = spooler.connect();
    wire.send_bytes(&(141_u32 << 20).to_be_bytes());
    assert_error(&wire.read(), "frame_too_large", "over the limit");
    wire.expect_end();
}

#[test]
fn a_fifth_message_at_the_same_time_is_refused_and_reads_its_answer() {
    let spooler = Spooler::start();
    let text = put(&content(), "");
    let half = text.len() / 2;
    let mut wires: Vec<Wire> = (0..4).map(|_| spooler.connect()).collect();
    for wire in &mut wires {
        wire.send_bytes(&u32::try_from(text.len()).unwrap().to_be_bytes());
        wire.send_bytes(&text.as_bytes()[..half]);
    }
    wait_for("four files are there", || spooler.spooled_names().len() == 4);
    assert_error(&spooler.connect().call(&text), "limit_reached", "try again later");
    for wire in &mut wires {
        wire.send_bytes(&text.as_bytes()[half..]);
        assert_eq!(wire.read()["bytes"], json!(BYTES));
    }
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let spooler = Spooler::start();
    let text = put(&content(), "");
    let mut wire = spooler.connect();
    wire.send_bytes(&u32::try_from(text.len()).unwrap().to_be_bytes());
    wire.send_bytes(&text.as_bytes()[..text.len() / 2]);
    wait_for("the file is there", || spooler.spooled_names().len() == 1);
    drop(wire);
    wait_for("the file is removed", || spooler.spooled_names().is_empty());
}
