//! Scenarios 1 to 3 and the first workflow: tasks here and on other peers.

use super::{begin, begin_task, complete, json, out};
use potluck_tests::{Cluster, Gate, TestNode, wait_for, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

/// Peers with one slot each.
fn peers(count: usize) -> Cluster {
    Cluster::start_with(count, |_, builder| complete(builder.cpu("workers = 1")))
}

/// Keeps the only slot of a node busy until the gate is opened.
fn busy(node: &TestNode) -> (Gate, potluck_tests::Wire) {
    let gate = Gate::new(node);
    let mut wire = node.wire();
    wire.send(gate.task());
    node.wait_for_tasks(1, 0);
    (gate, wire)
}

/// What the node's history has of a task; null for nothing.
fn record(node: &TestNode, task: &str) -> Value {
    node.cli(["--json", "history", "--task-id", task]).json()["task"].take()
}

#[test]
fn scenario_1_a_basic_remote_task() {
    let cluster = peers(2);
    let [here, there] = &cluster.peers[..] else { unreachable!() };
    let (gate, _wire) = busy(here);
    let program = "def main(a, b): print('adding'); return a + b";
    let words = ["cpu", "--program", program, "--args", "[10, 5]", "--task-id", "sum"];
    assert_eq!(here.cli(words).success().stdout, "adding\nResult: 15\n");
    let reply = here.cli([&["--json"], &words[..]].concat()).success().json();
    assert_eq!((&reply["result"], &reply["executed_by"]), (&json!(15), &json!(there.address())), "{reply:#}");
    let failing = here.cli(["cpu", "--program", "def main(): return 1 / 0", "--task-id", "fails"]);
    assert!(failing.status == 1 && failing.stderr.contains("division by zero"), "{failing:?}");
    // Both remember, each in its part.
    wait_for("both to have it in their history", || {
        // There it has a name that the peer has made for it.
        let executed = json(there, "history")["history"].clone();
        let is_ours = |record: &Value| record["role"] == "EXECUTOR" && record["requested_by"] == here.peer_id();
        record(here, "sum")["role"] == "CLIENT" && executed.as_array().is_some_and(|list| list.iter().any(is_ours))
    });
    assert_eq!(record(here, "sum")["status"], "SUCCESS");
    wait_for("the failure to be in the history", || record(here, "fails")["status"] == "FAILED");
    gate.open();
}

#[test]
fn scenario_2_a_confidential_task_stays_and_needs_no_tracker() {
    let mut cluster = peers(2);
    let (gate, _wire) = busy(&cluster.peers[0]);
    let secret = "def main(word): return word.upper()";
    let words = ["--json", "cpu", "--confidential", "--task-id", "secret", "--program", secret, "--args", "hush"];
    let confidential = begin(&cluster.peers[0], &words);
    // It waits for the slot here, though there is a free one there.
    cluster.peers[0].wait_for_tasks(1, 1);
    assert_eq!(cluster.peers[1].active_tasks(), 0);
    cluster.tracker.kill9();
    gate.open();
    let here = &cluster.peers[0];
    let reply = confidential.join().unwrap().success().json();
    assert_eq!((&reply["result"], &reply["executed_by"]), (&json!("HUSH"), &json!(here.address())), "{reply:#}");
    // And one that is begun while there is no tracker.
    let reply = here.cli(words).success().json();
    assert_eq!(reply["result"], "HUSH", "{reply:#}");
    wait_for("it to be in the history", || record(here, "secret")["status"] == "SUCCESS");
    let text = out(here, "--json history") + &out(&cluster.peers[1], "--json history");
    assert!(!text.contains("HUSH"), "{text}");
    assert_eq!(record(&cluster.peers[1], "secret"), Value::Null);
}

#[test]
fn scenario_3_several_tasks_are_spread_over_the_peers() {
    let cluster = peers(3);
    let here = &cluster.peers[0];
    let gate = Gate::new(here);
    let path = here.folder().join("tasks.jsonl");
    let line = |number: u32| {
        let mut task = with(gate.task(), json!({ "task_id": format!("task-{number}") }));
        // The gate's own tasks are not given away.
        task.as_object_mut().unwrap().remove("source_peer");
        task.to_string() + "\n"
    };
    fs::write(&path, (0..9).map(line).collect::<String>()).unwrap();
    let batch = begin(here, &["--json", "batch", path.to_str().unwrap()]);
    for peer in &cluster.peers {
        peer.wait_until("each peer to run one", |status| status["scheduler"]["stats"]["active_tasks"] == 1);
    }
    gate.open();
    let results = batch.join().unwrap().success().json_lines();
    assert!(results.iter().filter(|reply| reply["result"] == "through").count() == 9, "{results:#?}");
    let ran_on: BTreeSet<&str> = results.iter().filter_map(|reply| reply["executed_by"].as_str()).collect();
    assert_eq!(ran_on, cluster.peers.iter().map(TestNode::address).collect());
}

#[test]
fn workflow_1_the_factorial_of_100_has_all_its_digits() {
    let node = complete(TestNode::peer()).start();
    let factorial = "9332621544394415268169923885626670049071596826438162146859296389521759999322991560894146397615651828\
                     6253697920827223758251185210916864000000000000000000000000";
    let program = "def factorial(n): return 1 if n == 0 else n * factorial(n - 1)";
    for runtime in ["python", "sandbox"] {
        let words = ["cpu", "--runtime", runtime, "--program", program, "--function", "factorial", "--args", "[100]"];
        assert_eq!(node.cli(words).success().stdout, format!("Result: {factorial}\n"));
        let text = node.cli([&["--json"], &words[..]].concat()).success().stdout;
        assert!(text.contains(factorial), "{text}");
        // As a value between tasks as well.
        let stores = "import potluck, math\ndef main(key): potluck.set(key, math.factorial(100))\n";
        begin_task(&node, "stores", runtime, stores, runtime).join().unwrap().success();
        assert!(out(&node, &format!("get-mem --key {runtime}")).contains(factorial));
    }
}
