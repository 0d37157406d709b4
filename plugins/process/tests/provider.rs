//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_process::Process;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";
const OTHER: &str = "6a0c6b1e-0000-8000-8000-000000000000";

/// The id of the harness's node, which is always the same.
static OWN_ID: OnceLock<String> = OnceLock::new();

fn node() -> Harness {
    node_with(json!({}))
}

/// Each look at the clock is a millisecond later than the one before.
fn node_with(config: Value) -> Harness {
    let time = AtomicU64::new(1_000);
    Harness::start_with_clock(config, move |host, config, _| {
        OWN_ID.get_or_init(|| host.node().peer_id.to_string());
        Process::start_with_clock(host, config, move || time.fetch_add(1, Ordering::SeqCst))
    })
    .unwrap()
}

fn create(node: &Harness, members: Value) -> String {
    try_create(node, members, Caller::Local).unwrap()
}

fn try_create(node: &Harness, mut members: Value, caller: Caller<'_>) -> Result<String, ProviderError> {
    members["type"] = "CREATE_PROCESS".into();
    let reply = node.message(members).caller(caller).call()?;
    assert_eq!(reply["status"], "OK");
    Ok(reply["pid"].as_str().unwrap().to_owned())
}

/// What cpu reports.
fn report(node: &Harness, changes: Value) {
    let message = json!({"type": "PROCESS_CHANGES", "changes": changes});
    let reply = node.message(message).caller(Caller::Plugin("cpu")).call().unwrap();
    assert_eq!(reply["status"], "OK");
}

/// A task that runs.
fn task(node: &Harness, pid: &str, parent: &str) {
    report(
        node,
        json!([
            {"change": "created", "pid": pid, "parent_pid": parent, "task_id": "T", "function": "main",
             "runtime": "python", "requested_by": "local"},
            {"change": "state", "pid": pid, "state": "RUNNING"},
        ]),
    );
}

fn ended(node: &Harness, pid: &str, exit_code: i32) {
    report(node, json!([{"change": "ended", "pid": pid, "exit_code": exit_code}]));
}

/// Names for tasks.
fn reserve(node: &Harness, count: u64) -> u64 {
    let message = json!({"type": "RESERVE_PIDS", "count": count});
    node.message(message).caller(Caller::Plugin("cpu")).call().unwrap()["first"].as_u64().unwrap()
}

fn info(node: &Harness, pid: &str) -> Value {
    node.call(json!({"type": "PROCESS_INFO", "pid": pid})).unwrap()["process"].clone()
}

fn state(node: &Harness, pid: &str) -> String {
    info(node, pid)["state"].as_str().unwrap().to_owned()
}

fn terminate(node: &Harness, pid: &str) -> PendingCall {
    node.message(json!({"type": "TERMINATE_PROCESS", "pid": pid})).begin()
}

/// What cpu was told to do to tasks.
fn signals(node: &Harness) -> Vec<(String, String)> {
    let sent = node.sent().into_iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    let signals = sent.filter(|message| message["type"] == "SIGNAL_TASK");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    signals.map(|message| (text(&message["pid"]), text(&message["signal"]))).collect()
}

/// Processes of which others were told that they have ended.
fn announced(node: &Harness) -> Vec<String> {
    let events = node.events().into_iter().filter(|event| event.topic == "process.ended");
    events.map(|event| event.body["pid"].as_str().unwrap().to_owned()).collect()
}

fn cpu_obeys(node: &Harness) {
    node.answer("SIGNAL_TASK", |_| json!({"type": "STATUS", "status": "OK"}));
}

#[track_caller]
fn code(outcome: Result<Value, ProviderError>) -> String {
    outcome.unwrap_err().code.into_owned()
}

