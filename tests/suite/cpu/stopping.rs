//! What becomes of tasks when the node stops.

use super::{ENDLESS, assert_failed};
use potluck_tests::{Gate, TestNode, task, with};
use serde_json::{Value, json};

#[test]
fn a_node_that_stops_answers_every_task() {
    let mut node = TestNode::peer().cpu("workers = 1\ndrain_seconds = 0.2").start();
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "id": "running" })));
    node.wait_for_tasks(1, 0);
    for id in ["queued 1", "queued 2"] {
        wire.send(with(task("def main(): pass", json!([])), json!({ "id": id })));
    }
    node.wait_for_tasks(1, 2);
    node.terminate();
    let mut answers: Vec<Value> = (0..3).map(|_| wire.read()).collect();
    answers.sort_by_key(|answer| answer["id"].to_string());
    for (answer, id) in answers.iter().zip(["queued 1", "queued 2", "running"]) {
        assert_eq!(answer["id"], id);
        assert_failed(answer, "node_stopping", "the node is stopping");
    }
    wire.expect_end();
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
}

#[test]
fn a_running_task_may_end_while_the_node_stops() {
    let mut node = TestNode::peer().cpu("workers = 1\ndrain_seconds = 60").start();
    let gate = Gate::new(&node);
    let (mut wire, mut late) = (node.wire(), node.wire());
    wire.send(with(gate.task(), json!({ "id": "running" })));
    node.wait_for_tasks(1, 0);
    late.send(with(gate.task(), json!({ "id": "queued" })));
    node.wait_for_tasks(1, 1);
    node.terminate();
    assert_failed(&late.read(), "node_stopping", "");
    gate.open();
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["result"]), (&json!("running"), &json!("through")), "{reply:#}");
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
}
