//! The client of the original system: what it sends, what it expects, and how it reads.

use potluck_tests::{Output, TestNode, fixture_source, run};
use std::process::Command;

const CHECKS: [&str; 8] = [
    "status",
    "cpu",
    "confidential cpu",
    "large integer",
    "failing task",
    "memory",
    "cancel of unknown task",
    "unknown type",
];

fn protocol_client(node: &TestNode) -> Output {
    let mut command = Command::new("python3");
    command.arg("-B").arg(fixture_source("protocol_client.py")).arg("--port").arg(node.port().to_string());
    run(&mut command, "")
}

#[test]
fn it_works_unchanged_with_a_node() {
    let node = TestNode::peer().start();
    let output = protocol_client(&node).success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let expected: Vec<String> = CHECKS.iter().map(|name| format!("ok   {name}")).collect();
    assert_eq!(lines, expected, "{output:#?}");
}

#[test]
fn it_works_unchanged_with_a_peer_of_a_pool() {
    let tracker = TestNode::tracker().start();
    let peer = TestNode::peer().tracker(tracker.address()).start();
    let output = protocol_client(&peer).success();
    assert!(output.stdout.lines().all(|line| line.starts_with("ok ")), "{output:#?}");
}

#[test]
fn it_reports_what_a_node_cannot_do() {
    let node = TestNode::peer().plugins("[plugins.memory]\n").start();
    let output = protocol_client(&node);
    let is_ok = |name: &str| output.stdout.lines().any(|line| line == format!("ok   {name}"));
    assert_eq!(output.status, 1, "{output:#?}");
    // Without the cpu provider the checks of tasks fail, and only these.
    assert!(is_ok("status") && is_ok("memory") && is_ok("cancel of unknown task"), "{output:#?}");
    assert!(!is_ok("cpu") && !is_ok("large integer"), "{output:#?}");
}
