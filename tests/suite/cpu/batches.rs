//! BATCH_TASK.

use super::{ENDLESS, cancel};
use potluck_tests::{Gate, TestNode, wait_for, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn a_batch_answers_in_the_order_of_its_tasks() {
    let node = TestNode::peer().start();
    let gate = Gate::new(&node);
    let mut tasks: Vec<Value> =
        (0..200).map(|x| json!({ "program": "def main(x): return x * x", "args": [x] })).collect();
    tasks[0] = with(gate.task(), json!({ "task_id": "slow" }));
    let mut wire = node.wire();
    wire.send(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    node.wait_until("all tasks but the slow one to be over", |status| {
        status["scheduler"]["stats"]["completed_tasks"] == 199
    });
    gate.open();
    let reply = wire.read();
    assert_eq!(reply["type"], "BATCH_RESULT", "{reply}");
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 200);
    assert_eq!((&results[0]["task_id"], &results[0]["result"]), (&json!("slow"), &json!("through")));
    let names: BTreeSet<&str> = results.iter().map(|result| result["task_id"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 200, "every task has a name of its own");
    for (x, result) in results.iter().enumerate().skip(1) {
        assert_eq!((&result["result"], &result["type"]), (&json!(x * x), &json!("CPU_RESULT")), "{result:#}");
    }
}

#[test]
fn a_batch_tells_of_each_failure_in_its_place() {
    let node = TestNode::peer().start();
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": [
        { "task_id": "good", "program": "def main(): return 'good'" },
        { "task_id": "raises", "program": "def main(): return 1 / 0" },
        { "task_id": "slow", "program": "def main():\n    while True: pass", "timeout": 0.3 },
        { "task_id": "dies", "program": "import os\ndef main(): os._exit(3)" },
        { "task_id": "empty" },
        { "task_id": "wrong", "program": "def main(): pass", "priority": "high" },
        5,
        { "type": "CPU_TASK", "task_id": "last", "program": "def main(): return 'last'" },
    ] }));
    let expected = [
        ("good", None),
        ("raises", Some("task_failed")),
        ("slow", Some("timeout")),
        ("dies", Some("worker_died")),
        ("empty", Some("invalid_task")),
        ("unknown", Some("invalid_message")),
        ("unknown", Some("invalid_message")),
        ("last", None),
    ];
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), expected.len());
    for (result, (task_id, code)) in results.iter().zip(expected) {
        assert_eq!(result["code"].as_str(), code, "{result:#}");
        assert_eq!(result["task_id"], task_id, "{result:#}");
        assert_eq!(result["error"].is_null(), code.is_none(), "{result:#}");
    }
    node.check_serving();
}

#[test]
fn a_batch_without_tasks_is_refused() {
    let node = TestNode::peer().start();
    for message in [json!({ "type": "BATCH_TASK" }), json!({ "type": "BATCH_TASK", "tasks": [] })] {
        let reply = node.call(message);
        assert_eq!((&reply["type"], &reply["error"]), (&json!("ERROR"), &json!("No tasks provided")), "{reply}");
    }
    let tasks = vec![json!({ "program": "def main(): pass" }); 10_001];
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    assert!(reply["error"].as_str().unwrap().contains("10000"), "{reply}");
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": "many" }));
    assert_eq!(reply["code"], "invalid_message", "{reply}");
}

#[test]
fn tasks_of_a_batch_can_be_cancelled_by_name() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    wire.send(json!({ "type": "BATCH_TASK", "tasks": [
        { "task_id": "one", "program": "def main(): return 1" },
        { "task_id": "endless", "program": ENDLESS },
    ] }));
    wait_for("the task to be known", || cancel(&node, "endless")["status"] == "CANCELLED");
    let reply = wire.read();
    assert_eq!(reply["results"][0]["result"], 1);
    assert_eq!(reply["results"][1]["code"], "cancelled");
}

#[test]
fn a_batch_whose_answer_is_too_large_runs_no_further() {
    let node = TestNode::peer().cpu("workers = 2").start();
    let large = "def main(): return 'x' * 8_000_000";
    let mut tasks = vec![json!({ "program": large }); 3];
    // They would outlive the test.
    tasks.extend(vec![json!({ "program": ENDLESS, "timeout": 3600 }); 20]);
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    assert_eq!(reply["code"], "reply_too_large", "{:.300}", reply.to_string());
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_batch_whose_client_has_gone_is_called_off() {
    let node = TestNode::peer().cpu("workers = 1").start();
    node.check_serving();
    let mut wire = node.wire();
    let tasks = vec![json!({ "program": ENDLESS, "timeout": 3600 }); 2000];
    wire.send(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    drop(wire);
    // What is sent afterwards waits behind whatever is left of it.
    node.check_serving();
    node.wait_for_tasks(0, 0);
}
