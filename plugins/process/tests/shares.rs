//! What each other node may have of what is bounded for all.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_process::Process;
use serde_json::json;

/// Id of another node.
const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

#[test]
fn a_peer_has_a_share_of_the_waits() {
    let node = Harness::start::<Process>(json!({"waits_max": 4, "peer_share": 0.5})).unwrap();
    let created = node.message(json!({"type": "CREATE_PROCESS"})).caller(Caller::Member(PEER)).call().unwrap();
    let pid = created["pid"].as_str().unwrap();
    let begin = |caller| node.message(json!({"type": "WAIT_PROCESS", "pid": pid})).caller(caller).begin();
    let theirs = [begin(Caller::Member(PEER)), begin(Caller::Member(PEER))];
    let error = begin(Caller::Member(PEER)).wait().unwrap_err();
    assert_eq!(error.code, "limit_reached");
    assert!(error.message.contains(PEER) && error.message.contains("peer_share in [plugins.process]"), "{error}");
    let own = [begin(Caller::Local), begin(Caller::Local)];
    let full = begin(Caller::Local).wait().unwrap_err();
    assert!(full.message.contains("waits_max"), "this node's user is bounded by the total: {full}");
    let [called_off, left] = theirs;
    called_off.cancel();
    let again = begin(Caller::Member(PEER));
    assert!(again.try_answer().is_none(), "the place of one that goes away is free");
    node.call(json!({"type": "TERMINATE_PROCESS", "pid": pid})).unwrap();
    for wait in own.into_iter().chain([left, again]) {
        assert_eq!(wait.wait().unwrap()["exit_code"], 143);
    }
    let error = Harness::start::<Process>(json!({"peer_share": 0})).map(drop).unwrap_err();
    assert!(error.message.contains("key `peer_share`"), "{error}");
}

#[test]
fn entries_without_a_task_leave_room_for_tasks() {
    let node = Harness::start::<Process>(json!({"entries_max": 8})).unwrap();
    let create = || node.call(json!({"type": "CREATE_PROCESS"}));
    for _ in 0..6 {
        create().unwrap();
    }
    let error = create().unwrap_err();
    assert_eq!(error.code, "limit_reached");
    assert!(error.message.contains("6 entries without a task"), "{error}");
    node.message(json!({"type": "RESERVE_PIDS", "count": 10})).caller(Caller::Plugin("cpu")).call().unwrap();
    let change = json!({"pid": "P10", "change": "created", "task_id": "T", "state": "RUNNING"});
    let changes = json!({"type": "PROCESS_CHANGES", "changes": [change]});
    node.message(changes).caller(Caller::Plugin("cpu")).call().unwrap();
    node.call(json!({"type": "PROCESS_INFO", "pid": "P10"})).unwrap();
    assert_eq!(node.status()["process_manager"]["untracked"], 0);
}