#[test]
fn a_tree_is_ended_children_first_and_leaves_nothing_behind() {
    let node = node();
    let root = create(&node, json!({"name": "root"}));
    let left = create(&node, json!({"parent_pid": root, "priority": 3}));
    let right = create(&node, json!({"parent_pid": root}));
    let leaf = create(&node, json!({"parent_pid": left}));
    assert_eq!([&*root, &*left, &*right, &*leaf], ["P1", "P2", "P3", "P4"]);
    let tree = node.call(json!({"type": "PROCESS_TREE"})).unwrap();
    let expected = json!({"roots": [{"pid": "P1", "ppid": null, "state": "NEW", "priority": 0, "name": "root", "children": [
        {"pid": "P2", "ppid": "P1", "state": "NEW", "priority": 3, "children": [
            {"pid": "P4", "ppid": "P2", "state": "NEW", "priority": 0, "children": []}]},
        {"pid": "P3", "ppid": "P1", "state": "NEW", "priority": 0, "children": []},
    ]}], "total_processes": 4});
    assert_eq!(tree["tree"], expected);
    let part = node.call(json!({"type": "PROCESS_TREE", "root_pid": "P2"})).unwrap();
    assert_eq!(part["tree"], expected["roots"][0]["children"][0]);
    assert_eq!(node.call(json!({"type": "PROCESS_TREE", "root_pid": "P9"})).unwrap()["tree"], Value::Null);
    let reply = terminate(&node, "P1").wait().unwrap();
    assert_eq!((&reply["pid"], &reply["terminated"]), (&json!("P1"), &json!(4)));
    let order = announced(&node);
    let place = |pid: &str| order.iter().position(|known| known == pid).unwrap();
    assert!(place("P4") < place("P2") && place("P2") < place("P1") && place("P3") < place("P1"), "{order:?}");
    assert_eq!(node.call(json!({"type": "PROCESS_TREE"})).unwrap()["tree"], json!({"roots": [], "total_processes": 0}));
    assert_eq!(info(&node, "P1")["exit"]["exit_code"], 143);
    let again = terminate(&node, "P1").wait().unwrap_err();
    assert_eq!(again.code, "process_ended");
    let unknown = terminate(&node, "P77").wait().unwrap_err();
    assert_eq!((&*unknown.code, &*unknown.message), ("not_found", "Process P77 not found"));
    assert_eq!(terminate(&node, "").wait().unwrap_err().message, "pid required");
}

#[test]
fn an_unknown_parent_is_an_error_and_leaves_no_entry() {
    let node = node();
    let refused = try_create(&node, json!({"parent_pid": "P5"}), Caller::Local).unwrap_err();
    assert_eq!(refused.code, "not_found");
    assert_eq!(node.status()["process_manager"]["total_processes"], 0);
    let parent = create(&node, json!({}));
    terminate(&node, &parent).wait().unwrap();
    let refused = try_create(&node, json!({"parent_pid": parent}), Caller::Local).unwrap_err();
    assert_eq!(refused.code, "process_ended");
}

#[test]
fn only_states_that_can_follow_do() {
    let node = node();
    let pid = create(&node, json!({}));
    let set = |to: &str| node.call(json!({"type": "SET_PROCESS_STATE", "pid": pid, "state": to}));
    let refused = set("RUNNING").unwrap_err();
    assert_eq!(refused.code, "invalid_state");
    assert_eq!(refused.message, "process P1 is NEW, which RUNNING cannot follow; READY or TERMINATED can");
    for to in ["READY", "RUNNING", "WAITING"] {
        assert_eq!(set(to).unwrap()["state"], to);
    }
    assert_eq!(code(set("RUNNING")), "invalid_state");
    assert_eq!(code(set("NEW")), "invalid_state");
    assert_eq!(code(set("ZOMBIE")), "invalid_message");
    assert_eq!(code(set("ASLEEP")), "invalid_message");
    assert_eq!(set("TERMINATED").unwrap()["state"], "TERMINATED");
    assert_eq!(code(set("READY")), "invalid_state");
    assert_eq!(announced(&node), ["P1"]);
}

