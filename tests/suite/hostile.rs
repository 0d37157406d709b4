//! Clients that mean harm: malformed, huge, slow, silent and far too many. The node answers the honest ones meanwhile.

use potluck_tests::{TestNode, Wire, frame_bytes, raise_descriptor_limit, resident_bytes, task, wait_for, with};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const FRAME_BYTES_MAX: u32 = 16 << 20;

fn ping() -> Value {
    json!({ "type": "PING" })
}

fn assert_error(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
}

/// A node without interpreters: it starts at once, and its memory is the host's alone.
fn plain_node(node_settings: &str) -> TestNode {
    TestNode::peer().plugins(format!("[node]\n{node_settings}\n[plugins.memory]\n")).start()
}

#[track_caller]
fn check_pong(node: &TestNode) {
    assert_eq!(node.call(ping())["type"], "PONG");
    assert!(!node.log_text().contains("panicked at"), "nothing that a client sends may make the node panic");
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let node = plain_node("");
    for (length, reply) in [
        (0, None),
        (1 << 31, None),
        (u32::MAX, None),
        (FRAME_BYTES_MAX + 1, Some("frame_too_large")),
        (0x08ff_ffff, Some("frame_too_large")),
    ] {
        let mut wire = node.wire();
        wire.send_bytes(&length.to_be_bytes());
        if let Some(code) = reply {
            assert_error(&wire.read(), code, "over the limit");
        }
        wire.expect_end();
    }
    check_pong(&node);
}

