//! What processes use, as cpu measures it and the table shows it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_process::Process;
use serde_json::{Value, json};

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// `P1` and `P2` run tasks, `P3` has ended, `P4` was entered by hand. `P2` works for a peer.
fn node() -> Harness {
    let node = Harness::start::<Process>(json!({})).unwrap();
    let reserved = json!({"type": "RESERVE_PIDS", "count": 3});
    assert_eq!(node.message(reserved).caller(Caller::Plugin("cpu")).call().unwrap()["first"], 1);
    let created =
        |pid: &str, whose: &str| json!({"change": "created", "pid": pid, "task_id": pid, "requested_by": whose});
    let runs = |pid: &str| json!({"change": "state", "pid": pid, "state": "RUNNING"});
    let changes = json!([
        created("P1", "local"), runs("P1"), created("P2", PEER), runs("P2"), created("P3", "local"),
        {"change": "ended", "pid": "P3", "exit_code": 0, "cpu_seconds": 9.0},
    ]);
    let report = json!({"type": "PROCESS_CHANGES", "changes": changes});
    node.message(report).caller(Caller::Plugin("cpu")).call().unwrap();
    assert_eq!(node.call(json!({"type": "CREATE_PROCESS"})).unwrap()["pid"], "P4");
    node
}

/// cpu knows of `P1` and `P2`, of which one has not begun.
fn cpu_measures(node: &Harness) {
    node.answer("TASK_USAGE", |message| {
        let asked = message["pids"].as_array().unwrap().contains(&json!("P1"));
        let usage = json!({"cpu_seconds": 1.5, "memory_bytes": 4096, "context_switches": 2});
        let tasks = if asked { json!([{"pid": "P1", "usage": usage}]) } else { json!([]) };
        json!({"type": "TASK_USAGE", "tasks": tasks})
    });
}

/// What cpu was asked for.
fn asked(node: &Harness) -> Vec<Value> {
    let sent = node.sent().into_iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    sent.filter(|message| message["type"] == "TASK_USAGE").map(|message| message["pids"].clone()).collect()
}

fn listed(node: &Harness, usage: bool, caller: Caller<'_>) -> Vec<(String, Value)> {
    let message = json!({"type": "LIST_PROCESSES", "usage": usage});
    let list = node.message(message).caller(caller).call().unwrap();
    let processes = list["processes"].as_array().unwrap().iter();
    processes.map(|process| (process["pid"].as_str().unwrap().to_owned(), process["usage"].clone())).collect()
}

#[test]
fn a_list_has_what_tasks_use_that_run_when_it_is_asked_for() {
    let node = node();
    cpu_measures(&node);
    assert!(listed(&node, false, Caller::Local).iter().all(|(_, usage)| usage.is_null()));
    assert!(asked(&node).is_empty(), "nothing is measured when nobody asks");
    let list = listed(&node, true, Caller::Local);
    let usage = json!({"cpu_seconds": 1.5, "memory_bytes": 4096, "context_switches": 2});
    let expected = [("P1", usage.clone()), ("P2", Value::Null), ("P3", Value::Null), ("P4", Value::Null)];
    assert_eq!(list, expected.map(|(pid, usage)| (pid.to_owned(), usage)));
    assert_eq!(asked(&node), [json!(["P1", "P2"])], "once for all that have a task and have not ended");
    let info = node.call(json!({"type": "PROCESS_INFO", "pid": "P1"})).unwrap();
    assert_eq!(info["process"]["usage"], usage);
}

#[test]
fn a_tree_has_it_as_well_and_how_the_others_ended() {
    let node = node();
    cpu_measures(&node);
    let plain = node.call(json!({"type": "PROCESS_TREE"})).unwrap();
    for root in plain["tree"]["roots"].as_array().unwrap() {
        assert!(root.get("usage").is_none() && root.get("exit").is_none(), "{root}");
    }
    assert!(asked(&node).is_empty());
    let tree = node.call(json!({"type": "PROCESS_TREE", "usage": true})).unwrap();
    let roots = tree["tree"]["roots"].as_array().unwrap().iter();
    let seen = roots.map(|root| (root["pid"].as_str().unwrap(), root["usage"]["memory_bytes"].as_u64()));
    assert_eq!(seen.collect::<Vec<_>>(), [("P1", Some(4096)), ("P2", None), ("P4", None)]);
    let ended = node.call(json!({"type": "PROCESS_TREE", "root_pid": "P3", "usage": true})).unwrap();
    assert_eq!(ended["tree"]["exit"]["cpu_seconds"], 9.0);
    let one = node.call(json!({"type": "PROCESS_TREE", "root_pid": "P1", "usage": true})).unwrap();
    assert_eq!(one["tree"]["usage"], json!({"cpu_seconds": 1.5, "memory_bytes": 4096, "context_switches": 2}));
    assert_eq!(asked(&node), [json!(["P1", "P2"]), json!(["P1"])]);
    let none = node.call(json!({"type": "PROCESS_TREE", "root_pid": "P99", "usage": true})).unwrap();
    assert!(none["tree"].is_null());
}

#[test]
fn a_peer_learns_only_what_its_own_tasks_use() {
    let node = node();
    cpu_measures(&node);
    assert_eq!(listed(&node, true, Caller::Member(PEER)), [("P2".to_owned(), Value::Null)]);
    assert_eq!(asked(&node), [json!(["P2"])]);
    let refused = node.message(json!({"type": "PROCESS_INFO", "pid": "P1"})).caller(Caller::Member(PEER)).call();
    assert_eq!(refused.unwrap_err().code, "not_found");
    assert_eq!(asked(&node).len(), 1);
}

#[test]
fn processes_are_shown_without_when_nobody_measures() {
    let node = node();
    assert_eq!(listed(&node, true, Caller::Local).len(), 4);
    node.answer("TASK_USAGE", |_| json!({"type": "ERROR", "code": "internal", "error": "no"}));
    assert_eq!(listed(&node, true, Caller::Local).len(), 4);
    node.answer("TASK_USAGE", |_| json!({"type": "TASK_USAGE", "tasks": "nonsense"}));
    let list = listed(&node, true, Caller::Local);
    assert!(list.len() == 4 && list.iter().all(|(_, usage)| usage.is_null()), "{list:?}");
}