#[test]
fn a_task_is_seen_from_its_creation_to_its_end() {
    let node = node();
    assert_eq!(reserve(&node, 256), 1);
    assert_eq!(reserve(&node, 1), 257);
    report(
        &node,
        json!([{"change": "created", "pid": "P7", "task_id": "T7", "function": "f", "runtime": "wasm", "priority": 2,
                "requested_by": PEER, "group_id": "g", "unix_milliseconds": 500}]),
    );
    assert_eq!(state(&node, "P7"), "NEW");
    report(&node, json!([{"change": "state", "pid": "P7", "state": "READY", "reason": "queued"}]));
    let facts = info(&node, "P7");
    assert_eq!((&facts["state"], &facts["reason"]), (&json!("READY"), &json!("queued")));
    report(&node, json!([{"change": "state", "pid": "P7", "state": "WAITING", "reason": "semaphore forks-1"}]));
    // A report may leave out the READY in between.
    report(&node, json!([{"change": "state", "pid": "P7", "state": "RUNNING", "executed_by": "10.0.0.7:9000"}]));
    let facts = info(&node, "P7");
    let expected = json!({"pid": "P7", "ppid": null, "state": "RUNNING", "priority": 2, "group_id": "g",
        "requested_by": PEER, "task_id": "T7", "function": "f", "runtime": "wasm", "executed_by": "10.0.0.7:9000",
        "children": 0, "created_unix_milliseconds": 500, "state_unix_milliseconds": facts["state_unix_milliseconds"]});
    assert_eq!(facts, expected);
    report(
        &node,
        json!([{"change": "ended", "pid": "P7", "exit_code": 1, "outcome": "cpu_limit", "error": "too long",
                "cpu_seconds": 1.5, "peak_memory_bytes": 1000, "context_switches": 3, "unix_milliseconds": 9000},
               {"change": "state", "pid": "P7", "state": "RUNNING"},
               {"change": "ended", "pid": "P7", "exit_code": 0},
               {"change": "ended", "pid": "P999", "exit_code": 0},
               {"change": "created", "pid": "no pid"}]),
    );
    let facts = info(&node, "P7");
    assert_eq!(facts["state"], "TERMINATED");
    assert_eq!(
        facts["exit"],
        json!({"exit_code": 1, "outcome": "cpu_limit", "error": "too long", "cpu_seconds": 1.5,
               "peak_memory_bytes": 1000, "context_switches": 3, "unix_milliseconds": 9000})
    );
    assert!(announced(&node).is_empty(), "of its tasks cpu tells");
    let status = &node.status()["process_manager"];
    assert_eq!(status["processes_by_state"], json!({"TERMINATED": 1}));
    assert_eq!(status["total_groups"], 0, "a group goes with its last member");
}

#[test]
fn ending_a_parent_ends_running_tasks_and_is_answered_when_they_are_gone() {
    let node = node();
    cpu_obeys(&node);
    reserve(&node, 10);
    for (pid, parent) in [("P1", ""), ("P2", "P1"), ("P3", "P2"), ("P4", "")] {
        task(&node, pid, parent);
    }
    let entry = create(&node, json!({"parent_pid": "P3"}));
    let call = terminate(&node, "P1");
    assert!(call.try_answer().is_none(), "the tasks have not ended");
    let told: Vec<String> = signals(&node).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(told, ["P1", "P2", "P3"], "parents first: one that waits for a child must not go on");
    assert_eq!(announced(&node), [entry]);
    ended(&node, "P3", 143);
    ended(&node, "P2", 143);
    assert!(call.try_answer().is_none());
    ended(&node, "P1", 143);
    assert_eq!(call.wait().unwrap()["terminated"], 4);
    assert_eq!(state(&node, "P4"), "RUNNING");
    assert_eq!(signals(&node).len(), 3, "nobody is told twice");
}

#[test]
fn a_child_that_is_heard_of_later_ends_with_its_parent() {
    let node = node();
    cpu_obeys(&node);
    reserve(&node, 10);
    task(&node, "P1", "");
    let call = terminate(&node, "P1");
    task(&node, "P2", "P1");
    ended(&node, "P1", 143);
    call.wait().unwrap();
    task(&node, "P3", "P1");
    task(&node, "P4", "P3");
    let told: Vec<String> = signals(&node).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(told, ["P1", "P2", "P3", "P4"]);
}

#[test]
fn when_a_parent_ends_by_itself_its_children_go_on_as_roots() {
    let node = node();
    reserve(&node, 10);
    task(&node, "P1", "");
    task(&node, "P2", "P1");
    // Nobody would be left to end this one.
    let entry = create(&node, json!({"parent_pid": "P1"}));
    ended(&node, "P1", 0);
    assert_eq!(info(&node, &entry)["exit"]["exit_code"], 143);
    task(&node, "P3", "P1");
    for pid in ["P2", "P3"] {
        let facts = info(&node, pid);
        assert_eq!((&facts["state"], &facts["ppid"]), (&json!("RUNNING"), &Value::Null));
    }
    // One that was cancelled takes its children along, whoever cancelled it.
    task(&node, "P4", "P2");
    ended(&node, "P2", 137);
    assert_eq!(signals(&node), [("P4".to_owned(), "kill".to_owned())]);
}

