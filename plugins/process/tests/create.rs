//! CREATE_PROCESS: what belongs to an entry, what is left out, and tasks that cpu refuses.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_process::Process;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

fn node_with(config: Value) -> Harness {
    Harness::start::<Process>(config).unwrap()
}

/// An entry with that many bytes of `task_data`.
fn create(node: &Harness, caller: Caller<'_>, bytes: usize) -> Result<String, ProviderError> {
    let text = "x".repeat(bytes - r#""""#.len());
    let reply = node.message(json!({"type": "CREATE_PROCESS", "task_data": text})).caller(caller).call()?;
    Ok(reply["pid"].as_str().unwrap().to_owned())
}

fn info(node: &Harness, pid: &str) -> Value {
    node.call(json!({"type": "PROCESS_INFO", "pid": pid})).unwrap()["process"].clone()
}

fn terminate(node: &Harness, pid: &str) {
    node.call(json!({"type": "TERMINATE_PROCESS", "pid": pid})).unwrap();
}

#[test]
fn all_entries_together_keep_so_much_and_a_peer_its_share() {
    let node = node_with(json!({"task_data_bytes_max": 1000, "peer_share": 0.25}));
    let theirs = create(&node, Caller::Member(PEER), 250).unwrap();
    let error = create(&node, Caller::Member(PEER), 2).unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    for words in [PEER, "at most 250 bytes of task_data", "peer_share in [plugins.process]"] {
        assert!(error.message.contains(words), "{error}");
    }
    // One without any is no matter of that.
    node.message(json!({"type": "CREATE_PROCESS"})).caller(Caller::Member(PEER)).call().unwrap();
    let own = create(&node, Caller::Local, 750).unwrap();
    let full = create(&node, Caller::Local, 2).unwrap_err();
    assert_eq!(full.code, ProviderError::LIMIT_REACHED);
    assert!(full.message.contains("task_data_bytes_max in [plugins.process]"), "{full}");
    assert_eq!(info(&node, &own)["task_data"].as_str().unwrap().len(), 748);
    // It goes when the process ends, not when that is forgotten.
    terminate(&node, &own);
    assert_eq!(info(&node, &own).get("task_data"), None);
    create(&node, Caller::Local, 750).unwrap();
    terminate(&node, &theirs);
    create(&node, Caller::Member(PEER), 250).unwrap();
    let error = Harness::start::<Process>(json!({"task_data_bytes_max": 0})).map(drop).unwrap_err();
    assert_eq!(error.message, "key `task_data_bytes_max`: it must be at least 1");
}

#[test]
fn one_that_was_refused_keeps_nothing() {
    let node = node_with(json!({"task_data_bytes_max": 1000, "groups_max": 1}));
    node.call(json!({"type": "CREATE_GROUP", "group_id": "g"})).unwrap();
    let text = "x".repeat(900);
    let create_in = |group: &str| node.call(json!({"type": "CREATE_PROCESS", "task_data": text, "group_id": group}));
    assert_eq!(create_in("h").unwrap_err().code, ProviderError::LIMIT_REACHED);
    create_in("g").unwrap();
}

#[test]
fn what_is_empty_is_as_if_it_were_missing() {
    let node = node_with(json!({}));
    let empty = json!({"type": "CREATE_PROCESS", "parent_pid": "", "group_id": "", "name": ""});
    assert_eq!(node.call(empty).unwrap()["pid"], "P1");
    let facts = info(&node, "P1");
    assert_eq!((&facts["ppid"], facts.get("group_id")), (&Value::Null, None));
    let list = json!({"type": "LIST_PROCESSES", "group_id": "", "after": ""});
    assert_eq!(node.call(list).unwrap()["processes"][0]["pid"], "P1");
    let tree = node.call(json!({"type": "PROCESS_TREE", "root_pid": ""})).unwrap();
    assert_eq!(tree["tree"]["roots"][0]["pid"], "P1");
    // cpu is not told of what is empty.
    node.answer("CPU_TASK", |_| json!({"type": "CPU_RESULT", "task_id": "T", "result": 1, "error": null}));
    let task = json!({"type": "CREATE_PROCESS", "task": {"program": "p"}, "parent_pid": "", "group_id": ""});
    node.call(task).unwrap();
    let sent = node.sent().into_iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    let task = sent.into_iter().find(|message| message["type"] == "CPU_TASK").unwrap();
    assert_eq!((task.get("group_id"), task.get("parent_pid")), (None, None));
}

#[test]
fn who_waits_already_for_a_process_whose_task_is_refused_is_told() {
    let node = Arc::new(node_with(json!({})));
    let wait: Arc<Mutex<Option<PendingCall>>> = Arc::default();
    let (weak, place) = (Arc::downgrade(&node), Arc::clone(&wait));
    node.answer("CPU_TASK", move |task| {
        let node = weak.upgrade().unwrap();
        *place.lock().unwrap() = Some(node.begin(json!({"type": "WAIT_PROCESS", "pid": task["pid"]})));
        json!({"type": "ERROR", "code": "queue_full", "error": "there is no room"})
    });
    let refused = node.call(json!({"type": "CREATE_PROCESS", "task": {"program": "p"}})).unwrap_err();
    assert_eq!((&*refused.code, &*refused.message), ("queue_full", "there is no room"));
    let wait = wait.lock().unwrap().take().unwrap();
    let answer = wait.try_answer().expect("it is answered by then").unwrap();
    assert_eq!((&answer["exit_code"], &answer["error"]), (&json!(1), &json!("there is no room")));
    assert_eq!(node.status()["process_manager"]["alive"], 0);
}
