//! Ends of tasks in whose name others keep something (`process.named`).
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_process::Process;
use serde_json::{Value, json};

/// When the task of [`node`] begins, in milliseconds since 1970.
const BEGIN: u64 = 1_000;

/// A node with the task P1, which runs.
fn node() -> Harness {
    let node =
        Harness::start_with_clock(json!({}), |host, config, _| Process::start_with_clock(host, config, || BEGIN))
            .unwrap();
    node.message(json!({"type": "RESERVE_PIDS", "count": 10})).caller(Caller::Plugin("cpu")).call().unwrap();
    report(&node, json!({"change": "created", "pid": "P1", "task_id": "T", "requested_by": "local"}));
    report(&node, json!({"change": "state", "pid": "P1", "state": "RUNNING"}));
    node
}

/// What cpu reports.
fn report(node: &Harness, change: Value) {
    let message = json!({"type": "PROCESS_CHANGES", "changes": [change]});
    node.message(message).caller(Caller::Plugin("cpu")).call().unwrap();
}

fn ends(node: &Harness, at: u64) {
    report(node, json!({"change": "ended", "pid": "P1", "exit_code": 0, "unix_milliseconds": at}));
}

/// Another provider keeps something in a name, since a request that came then.
fn is_named(node: &Harness, pid: &str, since: u64) {
    assert!(node.emit("process.named", json!({"pid": pid, "unix_milliseconds": since})), "it has not subscribed");
}

/// Processes of which others were told that they have ended.
fn announced(node: &Harness) -> Vec<String> {
    let events = node.events().into_iter().filter(|event| event.topic == "process.ended");
    events.map(|event| event.body["pid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_end_of_a_task_that_was_named_is_told_once() {
    let node = node();
    is_named(&node, "P1", BEGIN);
    is_named(&node, "P1", BEGIN + 1);
    assert!(announced(&node).is_empty(), "it runs");
    // It may have ended before the request that named it, and be reported after that.
    ends(&node, BEGIN);
    assert_eq!(announced(&node), ["P1"]);
}

#[test]
fn the_end_of_a_task_that_nobody_named_is_not_told() {
    let node = node();
    ends(&node, BEGIN + 1);
    assert!(announced(&node).is_empty(), "cpu tells of those that have asked for something");
}

#[test]
fn what_had_ended_before_the_request_came_is_just_a_name() {
    let node = node();
    ends(&node, BEGIN + 1);
    is_named(&node, "P1", BEGIN + 2);
    assert!(announced(&node).is_empty());
}

#[test]
fn one_that_ended_between_the_request_and_the_event_is_told_at_once() {
    for at in [BEGIN + 2, BEGIN + 3] {
        let node = node();
        ends(&node, at);
        assert!(announced(&node).is_empty());
        is_named(&node, "P1", BEGIN + 2);
        assert_eq!(announced(&node), ["P1"], "the same millisecond may have been later");
    }
}

#[test]
fn a_name_that_no_process_has_does_nothing() {
    let node = node();
    for pid in ["P7", "P01", "client", "P1@5f0c6b1e-0000-8000-8000-000000000000", ""] {
        is_named(&node, pid, BEGIN);
    }
    assert!(node.emit("process.named", json!({"no": "event"})));
    ends(&node, BEGIN + 1);
    assert!(announced(&node).is_empty());
}

#[test]
fn a_named_task_of_which_cpu_knows_nothing_is_told_once_too() {
    let node = node();
    is_named(&node, "P1", BEGIN);
    // No provider answers SIGNAL_TASK here, so the task is given up.
    assert_eq!(node.call(json!({"type": "TERMINATE_PROCESS", "pid": "P1"})).unwrap()["terminated"], 1);
    assert_eq!(announced(&node), ["P1"]);
}

#[test]
fn an_entry_without_a_task_is_told_once_whether_it_was_named_or_not() {
    let node = node();
    let pid = node.call(json!({"type": "CREATE_PROCESS"})).unwrap()["pid"].as_str().unwrap().to_owned();
    is_named(&node, &pid, BEGIN);
    node.call(json!({"type": "TERMINATE_PROCESS", "pid": pid})).unwrap();
    assert_eq!(announced(&node), [pid]);
}