#[test]
fn a_task_that_cpu_does_not_know_is_given_up() {
    let node = node();
    reserve(&node, 10);
    task(&node, "P1", "");
    // Nobody answers SIGNAL_TASK: without cpu there is no task.
    assert_eq!(terminate(&node, "P1").wait().unwrap()["terminated"], 1);
    assert_eq!(announced(&node), ["P1"]);
    task(&node, "P2", "");
    node.answer("SIGNAL_TASK", |_| json!({"type": "ERROR", "code": "not_found", "error": "no such task"}));
    let call = terminate(&node, "P2");
    assert!(call.try_answer().is_none(), "its end may be on the way");
    node.advance(Duration::from_secs(1));
    assert_eq!(call.wait().unwrap()["terminated"], 1);
    // cpu says yes and nothing comes of it: the answer does not wait for ever.
    cpu_obeys(&node);
    task(&node, "P3", "");
    let call = terminate(&node, "P3");
    node.advance(Duration::from_secs(5));
    assert_eq!(call.wait().unwrap()["terminated"], 0);
    assert_eq!(state(&node, "P3"), "RUNNING");
}

#[test]
fn a_zombie_waits_for_its_parent_to_ask() {
    let node = node();
    reserve(&node, 20);
    task(&node, "P1", "");
    for pid in ["P2", "P3", "P4"] {
        task(&node, pid, "P1");
    }
    let waiting = node.message(json!({"type": "WAIT_PROCESS", "pid": "P2"})).begin();
    assert!(waiting.try_answer().is_none());
    ended(&node, "P2", 0);
    let reply = waiting.wait().unwrap();
    assert_eq!((&reply["pid"], &reply["exit_code"]), (&json!("P2"), &json!(0)));
    assert_eq!(state(&node, "P2"), "TERMINATED", "it was waited for");
    ended(&node, "P3", 1);
    assert_eq!(state(&node, "P3"), "ZOMBIE");
    assert_eq!(node.status()["process_manager"]["processes_by_state"]["ZOMBIE"], 1);
    let reply = node.call(json!({"type": "WAIT_PROCESS", "pid": "P3", "timeout": 0})).unwrap();
    assert_eq!(reply["exit_code"], 1);
    assert_eq!(state(&node, "P3"), "TERMINATED");
    ended(&node, "P4", 0);
    report(&node, json!([{"change": "joined", "pid": "P4"}]));
    assert_eq!(state(&node, "P4"), "TERMINATED", "cpu has given its result to the parent");
    // Nobody is left who could ask.
    task(&node, "P5", "P1");
    ended(&node, "P5", 0);
    ended(&node, "P1", 0);
    assert_eq!(state(&node, "P5"), "TERMINATED");
}

#[test]
fn a_wait_ends_with_its_time_or_its_caller() {
    let node = node_with(json!({"waits_max": 2}));
    let pid = create(&node, json!({}));
    let wait = |timeout: Value| node.message(json!({"type": "WAIT_PROCESS", "pid": pid, "timeout": timeout}));
    assert_eq!(code(wait(json!(0)).call()), "timeout");
    assert_eq!(code(wait(json!(-1)).call()), "invalid_message");
    assert_eq!(code(wait(json!(1e300)).call()), "invalid_message");
    let first = wait(json!(5)).begin();
    let second = wait(Value::Null).begin();
    assert_eq!(code(wait(Value::Null).call()), "limit_reached");
    second.cancel();
    let third = wait(Value::Null).begin();
    node.advance(Duration::from_secs(5));
    assert_eq!(code(first.wait()), "timeout");
    terminate(&node, &pid).wait().unwrap();
    assert_eq!(third.wait().unwrap()["exit_code"], 143);
    assert_eq!(code(node.call(json!({"type": "WAIT_PROCESS", "pid": "P99"}))), "not_found");
}

#[test]
fn pausing_reaches_the_task_and_the_tree() {
    let node = node();
    cpu_obeys(&node);
    reserve(&node, 10);
    task(&node, "P1", "");
    task(&node, "P2", "P1");
    let entry = create(&node, json!({"parent_pid": "P2"}));
    let signal = |signal: &str, tree: bool| {
        node.call(json!({"type": "SIGNAL_PROCESS", "pid": "P1", "signal": signal, "tree": tree}))
    };
    assert_eq!(signal("pause", false).unwrap()["signalled"], 1);
    assert_eq!(signals(&node), [("P1".to_owned(), "pause".to_owned())]);
    assert_eq!(signal("pause", true).unwrap()["signalled"], 3);
    let facts = info(&node, &entry);
    assert_eq!((&facts["state"], &facts["reason"]), (&json!("WAITING"), &json!("paused")));
    assert_eq!(signal("resume", true).unwrap()["signalled"], 3);
    assert_eq!(state(&node, &entry), "READY");
    let again = node.call(json!({"type": "SIGNAL_PROCESS", "pid": entry, "signal": "resume"}));
    assert_eq!(code(again), "invalid_state");
    assert_eq!(code(signal("hang up", false)), "invalid_message");
    node.answer("SIGNAL_TASK", |_| json!({"type": "ERROR", "code": "not_paused", "error": "it is not paused"}));
    assert_eq!(code(signal("resume", false)), "not_paused");
}

