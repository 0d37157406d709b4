//! Guests in great number: in one message, in one worker, in the store, and when their clients have gone.

use super::{ECHO, assert_failed, assert_ran, call, check_serving, command, guest_task, wasm, workers};
use crate::sandbox::stopping::started;
use potluck_tests::{TestNode, resident_bytes, task, wait_for, with};
use serde_json::{Value, json};
use std::fs;

/// A guest with a section of so many bytes that nobody reads, different from all others by `mark`.
fn padded(guest: &[u8], bytes: usize, mark: u32) -> Vec<u8> {
    let mut padded = guest.to_vec();
    padded.push(0);
    // The name of the section, which is one byte long, and the mark count as well.
    let mut length = bytes + 6;
    while length > 0x7f {
        padded.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    padded.extend([length as u8, 1, b'x']);
    padded.extend(mark.to_be_bytes());
    padded.resize(padded.len() + bytes, 7);
    padded
}

fn kept(node: &TestNode) -> usize {
    fs::read_dir(node.provider_dir("cpu").join("modules")).map_or(0, Iterator::count)
}

#[test]
fn a_batch_of_a_thousand_guests_delays_nobody_else() {
    const TASKS: usize = 1000;
    let node = TestNode::peer().start();
    check_serving(&node);
    let before = resident_bytes(node.pid());
    let guest = padded(&wasm(ECHO), 7 << 20, 1);
    let tasks: Vec<Value> = (0..TASKS).map(|number| json!({ "runtime": "wasm", "args": [number] })).collect();
    let mut wire = node.wire();
    wire.send_with(json!({ "type": "BATCH_TASK", "tasks": tasks, "attachment": guest.len() }), &guest);
    let (mut answered, mut peak) = (0, 0);
    let reply = std::thread::scope(|scope| {
        let reader = scope.spawn(|| wire.read());
        while !reader.is_finished() {
            node.status();
            answered += usize::from(!reader.is_finished());
            peak = peak.max(resident_bytes(node.pid()));
        }
        reader.join().unwrap()
    });
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), TASKS);
    for (number, result) in results.iter().enumerate() {
        assert_ran(result, &json!([number]));
    }
    // A thousand tasks take as long as hundreds of answers to STATUS, unless these wait for the batch.
    assert!(answered >= 20, "STATUS was answered {answered} times before the batch");
    let growth = peak.saturating_sub(before);
    assert!(growth < 128 << 20, "the node grew by {} MiB", growth >> 20);
    assert_eq!(kept(&node), 2, "kept once");
}

#[test]
fn a_guest_whose_client_goes_while_it_is_being_kept_is_not_run() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let endless = command(r#"(func (export "_start") (loop $more (br $more)))"#, 1);
    for round in 0..3 {
        let before = kept(&node);
        for number in 0..6 {
            let guest = padded(&endless, 4 << 20, round * 6 + number);
            let members = json!({ "timeout": 3600, "attachment": guest.len() });
            node.wire().send_with(with(guest_task(json!([])), members), &guest);
        }
        wait_for("the guests to be kept", || kept(&node) >= before + 6);
        // It would wait behind them.
        check_serving(&node);
        node.wait_for_tasks(0, 0);
    }
}

#[test]
fn a_guest_that_is_cancelled_while_it_is_being_kept_is_not_run() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let endless = command(r#"(func (export "_start") (loop $more (br $more)))"#, 1);
    for number in 0..6 {
        let guest = padded(&endless, 4 << 20, number);
        let mut wire = node.wire();
        let members = json!({ "timeout": 3600, "task_id": "early", "attachment": guest.len() });
        wire.send_with(with(guest_task(json!([])), members), &guest);
        // As early as the name is known.
        let mut canceller = node.wire();
        wait_for("the task to be known", || {
            canceller.call(json!({ "type": "CANCEL_TASK", "task_id": "early" }))["status"] == "CANCELLED"
        });
        assert_failed(&wire.read(), "cancelled", "");
        node.wait_for_tasks(0, 0);
    }
    check_serving(&node);
}

