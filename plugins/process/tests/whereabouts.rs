//! Where the table says that a task runs.
#![allow(clippy::unwrap_used, reason = "a test that fails")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_process::Process;
use serde_json::{Value, json};

fn report(node: &Harness, change: Value) {
    let message = json!({"type": "PROCESS_CHANGES", "changes": [change]});
    node.message(message).caller(Caller::Plugin("cpu")).call().unwrap();
}

#[test]
fn a_task_that_comes_back_from_a_peer_is_no_longer_said_to_be_there() {
    let node = Harness::start::<Process>(json!({})).unwrap();
    let place = || node.call(json!({"type": "PROCESS_INFO", "pid": "P7"})).unwrap()["process"]["executed_by"].clone();
    report(&node, json!({"change": "created", "pid": "P7", "task_id": "T", "requested_by": "local"}));
    report(&node, json!({"change": "state", "pid": "P7", "state": "RUNNING", "executed_by": "10.0.0.7:9000"}));
    assert_eq!(place(), "10.0.0.7:9000");
    // The peer has refused it.
    report(&node, json!({"change": "state", "pid": "P7", "state": "READY", "reason": "queued"}));
    let facts = place();
    assert!(facts.is_null() || facts == "", "{facts}");
}
