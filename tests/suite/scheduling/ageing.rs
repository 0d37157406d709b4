//! Priorities that grow with the time of waiting: nobody starves.

use super::set;
use potluck_tests::{Gate, LIMIT, TestNode, Wire, task, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

/// Long enough that several of them wait all the time.
const PROGRAM: &str = "import time\ndef main():\n    time.sleep(0.005)\n    return 'short'";
/// Of the stream, waiting at any time: so many that it does not run dry where this program gets no time for a while.
const STREAM: usize = 60;

fn send(wire: &mut Wire, id: &str, priority: i64) {
    let members = json!({ "id": id, "task_id": id, "source_peer": "127.0.0.1:9", "timeout": 600, "cache": false,
        "priority": priority });
    wire.send(with(task(PROGRAM, json!([])), members));
}

/// A low priority, and then high ones without an end: whenever one ends there is another. Returns the order of ends until
/// the low one has ended or `ends_max` others have, and the ids of those that still waited then.
fn stream(node: &TestNode, ends_max: usize) -> (Vec<String>, BTreeSet<String>) {
    let (gate, mut wire, mut holder) = (Gate::new(node), node.wire(), node.wire());
    holder.send(gate.task());
    node.wait_for_tasks(1, 0);
    send(&mut wire, "low", 0);
    let mut waiting: BTreeSet<String> = ["low".to_owned()].into();
    let mut sent = 0;
    let mut one_more = |wire: &mut Wire, waiting: &mut BTreeSet<String>| {
        let id = format!("high-{sent}");
        sent += 1;
        send(wire, &id, 10);
        waiting.insert(id);
    };
    for _ in 0..STREAM {
        one_more(&mut wire, &mut waiting);
    }
    node.wait_for_tasks(1, STREAM as u64 + 1);
    gate.open();
    assert_eq!(holder.read()["result"], "through");
    let (mut ended, deadline) = (Vec::new(), Instant::now() + LIMIT);
    while ended.len() < ends_max {
        assert!(Instant::now() < deadline, "the low priority never gets its turn: {} others have", ended.len());
        let id = super::next(&mut wire);
        assert!(waiting.remove(&id), "{id} has ended twice");
        ended.push(id);
        if ended.last().is_some_and(|id| id == "low") {
            break;
        }
        one_more(&mut wire, &mut waiting);
    }
    let left = waiting.clone();
    // They go through as well, each once.
    while !waiting.is_empty() {
        let id = super::next(&mut wire);
        assert!(waiting.remove(&id), "{id} has ended twice");
        if !ended.iter().any(|ended| ended == "low") {
            assert!(id != "low" || waiting.is_empty(), "it had to be the last: {waiting:?}");
        }
    }
    (ended, left)
}

fn node() -> TestNode {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"PRIORITY\"").start();
    node.check_serving();
    node
}

#[test]
fn without_ageing_a_stream_of_high_priorities_goes_before_a_low_one() {
    let (ended, left) = stream(&node(), 150);
    assert_eq!(ended.len(), 150);
    assert!(left.contains("low"), "{ended:?}");
}

#[test]
fn with_ageing_a_low_priority_that_waits_overtakes_a_stream_of_high_ones() {
    let node = node();
    // Ten steps are 800 ms.
    set(&node, json!({ "algorithm": "PRIORITY", "ageing_seconds": 0.08 }));
    let (ended, left) = stream(&node, usize::MAX);
    // At first the priority counts, and in the end the waiting.
    assert_eq!((ended[0].as_str(), ended.last().map(String::as_str)), ("high-0", Some("low")), "{ended:?}");
    assert!(!left.is_empty());
    let reply = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["scheduler.decision"], "after": 0 }));
    let decided = reply["events"].as_array().unwrap().iter().find(|event| event["body"]["chosen"] == "low");
    let decided = &decided.unwrap_or_else(|| panic!("{reply:#}"))["body"];
    let why = decided["why"].as_str().unwrap();
    assert!(
        why.starts_with("it has priority 0, the next one 10, but came ") && why.ends_with(" earlier (80 ms a step)")
    );
    // Whoever it was chosen before has a higher priority, and waited.
    let candidates = decided["candidates"].as_array().unwrap();
    let priorities: Vec<&Value> = candidates.iter().map(|candidate| &candidate["priority"]).collect();
    assert!(priorities.len() > 1 && *priorities[0] == json!(0), "{decided:#}");
    assert!(priorities[1..].iter().all(|priority| **priority == json!(10)), "{decided:#}");
}
