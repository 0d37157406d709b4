//! What the provider asks of others for each task, and tells them: against scripted providers.

use crate::Cpu;
use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A provider whose `python` tasks cannot start, and end with `runtime_unavailable`.
fn start() -> Harness {
    let config = json!({ "python": "/nonexistent/python3", "worker_processes_max": 4, "workers": 1 });
    Harness::start::<Cpu>(config).unwrap()
}

fn with_processes() -> Harness {
    let harness = start();
    let next = AtomicUsize::new(100);
    harness.answer("RESERVE_PIDS", move |message| {
        let count = message["count"].as_u64().unwrap();
        let first = next.fetch_add(count as usize, Ordering::SeqCst);
        json!({ "type": "PIDS_RESERVED", "first": first, "count": count })
    });
    harness.answer("PROCESS_CHANGES", |_| json!({ "type": "STATUS", "status": "OK" }));
    harness
}

fn sent(harness: &Harness, message_type: &str) -> Vec<Value> {
    let all = harness.sent().into_iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    all.filter(|message| message["type"] == message_type).collect()
}

/// All changes that were told, in order, once they are told.
fn changes(harness: &Harness) -> Vec<Value> {
    harness.advance(Duration::from_millis(10));
    let messages = sent(harness, "PROCESS_CHANGES");
    messages.iter().flat_map(|message| message["changes"].as_array().unwrap().clone()).collect()
}

fn sandboxed() -> Value {
    json!({ "type": "CPU_TASK", "task_id": "t", "runtime": "sandbox", "program": "def main(n): return n", "args": [5] })
}

fn with_cache(harness: &Harness, entry: Value) {
    harness.answer("CACHE_RULES", |_| json!({ "type": "CACHE_RULES", "assume_pure": false }));
    harness.answer("CACHE_GET", move |_| entry.clone());
    for message_type in ["CACHE_PUT", "CACHE_ABANDON"] {
        harness.answer(message_type, |_| json!({ "type": "STATUS", "status": "OK", "stored": true }));
    }
}

#[test]
fn an_earlier_result_is_the_result_and_costs_nothing() {
    let harness = with_processes();
    harness.answer("QUOTA_RULES", |_| json!({ "type": "QUOTA_RULES", "rules": { "cpu_tasks": { "local": 1 } } }));
    let value = json!({ "result": 25, "stdout": "hello\n", "deterministic": true });
    with_cache(&harness, json!({ "type": "CACHE_ENTRY", "found": true, "value": value }));
    let result = harness.call(sandboxed()).unwrap();
    assert_eq!((&result["cached"], &result["result"], &result["attempts"]), (&json!(true), &json!(25), &json!(0)));
    assert_eq!((&result["stdout"], &result["pid"]), (&json!("hello\n"), &json!("P100")));
    assert!(sent(&harness, "QUOTA_TAKE").is_empty());
    let changes = changes(&harness);
    let kinds: Vec<&Value> = changes.iter().map(|change| &change["change"]).collect();
    assert_eq!(kinds, ["created", "ended"]);
    assert_eq!((&changes[0]["function"], &changes[0]["runtime"]), (&json!("main"), &json!("sandbox")));
    assert_eq!(changes[1]["exit_code"], 0);
}

#[test]
fn equal_tasks_have_one_key_and_others_have_other_keys() {
    let harness = start();
    with_cache(&harness, json!({ "type": "CACHE_ENTRY", "found": true, "value": { "result": 1 } }));
    let with = |member: &str, value: Value| {
        let mut task = sandboxed();
        task[member] = value;
        harness.call(task).unwrap();
        sent(&harness, "CACHE_GET").pop().unwrap()["key"].as_str().unwrap().to_owned()
    };
    let usual = with("task_id", json!("other"));
    assert_eq!(usual, with("timeout", json!(7)));
    let others = [
        with("args", json!([6])),
        with("function", json!("mai")),
        with("program", json!("def main(n): return n ")),
        with("image", json!("science")),
    ];
    assert!(others.iter().all(|other| *other != usual));
    assert_eq!(usual.len(), 64);
}

