//! Which tasks wait for which ends, as the search for deadlocks hears it.
#![allow(clippy::unwrap_used, reason = "a test that fails")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_process::Process;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

fn as_plugin(node: &Harness, message: Value) -> Value {
    node.message(message).caller(Caller::Plugin("deadlock")).call().unwrap()
}

/// A node whose clock stands at 7, and its id.
fn node() -> (Harness, String) {
    let own_id = Arc::new(OnceLock::new());
    let id = Arc::clone(&own_id);
    let node = Harness::start_with_clock(json!({}), move |host, config, _| {
        id.set(host.node().peer_id.to_string()).unwrap();
        Process::start_with_clock(host, config, || 7)
    });
    (node.unwrap(), own_id.get().unwrap().clone())
}

fn created(pid: &str, parent: &str) -> Value {
    json!({"change": "created", "pid": pid, "parent_pid": parent, "task_id": pid, "requested_by": "local"})
}

#[test]
fn a_task_that_waits_for_the_end_of_its_descendant_is_told() {
    let (node, own_id) = node();
    as_plugin(&node, json!({"type": "PROCESS_CHANGES", "changes": [created("P1", ""), created("P2", "P1")]}));
    let wait = json!({"type": "WAIT_PROCESS", "pid": "P2", "behalf": "task:P1"});
    let waiting = node.message(wait).caller(Caller::Task(&own_id)).begin();
    // A client that waits has nothing that others could wait for.
    let client = node.message(json!({"type": "WAIT_PROCESS", "pid": "P2"})).begin();
    let found = as_plugin(&node, json!({"type": "PROCESS_RESOURCES"}));
    let expected = json!([{
        "resource_id": "process:P2", "kind": "process", "total_units": 1, "available_units": 0, "owned": true,
        "holders": [{"pid": "P2", "units": 1}],
        "waiters": [{"pid": "P1", "units": 1, "since_unix_milliseconds": 7, "bounded": false}],
    }]);
    assert_eq!(found["resources"], expected);
    as_plugin(&node, json!({"type": "PROCESS_CHANGES", "changes": [{"change": "ended", "pid": "P2"}]}));
    for call in [waiting, client] {
        assert_eq!(call.wait().unwrap()["status"], "OK");
    }
    assert_eq!(as_plugin(&node, json!({"type": "PROCESS_RESOURCES"}))["resources"], json!([]));
}

#[test]
fn a_task_that_has_ended_waits_for_nobody() {
    let (node, own_id) = node();
    as_plugin(&node, json!({"type": "PROCESS_CHANGES", "changes": [created("P1", ""), created("P2", "P1")]}));
    let wait = json!({"type": "WAIT_PROCESS", "pid": "P2", "behalf": "task:P1"});
    let waiting = node.message(wait).caller(Caller::Task(&own_id)).begin();
    assert!(node.emit("process.ended", json!({"pid": "P11", "reason": ""})));
    assert!(waiting.try_answer().is_none());
    assert!(node.emit("process.ended", json!({"pid": "P1", "reason": "its task has ended"})));
    assert_eq!(waiting.wait().unwrap_err().code, "process_ended");
    assert_eq!(as_plugin(&node, json!({"type": "PROCESS_RESOURCES"}))["resources"], json!([]));
}