#[test]
fn a_group_is_signalled_and_killed_as_one() {
    let node = node();
    cpu_obeys(&node);
    let first = create(&node, json!({"group_id": "g"}));
    let second = create(&node, json!({}));
    let child = create(&node, json!({"parent_pid": second}));
    let group = |message_type: &str, mut members: Value| {
        members["type"] = message_type.into();
        members["group_id"] = "g".into();
        node.call(members)
    };
    let made = group("CREATE_GROUP", json!({"pids": [second, "P77", "nobody"]})).unwrap();
    assert_eq!(made["members"], 2);
    let list = node.call(json!({"type": "LIST_GROUPS"})).unwrap();
    assert_eq!(list["groups"], json!([{"group_id": "g", "pids": [first, second], "members": 2}]));
    let page = node.call(json!({"type": "LIST_PROCESSES", "group_id": "g"})).unwrap();
    assert_eq!(page["processes"].as_array().unwrap().len(), 2);
    assert_eq!(group("SIGNAL_GROUP", json!({"signal": "pause"})).unwrap()["signalled"], 2);
    assert_eq!(group("KILL_GROUP", json!({})).unwrap()["terminated"], 3);
    assert_eq!(state(&node, &child), "TERMINATED");
    assert_eq!(info(&node, &first)["exit"]["exit_code"], 137);
    assert_eq!(node.status()["process_manager"]["total_groups"], 0);
    assert_eq!(group("KILL_GROUP", json!({})).unwrap()["terminated"], 0, "there is none any more");
    // A task that belonged to it and is heard of now ends too; one that was made later does not.
    reserve(&node, 10);
    report(
        &node,
        json!([{"change": "created", "pid": "P10", "group_id": "g", "unix_milliseconds": 5},
               {"change": "created", "pid": "P11", "group_id": "g", "unix_milliseconds": 999_999}]),
    );
    assert_eq!(signals(&node), [("P10".to_owned(), "kill".to_owned())]);
    assert_eq!(code(node.call(json!({"type": "CREATE_GROUP"}))), "invalid_message");
}

#[test]
fn a_process_with_a_task_gives_it_to_cpu() {
    let node = node();
    node.answer("CPU_TASK", |_| {
        json!({"type": "CPU_RESULT", "task_id": "T", "result": null, "error": "division by zero", "executed_by": "x",
               "runtime": "python", "execution_time": 0, "waiting_time": 0, "turnaround_time": 0, "attempts": 1,
               "cached": false})
    });
    let parent = create(&node, json!({"group_id": "g"}));
    let task = json!({"program": "p", "priority": 1, "to": PEER, "pid": "P900", "behalf": "task", "args": [1, 2]});
    let pid = create(&node, json!({"task": task, "parent_pid": parent, "group_id": "g", "priority": 5}));
    let sent: Value = serde_json::from_str(&node.sent()[0].json).unwrap();
    let expected = json!({"type": "CPU_TASK", "program": "p", "pid": pid, "parent_pid": parent, "group_id": "g",
        "priority": 5, "args": [1, 2]});
    assert_eq!(sent, expected);
    assert_eq!(state(&node, &pid), "NEW");
    node.advance(Duration::from_secs(1));
    let facts = info(&node, &pid);
    assert_eq!((&facts["state"], &facts["exit"]["exit_code"]), (&json!("ZOMBIE"), &json!(1)));
    assert_eq!(facts["exit"]["error"], "division by zero");
    // A member's task is sent as a member's.
    let pid = try_create(&node, json!({"task": {}}), Caller::Member(PEER)).unwrap();
    let sent: Value = serde_json::from_str(&node.sent()[1].json).unwrap();
    assert_eq!(sent, json!({"type": "CPU_TASK", "pid": pid, "requested_by": PEER}));
}