#[test]
fn a_result_that_must_not_be_shared_is_not_looked_for() {
    let harness = start();
    with_cache(&harness, json!({ "type": "CACHE_ENTRY", "found": true, "value": { "result": 1 } }));
    let run = |members: Value| {
        let mut task = json!({ "type": "CPU_TASK", "program": "def main(): return 1" });
        for (name, value) in members.as_object().unwrap() {
            task[name] = value.clone();
        }
        harness.call(task).unwrap()
    };
    run(json!({}));
    run(json!({ "confidential": true, "cache": true }));
    run(json!({ "runtime": "sandbox", "image": "none-such", "cache": false }));
    run(json!({ "runtime": "sandbox", "image": "none-such", "confidential": true }));
    assert!(sent(&harness, "CACHE_GET").is_empty());
    assert_eq!(run(json!({ "cache": true }))["cached"], true, "whoever says so gets it for python too");
    harness.answer("CACHE_RULES", |_| json!({ "type": "CACHE_RULES", "assume_pure": true }));
    assert!(harness.emit("cache.rules", json!({ "assume_pure": true })));
    assert_eq!(run(json!({}))["cached"], true, "and everybody, when the node's owner says so");
}

#[test]
fn the_results_of_python_serve_their_submitter_alone() {
    let harness = start();
    with_cache(&harness, json!({ "type": "CACHE_ENTRY", "found": true, "value": { "result": 1 } }));
    let task = json!({ "type": "CPU_TASK", "program": "def main(): return 1", "cache": true });
    harness.call(&task).unwrap();
    harness.message(&task).caller(Caller::Member("a")).call().unwrap();
    harness.message(&task).caller(Caller::Member("a")).call().unwrap();
    let keys: Vec<Value> = sent(&harness, "CACHE_GET").into_iter().map(|message| message["key"].clone()).collect();
    assert!(keys[0] != keys[1] && keys[1] == keys[2]);
}

#[test]
fn a_run_that_fails_gives_its_lease_back() {
    let harness = start();
    with_cache(&harness, json!({ "type": "CACHE_ENTRY", "found": false, "lease": 7 }));
    let task = json!({ "type": "CPU_TASK", "program": "def main(): return 1", "cache": true });
    let result = harness.call(task).unwrap();
    assert_eq!((&result["code"], &result["cached"]), (&json!("runtime_unavailable"), &json!(false)));
    let given_back = &sent(&harness, "CACHE_ABANDON")[0];
    assert_eq!((&given_back["lease"], &given_back["for_good"]), (&json!(7), &Value::Null), "the next one may run");
    assert!(sent(&harness, "CACHE_PUT").is_empty());
}

#[test]
fn who_has_used_up_its_tasks_is_told_so() {
    let harness = with_processes();
    harness.answer("QUOTA_RULES", |_| json!({ "type": "QUOTA_RULES", "rules": { "cpu_tasks": { "member": 1 } } }));
    let text = "CPU task quota exceeded (100 per 3600.0s)";
    harness.answer("QUOTA_TAKE", move |message| {
        assert_eq!(message["caller"], "member");
        assert_eq!(message["caller_id"], "peer-1");
        json!({ "type": "ERROR", "code": "quota_exceeded", "error": text })
    });
    let task = json!({ "type": "CPU_TASK", "program": "def main(): return 1" });
    let result = harness.message(&task).caller(Caller::Member("peer-1")).call().unwrap();
    assert_eq!((&result["code"], &result["error"]), (&json!("quota_exceeded"), &json!(text)));
    assert_eq!(changes(&harness).last().unwrap()["exit_code"], 1);
    harness.call(&task).unwrap();
    assert_eq!(sent(&harness, "QUOTA_TAKE").len(), 1, "the local user has no limit, so nobody asks");
    assert!(harness.emit("quota.rules", json!({ "type": "QUOTA_RULES", "rules": {} })));
    harness.message(&task).caller(Caller::Member("peer-1")).call().unwrap();
    assert_eq!(sent(&harness, "QUOTA_TAKE").len(), 1);
}

