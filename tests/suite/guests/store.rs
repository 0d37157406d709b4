//! The guests that a node keeps, so that they need not be sent again.

use super::{ECHO, WORLD, assert_failed, assert_ran, call, check_serving, guest_task, wasm};
use potluck_tests::{TestNode, with};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

fn named(sha256: &Value, args: Value) -> Value {
    with(guest_task(args), json!({ "module_sha256": sha256 }))
}

/// A guest that echoes, made so long by a section that nobody reads, and different from others by `mark`.
fn padded(bytes: usize, mark: u8) -> Vec<u8> {
    let mut guest = wasm(ECHO);
    let padding = bytes - guest.len() - 5;
    guest.push(0);
    let mut length = padding;
    // As a number of four bytes, whose highest bit says that more follows.
    for index in 0..4 {
        let more = if index < 3 { 0x80 } else { 0 };
        guest.push((length & 0x7f) as u8 | more);
        length >>= 7;
    }
    // The name of the section is one byte long.
    guest.push(1);
    guest.resize(bytes, mark);
    guest
}

fn kept(node: &TestNode) -> Vec<PathBuf> {
    let folder = fs::read_dir(node.provider_dir("cpu").join("modules")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_guest_is_sent_once_and_named_afterwards() {
    let node = TestNode::peer().start();
    for text in [ECHO, WORLD] {
        let first = call(&node, &wasm(text), json!([1]), json!({}));
        assert_ran(&first, &json!([1]));
        let sha256 = &first["module_sha256"];
        for number in 0..5 {
            let reply = node.call(named(sha256, json!([number])));
            assert_ran(&reply, &json!([number]));
            assert_eq!(&reply["module_sha256"], sha256);
        }
        // It may be sent again, with its name or without.
        assert_ran(&call(&node, &wasm(text), json!([2]), json!({ "module_sha256": sha256 })), &json!([2]));
        assert_eq!(&call(&node, &wasm(text), json!([3]), json!({}))["module_sha256"], sha256);
    }
    assert_eq!(kept(&node).len(), 2);
}

#[test]
fn a_guest_is_still_there_when_the_node_was_started_again() {
    let mut node = TestNode::peer().start();
    let sha256 = call(&node, &wasm(WORLD), json!([]), json!({}))["module_sha256"].clone();
    for stopped_well in [true, false] {
        if stopped_well {
            assert!(node.stop().success());
        } else {
            node.kill9();
            // What was being written when the node was killed.
            fs::write(node.provider_dir("cpu").join("modules/half.1.new"), "half").unwrap();
        }
        node.restart();
        assert_ran(&node.call(named(&sha256, json!(["again"]))), &json!(["again"]));
        assert_eq!(kept(&node).len(), 1);
    }
}

#[test]
fn the_guests_that_are_kept_have_a_bound() {
    let node = TestNode::peer().cpu("modules_bytes_max = 8388608").start();
    let size = 3_500_000;
    let names: Vec<Value> = (0..3)
        .map(|mark| {
            let reply = call(&node, &padded(size, mark), json!([mark]), json!({}));
            assert_ran(&reply, &json!([mark]));
            reply["module_sha256"].clone()
        })
        .collect();
    // The first one had to go for the third.
    let unknown = node.call(named(&names[0], json!([])));
    assert_failed(&unknown, "module_unknown", names[0].as_str().unwrap());
    assert_ran(&node.call(named(&names[1], json!([1]))), &json!([1]));
    assert_ran(&node.call(named(&names[2], json!([2]))), &json!([2]));
    // The one that was not used for the longest time goes next.
    assert_ran(&node.call(named(&names[1], json!([1]))), &json!([1]));
    assert_ran(&call(&node, &padded(size, 0), json!([0]), json!({})), &json!([0]));
    assert_failed(&node.call(named(&names[2], json!([]))), "module_unknown", "");
    assert_ran(&node.call(named(&names[1], json!([1]))), &json!([1]));
    let bytes: u64 = kept(&node).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= 8 << 20, "{bytes} bytes are kept");
    check_serving(&node);
}

#[test]
fn more_guests_than_a_worker_keeps_compiled_all_run() {
    let node = TestNode::peer().cpu("workers = 1\nmodule_cache_bytes = 300000").start();
    let names: Vec<Value> =
        (0..6).map(|mark| call(&node, &padded(100_000, mark), json!([]), json!({}))["module_sha256"].clone()).collect();
    for round in 0..3 {
        for sha256 in &names {
            assert_ran(&node.call(named(sha256, json!([round]))), &json!([round]));
        }
    }
}

#[test]
fn a_batch_may_have_a_guest() {
    let node = TestNode::peer().start();
    let other = call(&node, &wasm(WORLD), json!([]), json!({}))["module_sha256"].clone();
    let message = json!({ "type": "BATCH_TASK", "tasks": [
        { "runtime": "wasm", "args": [1] },
        { "runtime": "wasm", "args": [2] },
        { "runtime": "wasm", "args": ["why"], "module_sha256": other, "function": "fail" },
        { "runtime": "wasm", "args": [4], "module_sha256": "0".repeat(64) },
        { "runtime": "sandbox", "program": "def main(x): return x", "args": [5] },
        { "program": "def main(x): return x", "args": [6] },
    ] });
    let reply = node.call_with(message, &wasm(ECHO)).value();
    let results = reply["results"].as_array().unwrap_or_else(|| panic!("{reply:#}"));
    assert_ran(&results[0], &json!([1]));
    assert_ran(&results[1], &json!([2]));
    assert_failed(&results[2], "task_failed", "why");
    assert_failed(&results[3], "module_unknown", "");
    assert_eq!((&results[4]["result"], &results[4]["runtime"]), (&json!(5), &json!("sandbox")), "{reply:#}");
    assert_eq!((&results[5]["result"], &results[5]["runtime"]), (&json!(6), &json!("python")), "{reply:#}");
    // Many calls of one guest.
    let tasks: Vec<Value> = (0..500).map(|number| json!({ "runtime": "wasm", "args": [number] })).collect();
    let reply = node.call_with(json!({ "type": "BATCH_TASK", "tasks": tasks }), &wasm(ECHO)).value();
    for (number, result) in reply["results"].as_array().unwrap().iter().enumerate() {
        assert_ran(result, &json!([number]));
    }
}

#[test]
fn the_same_guest_from_many_at_once_is_kept_once() {
    let node = TestNode::peer().start();
    let guest = padded(1_000_000, 7);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (node, guest) = (&node, &guest);
            scope.spawn(move || assert_ran(&call(node, guest, json!([number]), json!({})), &json!([number])));
        }
    });
    assert_eq!(kept(&node).len(), 1);
}