#[test]
fn garbage_in_a_well_formed_frame_is_answered() {
    let node = plain_node("");
    let length = FRAME_BYTES_MAX as usize;
    // No two bytes of it are the same structure, and no part of it is JSON.
    let noise: Vec<u8> = (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let ascii: Vec<u8> = noise.iter().map(|byte| b' ' + byte % 95).collect();
    for (garbage, is_text) in [
        (vec![0; length], true),
        (vec![b'{'; length], true),
        (vec![b'"'; length], true),
        (vec![b'\\'; length], true),
        (ascii, true),
        (noise, false),
        (vec![0xff; length], false),
    ] {
        let mut wire = node.wire();
        wire.send_bytes(&FRAME_BYTES_MAX.to_be_bytes());
        wire.send_bytes(&garbage);
        assert_error(&wire.read(), "invalid_message", "Invalid message format");
        if is_text {
            assert_eq!(wire.call(ping())["type"], "PONG");
        } else {
            wire.expect_end();
        }
    }
}

#[test]
fn json_that_is_nested_a_million_deep_is_stored_and_comes_back() {
    let node = plain_node("");
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(node.call(format!(r#"{{"type":"SET_MEM","key":"deep","value":{deep}}}"#))["status"], "OK");
    let reply = node.call_raw(json!({ "type": "GET_MEM", "key": "deep" }));
    assert!(reply.contains(&deep), "{} bytes came back", reply.len());
    let objects = format!("{}1{}", r#"{"a":"#.repeat(1_000_000), "}".repeat(1_000_000));
    assert_eq!(node.call(format!(r#"{{"type":"SET_MEM","key":"deep","value":{objects}}}"#))["status"], "OK");
    for unbalanced in ["[".repeat(1_000_000), format!("{}]", "[".repeat(1_000_000)), r#"{"a":["#.repeat(1_000_000)] {
        let reply = node.call(format!(r#"{{"type":"SET_MEM","key":"deep","value":{unbalanced}}}"#));
        assert_error(&reply, "invalid_message", "");
    }
    // Where a value is not passed on as it is, it is refused.
    for member in ["id", "to", "type", "attachment"] {
        assert_error(&node.call(format!(r#"{{"{member}":{deep}}}"#)), "invalid_message", "");
    }
    for message in [
        format!(r#"{{"type":"SET_MEM","key":{deep},"value":1}}"#),
        format!(r#"{{"type":"SET_MEM","key":"k","ttl_seconds":{deep}}}"#),
        format!(r#"{{"type":"LIST_MEM","after":{deep}}}"#),
        format!(r#"{{"type":"WATCH_EVENTS","topics":{deep}}}"#),
    ] {
        assert_error(&node.call(message), "invalid_message", "");
    }
    check_pong(&node);
}

#[test]
fn arguments_that_are_nested_a_million_deep_are_an_error_of_the_task() {
    let node = TestNode::peer().start();
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let reply = node.call(format!(r#"{{"type":"CPU_TASK","program":"def main(*args): return 1","args":{deep}}}"#));
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!("task_failed")), "{reply}");
    assert_eq!(reply["error_type"], "RecursionError", "{reply}");
    let reply = node.call(format!(r#"{{"type":"BATCH_TASK","tasks":{deep}}}"#));
    assert_eq!(reply["results"][0]["code"], "invalid_message", "{reply}");
    node.check_serving();
}

#[test]
fn texts_of_ten_megabytes_in_the_wrong_places_are_refused() {
    let node = TestNode::peer().start();
    let long = "x".repeat(10_000_000);
    for message in [
        json!({ "type": "PING", "id": long }),
        json!({ "type": "PING", "to": long }),
        json!({ "type": "SET_MEM", "key": long }),
        json!({ "type": long }),
        json!({ "type": "CPU_TASK", "program": "def main(): pass", "task_id": long }),
        json!({ "type": "CPU_TASK", "program": "def main(): pass", "function": long }),
        json!({ "type": "CPU_TASK", "program": "def main(): pass", "runtime": long }),
        json!({ "type": "CANCEL_TASK", "task_id": long }),
        json!({ "type": "SET_SCHEDULER", "algorithm": long }),
    ] {
        let mut wire = node.wire();
        wire.send(message);
        let reply = wire.read_text();
        let start: String = reply.chars().take(300).collect();
        assert!(reply.contains(r#""error":""#) && reply.len() < 100_000, "{} bytes: {start}", reply.len());
    }
    let digits = format!(r#"{{"type":"PING","id":{}}}"#, "1".repeat(10_000_000));
    assert_error(&node.call(digits), "invalid_message", "id");
    node.check_serving();
}

#[test]
fn half_a_frame_and_then_silence_ends_the_connection() {
    let node = plain_node("idle_seconds = 0.5");
    let whole = frame_bytes(&with(ping(), json!({ "attachment": 100 })).to_string());
    for length in [1, 3, 4, 5, whole.len() - 1, whole.len()] {
        let mut wire = node.wire();
        wire.send_bytes(&whole[..length]);
        wire.expect_end();
    }
    let mut wire = node.wire();
    wire.send_bytes(&FRAME_BYTES_MAX.to_be_bytes());
    wire.send_bytes(&[b' '; 1000]);
    wire.expect_end();
    check_pong(&node);
}

#[test]
fn other_protocols_are_not_spoken() {
    let node = plain_node("");
    for words in [
        &b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"[..],
        b"POST /api HTTP/1.1\r\nContent-Length: 16\r\n\r\n{\"type\":\"PING\"}\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"{\"type\":\"PING\"}\n",
        b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03",
    ] {
        let mut wire = node.wire();
        let _ = wire.try_send_bytes(words);
        assert!(wire.read_some().is_empty(), "{:?} was answered", String::from_utf8_lossy(words));
    }
    check_pong(&node);
}

#[test]
fn clients_that_vanish_in_the_middle_of_anything_leave_nothing_behind() {
    let node = TestNode::peer().start();
    let message = frame_bytes(&task("def main(): return 'x' * 100000", json!([])).to_string());
    for number in 0..500 {
        let mut wire = node.wire();
        let length = number * message.len() / 500;
        let _ = wire.try_send_bytes(&message[..length]);
        if number % 2 == 0 {
            let _ = wire.try_send_bytes(&message[length..]);
        }
    }
    node.wait_for_tasks(0, 0);
    node.check_serving();
    wait_for("the connections to be closed on the node's side", || open_descriptors(&node) < 100);
}

fn open_descriptors(node: &TestNode) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

#[test]
fn ten_thousand_silent_connections_cost_little_and_stop_nobody() {
    // The other ends are in this process, and the node's own limit is the same.
    let possible = raise_descriptor_limit();
    let count = possible.saturating_sub(500).min(10_000);
    let node = plain_node("connections_max = 12000\nidle_seconds = 3600");
    check_pong(&node);
    let before = resident_bytes(node.pid());
    let mut silent: Vec<Wire> = Vec::with_capacity(count);
    for number in 0..count {
        let mut wire = node.wire();
        // Some have said something, some are in the middle of a frame, most have never said a word.
        match number % 10 {
            0 => wire.send(ping()),
            1 => wire.send_bytes(&[0, 0]),
            2 => wire.send_bytes(&frame_bytes(&ping().to_string())[..9]),
            _ => {}
        }
        silent.push(wire);
    }
    for wire in silent.iter_mut().step_by(10) {
        assert_eq!(wire.read()["type"], "PONG");
    }
    wait_for("the node to have accepted all connections", || open_descriptors(&node) >= count);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 150 * MIB, "{count} connections cost {} MiB", growth / MIB);
    let mut honest = node.wire();
    for number in 0..1000 {
        honest.call(json!({ "type": "SET_MEM", "key": "k", "value": number }));
        assert_eq!(honest.call(json!({ "type": "GET_MEM", "key": "k" }))["value"], number);
    }
    // Those that were silent are still served.
    assert_eq!(silent[3].call(ping())["type"], "PONG");
    drop(silent);
    wait_for("the connections to be closed on the node's side", || open_descriptors(&node) < 100);
    assert_eq!(honest.call(ping())["type"], "PONG");
}

#[test]
fn a_connection_over_the_limit_is_told_so() {
    let node = plain_node("connections_max = 3");
    let mut places: Vec<Wire> = (0..3).map(|_| node.wire()).collect();
    for wire in &mut places {
        assert_eq!(wire.call(ping())["type"], "PONG");
    }
    let mut refused = node.wire();
    assert_error(&refused.read(), "limit_reached", "3 connections");
    refused.expect_end();
    // Those who are there are served on, and their places are given to others when they leave.
    assert_eq!(places[0].call(ping())["type"], "PONG");
    places.pop();
    wait_for("the free place to be given", || {
        let mut wire = node.wire();
        // The refusal may come before the request is sent.
        wire.try_send_bytes(&frame_bytes(&ping().to_string())).is_ok()
            && wire.read_frame().unwrap().value()["type"] == "PONG"
    });
}

#[test]
fn the_refusal_reaches_a_client_that_has_already_asked() {
    let node = plain_node("connections_max = 1");
    let mut place = node.wire();
    assert_eq!(place.call(ping())["type"], "PONG");
    for _ in 0..50 {
        let mut wire = node.wire();
        let _ = wire.try_send_bytes(&frame_bytes(&ping().to_string()));
        assert_error(&wire.read(), "limit_reached", "1 connections");
    }
    for _ in 0..5 {
        let output = node.cli(["status"]);
        assert_eq!(output.status, 1, "{output:?}");
        assert!(output.stderr.contains("the node serves 1 connections"), "{output:?}");
    }
}

#[test]
fn a_client_that_never_reads_is_not_read_from_either() {
    let node = plain_node("");
    let value = "x".repeat(8 << 20).len() - 2;
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": "x".repeat(value) }))["status"], "OK");
    let before = resident_bytes(node.pid());
    let mut wires: Vec<Wire> = (0..4).map(|_| node.wire()).collect();
    for wire in &mut wires {
        wire.stream().set_nonblocking(true).unwrap();
        let request = frame_bytes(&json!({ "type": "GET_MEM", "key": "k" }).to_string());
        // Until nothing more is taken, or far more than may be.
        let mut sent = 0;
        wait_for("the node to take no more requests", || {
            match wire.try_send_bytes(&request) {
                Ok(()) => sent += request.len(),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            assert!(sent < 64 << 20, "the node takes any number of requests");
            // wait_for pauses between two looks, and there are many requests to send.
            (0..10_000).any(|_| wire.try_send_bytes(&request).inspect(|()| sent += request.len()).is_err())
        });
    }
    check_pong(&node);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 150 * MIB, "four clients that never read cost {} MiB", growth / MIB);
}

/// Sends tasks with results of 4 MiB, and waits until all are computed or the node holds the rest back. Returns how much
/// the node has grown at most.
fn send_and_not_read(node: &TestNode, wire: &mut Wire, count: u64) -> u64 {
    let before = resident_bytes(node.pid());
    for id in 0..count {
        let big = task("def main(): return 'x' * (4 << 20)", json!([]));
        wire.send(with(big, json!({ "id": id })));
    }
    let mut most = 0;
    let (mut completed, mut unchanged) = (Value::Null, 0);
    wait_for("the node to compute no more results", || {
        most = most.max(resident_bytes(node.pid()).saturating_sub(before));
        let now = node.status()["scheduler"]["stats"]["completed_tasks"].take();
        unchanged = if completed == now { unchanged + 1 } else { 0 };
        completed = now;
        completed == count || unchanged > 200
    });
    most
}

#[test]
fn results_that_are_read_late_all_come() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    send_and_not_read(&node, &mut wire, 10);
    for _ in 0..10 {
        assert_eq!(wire.read()["result"].as_str().unwrap().len(), 4 << 20);
    }
}

#[test]
fn results_that_nobody_reads_do_not_pile_up() {
    let node = TestNode::peer().start();
    node.check_serving();
    // 600 MiB of results for requests that fit into the socket at once.
    let growth = send_and_not_read(&node, &mut node.wire(), 150);
    assert!(growth < 300 * MIB, "a client that does not read costs {} MiB", growth / MIB);
    node.check_serving();
}

#[test]
fn a_node_stops_although_its_clients_do_not_read() {
    let mut node = plain_node("");
    let value = "x".repeat(4 << 20);
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": value }))["status"], "OK");
    let mut wires: Vec<Wire> = (0..20).map(|_| node.wire()).collect();
    for wire in &mut wires {
        for _ in 0..5 {
            wire.send(json!({ "type": "GET_MEM", "key": "k" }));
        }
        wire.send(json!({ "type": "WATCH_EVENTS", "topics": ["never"] }));
        wire.send_bytes(&[0, 0, 0]);
    }
    assert!(node.stop().success(), "{}", node.log_tail());
}

#[test]
fn a_node_without_free_descriptors_serves_on_when_it_has_some_again() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let node = plain_node("");
    let mut honest = node.wire();
    assert_eq!(honest.call(ping())["type"], "PONG");
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap());
    // The hard limit stays, so that the soft one can be raised again.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Some(open_descriptors(&node) as u64 + 5);
    let former = prlimit(pid, Resource::Nofile, Rlimit { current: few, maximum }).unwrap();
    let waiting: Vec<Wire> = (0..50).map(|_| node.wire()).collect();
    wait_for("the node to run out of descriptors", || node.log_text().contains("could not be accepted"));
    assert_eq!(honest.call(ping())["type"], "PONG");
    drop(waiting);
    // Until it has closed those, it cannot even ask the kernel whose a connection is.
    wait_for("the node to serve others again", || node.call(ping())["type"] == "PONG");
    prlimit(pid, Resource::Nofile, former).unwrap();
    check_pong(&node);
    assert!(node.log_text().lines().count() < 100, "the log is flooded");
}

#[test]
fn a_slow_trickle_is_understood_and_slows_nobody_down() {
    let node = plain_node("idle_seconds = 5");
    let mut slow = node.wire();
    let mut honest = node.wire();
    for byte in frame_bytes(&with(ping(), json!({ "id": "slow" })).to_string()) {
        slow.send_bytes(&[byte]);
        for _ in 0..10 {
            assert_eq!(honest.call(ping())["type"], "PONG");
        }
    }
    assert_eq!(slow.read()["id"], "slow");
}

#[test]
fn announced_frames_are_bounded_by_the_budget_of_all_connections() {
    const CLIENTS: usize = 200;
    // Room for eight frames of 16 MiB.
    let node = plain_node("frame_bytes_total_max = 134217728\nidle_seconds = 3600");
    check_pong(&node);
    let before = resident_bytes(node.pid());
    let part = vec![b' '; 1 << 20];
    let mut wires: Vec<Wire> = Vec::new();
    for _ in 0..CLIENTS {
        let mut wire = node.wire();
        let _ = wire.try_send_bytes(&FRAME_BYTES_MAX.to_be_bytes());
        let _ = wire.try_send_bytes(&part);
        wires.push(wire);
    }
    let mut refused = 0;
    for wire in &mut wires {
        wire.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut byte = [0];
        if wire.stream().peek(&mut byte).is_ok() {
            refused += 1;
            wire.stream().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            assert_error(&wire.read(), "limit_reached", "unfinished messages");
        }
    }
    assert_eq!(refused, CLIENTS - 8, "those that did not fit are told so");
    // Small messages need no part of the budget.
    check_pong(&node);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 64 * MIB, "{CLIENTS} announcements cost {} MiB", growth / MIB);
    drop(wires);
    wait_for("the budget to be given back", || {
        let value = "x".repeat(1 << 20);
        node.call(json!({ "type": "SET_MEM", "key": "k", "value": value }))["status"] == "OK"
    });
}

#[test]
fn whole_frames_from_many_clients_stay_within_the_budget() {
    let node = plain_node("frame_bytes_total_max = 67108864");
    check_pong(&node);
    let before = resident_bytes(node.pid());
    let message = json!({ "type": "PING", "padding": "x".repeat(15 << 20) }).to_string();
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut wire = node.wire();
                    let _ = wire.try_send_bytes(&frame_bytes(&message));
                    let reply = wire.read();
                    if reply["type"] != "PONG" {
                        assert_error(&reply, "limit_reached", "try again later");
                    }
                }
            });
        }
    });
    check_pong(&node);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 256 * MIB, "the node holds {} MiB more than before", growth / MIB);
}

#[test]
fn many_clients_that_watch_events_and_leave_are_forgotten() {
    let node = plain_node("");
    for _ in 0..3000 {
        let mut wire = node.wire();
        wire.send(json!({ "type": "WATCH_EVENTS", "topics": ["never.*"] }));
        wire.send(with(ping(), json!({ "id": 1 })));
        assert_eq!(wire.read()["type"], "PONG");
    }
    // More than may wait at a time have come and gone, so there is room.
    let mut wire = node.wire();
    wire.send(json!({ "type": "WATCH_EVENTS", "topics": ["never.*"], "id": "watch" }));
    assert_eq!(wire.call(with(ping(), json!({ "id": "ping" })))["id"], "ping");
}

#[test]
fn too_many_requests_in_flight_are_read_later() {
    let node = plain_node("");
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        // Each waits for an event that never comes: the node stops reading and forgets none.
        scope.spawn(move || {
            for id in 0..1000 {
                writer.send(json!({ "type": "WATCH_EVENTS", "topics": ["never"], "id": id }));
            }
            for id in 0..1000 {
                writer.send(json!({ "type": "WATCH_EVENTS", "topics": ["never"], "id": 1000 + id }));
            }
            writer.send(json!({ "type": "PING", "id": "end" }));
        });
        loop {
            let reply = reader.read();
            if reply["id"] == "end" {
                break;
            }
            assert_error(&reply, "limit_reached", "too many clients wait for events");
        }
    });
    check_pong(&node);
}