#[test]
fn without_other_providers_tasks_cost_no_messages() {
    let harness = start();
    let task = json!({ "type": "CPU_TASK", "program": "def main(): return 1" });
    for _ in 0..20 {
        let result = harness.call(&task).unwrap();
        assert!(result.get("pid").is_none());
        harness.advance(Duration::from_millis(100));
    }
    let mut types: Vec<String> = harness.sent().iter().map(|sent| sent.json.clone()).collect();
    types.sort();
    types.dedup_by_key(|json| serde_json::from_str::<Value>(json).unwrap()["type"].to_string());
    assert_eq!(harness.sent().len(), types.len(), "each provider is looked for once in a while");
}

#[test]
fn every_task_is_recorded_once_however_often_the_history_refuses() {
    let harness = with_processes();
    let refusals = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&refusals);
    harness.answer("RECORD_TASKS", move |_| {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return json!({ "type": "ERROR", "code": "internal", "error": "the disk is full" });
        }
        json!({ "type": "STATUS", "status": "OK", "recorded": 1 })
    });
    let task = json!({ "type": "CPU_TASK", "task_id": "t1", "program": "secret = 1", "args": ["secret"] });
    harness.call(&task).unwrap();
    for _ in 0..6 {
        harness.advance(Duration::from_secs(1));
    }
    let sent = sent(&harness, "RECORD_TASKS");
    assert_eq!(sent.len(), 3, "two refusals, and it is taken");
    assert!(sent.iter().all(|message| message["batch"] == sent[0]["batch"]));
    let record = &sent[0]["records"][0];
    assert_eq!((&record["task_id"], &record["status"]), (&json!("t1"), &json!("FAILED")));
    let defaults = &sent[0]["defaults"];
    assert_eq!((&defaults["role"], &defaults["requested_by"]), (&json!("EXECUTOR"), &json!("local")));
    assert_eq!((record.get("role"), record.get("requested_by")), (None, None), "said once");
    assert_eq!(record["code"], "runtime_unavailable");
    assert!(!sent[0].to_string().contains("secret"), "programs and arguments are nobody's business");
}

#[test]
fn a_task_is_on_its_way_to_the_history_when_it_is_answered() {
    let harness = start();
    harness.answer("RECORD_TASKS", |_| json!({ "type": "STATUS", "status": "OK", "recorded": 1 }));
    for number in 1..=3 {
        harness.call(json!({ "type": "CPU_TASK", "program": "def main(): return 1" })).unwrap();
        assert_eq!(sent(&harness, "RECORD_TASKS").len(), number, "the clock stands still");
    }
}

#[test]
fn what_has_ended_is_recorded_before_the_node_stops() {
    let harness = start();
    harness.answer("RECORD_TASKS", |_| json!({ "type": "STATUS", "status": "OK", "recorded": 1 }));
    for _ in 0..50 {
        harness.call(json!({ "type": "CPU_TASK", "program": "def main(): return 1" })).unwrap();
    }
    harness.stop();
    let records = |message: &Value| message["records"].as_array().unwrap().len();
    assert_eq!(sent(&harness, "RECORD_TASKS").iter().map(records).sum::<usize>(), 50);
}

#[test]
fn confidential_tasks_leave_no_result_and_no_error() {
    let harness = with_processes();
    harness.answer("RECORD_TASKS", |_| json!({ "type": "STATUS", "status": "OK", "recorded": 1 }));
    harness.call(json!({ "type": "CPU_TASK", "program": "def main(): return 1", "confidential": true })).unwrap();
    harness.advance(Duration::from_secs(1));
    let record = sent(&harness, "RECORD_TASKS")[0]["records"][0].clone();
    assert_eq!(record["confidential"], true);
    assert!(record.get("result").is_none() && record.get("error").is_none() && record.get("function").is_none());
    assert!(changes(&harness).iter().all(|change| change.get("error").is_none()));
}

