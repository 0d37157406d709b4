//! Frames, ids, the order of replies, attachments, `to`, and the messages that every node answers.

use potluck_tests::{Cluster, Gate, TestNode, Wire, frame_bytes, task, with};
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpListener;

const FRAME_BYTES_MAX: usize = 16 << 20;
const ATTACHMENT_BYTES_MAX: usize = 8 << 20;

fn ping() -> Value {
    json!({ "type": "PING" })
}

fn status() -> Value {
    json!({ "type": "STATUS" })
}

/// A node without interpreters: it starts at once.
fn plain_node(node_settings: &str) -> TestNode {
    TestNode::peer().plugins(format!("[node]\n{node_settings}\n[plugins.memory]\n")).start()
}

fn assert_error(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
}

#[test]
fn the_first_byte_tells_which_protocol_is_spoken() {
    let node = plain_node("");
    for foreign in
        [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", b"\x09\x00\x00\x01", b"\n"]
    {
        let mut wire = node.wire();
        wire.send_bytes(foreign);
        // Without a word: whoever speaks something else would not understand it.
        wire.expect_end();
    }
    // 0x01 is the beginning of a length, here the largest one.
    assert_eq!(node.call(padded_ping(FRAME_BYTES_MAX)), json!({ "type": "PONG" }));
}

/// A PING of exactly so many bytes.
fn padded_ping(length: usize) -> String {
    let empty = r#"{"type":"PING","padding":""}"#;
    format!(r#"{{"type":"PING","padding":"{}"}}"#, "x".repeat(length - empty.len()))
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_sent() {
    let node = plain_node("");
    let mut wire = node.wire();
    wire.send_bytes(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes());
    let reply = wire.read();
    assert_error(&reply, "frame_too_large", &FRAME_BYTES_MAX.to_string());
    wire.expect_end();
}

#[test]
fn a_connection_stays_open_for_any_number_of_requests() {
    let node = plain_node("");
    let mut wire = node.wire();
    for number in 0..1000 {
        assert_eq!(wire.call(json!({ "type": "SET_MEM", "key": "k", "value": number }))["status"], "OK");
        assert_eq!(wire.call(json!({ "type": "GET_MEM", "key": "k" }))["value"], number);
    }
}

#[test]
fn ids_are_echoed_as_they_came() {
    let node = plain_node("");
    let mut wire = node.wire();
    let long = json!("x".repeat(250)).to_string();
    for id in
        ["1", "0", "-7", "1.50", "1e3", "123456789012345678901234567890", r#""a""#, r#""""#, r#""\u00e9\"\\""#, &long]
    {
        wire.send(format!(r#"{{"id":{id},"type":"PING"}}"#));
        let reply = wire.read_text();
        assert!(reply.contains(&format!(r#""id":{id}"#)), "{id} became {reply}");
        // Errors carry it as well.
        wire.send(format!(r#"{{"type":"NO_SUCH","id":{id}}}"#));
        let reply = wire.read_text();
        assert!(reply.contains(&format!(r#""id":{id}"#)) && reply.contains("ERROR"), "{id} became {reply}");
    }
    wire.send(r#"{"id":null,"type":"PING"}"#);
    assert!(!wire.read_text().contains("id"));
}

#[test]
fn an_id_that_cannot_be_echoed_is_refused() {
    let node = plain_node("");
    let mut wire = node.wire();
    for id in ["true", "[1]", "{}", "-", "01", "1.", r#""\x""#, &json!("x".repeat(300)).to_string()] {
        let reply = wire.call(format!(r#"{{"type":"PING","id":{id}}}"#));
        assert_error(&reply, "invalid_message", "id must be");
    }
    assert_error(&wire.call(r#"{"type":"PING","id":1,"id":2}"#), "invalid_message", "once");
    assert_eq!(wire.call(ping())["type"], "PONG");
}

#[test]
fn a_reply_with_an_id_may_overtake_a_slow_one() {
    let node = TestNode::peer().start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "slow" })));
    wire.send(with(ping(), json!({ "id": "quick" })));
    assert_eq!(wire.read(), json!({ "type": "PONG", "id": "quick" }));
    gate.open();
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["result"]), (&json!("slow"), &json!("through")), "{reply}");
}

#[test]
fn replies_without_ids_come_in_the_order_of_the_requests() {
    let node = TestNode::peer().start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(gate.task());
    wire.send(ping());
    wire.send(status());
    wire.send(with(ping(), json!({ "id": 1 })));
    // Only the one with an id may come before the task's.
    assert_eq!(wire.read()["id"], 1);
    gate.open();
    assert_eq!(wire.read()["result"], "through");
    assert_eq!(wire.read()["type"], "PONG");
    assert_eq!(wire.read()["status"], "OK");
}

#[test]
fn requests_may_arrive_in_any_pieces() {
    let node = plain_node("");
    let mut bytes = Vec::new();
    for id in 0..3 {
        bytes.extend_from_slice(&frame_bytes(&with(ping(), json!({ "id": id, "attachment": 3 })).to_string()));
        bytes.extend_from_slice(b"raw");
    }
    let mut wire = node.wire();
    for cut in 1..bytes.len() {
        wire.send_bytes(&bytes[..cut]);
        wire.send_bytes(&bytes[cut..]);
        for id in 0..3 {
            assert_eq!(wire.read(), json!({ "type": "PONG", "id": id }), "cut at {cut}");
        }
    }
}

#[test]
fn the_header_of_a_reply_comes_in_one_piece() {
    let node = plain_node("");
    node.call(json!({ "type": "SET_MEM", "key": "large", "value": "x".repeat(1 << 20) }));
    for message in [ping(), status(), json!({ "type": "GET_MEM", "key": "large" }), json!({ "type": "NO_SUCH" })] {
        let mut wire = node.wire();
        wire.send(message);
        // The original client reads the header with one call and gives up on less.
        let mut header = [0; 4];
        assert_eq!(wire.stream().read(&mut header).unwrap(), 4);
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        wire.stream().read_exact(&mut body).unwrap();
        assert!(serde_json::from_slice::<Value>(&body).unwrap().is_object());
    }
}

#[test]
fn a_client_that_stops_sending_still_gets_its_replies() {
    let node = plain_node("");
    let mut wire = node.wire();
    for id in 0..100 {
        wire.send(with(status(), json!({ "id": id })));
    }
    wire.finish_sending();
    for id in 0..100 {
        assert_eq!(wire.read()["id"], id);
    }
    wire.expect_end();
}

#[test]
fn an_attachment_belongs_to_the_frame_that_announces_it() {
    let node = plain_node("");
    let mut wire = node.wire();
    for length in [0, 1, 1000, ATTACHMENT_BYTES_MAX] {
        // Bytes that would be a frame of their own, were they not taken for what they are.
        let attachment: Vec<u8> = frame_bytes(r#"{"type":"STATUS"}"#).into_iter().cycle().take(length).collect();
        wire.send_with(with(ping(), json!({ "attachment": length })), &attachment);
        assert_eq!(wire.read()["type"], "PONG");
    }
    assert_eq!(wire.call(with(ping(), json!({ "id": "last" })))["id"], "last");
}

#[test]
fn an_attachment_over_the_limit_is_refused_before_it_is_sent() {
    let node = plain_node("");
    for length in [ATTACHMENT_BYTES_MAX as u64 + 1, u64::MAX] {
        let mut wire = node.wire();
        wire.send(with(ping(), json!({ "attachment": length })));
        assert_error(&wire.read(), "frame_too_large", &ATTACHMENT_BYTES_MAX.to_string());
        wire.expect_end();
    }
}

#[test]
fn an_attachment_that_is_no_number_is_refused() {
    let node = plain_node("");
    let mut wire = node.wire();
    for length in [json!(-1), json!("5"), json!(1.5), json!([]), json!(true)] {
        assert_error(&wire.call(with(ping(), json!({ "attachment": length }))), "invalid_message", "attachment");
    }
}

#[test]
fn a_type_that_nobody_answers_is_named() {
    let node = plain_node("");
    assert_error(&node.call(json!({ "type": "FLY_TO_THE_MOON" })), "no_provider", "FLY_TO_THE_MOON");
    assert_error(&node.call(json!({ "type": "x".repeat(100_000) })), "no_provider", "xxx");
    // A provider that plugins.toml does not name is not there.
    assert_error(&node.call(task("def main(): return 1", json!([]))), "no_provider", "CPU_TASK");
}

#[test]
fn a_message_without_a_type_is_refused() {
    let node = plain_node("");
    for message in [json!({}), json!({ "key": "k" }), json!({ "type": "" })] {
        assert_error(&node.call(message), "no_provider", "Unknown message type: None");
    }
    assert_error(&node.call(json!({ "type": 5 })), "invalid_message", "type");
    assert_error(&node.call(json!({ "type": null })), "invalid_message", "type");
}

#[test]
fn a_frame_that_is_no_object_is_answered_and_the_connection_goes_on() {
    let node = plain_node("");
    let mut wire = node.wire();
    for text in ["[]", "1", "null", r#""PING""#, "{", "}", "{]", r#"{"type""#, r#"{"type":"PING"} x"#, "nonsense", " "]
    {
        assert_error(&wire.call(text), "invalid_message", "Invalid message format");
        assert_eq!(wire.call(ping())["type"], "PONG", "after {text}");
    }
    assert_eq!(wire.call(" {\r\n\t\"type\" : \"PING\" } \n")["type"], "PONG");
}

#[test]
fn broken_values_inside_an_object_are_an_error_of_the_message() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    for text in [
        r#"{"type":"SET_MEM","key":"k","value":[1,2}"#,
        r#"{"type":"SET_MEM","key":"k","value":{"a" 1}}"#,
        r#"{"type":"SET_MEM","key":"k","value":nul}"#,
        r#"{"type":"SET_MEM","key":"k","value":"\q"}"#,
        r#"{"type":"CPU_TASK","program":"def main(): pass","args":[1,]}"#,
        r#"{"type":"CPU_TASK","program":"def main(): pass","args":[01]}"#,
    ] {
        assert_error(&wire.call(text), "invalid_message", "");
    }
    assert_eq!(wire.call(json!({ "type": "GET_MEM", "key": "k" }))["found"], false);
}

#[test]
fn a_frame_that_is_not_utf_8_is_answered_and_the_connection_closed() {
    let node = plain_node("");
    let mut wire = node.wire();
    wire.send_bytes(b"\0\0\0\x11{\"type\":\"PIN\xff\"}\n\n");
    assert_error(&wire.read(), "invalid_message", "Invalid message format");
    wire.expect_end();
}

#[test]
fn an_idle_connection_is_closed_but_not_one_that_waits_for_an_answer() {
    let node = TestNode::peer().node("idle_seconds = 0.5").start();
    let gate = Gate::new(&node);
    let mut waiting = node.wire();
    waiting.send(gate.task());
    let (mut silent, mut used) = (node.wire(), node.wire());
    assert_eq!(used.call(ping())["type"], "PONG");
    silent.expect_end();
    used.expect_end();
    // By now the one that waits has been silent for longer than both.
    node.wire().expect_end();
    gate.open();
    assert_eq!(waiting.read()["result"], "through");
    waiting.expect_end();
}

#[test]
fn a_message_to_the_node_itself_is_answered_by_it() {
    let node = plain_node("");
    for to in [node.peer_id(), node.address(), &node.peer_id().to_uppercase()] {
        let reply = node.call(with(status(), json!({ "to": to, "id": 1 })));
        assert_eq!(reply["peer_id"], node.peer_id(), "{to}: {reply}");
    }
    let reply = node.call(with(status(), json!({ "to": null })));
    assert_eq!(reply["peer_id"], node.peer_id());
}

#[test]
fn a_message_to_nobody_is_refused_with_the_reason() {
    let node = plain_node("");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let mut wire = node.wire();
    let mut ask = |to: &str| wire.call(with(status(), json!({ "to": to, "id": 1 })));
    assert_error(
        &ask("01234567-89ab-8def-8123-456789abcdef"),
        "peer_unreachable",
        "01234567-89ab-8def-8123-456789abcdef",
    );
    assert_error(&ask(&nobody), "peer_unreachable", &nobody);
    assert_error(&ask("192.0.2.1:9000"), "peer_unreachable", "in no pool");
    for to in ["", "nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "example.org:9000"] {
        assert_error(&ask(to), "invalid_message", "`to`");
    }
    assert_error(&wire.call(with(status(), json!({ "to": 5 }))), "invalid_message", "to must be");
}

#[test]
fn a_message_to_another_peer_is_passed_on_with_its_attachment() {
    let (node, other) = (plain_node(""), plain_node(""));
    let to = json!({ "to": other.address() });
    let reply = node.call(with(status(), with(to.clone(), json!({ "id": "x" }))));
    assert_eq!((&reply["peer_id"], &reply["id"]), (&json!(other.peer_id()), &json!("x")), "{reply}");
    // Values pass through two nodes digit for digit.
    let digits = "9".repeat(300);
    let set = format!(r#"{{"type":"SET_MEM","to":"{}","key":"k","value":[{digits}, 1.0]}}"#, other.address());
    assert_eq!(node.call(set)["status"], "OK");
    assert!(
        node.call_raw(with(json!({ "type": "GET_MEM", "key": "k" }), to.clone())).contains(&format!("[{digits}, 1.0]"))
    );
    assert_eq!(node.call(json!({ "type": "GET_MEM", "key": "k" }))["found"], false);
    let frame = node.call_with(with(ping(), to.clone()), &vec![7; ATTACHMENT_BYTES_MAX]);
    assert_eq!(frame.value()["type"], "PONG");
    assert_error(&node.call(with(json!({ "type": "NO_SUCH" }), to)), "no_provider", "NO_SUCH");
}

#[test]
fn many_messages_to_another_peer_share_a_link() {
    let (node, other) = (plain_node(""), plain_node(""));
    let mut wire = node.wire();
    for id in 0..2000 {
        wire.send(json!({ "type": "SET_MEM", "to": other.address(), "key": id, "value": id, "id": id }));
    }
    let mut ids: Vec<u64> = (0..2000).map(|_| wire.read()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..2000));
    assert_eq!(other.status()["memory"]["key_count"], 2000);
}

#[test]
fn a_message_to_a_peer_of_the_pool_may_name_its_id() {
    let cluster = Cluster::start(2);
    let [one, other] = &cluster.peers[..] else { panic!("two peers") };
    let reply = one.call(with(status(), json!({ "to": other.peer_id() })));
    assert_eq!(reply["peer_id"], other.peer_id(), "{reply}");
}

#[test]
fn status_has_the_members_that_old_clients_read() {
    let node = TestNode::peer().start();
    let status = node.status();
    assert_eq!(status["type"], "STATUS");
    assert_eq!((&status["peer_ip"], &status["peer_port"]), (&json!("127.0.0.1"), &json!(node.port())));
    assert_eq!(status["peer_id"], node.peer_id());
    assert_eq!((&status["tracker_address"], &status["tracker_connected"]), (&Value::Null, &json!(false)));
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    assert!(!status["version"].as_str().unwrap().is_empty());
    assert!(status.get("error").is_none(), "{status:#}");
    for (section, names) in [("memory", &["key_count", "operation_count"][..]), ("executor", &["execution_count"])] {
        for name in names {
            assert!(status[section][name].is_u64(), "{section}.{name} is missing in {status:#}");
        }
    }
}

#[test]
fn the_scheduler_in_status_has_the_members_of_its_type() {
    let node = TestNode::peer().start();
    node.run("def main(): return 1", json!([]));
    let scheduler = node.status()["scheduler"].take();
    let names: &[&str] = match scheduler["type"].as_str() {
        Some("round_robin") => {
            &["queue_size", "current_load", "total_tasks", "completed_tasks", "cancelled_tasks", "active_tasks"]
        }
        Some("advanced") => &[
            "algorithm",
            "total_processes",
            "completed_processes",
            "running_process",
            "queue_size",
            "average_waiting_time",
            "average_turnaround_time",
            "throughput",
        ],
        other => panic!("no such type of scheduler: {other:?}"),
    };
    for name in names {
        assert!(scheduler["stats"].get(name).is_some(), "{name} is missing in {scheduler:#}");
    }
}

#[test]
fn the_node_tells_of_its_plugins_and_peers() {
    let node = TestNode::peer().start();
    node.run("def main(): return 1", json!([]));
    let list = node.call(json!({ "type": "LIST_PLUGINS" }));
    assert_eq!(list["type"], "PLUGIN_LIST");
    let ids: Vec<&str> =
        list["plugins"].as_array().unwrap().iter().map(|plugin| plugin["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["memory", "cpu"], "in the order of plugins.toml");
    let cpu = &list["plugins"][1];
    assert_eq!(
        (&cpu["state"], &cpu["isolation"], &cpu["reason"]),
        (&json!("started"), &json!("in-process"), &Value::Null)
    );
    assert_eq!((&cpu["calls"], &cpu["errors"]), (&json!(1), &json!(0)), "{cpu:#}");
    assert!(cpu["messages"].as_array().unwrap().contains(&json!("CPU_TASK")));
    assert!(cpu["p50_microseconds"].as_f64().unwrap() > 0.0);

    let peers = node.call(json!({ "type": "LIST_PEERS" }));
    assert_eq!(peers, json!({ "type": "PEER_LIST", "peers": [], "tracker_connected": false }));
}

fn watch(topics: Value, after: Option<u64>) -> Value {
    let message = json!({ "type": "WATCH_EVENTS", "topics": topics });
    after.map_or(message.clone(), |after| with(message, json!({ "after": after })))
}

#[test]
fn a_watcher_hears_of_a_finished_task() {
    let node = TestNode::peer().start();
    let mut watcher = node.wire();
    watcher.send(watch(json!(["task.*"]), None));
    // Its turn comes before anything that is sent later over the same connection.
    watcher.send(with(ping(), json!({ "id": 1 })));
    assert_eq!(watcher.read()["id"], 1);

    node.call(with(task("def main(): return 1", json!([])), json!({ "task_id": "good" })));
    let events = watcher.read();
    assert_eq!(events["type"], "EVENTS");
    assert_eq!(events["lost"], 0);
    let event = finished(&events, "good");
    assert_eq!((&event["attempts"], &event["peer"]), (&json!(1), &json!(node.address())), "{event}");
    assert!(event.get("code").is_none(), "{event}");

    // What happens between two questions is not lost.
    let next = events["next"].as_u64().unwrap();
    node.call(with(task("def main(): return 1 / 0", json!([])), json!({ "task_id": "bad" })));
    let event = finished(&watcher.call(watch(json!(["task.finished"]), Some(next))), "bad");
    assert_eq!(event["code"], "task_failed", "{event}");
}

/// The body of the event that says so.
fn finished(events: &Value, task_id: &str) -> Value {
    let found = events["events"].as_array().unwrap().iter().find(|event| event["body"]["task_id"] == task_id);
    let event = found.unwrap_or_else(|| panic!("no event tells of {task_id}: {events}"));
    assert_eq!(event["topic"], "task.finished");
    assert!(event["sequence"].as_u64().unwrap() > 0 && event["unix_milliseconds"].as_u64().unwrap() > 0);
    event["body"].clone()
}

#[test]
fn a_watcher_hears_nothing_of_other_topics() {
    let node = TestNode::peer().start();
    let mut watcher = node.wire();
    watcher.send(with(watch(json!(["peer.*"]), None), json!({ "id": "watch" })));
    node.run("def main(): return 1", json!([]));
    assert_eq!(watcher.call(with(ping(), json!({ "id": "ping" })))["id"], "ping");
    let too_many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    assert_error(&node.call(watch(json!(too_many), None)), "invalid_message", "64");
}

#[test]
fn connections_end_when_the_node_stops() {
    let mut node = plain_node("");
    let mut wires: Vec<Wire> = (0..20).map(|_| node.wire()).collect();
    for wire in &mut wires {
        assert_eq!(wire.call(ping())["type"], "PONG");
    }
    assert!(node.stop().success(), "{}", node.log_tail());
    for wire in &mut wires {
        wire.expect_end();
    }
    assert!(!node.data_dir().join("node.json").exists());
}