#[test]
fn a_task_that_cpu_refuses_leaves_no_process() {
    let node = node();
    let refused = try_create(&node, json!({"task": {"program": "p"}}), Caller::Local).unwrap_err();
    assert_eq!(refused.code, ProviderError::NO_PROVIDER);
    assert_eq!(try_create(&node, json!({"task": []}), Caller::Local).unwrap_err().code, "invalid_message");
    assert_eq!(node.status()["process_manager"]["alive"], 0);
}

#[test]
fn members_act_on_their_own_processes_only() {
    let node = node();
    let own = create(&node, json!({}));
    let theirs = try_create(&node, json!({}), Caller::Member(PEER)).unwrap();
    let call = |mut message: Value, pid: &str, caller| {
        message["pid"] = pid.into();
        node.message(message).caller(caller).call()
    };
    for caller in [Caller::Member(PEER), Caller::Member(OTHER), Caller::Local] {
        let may = matches!(caller, Caller::Local);
        for (message, pid) in [
            (json!({"type": "PROCESS_INFO"}), &own),
            (json!({"type": "SET_PRIORITY", "priority": 2}), &own),
            (json!({"type": "SIGNAL_PROCESS", "signal": "pause"}), &own),
        ] {
            let outcome = call(message, pid, caller);
            assert_eq!(outcome.is_ok(), may, "{caller:?}: {outcome:?}");
        }
    }
    let refused = try_create(&node, json!({"parent_pid": own}), Caller::Member(PEER)).unwrap_err();
    assert_eq!(refused.code, "not_found", "what one may not see is not there");
    let tree = node.message(json!({"type": "PROCESS_TREE"})).caller(Caller::Member(PEER)).call().unwrap();
    assert_eq!(tree["tree"]["total_processes"], 1);
    assert_eq!(tree["tree"]["roots"][0]["pid"], json!(theirs));
    let list = node.message(json!({"type": "LIST_PROCESSES"})).caller(Caller::Member(OTHER)).call().unwrap();
    assert_eq!(list["processes"], json!([]));
    call(json!({"type": "TERMINATE_PROCESS"}), &theirs, Caller::Member(PEER)).unwrap();
    assert!(call(json!({"type": "TERMINATE_PROCESS"}), &own, Caller::Member(PEER)).is_err());
}

#[test]
fn a_task_acts_on_itself_and_its_descendants_only() {
    let node = node();
    cpu_obeys(&node);
    reserve(&node, 10);
    task(&node, "P1", "");
    task(&node, "P2", "P1");
    task(&node, "P3", "");
    let own = OWN_ID.get().unwrap().clone();
    let as_task = |process: &str, mut message: Value| {
        message["behalf"] = format!("task:{process}").into();
        node.message(message).caller(Caller::Task(&own)).call()
    };
    // What it makes is its child, unless it names another of its own.
    let entry = as_task("P1", json!({"type": "CREATE_PROCESS"})).unwrap()["pid"].as_str().unwrap().to_owned();
    assert_eq!(info(&node, &entry)["ppid"], "P1");
    assert_eq!(code(as_task("P1", json!({"type": "CREATE_PROCESS", "parent_pid": "P3"}))), "not_found");
    assert_eq!(code(as_task("P1", json!({"type": "CREATE_PROCESS", "task": {}}))), "invalid_message");
    for (pid, may) in [("P1", true), ("P2", true), (&*entry, true), ("P3", false)] {
        let pause = json!({"type": "SIGNAL_PROCESS", "pid": pid, "signal": "pause"});
        assert_eq!(as_task("P1", pause).is_ok(), may, "{pid}");
    }
    assert_eq!(code(as_task("P2", json!({"type": "TERMINATE_PROCESS", "pid": "P1"}))), "not_found");
    let tree = as_task("P1", json!({"type": "PROCESS_TREE"})).unwrap();
    assert_eq!(tree["tree"]["total_processes"], 3);
    assert_eq!(code(as_task("P1", json!({"type": "WAIT_PROCESS", "pid": "P1"}))), "invalid_message");
    // A task of another node is not the process of this one that has its number.
    let foreign = json!({"type": "PROCESS_INFO", "pid": "P1", "behalf": "task:P1"});
    assert_eq!(code(node.message(foreign).caller(Caller::Task(PEER)).call()), "not_found");
    let mut made = json!({"type": "CREATE_PROCESS", "behalf": "task:P1"});
    let entry = node.message(made.clone()).caller(Caller::Task(PEER)).call().unwrap()["pid"].clone();
    made["type"] = "TERMINATE_PROCESS".into();
    made["pid"] = entry;
    assert_eq!(code(node.message(&made).caller(Caller::Task(OTHER)).call()), "not_found");
    node.message(&made).caller(Caller::Task(PEER)).call().unwrap();
}

