//! Queues and semaphores, over the wire.

use potluck_tests::{Cluster, TestNode, Wire, wait_for, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

/// A node without interpreters: it starts at once.
fn ipc_node(settings: &str) -> TestNode {
    TestNode::peer().plugins(format!("[plugins.ipc]\n{settings}\n")).start()
}

fn create_queue(id: &str, max_size: u64) -> Value {
    json!({ "type": "CREATE_QUEUE", "queue_id": id, "max_size": max_size })
}

fn send(queue: &str, sender: &str, receiver: &str, data: impl Into<Value>) -> Value {
    let data = data.into();
    json!({ "type": "SEND_MESSAGE", "queue_id": queue, "sender": sender, "receiver": receiver, "data": data })
}

fn receive(queue: &str, receiver: &str) -> Value {
    json!({ "type": "RECEIVE_MESSAGE", "queue_id": queue, "receiver": receiver })
}

fn create_semaphore(id: &str, initial: u64) -> Value {
    json!({ "type": "CREATE_SEMAPHORE", "sem_id": id, "initial_value": initial })
}

fn wait(id: &str, process: &str) -> Value {
    json!({ "type": "SEMAPHORE_WAIT", "sem_id": id, "process_id": process })
}

fn signal(id: &str, process: &str) -> Value {
    json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": id, "process_id": process })
}

#[track_caller]
fn assert_ok(reply: &Value) {
    assert_eq!((&reply["type"], &reply["status"]), (&json!("STATUS"), &json!("OK")), "{reply}");
}

#[track_caller]
fn assert_refused(reply: &Value, code: &str, text: &str) {
    assert_eq!((&reply["type"], &reply["code"], &reply["error"]), (&json!("ERROR"), &json!(code), &json!(text)));
}

/// Waits until so many wait for a permit or at a queue.
fn wait_for_waits(node: &TestNode, permits: u64, queues: u64) {
    node.wait_until(&format!("{permits} to wait for permits and {queues} at queues"), |status| {
        status["ipc"]["semaphore_waits"] == permits && status["ipc"]["queue_waits"] == queues
    });
}

/// A connection that has sent a message whose answer is still to come.
fn begin(node: &TestNode, message: Value) -> Wire {
    let mut wire = node.wire();
    wire.send(message);
    wire
}

#[test]
fn a_message_passes_through_digit_for_digit() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 10)));
    let digits = "123456789".repeat(40);
    for value in ["1e400", "1.50", &digits, r#""grüße 🙂""#, r#"{"b":1,"a":{"b":[null,{}]},"b2":2}"#] {
        let message = r#"{"type":"SEND_MESSAGE","queue_id":"q","sender":"a","receiver":"b","data":VALUE}"#;
        assert_ok(&node.call(message.replace("VALUE", value)));
        let received = node.call_raw(receive("q", "b"));
        assert!(received.contains(&format!(r#""data":{value}"#)), "{value} became {received}");
    }
}

#[test]
fn the_texts_of_errors_are_those_of_the_protocol() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 1)));
    assert_ok(&node.call(create_semaphore("m", 1)));
    assert_refused(&node.call(create_queue("q", 1)), "already_exists", "Queue already exists");
    assert_refused(&node.call(create_semaphore("m", 1)), "already_exists", "Semaphore already exists");
    assert_refused(&node.call(send("x", "a", "*", 1)), "not_found", "Queue x not found");
    assert_refused(&node.call(wait("x", "P1")), "not_found", "Semaphore x not found");
    let nobody = json!({ "type": "SEND_MESSAGE", "queue_id": "q" });
    assert_refused(&node.call(nobody), "invalid_message", "queue_id and sender required");
    let at_once = json!({ "timeout": 0 });
    assert_refused(&node.call(with(receive("q", "a"), at_once.clone())), "no_message", "No message received");
    assert_ok(&node.call(send("q", "a", "?", 1)));
    assert_refused(&node.call(with(send("q", "a", "?", 2), at_once.clone())), "queue_full", "Failed to send message");
    assert_ok(&node.call(wait("m", "P1")));
    assert_eq!(node.call(with(wait("m", "P2"), at_once))["status"], "BLOCKED");
}

