//! Quotas: refused at exactly the limit, also after a restart and a kill.

use potluck_tests::{NodeBuilder, TestNode};
use serde_json::{Value, json};

/// A node with a limit of five tasks for everybody together.
fn limited() -> NodeBuilder {
    TestNode::peer()
        .cpu("workers = 1")
        .plugin("cache", "")
        .plugin("quota", "[plugins.quota.limits.cpu_tasks]\ntotal = 5\nwindow_seconds = 3600")
}

fn run(node: &TestNode, number: u64) -> Value {
    let program = "def main(n):\n    return n * 2\n";
    node.call(json!({ "type": "CPU_TASK", "program": program, "args": [number], "cache": true }))
}

#[track_caller]
fn assert_refused(reply: &Value) {
    let error = reply["error"].as_str().unwrap_or_else(|| panic!("{reply}"));
    assert!(error.starts_with("CPU task quota exceeded (5 per 3600.0s)"), "{reply}");
    assert!(error.contains("have used 5, retry in "), "{reply}");
    assert_eq!(reply["code"], "quota_exceeded", "{reply}");
}

fn used(node: &TestNode) -> Value {
    node.call(json!({ "type": "QUOTA_CHECK" }))["quota"]["cpu_tasks"].clone()
}

#[test]
fn tasks_are_refused_at_exactly_the_limit_and_results_that_are_known_cost_nothing() {
    let node = limited().start();
    for number in 0..5 {
        assert_eq!(run(&node, number)["result"], number * 2);
        assert_eq!(run(&node, number)["cached"], true, "no second run");
    }
    assert_eq!(used(&node), json!({ "used": 5, "limit": 5, "window_seconds": 3600.0 }));
    assert_refused(&run(&node, 5));
    assert_eq!(run(&node, 3)["result"], 6, "what is known is still to be had");
    assert_eq!(node.status()["quota"]["cpu_tasks"]["used"], 5);
}

#[test]
fn what_was_used_is_counted_after_a_restart_and_a_kill() {
    let mut node = limited().start();
    for number in 0..2 {
        assert_eq!(run(&node, number)["result"], number * 2);
    }
    node.stop();
    node.restart();
    assert_eq!(used(&node)["used"], 2);
    for number in 10..12 {
        assert_eq!(run(&node, number)["result"], number * 2);
    }
    node.kill9();
    node.restart();
    assert_eq!(used(&node)["used"], 4);
    assert_eq!(run(&node, 20)["result"], 40);
    assert_refused(&run(&node, 21));
}

#[test]
fn files_are_refused_at_exactly_the_limit() {
    let node = TestNode::peer()
        .plugin("disk", "")
        .plugin("quota", "[plugins.quota.limits.storage_bytes]\ntotal = 1000\nmember = \"unlimited\"")
        .start();
    let put = |name: &str, bytes: usize| {
        let message = json!({ "type": "PUT_FILE", "filename": name });
        node.call_with(message, &vec![b'x'; bytes]).value()
    };
    assert_eq!(put("a", 600)["status"], "OK");
    assert_eq!(put("b", 400)["status"], "OK");
    let refused = put("c", 1);
    assert_eq!(refused["code"], "quota_exceeded", "{refused}");
    let text = "Storage quota exceeded (max 1000 bytes): all callers together have used 1000, delete some first";
    assert_eq!(refused["error"], text);
    // What takes the place of something else counts for the difference, and what is deleted for nothing.
    assert_eq!(put("a", 500)["status"], "OK");
    assert_eq!(put("c", 100)["status"], "OK");
    assert_eq!(put("a", 501)["code"], "quota_exceeded");
    node.call(json!({ "type": "DELETE_FILE", "filename": "b" }));
    assert_eq!(put("a", 900)["status"], "OK");
}

#[test]
fn what_is_shown_is_what_there_is() {
    let mut node = TestNode::peer()
        .plugin("disk", "")
        .plugin("quota", "limits = { storage_bytes = { total = 1000 }, memory_keys = { total = 10 } }")
        .start();
    let shown = |node: &TestNode| {
        let quota = &node.call(json!({ "type": "QUOTA_CHECK" }))["quota"];
        assert_eq!(*quota, node.status()["quota"], "one who asks is told the same as STATUS says");
        (quota["storage"]["used_bytes"].clone(), quota["memory_keys"]["used"].clone())
    };
    assert_eq!(shown(&node), (json!(0), json!(0)));
    for name in ["a", "b"] {
        let put = node.call_with(json!({ "type": "PUT_FILE", "filename": name }), &[b'x'; 300]).value();
        assert_eq!(put["status"], "OK", "{put}");
        assert_eq!(node.call(json!({ "type": "SET_MEM", "key": name, "value": 1 }))["status"], "OK");
    }
    node.wait_until("no room to be kept any more", |_| shown(&node) == (json!(600), json!(2)));
    node.call(json!({ "type": "DELETE_FILE", "filename": "a" }));
    node.call(json!({ "type": "DELETE_MEM", "key": "a" }));
    assert_eq!(shown(&node), (json!(300), json!(1)));
    let text = node.cli(["quota"]).success().stdout;
    assert!(text.contains("300 B"), "{text}");
    node.stop();
    node.restart();
    assert_eq!(shown(&node), (json!(300), json!(0)), "files stay, and entries of the memory do not");
}

#[test]
fn a_node_without_the_plugin_has_no_limits_and_one_with_it_tells_them() {
    let node = TestNode::peer().plugins("[plugins.quota]\npreset = \"classroom\"\n").start();
    let check = node.call(json!({ "type": "QUOTA_CHECK" }));
    let quota = &check["quota"];
    assert_eq!(quota["cpu_tasks"], json!({ "used": 0, "limit": 100, "window_seconds": 3600.0 }), "{check}");
    assert_eq!((&quota["memory_keys"]["limit"], &quota["storage"]["limit_mb"]), (&json!(1000), &json!(100.0)));
    let node = TestNode::peer().plugins("[plugins.memory]\n").start();
    assert_eq!(node.call(json!({ "type": "QUOTA_CHECK" }))["code"], "no_provider");
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": 1 }))["status"], "OK");
}
