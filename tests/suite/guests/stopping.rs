//! Guests that do not end by themselves: the limit on their time and CANCEL_TASK end each of them.

use super::{WORLD, assert_failed, call, check_serving, command, guest_task, wasm};
use crate::sandbox::stopping::{check_workers, started};
use potluck_tests::{TestNode, with};
use serde_json::json;
use std::time::{Duration, Instant};

/// Sleeps for an hour with the timer of WASI 0.2.
const SLEEPS: &str = r#"(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $pollable (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $program
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (call $block (call $subscribe (i64.const 3600000000000)))
      unreachable))
  (core instance $host (export "subscribe" (func $subscribe)) (export "block" (func $block)))
  (core instance $program (instantiate $program (with "host" (instance $host))))
  (func $run (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $program "run") (memory (core memory $program "memory"))
      (realloc (core func $program "realloc"))))
  (export "run" (func $run)))"#;

/// None of these ends within an hour.
fn endless() -> Vec<(&'static str, Vec<u8>)> {
    let looped = |body: &str, pages: u32| {
        command(&format!(r#"(table 50000 funcref) (func (export "_start") (loop $more {body} (br $more)))"#), pages)
    };
    // A subscription to the clock, for an hour.
    let sleep = "(i32.store8 (i32.const 1032) (i32.const 0))
        (i32.store (i32.const 1040) (i32.const 1))
        (i64.store (i32.const 1048) (i64.const 3600000000000))
        (drop (call $poll_oneoff (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 4096)))";
    let short_sleep = sleep.replace("3600000000000", "1000");
    let quarter_gib = "(i32.const 268435456)";
    vec![
        ("a loop", looped("", 1)),
        ("a component's loop", wasm(WORLD)),
        ("sleep", looped(sleep, 1)),
        ("short sleeps", looped(&short_sleep, 1)),
        ("a component's sleep", wasm(SLEEPS)),
        ("filling memory", looped(&format!("(memory.fill (i32.const 0) (i32.const 7) {quarter_gib})"), 4096)),
        ("copying memory", looped("(memory.copy (i32.const 1) (i32.const 0) (i32.const 134217728))", 4096)),
        ("filling a table", looped("(table.fill (i32.const 0) (ref.null func) (i32.const 50000))", 1)),
        ("growing what cannot grow", looped("(drop (memory.grow (i32.const 65536)))", 1)),
        ("drawing random numbers", looped("(drop (call $random_get (i32.const 0) (i32.const 65536)))", 1)),
        ("asking for the time", looped("(drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 0)))", 1)),
        ("failing to open files", looped("(drop (call $fd_prestat_get (i32.const 3) (i32.const 0)))", 1)),
        ("before it starts", wasm(r#"(module (start 0) (func (loop $more (br $more))) (func (export "_start")))"#)),
    ]
}

#[test]
fn every_endless_guest_ends_with_its_time() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = started(&node);
    for (name, guest) in endless() {
        let begun = Instant::now();
        let reply = call(&node, &guest, json!([]), json!({ "timeout": 0.3, "function": "loop" }));
        assert_failed(&reply, "timeout", "Task execution timeout");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name} ran on for {:?}", begun.elapsed());
        check_serving(&node);
    }
    check_workers(&node, before, endless().len());
}

#[test]
fn every_endless_guest_can_be_cancelled() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = started(&node);
    for (name, guest) in endless() {
        let mut wire = node.wire();
        let members = json!({ "task_id": name, "timeout": 600, "function": "loop", "attachment": guest.len() });
        wire.send_with(with(guest_task(json!([])), members), &guest);
        node.wait_for_tasks(1, 0);
        let cancelled = node.call(json!({ "type": "CANCEL_TASK", "task_id": name }));
        assert_eq!(cancelled["status"], "CANCELLED", "{name}: {cancelled:#}");
        assert_failed(&wire.read(), "cancelled", "Task cancelled");
        check_serving(&node);
    }
    check_workers(&node, before, endless().len());
}

#[test]
fn a_guest_whose_client_has_gone_is_stopped() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let guest = wasm(WORLD);
    let mut wire = node.wire();
    let members = json!({ "timeout": 600, "function": "loop", "attachment": guest.len() });
    wire.send_with(with(guest_task(json!([])), members), &guest);
    node.wait_for_tasks(1, 0);
    drop(wire);
    node.wait_for_tasks(0, 0);
    check_serving(&node);
}

#[test]
fn processor_time_has_a_limit_of_its_own() {
    let node = TestNode::peer().start();
    let limit = json!({ "cpu_limit_seconds": 0.3, "function": "loop", "timeout": 60 });
    assert_failed(&call(&node, &wasm(WORLD), json!([]), limit), "cpu_limit", "0.3 seconds");
    check_serving(&node);
}