#[test]
fn only_a_provider_says_which_process_a_task_is() {
    let harness = with_processes();
    let task = json!({
        "type": "CPU_TASK", "program": "def main(): return 1", "pid": "P7", "parent_pid": "P3", "group_id": "g",
    });
    let made = harness.message(&task).caller(Caller::Plugin("process")).call().unwrap();
    assert_eq!(made["pid"], "P7");
    let claimed = harness.call(&task).unwrap();
    assert_eq!(claimed["pid"], "P100");
    let changes = changes(&harness);
    let created: Vec<&Value> = changes.iter().filter(|change| change["change"] == "created").collect();
    assert_eq!((&created[0]["parent_pid"], &created[0]["group_id"]), (&json!("P3"), &json!("g")));
    assert!(created[1].get("parent_pid").is_none() && created[1].get("group_id").is_none());
}

#[test]
fn a_task_that_a_provider_hands_on_belongs_to_whoever_has_asked_for_it() {
    let harness = with_processes();
    let task = json!({ "type": "CPU_TASK", "program": "def main(): return 1", "requested_by": "peer-1" });
    harness.message(&task).caller(Caller::Plugin("process")).call().unwrap();
    harness.call(&task).unwrap();
    let changes = changes(&harness);
    let created = changes.iter().filter(|change| change["change"] == "created");
    let whose: Vec<&Value> = created.map(|change| &change["requested_by"]).collect();
    assert_eq!(whose, ["peer-1", "local"]);
}

#[test]
fn a_signal_needs_a_task_that_is_there_and_the_sender_s() {
    let harness = with_processes();
    let signal = |name: &str| json!({ "type": "SIGNAL_TASK", "signal": "pause", name: "P1" });
    let code = |answer: Result<Value, potluck_sdk::ProviderError>| answer.unwrap_err().code.into_owned();
    assert_eq!(code(harness.call(signal("pid"))), "not_found");
    assert_eq!(code(harness.call(json!({ "type": "SIGNAL_TASK", "signal": "pause" }))), "invalid_message");
    let member = |json: Value| harness.message(json).caller(Caller::Member("peer-1")).call();
    assert_eq!(code(member(signal("pid"))), "invalid_message");
    assert_eq!(code(member(signal("task_id"))), "not_found");
    let priority = json!({ "type": "SET_TASK_PRIORITY", "pid": "P1", "priority": 3 });
    assert_eq!(code(harness.call(priority)), "not_found");
    let progress = json!({ "type": "TASK_PROGRESS", "task_id": "x-1-1", "fraction": 0.5 });
    assert_eq!(code(member(progress)), "not_found");
    assert!(harness.events().iter().all(|event| event.topic != "task.progress"));
}

#[test]
fn what_is_used_is_told_of_tasks_that_run_here_and_of_no_more_than_a_list_has() {
    let harness = with_processes();
    let ask = |pids: Vec<String>| harness.call(json!({ "type": "TASK_USAGE", "pids": pids }));
    let ended = harness.call(json!({ "type": "CPU_TASK", "program": "def main(): return 1" })).unwrap();
    let pids = vec![ended["pid"].as_str().unwrap().to_owned(), "P99999".to_owned(), String::new()];
    assert_eq!(ask(pids).unwrap(), json!({ "type": "TASK_USAGE", "tasks": [] }));
    assert_eq!(ask(vec!["P1".to_owned(); 1000]).unwrap()["tasks"], json!([]));
    let refused = ask(vec!["P1".to_owned(); 1001]).unwrap_err();
    assert_eq!(refused.code, "invalid_message");
    let member = harness.message(json!({ "type": "TASK_USAGE", "pids": ["P1"] })).caller(Caller::Member("peer-1"));
    assert!(member.call().is_err(), "others see what their tasks use in the list of processes");
}