#[test]
fn receivers_wait_on_connections_of_their_own_and_broadcasts_reach_each_once() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 10)));
    let mut receivers: Vec<Wire> = (0..5).map(|number| begin(&node, receive("q", &format!("r{number}")))).collect();
    wait_for_waits(&node, 0, 5);
    assert_ok(&node.call(send("q", "s", "r3", "for one")));
    assert_eq!(receivers[3].read()["data"], "for one");
    assert_ok(&node.call(send("q", "s", "*", "for all")));
    receivers[3].send(receive("q", "r3"));
    for receiver in &mut receivers {
        let message = receiver.read();
        assert_eq!((&message["data"], &message["receiver"]), (&json!("for all"), &json!("*")), "{message}");
    }
    let status = node.status();
    assert_eq!((&status["ipc"]["message_count"], &status["ipc"]["message_bytes"]), (&json!(0), &json!(0)));
}

#[test]
fn a_wait_ends_with_its_time_and_may_share_a_connection() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("full", 1)));
    assert_ok(&node.call(create_semaphore("m", 0)));
    assert_ok(&node.call(send("full", "s", "b", 1)));
    let mut wire = node.wire();
    let short = json!({ "timeout": 0.2 });
    for (id, message) in
        [("receive", receive("full", "a")), ("send", send("full", "s", "?", 3)), ("wait", wait("m", "P1"))]
    {
        wire.send(with(with(message, short.clone()), json!({ "id": id })));
    }
    // The three are on their way, and the connection serves on.
    assert_ok(&wire.call(with(create_queue("other", 1), json!({ "id": "at once" }))));
    let replies: BTreeSet<String> = (0..3)
        .map(|_| {
            let reply = wire.read();
            format!("{} {}", reply["id"].as_str().unwrap(), reply["error"].as_str().unwrap_or("BLOCKED"))
        })
        .collect();
    let expected = ["receive No message received", "send Failed to send message", "wait BLOCKED"];
    assert_eq!(replies, expected.map(str::to_owned).into());
}

#[test]
fn who_closes_its_connection_waits_no_more() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 1)));
    assert_ok(&node.call(create_semaphore("m", 0)));
    let (permit, message) = (begin(&node, wait("m", "P1")), begin(&node, receive("q", "P1")));
    let mut next = begin(&node, wait("m", "P2"));
    wait_for_waits(&node, 2, 1);
    drop((permit, message));
    wait_for_waits(&node, 1, 0);
    assert_ok(&node.call(signal("m", "P3")));
    assert_ok(&next.read());
    assert_ok(&node.call(send("q", "s", "?", "kept")));
    assert_eq!(node.call(receive("q", "P2"))["data"], "kept");
}

#[test]
fn permits_go_to_those_who_came_first() {
    let node = ipc_node("");
    assert_ok(&node.call(create_semaphore("m", 1)));
    assert_ok(&node.call(wait("m", "P0")));
    let mut waiting: Vec<Wire> = Vec::new();
    for number in 1..=10 {
        waiting.push(begin(&node, wait("m", &format!("P{number}"))));
        wait_for_waits(&node, number, 0);
    }
    for (number, wire) in waiting.iter_mut().enumerate() {
        assert_eq!(node.call(signal("m", &format!("P{number}")))["value"], 0);
        assert_ok(&wire.read());
    }
    assert_eq!(node.call(signal("m", "P10"))["value"], 1);
}

#[test]
fn everybody_is_told_when_what_it_waits_at_is_removed() {
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 1)));
    assert_ok(&node.call(create_semaphore("m", 0)));
    let (mut message, mut permit) = (begin(&node, receive("q", "a")), begin(&node, wait("m", "P1")));
    wait_for_waits(&node, 1, 1);
    assert_eq!(node.call(json!({ "type": "DELETE_QUEUE", "queue_id": "q" }))["waiters"], 1);
    assert_eq!(node.call(json!({ "type": "DELETE_SEMAPHORE", "sem_id": "m" }))["waiters"], 1);
    assert_eq!(
        (&message.read()["code"], &permit.read()["code"]),
        (&json!("queue_deleted"), &json!("semaphore_deleted"))
    );
}

