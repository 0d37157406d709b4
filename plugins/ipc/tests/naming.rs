//! That `process` hears of processes in whose name something is kept by others.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::Caller;
use potluck_sdk::testing::{Harness, PendingCall};
use provider_ipc::Ipc;
use serde_json::{Value, json};

const FAR: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// A node with a semaphore `m` of one permit and a queue `q` with room for one message.
fn node() -> Harness {
    let node = Harness::start::<Ipc>(json!({})).unwrap();
    node.call(json!({"type": "CREATE_SEMAPHORE", "sem_id": "m"})).unwrap();
    node.call(json!({"type": "CREATE_QUEUE", "queue_id": "q", "max_size": 1})).unwrap();
    node
}

/// Processes that were named, in order.
fn named(node: &Harness) -> Vec<String> {
    let events = node.events().into_iter().filter(|event| event.topic == "process.named");
    events.map(|event| event.body["pid"].as_str().unwrap().to_owned()).collect()
}

fn wait(process: &str) -> Value {
    json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": process})
}

fn send(sender: &str, receiver: &str) -> Value {
    json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": sender, "receiver": receiver, "data": 1})
}

fn receive(process: &str) -> Value {
    json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": process})
}

#[test]
fn who_holds_a_permit_or_waits_for_one_is_named() {
    let node = node();
    assert_eq!(node.call(wait("P1")).unwrap()["status"], "OK");
    assert_eq!(named(&node), ["P1"]);
    let waits = node.begin(wait("P2"));
    assert_eq!(named(&node), ["P1", "P2"]);
    let mut refused = wait("P3");
    refused["timeout"] = json!(0);
    assert_eq!(node.call(refused).unwrap()["status"], "BLOCKED");
    node.call(json!({"type": "SEMAPHORE_SIGNAL", "sem_id": "m", "process_id": "P1"})).unwrap();
    assert_eq!(waits.wait().unwrap()["status"], "OK");
    assert_eq!(named(&node), ["P1", "P2"], "nothing is kept of who does not wait, and nothing begins with the permit");
}

#[test]
fn who_has_to_do_with_a_queue_is_named() {
    let node = node();
    let _waits = node.begin(receive("P1"));
    assert_eq!(named(&node), ["P1"]);
    node.call(send("P2", "P1")).unwrap();
    assert_eq!(named(&node), ["P1"], "it had been waited for, so nothing is kept");
    node.call(send("P2", "P3")).unwrap();
    assert_eq!(named(&node)[1..], ["P3"], "it stays there for its receiver");
    let _sends = node.begin(send("P4", "*"));
    assert_eq!(named(&node)[2..], ["P4"]);
    node.call(json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": "P5"})).unwrap();
    let mut looks = receive("P6");
    looks["timeout"] = json!(0);
    assert_eq!(node.call(looks).unwrap_err().code, "no_message");
    assert_eq!(named(&node)[3..], ["P5", "P6"]);
    let unknown = json!({"type": "JOIN_QUEUE", "queue_id": "none", "receiver": "P7"});
    node.call(unknown).unwrap_err();
    node.call(json!({"type": "LEAVE_QUEUE", "queue_id": "q", "receiver": "P5"})).unwrap();
    assert_eq!(named(&node).len(), 5);
}

#[test]
fn tasks_other_nodes_and_names_that_are_no_process_cause_no_event() {
    let node = node();
    let own = node.message(wait("P1")).caller(Caller::Local).begin();
    assert_eq!(own.wait().unwrap()["status"], "OK");
    assert_eq!(named(&node), ["P1"]);
    let as_task = |mut message: Value| -> PendingCall {
        message["behalf"] = json!("task:P7");
        node.message(message).caller(Caller::Task(FAR)).begin()
    };
    let _open = [
        as_task(wait("P7")),
        as_task(receive("P7")),
        node.message(wait("P8")).caller(Caller::Member(FAR)).begin(),
        node.message(receive("P8")).caller(Caller::Member(FAR)).begin(),
        node.begin(wait("client")),
        node.begin(wait("P8x")),
        node.begin(receive(&format!("P9@{FAR}"))),
    ];
    assert_eq!(named(&node), ["P1"]);
}
