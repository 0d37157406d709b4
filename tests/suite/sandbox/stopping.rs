//! Sandboxed tasks that do not end by themselves: the limit on their time and CANCEL_TASK end each of them, and the worker
//! lives on.

use super::{assert_failed, check_serving};
use potluck_tests::{TestNode, sandboxed, wait_for, with};
use serde_json::json;
use std::time::{Duration, Instant};

/// None of these ends within an hour.
const ENDLESS: [(&str, &str); 14] = [
    ("a loop", "def main():\n    while True: pass"),
    ("a loop that works", "def main(): return sum(range(10 ** 12))"),
    ("a regular expression", "import re\ndef main(): return re.match('(a+)+$', 'a' * 60 + 'b') is None"),
    ("a giant integer", "def main(): return 7 ** (10 ** 9) % 10"),
    ("digits of a giant integer", "def main(): return len(str((1 << (1 << 25)) // 7))"),
    ("sleep", "import time\ndef main(): time.sleep(3600)"),
    ("sleep in parts", "import time\ndef main():\n    while True: time.sleep(0.001)"),
    (
        "a loop that catches everything",
        "def main():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    ),
    (
        "sleep that catches everything",
        "import time\ndef main():\n    while True:\n        try: time.sleep(3600)\n        except BaseException: pass",
    ),
    ("a coroutine", "import asyncio\ndef main(): return asyncio.run(asyncio.sleep(3600))"),
    ("a C function", "import itertools\ndef main(): return sum(1 for _ in itertools.repeat(1))"),
    ("a C function alone", "import collections, itertools\ndef main(): collections.deque(itertools.repeat(1), 0)"),
    ("the program's own text", "while True: pass"),
    (
        "the text of an exception",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef main(): raise E",
    ),
];

/// Worker processes that the node has started so far.
pub(crate) fn started(node: &TestNode) -> u64 {
    node.status()["executor"]["workers_started"].as_u64().unwrap()
}

/// Checks that workers lived on, of which so many tasks were stopped. Not all: a worker that takes too long is replaced, and
/// on a machine that is busy every one may.
pub(crate) fn check_workers(node: &TestNode, started_before: u64, stopped: usize) {
    let replaced = started(node) - started_before;
    assert!(replaced <= stopped as u64 / 2, "{replaced} of {stopped} workers were replaced");
}

#[test]
fn every_endless_task_ends_with_its_time() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = started(&node);
    for (name, program) in ENDLESS {
        let begun = Instant::now();
        let reply = node.call(with(sandboxed(program, json!([])), json!({ "timeout": 0.3 })));
        assert_failed(&reply, "timeout", "Task execution timeout");
        assert_eq!(reply["attempts"], 1, "{name}: {reply:#}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name} ran on for {:?}", begun.elapsed());
        check_serving(&node);
    }
    check_workers(&node, before, ENDLESS.len());
}

#[test]
fn every_endless_task_can_be_cancelled() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = started(&node);
    for (name, program) in ENDLESS {
        let mut wire = node.wire();
        wire.send(with(sandboxed(program, json!([])), json!({ "task_id": name, "timeout": 600 })));
        node.wait_for_tasks(1, 0);
        let cancelled = node.call(json!({ "type": "CANCEL_TASK", "task_id": name }));
        assert_eq!(cancelled["status"], "CANCELLED", "{name}: {cancelled:#}");
        assert_failed(&wire.read(), "cancelled", "Task cancelled");
        check_serving(&node);
    }
    check_workers(&node, before, ENDLESS.len());
}

#[test]
fn a_task_whose_client_has_gone_is_stopped() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let mut wire = node.wire();
    wire.send(with(sandboxed(ENDLESS[0].1, json!([])), json!({ "timeout": 600 })));
    wire.send(with(sandboxed(ENDLESS[0].1, json!([])), json!({ "timeout": 600, "id": "queued" })));
    node.wait_for_tasks(1, 1);
    drop(wire);
    node.wait_for_tasks(0, 0);
    check_serving(&node);
}

#[test]
fn processor_time_has_a_limit_of_its_own() {
    let node = TestNode::peer().start();
    let reply = node.call(with(sandboxed(ENDLESS[0].1, json!([])), json!({ "cpu_limit_seconds": 0.3, "timeout": 60 })));
    assert_failed(&reply, "cpu_limit", "0.3 seconds");
    // Sleeping costs none, and what ran before in the same process does not count.
    let sleeper = "import time\ndef main():\n    time.sleep(0.5)\n    return 'rested'";
    for _ in 0..3 {
        let reply = node.call(with(sandboxed(sleeper, json!([])), json!({ "cpu_limit_seconds": 0.3 })));
        assert_eq!(reply["result"], "rested", "{reply:#}");
    }
    check_serving(&node);
}

#[test]
fn many_endless_tasks_at_once_are_all_stopped() {
    let node = TestNode::peer().start();
    check_serving(&node);
    let mut wire = node.wire();
    for id in 0..20 {
        wire.send(with(sandboxed(ENDLESS[id % ENDLESS.len()].1, json!([])), json!({ "id": id, "timeout": 0.5 })));
    }
    for _ in 0..20 {
        assert_failed(&wire.read(), "timeout", "");
    }
    node.wait_for_tasks(0, 0);
    check_serving(&node);
}

#[test]
fn a_node_that_stops_answers_its_sandboxed_tasks() {
    let mut node = TestNode::peer().cpu("workers = 1\ndrain_seconds = 0.2").start();
    let mut wire = node.wire();
    wire.send(with(sandboxed(ENDLESS[0].1, json!([])), json!({ "timeout": 600 })));
    node.wait_for_tasks(1, 0);
    let workers = potluck_tests::children(node.pid());
    node.terminate();
    assert_failed(&wire.read(), "node_stopping", "the node is stopping");
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
    assert!(!workers.iter().any(|pid| potluck_tests::is_alive(*pid)), "a worker has outlived its node");

    let mut node = TestNode::peer().start();
    let mut wire = node.wire();
    wire.send(with(sandboxed(ENDLESS[0].1, json!([])), json!({ "timeout": 600 })));
    node.wait_for_tasks(1, 0);
    let workers = potluck_tests::children(node.pid());
    node.kill9();
    wait_for("the workers to end after their node was killed", || {
        !workers.iter().any(|pid| potluck_tests::is_alive(*pid))
    });
}