#[test]
fn producers_and_consumers_on_many_connections_lose_nothing() {
    const EACH: usize = 300;
    let node = ipc_node("");
    assert_ok(&node.call(create_queue("q", 7)));
    let seen: Vec<u64> = thread::scope(|scope| {
        for producer in 0..4 {
            let node = &node;
            scope.spawn(move || {
                let mut wire = node.wire();
                for number in 0..EACH {
                    let message = send("q", "producer", "?", producer * EACH + number);
                    assert_ok(&wire.call(with(message, json!({ "timeout": 60 }))));
                }
            });
        }
        let consumers: Vec<_> = (0..4)
            .map(|consumer| {
                let node = &node;
                scope.spawn(move || {
                    let mut wire = node.wire();
                    let next =
                        |wire: &mut Wire| wire.call(receive("q", &format!("c{consumer}")))["data"].as_u64().unwrap();
                    (0..EACH).map(|_| next(&mut wire)).collect::<Vec<u64>>()
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
    });
    let distinct: BTreeSet<u64> = seen.iter().copied().collect();
    assert_eq!(distinct, (0..4 * EACH as u64).collect());
    assert_eq!(seen.len(), distinct.len());
}

#[test]
fn the_command_line_sends_them_too() {
    let node = ipc_node("");
    let sent = |message: Value| {
        let mut words = vec!["send".to_owned(), message["type"].as_str().unwrap().to_owned()];
        let members = message.as_object().unwrap().iter().filter(|(name, _)| *name != "type");
        words.extend(members.map(|(name, value)| format!("{name}={value}")));
        serde_json::from_str::<Value>(&node.cli(words).success().stdout).unwrap()
    };
    assert_ok(&sent(create_queue("q", 5)));
    assert_ok(&sent(send("q", "shell", "b", [1, 2])));
    assert_eq!(sent(json!({ "type": "PEEK_MESSAGE", "queue_id": "q" }))["data"], json!([1, 2]));
    assert_eq!(sent(receive("q", "b"))["sender"], "shell");
    let list = sent(json!({ "type": "LIST_QUEUES" }));
    assert_eq!((&list["queues"][0]["queue_id"], &list["queue_count"]), (&json!("q"), &json!(1)), "{list}");
}

#[test]
fn limits_of_plugins_toml_are_kept_and_named() {
    let node = ipc_node("queues_max = 1\nsemaphores_max = 1\nwaits_max = 1\nmessage_bytes_max = 1000");
    let refused = |message: Value, key: &str| {
        let reply = node.call(message);
        assert_eq!(reply["code"], "limit_reached", "{reply}");
        assert!(reply["error"].as_str().unwrap().contains(key), "{reply}");
    };
    assert_ok(&node.call(create_queue("q", 0)));
    assert_ok(&node.call(create_semaphore("m", 0)));
    refused(create_queue("r", 0), "queues_max");
    refused(create_semaphore("n", 0), "semaphores_max");
    refused(send("q", "a", "*", "x".repeat(1000)), "message_bytes_max");
    let _waiting = begin(&node, wait("m", "P1"));
    wait_for_waits(&node, 1, 0);
    refused(wait("m", "P2"), "waits_max");
}

#[test]
fn queues_and_semaphores_of_another_peer_are_used_with_to() {
    let cluster = Cluster::start_with(2, |_, builder| builder.plugins("[plugins.ipc]\n"));
    let (near, far) = (&cluster.peers[0], &cluster.peers[1]);
    let to_far = |message: Value| with(message, json!({ "to": far.peer_id() }));
    assert_ok(&near.call(to_far(create_queue("q", 10))));
    assert_ok(&near.call(to_far(create_semaphore("m", 1))));

    // A receiver at the near node waits at the far one, which knows it as the near node's.
    let mut waiting = begin(near, to_far(receive("q", "b")));
    wait_for_waits(far, 0, 1);
    assert_ok(&far.call(send("q", "local", &format!("b@{}", near.peer_id()), "hello")));
    let message = waiting.read();
    assert_eq!((&message["data"], &message["sender"]), (&json!("hello"), &json!("local")), "{message}");
    // It answers the sender by the name that it was told, and a neighbour by one of its own node.
    assert_ok(&near.call(to_far(send("q", "b", "local", "back"))));
    let answer = far.call(receive("q", "local"));
    assert_eq!((&answer["data"], &answer["sender"]), (&json!("back"), &json!(format!("b@{}", near.peer_id()))));
    assert_ok(&near.call(to_far(send("q", "b", "c@", "neighbour"))));
    assert_eq!(near.call(to_far(receive("q", "c")))["data"], "neighbour");

    // A name of the near node cannot be taken by another, and a permit is handed on between nodes.
    assert_ok(&near.call(to_far(wait("m", "P1"))));
    let mut next = begin(far, wait("m", "P1"));
    wait_for_waits(far, 1, 0);
    assert_ok(&near.call(to_far(signal("m", "P1"))));
    assert_ok(&next.read());
    // Who closes its connection to the near node waits no more at the far one.
    let gone = begin(near, to_far(wait("m", "P2")));
    wait_for_waits(far, 1, 0);
    drop(gone);
    wait_for_waits(far, 0, 0);
}

#[test]
fn a_peer_that_fills_its_share_leaves_room_for_the_others() {
    let settings = "queues_max = 4\nsemaphores_max = 4\nwaits_max = 4\npeer_share = 0.5";
    let cluster = Cluster::start_with(2, |_, builder| builder.plugins(format!("[plugins.ipc]\n{settings}\n")));
    let (near, far) = (&cluster.peers[0], &cluster.peers[1]);
    let to_far = |message: Value| with(message, json!({ "to": far.peer_id() }));
    let refused = |message: Value| {
        let reply = near.call(to_far(message));
        assert_eq!(reply["code"], "limit_reached", "{reply}");
        let text = reply["error"].as_str().unwrap();
        assert!(text.contains(near.peer_id()) && text.contains("peer_share"), "{reply}");
    };
    for create in [|id: &str| create_queue(id, 1), |id: &str| create_semaphore(id, 0)] {
        assert_ok(&near.call(to_far(create("a"))));
        assert_ok(&near.call(to_far(create("b"))));
        refused(create("c"));
        assert_ok(&far.call(create("c")));
        assert_ok(&far.call(create("d")));
    }
    // Nor does it take all waits, and those that it gives up are free again.
    let mut waiting: Vec<Wire> = ["P1", "P2"].map(|process| begin(near, to_far(wait("a", process)))).into();
    wait_for_waits(far, 2, 0);
    refused(wait("a", "P3"));
    let mut own = begin(far, wait("b", "P1"));
    wait_for_waits(far, 3, 0);
    waiting.pop();
    wait_for_waits(far, 2, 0);
    waiting.push(begin(near, to_far(wait("a", "P3"))));
    wait_for_waits(far, 3, 0);
    assert_ok(&far.call(signal("b", "P2")));
    assert_ok(&own.read());
    for queue in ["a", "c"] {
        assert_ok(&far.call(json!({ "type": "DELETE_QUEUE", "queue_id": queue })));
    }
    assert_ok(&near.call(to_far(create_queue("e", 1))));
    refused(create_queue("f", 1));
}

#[test]
fn what_a_lost_peer_waited_for_is_called_off() {
    let mut cluster = Cluster::start_with(2, |_, builder| builder.plugins("[plugins.ipc]\n"));
    let near = cluster.peers.remove(0);
    let far = &cluster.peers[0];
    let to_far = |message: Value| with(message, json!({ "to": far.peer_id() }));
    assert_ok(&far.call(create_semaphore("m", 0)));
    let _wire = begin(&near, to_far(wait("m", "P1")));
    wait_for_waits(far, 1, 0);
    drop(near);
    wait_for("the far node to notice that its peer is gone", || far.status()["ipc"]["semaphore_waits"] == 0);
}