#[test]
fn what_holds_too_much_is_refused_and_the_oldest_are_forgotten() {
    let config = json!({"entries_max": 3, "finished_max": 2, "groups_max": 1, "entries_per_peer_max": 1});
    let node = node_with(config);
    try_create(&node, json!({}), Caller::Member(PEER)).unwrap();
    let refused = try_create(&node, json!({}), Caller::Member(PEER)).unwrap_err();
    assert_eq!(refused.code, ProviderError::LIMIT_REACHED);
    create(&node, json!({"group_id": "one"}));
    let refused = try_create(&node, json!({"group_id": "two"}), Caller::Local).unwrap_err();
    assert_eq!(refused.code, ProviderError::LIMIT_REACHED);
    create(&node, json!({}));
    assert_eq!(try_create(&node, json!({}), Caller::Local).unwrap_err().code, ProviderError::LIMIT_REACHED);
    reserve(&node, 10);
    task(&node, "P5", "");
    assert_eq!(node.status()["process_manager"]["untracked"], 1);
    for pid in ["P1", "P2", "P3"] {
        terminate(&node, pid).wait().unwrap();
    }
    assert_eq!(code(node.call(json!({"type": "PROCESS_INFO", "pid": "P1"}))), "not_found");
    assert_eq!(node.status()["process_manager"]["total_processes"], 2);
    for name in [json!("x".repeat(129)), json!("a\nb")] {
        assert_eq!(try_create(&node, json!({"name": name}), Caller::Local).unwrap_err().code, "invalid_message");
    }
    let data = json!({"task_data": "x".repeat(70_000)});
    assert_eq!(try_create(&node, data, Caller::Local).unwrap_err().code, "invalid_message");
    let error = Harness::start::<Process>(json!({"zombies_max": 0})).map(drop).unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("invalid_config", "key `zombies_max`: it must be at least 1"));
}

#[test]
fn a_node_has_no_more_groups_than_its_share() {
    let node = node_with(json!({"groups_max": 3, "groups_per_peer_max": 1}));
    let group = |caller: Caller<'_>, id: &str| {
        node.message(json!({"type": "CREATE_GROUP", "group_id": id})).caller(caller).call()
    };
    let kill = |id: &str| node.call(json!({"type": "KILL_GROUP", "group_id": id})).unwrap();
    group(Caller::Member(PEER), "a").unwrap();
    for refused in [
        group(Caller::Member(PEER), "b").unwrap_err(),
        try_create(&node, json!({"group_id": "b"}), Caller::Member(PEER)).unwrap_err(),
    ] {
        assert_eq!(refused.code, ProviderError::LIMIT_REACHED);
        assert!(refused.message.contains(PEER) && refused.message.contains("groups_per_peer_max"), "{refused}");
    }
    group(Caller::Member(OTHER), "b").unwrap();
    group(Caller::Member(PEER), "b").unwrap();
    group(Caller::Local, "c").unwrap();
    let full = group(Caller::Local, "d").unwrap_err();
    assert!(full.message.contains("groups_max"), "this node's user is bounded by the total: {full}");
    kill("a");
    // One that it has by a process alone goes with that.
    let pid = try_create(&node, json!({"group_id": "e"}), Caller::Member(PEER)).unwrap();
    kill("c");
    assert_eq!(group(Caller::Member(PEER), "f").unwrap_err().code, ProviderError::LIMIT_REACHED);
    node.call(json!({"type": "TERMINATE_PROCESS", "pid": pid})).unwrap();
    group(Caller::Member(PEER), "f").unwrap();
}

#[test]
fn lists_come_a_page_at_a_time() {
    let node = node();
    for _ in 0..5 {
        create(&node, json!({"task_data": {"n": 12345678901234567890_u64}}));
    }
    let page = |after: Value| node.call(json!({"type": "LIST_PROCESSES", "limit": 2, "after": after})).unwrap();
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = page(after);
        seen.extend(
            page["processes"].as_array().unwrap().iter().map(|facts| facts["pid"].as_str().unwrap().to_owned()),
        );
        assert_eq!(page["total_processes"], 5);
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["P1", "P2", "P3", "P4", "P5"]);
    assert_eq!(info(&node, "P1")["task_data"]["n"], 12345678901234567890_u64);
}