#[test]
fn guests_with_exceptions_can_follow_each_other_without_end() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let guest = wasm(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "42")
          (tag $mine (param i32))
          (func $throw (throw $mine (i32.const 64)))
          (func (export "_start")
            (i32.store (i32.const 4) (i32.const 2))
            (i32.store (i32.const 0)
              (block $caught (result i32) (try_table (catch $mine $caught) (call $throw)) (i32.const 0)))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    let (before, processes) = (started(&node), workers(&node));
    for _ in 0..50 {
        assert_ran(&call(&node, &guest, json!([]), json!({})), &json!(42));
    }
    assert_eq!((started(&node), workers(&node)), (before, processes), "the worker was to live on");
    assert_eq!(node.status()["executor"]["workers_died"], 0);
}

#[test]
fn tiny_guests_are_kept_in_bounded_number() {
    // Room for 2,048 blocks, and for 100,000 such guests by their own length.
    let node = TestNode::peer().cpu("workers = 1\nmodules_bytes_max = 8388608").start();
    let nothing = wasm(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let mut reader = node.wire();
    let mut writer = reader.another();
    let guest = &nothing;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for mark in 0..3000 {
                let guest = padded(guest, 1, mark);
                writer.send_with(with(guest_task(json!([])), json!({ "attachment": guest.len() })), &guest);
            }
        });
        for _ in 0..3000 {
            let reply = reader.read();
            // It prints nothing; and where tasks that wait need all that is kept, there is no room for more.
            let code = reply["code"].as_str().unwrap_or_default();
            assert!(["result_unusable", "queue_full"].contains(&code), "{reply:#}");
        }
    });
    let kept = kept(&node);
    assert!(kept <= 2048, "{kept} guests are kept");
    check_serving(&node);
}

#[test]
fn a_command_that_prints_nothing_is_told_what_its_result_would_be() {
    let node = TestNode::peer().start();
    let nothing = wasm(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    assert_failed(&call(&node, &nothing, json!([]), json!({})), "result_unusable", "printed nothing");
}

#[test]
fn a_guest_whose_file_was_deleted_is_kept_again_when_it_is_sent() {
    let node = TestNode::peer().start();
    let first = call(&node, &wasm(ECHO), json!([1]), json!({}));
    assert_ran(&first, &json!([1]));
    for entry in fs::read_dir(node.provider_dir("cpu").join("modules")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_ran(&call(&node, &wasm(ECHO), json!([2]), json!({})), &json!([2]));
    assert_eq!(kept(&node), 1);
    // In a worker that has never seen it, too.
    let other = json!({ "module_sha256": first["module_sha256"], "isolated": true });
    assert_ran(&node.call(with(guest_task(json!([3])), other)), &json!([3]));
}

#[test]
fn a_refusal_names_the_runtime_that_was_asked_for() {
    let node = TestNode::peer().start();
    let unknown = node.call(with(guest_task(json!([])), json!({ "module_sha256": "0".repeat(64) })));
    assert_eq!((&unknown["code"], &unknown["runtime"]), (&json!("module_unknown"), &json!("wasm")), "{unknown:#}");
    let nothing = node.call(guest_task(json!([])));
    assert_eq!((&nothing["code"], &nothing["runtime"]), (&json!("invalid_task"), &json!("wasm")), "{nothing:#}");
    // What has no use for an attachment says so.
    for runtime in ["python", "sandbox"] {
        let message = with(task("def main(): return 1", json!([])), json!({ "runtime": runtime }));
        let reply = node.call_with(message, b"\0asm").value();
        assert_eq!((&reply["code"], &reply["runtime"]), (&json!("invalid_task"), &json!(runtime)), "{reply:#}");
        assert!(reply["error"].as_str().unwrap().contains("attachment"), "{reply:#}");
    }
}
