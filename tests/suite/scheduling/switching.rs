//! SET_SCHEDULER: what each algorithm has measured.

use super::set;
use potluck_tests::TestNode;
use serde_json::{Value, json};

fn statistics(node: &TestNode, algorithm: &str) -> Value {
    let state = node.call(json!({ "type": "GET_SCHEDULER" }));
    let all = state["statistics"].as_array().unwrap();
    let mut own = all.iter().filter(|one| one["algorithm"] == algorithm);
    let found = own.next().unwrap_or_else(|| panic!("{algorithm}: {state:#}")).clone();
    assert_eq!(own.next(), None, "{state:#}");
    found
}

#[test]
fn what_an_algorithm_has_measured_stays_while_another_is_in_force() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    node.check_serving();
    set(&node, json!({ "algorithm": "RR" }));
    let before = statistics(&node, "FCFS");
    assert_eq!((&before["tasks"], &statistics(&node, "RR")["tasks"]), (&json!(1), &json!(0)));
    for _ in 0..3 {
        node.check_serving();
    }
    assert_eq!((&statistics(&node, "FCFS"), &statistics(&node, "RR")["tasks"]), (&before, &json!(3)));
}