#[test]
fn a_deep_tree_is_shown_in_parts_and_ended_whole() {
    let node = node();
    cpu_obeys(&node);
    let depth = 5_000;
    reserve(&node, 4_096);
    reserve(&node, 4_096);
    for number in 1..=depth {
        task(&node, &format!("P{number}"), &format!("P{}", number - 1));
    }
    let reply = node.message(json!({"type": "PROCESS_TREE"})).begin().wait_raw();
    let mut part: Value = serde_json::from_str(&reply).unwrap();
    part = part["tree"]["roots"][0].take();
    let mut shown = 1;
    while let Some(child) = part["children"].get(0) {
        part = child.clone();
        shown += 1;
    }
    assert!((20..60).contains(&shown) && part["more_children"] == 1, "{shown} levels");
    let call = terminate(&node, "P1");
    assert_eq!(signals(&node).len(), depth);
    for number in (1..=depth).rev() {
        ended(&node, &format!("P{number}"), 143);
    }
    assert_eq!(call.wait().unwrap()["terminated"], depth);
}

#[test]
fn an_end_elsewhere_is_told_to_those_who_hold_things() {
    let node = node();
    let own = create(&node, json!({}));
    let tell = |pid: &str, caller| {
        node.message(json!({"type": "PROCESS_ENDED", "pid": pid, "reason": "it crashed"})).caller(caller).call()
    };
    tell("P1", Caller::Member(PEER)).unwrap();
    tell("client-1", Caller::Local).unwrap();
    assert_eq!(code(tell(&own, Caller::Local)), "invalid_state");
    assert_eq!(code(tell(&format!("P1@{OTHER}"), Caller::Member(PEER))), "invalid_message");
    assert_eq!(announced(&node), [format!("P1@{PEER}"), "client-1".to_owned()]);
    assert_eq!(state(&node, &own), "NEW");
}

#[test]
fn a_peer_that_stays_away_has_ended_with_all_its_processes() {
    let node = node();
    let table = |peers: &[&str]| {
        let peers: Vec<Value> =
            peers.iter().map(|peer| json!({"peer_id": peer, "ip": "10.0.0.7", "port": 9000})).collect();
        let table = json!({"type": "PEER_TABLE", "epoch": 1, "version": 1, "full": true, "peers": peers});
        assert!(node.emit("peer.table", table));
    };
    let theirs = try_create(&node, json!({}), Caller::Member(PEER)).unwrap();
    table(&[PEER, OTHER]);
    table(&[OTHER]);
    node.advance(Duration::from_secs(10));
    table(&[PEER, OTHER]);
    node.advance(Duration::from_secs(10));
    assert!(announced(&node).is_empty(), "it was back in time");
    table(&[OTHER]);
    table(&[OTHER]);
    node.advance(Duration::from_secs(15));
    assert_eq!(announced(&node), [format!("*@{PEER}"), theirs]);
    assert!(node.emit("peer.revoked", json!({"peer_id": OTHER})));
    assert_eq!(announced(&node).last().unwrap(), &format!("*@{OTHER}"));
    table(&[]);
    node.advance(Duration::from_secs(30));
    assert_eq!(announced(&node).len(), 3, "nobody ends twice");
}

#[test]
fn one_event_tells_of_many_changes() {
    let node = node();
    reserve(&node, 1_000);
    for number in 1..=200 {
        task(&node, &format!("P{number}"), "");
    }
    ended(&node, "P1", 0);
    let changed = |node: &Harness| -> Vec<Value> {
        let events = node.events().into_iter().filter(|event| event.topic == "process.changed");
        events.map(|event| event.body).collect()
    };
    assert!(changed(&node).is_empty());
    node.advance(Duration::from_millis(20));
    let events = changed(&node);
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["created"], &events[0]["ended"]), (&json!(200), &json!(1)));
    assert_eq!(events[0]["changes"].as_array().unwrap().len(), 64);
    assert_eq!(events[0]["changes"][0], json!({"pid": "P1", "state": "TERMINATED", "exit_code": 0}));
    assert_eq!(events[0]["processes_by_state"], json!({"RUNNING": 199, "TERMINATED": 1}));
    assert_eq!(node.timers(), 0, "nothing wakes up by itself");
}
