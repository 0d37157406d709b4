//! The table of processes by hand: trees, groups, waiting, zombies; and what those use that run tasks.

use potluck_tests::{TestNode, sandboxed, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};

fn node() -> TestNode {
    TestNode::peer().plugins("[plugins.process]\n").start()
}

fn ok(node: &TestNode, message: Value) -> Value {
    let reply = node.call(&message);
    assert_ne!(reply["type"], "ERROR", "{message}: {reply}");
    reply
}

fn create(node: &TestNode, mut members: Value) -> String {
    members["type"] = "CREATE_PROCESS".into();
    ok(node, members)["pid"].as_str().unwrap().to_owned()
}

fn info(node: &TestNode, pid: &str) -> Value {
    ok(node, json!({ "type": "PROCESS_INFO", "pid": pid }))["process"].clone()
}

#[test]
fn a_tree_of_processes_is_ended_with_its_root() {
    let node = node();
    let root = create(&node, json!({ "task_data": { "for": "the books" } }));
    let child = create(&node, json!({ "parent_pid": root }));
    let grandchild = create(&node, json!({ "parent_pid": child }));
    let other = create(&node, json!({}));
    let tree = ok(&node, json!({ "type": "PROCESS_TREE" }));
    assert_eq!(tree["tree"]["total_processes"], 4);
    assert_eq!(tree["tree"]["roots"][0]["children"][0]["children"][0]["pid"], json!(grandchild));
    let reply = ok(&node, json!({ "type": "TERMINATE_PROCESS", "pid": root }));
    assert_eq!(reply["terminated"], 3);
    for pid in [&root, &child, &grandchild] {
        assert_eq!(info(&node, pid)["state"], "TERMINATED");
    }
    assert_eq!(info(&node, &other)["state"], "NEW");
    let manager = &node.status()["process_manager"];
    assert_eq!(manager["processes_by_state"], json!({ "NEW": 1, "TERMINATED": 3 }));
    let refused = node.call(json!({ "type": "TERMINATE_PROCESS", "pid": "P99" }));
    assert_eq!((&refused["code"], &refused["error"]), (&json!("not_found"), &json!("Process P99 not found")));
    let refused = node.call(json!({ "type": "CREATE_PROCESS", "parent_pid": "P99" }));
    assert_eq!(refused["code"], "not_found", "{refused}");
}

#[test]
fn a_group_is_killed_as_one() {
    let node = node();
    let pids: Vec<String> = (0..3).map(|_| create(&node, json!({}))).collect();
    let child = create(&node, json!({ "parent_pid": pids[0] }));
    ok(&node, json!({ "type": "CREATE_GROUP", "group_id": "lab", "pids": pids }));
    let groups = ok(&node, json!({ "type": "LIST_GROUPS" }));
    assert_eq!(groups["groups"], json!([{ "group_id": "lab", "pids": pids, "members": 3 }]));
    assert_eq!(ok(&node, json!({ "type": "KILL_GROUP", "group_id": "lab" }))["terminated"], 4);
    assert_eq!(info(&node, &child)["exit"]["exit_code"], 137);
    assert_eq!(ok(&node, json!({ "type": "KILL_GROUP", "group_id": "lab" }))["terminated"], 0);
}

#[test]
fn who_waits_learns_how_a_process_ended() {
    let node = node();
    let pid = create(&node, json!({}));
    let waiting = json!({ "type": "WAIT_PROCESS", "pid": pid });
    let mut wire = node.wire();
    wire.send(&waiting);
    for state in ["READY", "RUNNING"] {
        ok(&node, json!({ "type": "SET_PROCESS_STATE", "pid": pid, "state": state }));
    }
    let refused = node.call(json!({ "type": "SET_PROCESS_STATE", "pid": pid, "state": "NEW" }));
    assert_eq!(refused["code"], "invalid_state", "{refused}");
    ok(&node, json!({ "type": "SET_PROCESS_STATE", "pid": pid, "state": "TERMINATED", "exit_code": 3 }));
    let reply = wire.read();
    assert_eq!((&reply["status"], &reply["exit_code"]), (&json!("OK"), &json!(3)), "{reply}");
    let late = node.call(json!({ "type": "WAIT_PROCESS", "pid": create(&node, json!({})), "timeout": 0.05 }));
    assert_eq!(late["code"], "timeout", "{late}");
}

#[test]
fn a_child_is_a_zombie_until_somebody_has_waited_for_it() {
    let node = node();
    let parent = create(&node, json!({}));
    let child = create(&node, json!({ "parent_pid": parent }));
    ok(&node, json!({ "type": "SET_PROCESS_STATE", "pid": child, "state": "TERMINATED" }));
    assert_eq!(info(&node, &child)["state"], "ZOMBIE");
    assert_eq!(ok(&node, json!({ "type": "WAIT_PROCESS", "pid": child }))["exit_code"], 0);
    assert_eq!(info(&node, &child)["state"], "TERMINATED");
    // A caller that goes away takes its wait along.
    let mut wire = node.wire();
    wire.send(json!({ "type": "WAIT_PROCESS", "pid": parent }));
    drop(wire);
    ok(&node, json!({ "type": "TERMINATE_PROCESS", "pid": parent }));
    wait_for("the node to serve on", || node.status()["process_manager"]["alive"] == 0);
}

