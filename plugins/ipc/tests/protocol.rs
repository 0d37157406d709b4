//! What PROTOCOL.md says of STATUS, and of members that are empty.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::Harness;
use provider_ipc::Ipc;
use serde_json::{Value, json};

fn node() -> Harness {
    Harness::start::<Ipc>(json!({})).unwrap()
}

fn ok(node: &Harness, message: Value) -> Value {
    node.call(&message).unwrap_or_else(|error| panic!("{message}: {error}"))
}

/// Takes the time at which something was made out of it.
#[track_caller]
fn take_time(status: &mut Value) {
    let time = status.as_object_mut().unwrap().remove("created_at").unwrap();
    let shape: String = time.as_str().unwrap().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000");
}

#[test]
fn status_has_the_shape_of_the_protocol() {
    let node = node();
    ok(&node, json!({"type": "CREATE_QUEUE", "queue_id": "q", "max_size": 5}));
    for data in [1, 2] {
        ok(&node, json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "a", "data": data}));
    }
    ok(&node, json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": "b"}));
    ok(&node, json!({"type": "CREATE_SEMAPHORE", "sem_id": "m"}));
    let wait = |timeout: Value| json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "a", "timeout": timeout});
    assert_eq!(ok(&node, wait(json!(0)))["status"], "OK");
    assert_eq!(ok(&node, wait(json!(0)))["status"], "BLOCKED");
    let _waits = node.begin(wait(Value::Null));
    let mut status = node.status()["ipc"].clone();
    assert_eq!((&status["total_queues"], &status["total_semaphores"]), (&json!(1), &json!(1)));
    let queue = &mut status["message_queues"]["q"];
    take_time(queue);
    assert_eq!(*queue, json!({"queue_id": "q", "size": 1, "max_size": 5, "message_count": 2}));
    let semaphore = &mut status["semaphores"]["m"];
    take_time(semaphore);
    let expected = json!({"sem_id": "m", "value": 0, "waiting_processes": 1, "operation_count": 2,
        "kind": "counting", "initial_value": 1, "owned": true, "holders": ["a"], "holder_count": 1, "waiting": 1});
    assert_eq!(*semaphore, expected);
}

#[test]
fn waits_and_signals_count_when_they_are_answered() {
    let node = Harness::start_with_clock(json!({}), |host, config, clock| {
        Ipc::start_with_clock(host, config, move || clock.now())
    })
    .unwrap();
    let count = || node.status()["ipc"]["semaphores"]["m"]["operation_count"].as_u64().unwrap();
    ok(&node, json!({"type": "CREATE_SEMAPHORE", "sem_id": "m", "initial_value": 0}));
    let wait = |timeout: Value| {
        node.begin(json!({"type": "SEMAPHORE_WAIT", "sem_id": "m", "process_id": "a", "timeout": timeout}))
    };
    let (endless, bounded) = (wait(Value::Null), wait(json!(2)));
    assert_eq!(count(), 0);
    ok(&node, json!({"type": "SEMAPHORE_SIGNAL", "sem_id": "m", "process_id": "b"}));
    assert_eq!((endless.wait().unwrap()["status"].clone(), count()), (json!("OK"), 2));
    node.advance(std::time::Duration::from_secs(2));
    assert_eq!((bounded.wait().unwrap()["status"].clone(), count()), (json!("BLOCKED"), 3));
}

#[test]
fn what_is_empty_is_as_if_it_were_missing() {
    let node = node();
    ok(&node, json!({"type": "CREATE_QUEUE", "queue_id": "q"}));
    ok(&node, json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": "a"}));
    ok(&node, json!({"type": "JOIN_QUEUE", "queue_id": "q", "receiver": "b"}));
    ok(&node, json!({"type": "SEND_MESSAGE", "queue_id": "q", "sender": "s", "receiver": "", "message_type": ""}));
    let seen = ok(&node, json!({"type": "PEEK_MESSAGE", "queue_id": "q", "receiver": ""}));
    assert_eq!((&seen["receiver"], &seen["message_type"]), (&json!("*"), &json!("DATA")));
    for receiver in ["a", "b"] {
        let message = json!({"type": "RECEIVE_MESSAGE", "queue_id": "q", "receiver": receiver, "timeout": 0});
        assert_eq!(ok(&node, message)["message_id"], "MSG1", "everybody gets it");
    }
    assert_eq!(ok(&node, json!({"type": "CREATE_SEMAPHORE", "sem_id": "m", "kind": ""}))["kind"], "counting");
    let refused = node.call(json!({"type": "CREATE_SEMAPHORE", "sem_id": "n", "kind": "other"})).unwrap_err();
    assert_eq!(refused.code, "invalid_message");
    let list = ok(&node, json!({"type": "LIST_SEMAPHORES", "prefix": "", "after": ""}));
    assert_eq!(list["semaphores"][0]["sem_id"], "m");
}
