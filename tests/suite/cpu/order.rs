//! Which task is next, and how many run at once.

use super::{assert_failed, ids, one_worker};
use potluck_tests::{Gate, TestNode, task, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

/// Fills the only worker, queues tasks with these names and priorities, changes something, and tells in which order the
/// tasks were run.
fn order(node: &TestNode, priorities: &[(&str, i64)], change: impl FnOnce()) -> Vec<String> {
    let gate = Gate::new(node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "gate", "priority": 100 })));
    node.wait_for_tasks(1, 0);
    for (id, priority) in priorities {
        let options = json!({ "id": id, "priority": priority, "source_peer": "127.0.0.1:9" });
        wire.send(with(task("def main(): pass", json!([])), options));
    }
    node.wait_for_tasks(1, priorities.len() as u64);
    change();
    gate.open();
    let mut order = ids(&mut wire, priorities.len() + 1);
    assert_eq!(order.remove(0), "gate");
    order
}

const PRIORITIES: [(&str, i64); 7] =
    [("a", 0), ("b", 5), ("c", 0), ("d", -3), ("e", 5), ("f", i64::MAX), ("g", i64::MIN)];

#[test]
fn a_higher_priority_runs_first_and_equals_in_the_order_of_arrival() {
    assert_eq!(order(&one_worker(), &PRIORITIES, || ()), ["f", "b", "e", "a", "c", "d", "g"]);
}

#[test]
fn first_come_is_first_served_with_fcfs() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "FCFS");
    assert_eq!(order(&node, &PRIORITIES, || ()), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn another_algorithm_sorts_the_tasks_that_wait() {
    let node = one_worker();
    let to = |algorithm: &str| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    let fcfs = || {
        let reply = to("FCFS");
        assert_eq!((&reply["status"], &reply["algorithm"]), (&json!("OK"), &json!("FCFS")), "{reply}");
    };
    assert_eq!(order(&node, &PRIORITIES, fcfs), ["a", "b", "c", "d", "e", "f", "g"]);

    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"fcfs\"").start();
    let to = |algorithm: &str| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    let priority = || {
        to("PRIORITY");
        to("FCFS");
        to("priority");
    };
    assert_eq!(order(&node, &PRIORITIES, priority), ["f", "b", "e", "a", "c", "d", "g"]);
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "PRIORITY");
}

#[test]
fn an_unknown_algorithm_is_refused_with_those_there_are() {
    let node = TestNode::peer().start();
    let to = |algorithm: Value| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    for algorithm in [Value::Null, json!("")] {
        assert_eq!(to(algorithm)["error"], "algorithm required");
    }
    let error = to(json!("LIFO"))["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("Unknown algorithm: LIFO. Available: "), "{error}");
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "PRIORITY");
}

#[test]
fn as_many_tasks_run_at_once_as_there_are_workers() {
    let node = TestNode::peer().cpu("workers = 3").start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    for id in 0..5 {
        wire.send(with(gate.task(), json!({ "id": id.to_string() })));
    }
    node.wait_for_tasks(3, 2);
    let stats = node.status()["scheduler"]["stats"].take();
    assert!((stats["current_load"].as_f64().unwrap() - 5.0 / 3.0).abs() < 1e-9, "{stats:#}");
    gate.open();
    ids(&mut wire, 5);
    let status = node.wait_until("the tasks to be over", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
    let stats = &status["scheduler"]["stats"];
    assert_eq!((&stats["total_tasks"], &stats["completed_tasks"]), (&json!(5), &json!(5)), "{stats:#}");
    assert_eq!(status["executor"]["execution_count"], 5);
}

#[test]
fn a_full_queue_refuses_more() {
    let node = TestNode::peer().cpu("workers = 1\nqueue_tasks_max = 2").start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "0" })));
    node.wait_for_tasks(1, 0);
    for id in ["1", "2"] {
        wire.send(with(gate.task(), json!({ "id": id })));
    }
    node.wait_for_tasks(1, 2);
    assert_failed(&node.call(task("def main(): pass", json!([]))), "queue_full", "queue_tasks_max");
    gate.open();
    ids(&mut wire, 3);
    node.check_serving();
}

#[test]
fn two_thousand_tasks_in_flight_on_one_connection_all_come_out_right() {
    const TASKS: u64 = 2000;
    let node = TestNode::peer().start();
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..TASKS {
                writer.send(with(task("def main(x): return x * x + 1", json!([id])), json!({ "id": id })));
            }
        });
        let mut seen = BTreeSet::new();
        for _ in 0..TASKS {
            let reply = reader.read();
            let id = reply["id"].as_u64().unwrap();
            assert_eq!(reply["result"], id * id + 1, "{reply:#}");
            assert!(seen.insert(id), "{id} was answered twice");
        }
    });
    assert_eq!(node.status()["executor"]["execution_count"], TASKS);
}