#[test]
fn changes_can_be_followed_at_the_command_line() {
    let node = node();
    let pid = create(&node, json!({ "name": "from outside" }));
    let output = node.cli(["send", "PROCESS_INFO", &format!("pid={pid}")]);
    assert!(output.stdout.contains("from outside"), "{}", output.stdout);
    wait_for("an event that tells of it", || {
        let events = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["process.*"], "after": 0 }));
        events.to_string().contains(&format!("\"pid\":\"{pid}\""))
    });
}

/// Uses a processor as long as it runs.
const ENDLESS: &str = "def main():\n    while True:\n        pass\n";

/// What `potluck ps` shows to programs of the task that is called so.
fn shown(node: &TestNode, task_id: &str) -> Option<Value> {
    let list = node.cli(["--json", "ps"]).success().json();
    list["processes"].as_array()?.iter().find(|process| process["task_id"] == task_id).cloned()
}

/// What it has used so far, once that is known.
fn cpu_seconds(node: &TestNode, task_id: &str) -> f64 {
    wait_for_some(&format!("{task_id} to be measured"), || shown(node, task_id)?["usage"]["cpu_seconds"].as_f64())
}

/// Waits until a task has used this much more than it has now.
fn wait_until_it_has_used_more(node: &TestNode, task_id: &str) -> f64 {
    let before = cpu_seconds(node, task_id);
    wait_for_some(&format!("{task_id} to use more"), || {
        Some(cpu_seconds(node, task_id)).filter(|now| *now >= before + 0.1)
    })
}

#[test]
fn what_runs_shows_what_it_uses_and_what_is_paused_uses_no_more() {
    let node = TestNode::peer().cpu("workers = 3").plugin("process", "").start();
    let endless =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start") (loop $more (br $more))))"#);
    let guest = endless.unwrap();
    let running = [
        ("python", task(ENDLESS, json!([])), Vec::new()),
        ("sandbox", sandboxed(ENDLESS, json!([])), Vec::new()),
        ("wasm", json!({ "type": "CPU_TASK", "runtime": "wasm", "attachment": guest.len() }), guest),
    ];
    let _wires = running.each_ref().map(|(name, message, attachment)| {
        let mut wire = node.wire();
        wire.send_with(with(message.clone(), json!({ "task_id": name, "timeout": 600 })), attachment);
        wire
    });
    for (name, ..) in &running {
        wait_until_it_has_used_more(&node, name);
        let usage = shown(&node, name).unwrap()["usage"].clone();
        assert!(usage["memory_bytes"].as_u64().unwrap() > 1 << 20, "{name}: {usage}");
        let pid = shown(&node, name).unwrap()["pid"].as_str().unwrap().to_owned();
        let tree = node.cli(["--json", "ps", &pid]).success().json()["tree"].clone();
        let of_tree = [&tree["usage"]["cpu_seconds"], &tree["usage"]["memory_bytes"]].map(Value::as_f64);
        assert!(of_tree.iter().all(|number| number.is_some_and(|number| number > 0.0)), "{name}: {tree}");
    }
    for (name, other) in [("python", "sandbox"), ("sandbox", "wasm"), ("wasm", "python")] {
        let pid = shown(&node, name).unwrap()["pid"].as_str().unwrap().to_owned();
        node.cli(["pause", &pid]).success();
        wait_until_it_has_used_more(&node, other);
        let before = cpu_seconds(&node, name);
        wait_until_it_has_used_more(&node, other);
        assert_eq!(cpu_seconds(&node, name), before, "{name} is paused");
        node.cli(["resume", &pid]).success();
        wait_until_it_has_used_more(&node, name);
    }
    let table = node.cli(["ps"]).success().stdout;
    let headings: Vec<&str> = table.lines().next().unwrap().split_whitespace().take(4).collect();
    assert_eq!(headings, ["PID", "STATE", "CPU", "MEMORY"], "{table}");
    assert_eq!(table.matches("iB").count(), 3, "{table}");
    assert_eq!(node.cli(["top"]).success().stdout.matches("RUNNING").count(), 3);
}

#[test]
fn a_task_is_not_charged_what_its_worker_had_used_before() {
    let node = TestNode::peer().cpu("workers = 1").plugin("process", "").plugin("ipc", "").start();
    node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "door", "initial_value": 0 }));
    let busy = "
import os, time
def main():
    while time.process_time() < 1:
        pass
    return os.getpid()
";
    let waits = "
import os, potluck
def main():
    potluck.call('SEMAPHORE_WAIT', sem_id='door')
    return os.getpid()
";
    let first = node.call(task(busy, json!([])));
    let mut wire = node.wire();
    wire.send(with(task(waits, json!([])), json!({ "task_id": "waits" })));
    let waiting = wait_for_some("it to wait", || shown(&node, "waits").filter(|process| process["state"] == "WAITING"));
    let used = cpu_seconds(&node, "waits");
    assert!(used < 0.5, "{used}: {waiting}");
    node.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "door", "process_id": "test" }));
    assert_eq!(wire.read()["result"], first["result"], "they had the same worker");
    wait_for("its end to be known", || {
        // In all, and no longer so far.
        let ended = node.cli(["--json", "ps", "--all"]).success().json();
        ended["processes"].as_array().unwrap().iter().all(|process| process.get("usage").is_none())
    });
}
