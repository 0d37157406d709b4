//! What is no guest, or no task for one, and what a guest may use.

use super::{ECHO, WORLD, assert_failed, assert_ran, call, check_serving, command, guest_task, wasm, workers};
use potluck_tests::{TestNode, resident_bytes, task, with};
use serde_json::json;

const MIB: u64 = 1 << 20;

#[test]
fn what_is_no_webassembly_is_refused() {
    let node = TestNode::peer().start();
    let mut cut_off = wasm(ECHO);
    cut_off.truncate(cut_off.len() / 2);
    let mut newer = wasm(ECHO);
    newer[4] = 9;
    let nonsense: [&[u8]; 6] = [b"x", b"#!/bin/sh\necho", b"\0asm", &[0xff; 5000], &cut_off, &newer];
    for bytes in nonsense {
        let reply = call(&node, bytes, json!([]), json!({}));
        assert_failed(&reply, "module_invalid", "");
    }
    assert_failed(&call(&node, b"def main(): pass", json!([]), json!({})), "module_invalid", "not WebAssembly");
    check_serving(&node);
}

#[test]
fn a_guest_that_needs_what_there_is_not_is_refused_with_its_name() {
    let node = TestNode::peer().start();
    for (text, words) in [
        (r#"(module (import "env" "launch" (func)) (func (export "_start")))"#, "launch"),
        (
            r#"(module (import "wasi_snapshot_preview1" "no_such_call" (func)) (func (export "_start")))"#,
            "no_such_call",
        ),
        (
            r#"(module (import "wasi_snapshot_preview1" "fd_read" (func (param i64))) (func (export "_start")))"#,
            "fd_read",
        ),
        (r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func)))))"#, "wasi:http"),
        (r#"(component (import "potluck:node/secrets" (func)))"#, "secrets"),
        (r#"(module (func (export "main")))"#, "_start"),
        ("(module)", "_start"),
        ("(component)", "run"),
        (r#"(module (func (export "_start") (param i32)))"#, ""),
        (r#"(module (memory 1) (memory 1) (func (export "_start")))"#, ""),
        (r#"(module (memory i64 1) (func (export "_start")))"#, ""),
        (r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#, ""),
    ] {
        let reply = call(&node, &wasm(text), json!([]), json!({}));
        let code = reply["code"].as_str().unwrap_or_default();
        // What cannot be told from the outside is found when it is started.
        assert!(code == "module_invalid" || (code == "task_failed" && words.is_empty()), "{text}: {reply:#}");
        assert!(reply["error"].as_str().unwrap().contains(words), "{text}: {reply:#}");
    }
    check_serving(&node);
}

#[test]
fn a_message_that_describes_no_guests_task_is_refused_with_the_reason() {
    let node = TestNode::peer().start();
    let guest = wasm(ECHO);
    assert_failed(&node.call(guest_task(json!([]))), "invalid_task", "module_sha256");
    let reply = call(&node, &guest, json!([]), json!({ "program": "def main(): pass" }));
    assert_failed(&reply, "invalid_task", "not a `program`");
    for sha256 in ["00", "../../identity", &"G".repeat(64), &"AB".repeat(32)] {
        let reply = call(&node, &guest, json!([]), json!({ "module_sha256": sha256 }));
        assert_failed(&reply, "invalid_task", "64 hexadecimal digits");
    }
    let reply = call(&node, &guest, json!([]), json!({ "module_sha256": "0".repeat(64) }));
    assert_failed(&reply, "invalid_task", "not the SHA-256 of the attachment");
    let reply = node.call(with(guest_task(json!([])), json!({ "module_sha256": "0".repeat(64) })));
    assert_failed(&reply, "module_unknown", "send it as the attachment");
    let reply = node.call(with(task("def main(): pass", json!([])), json!({ "module_sha256": "0".repeat(64) })));
    assert_failed(&reply, "invalid_task", "wasm");
    let reply = call(&node, &guest, json!([]), json!({ "image": "science" }));
    assert_failed(&reply, "invalid_task", "sandbox");
    check_serving(&node);
}

#[test]
fn a_bomb_for_the_compiler_is_refused() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let many_functions = format!(r#"(module (func (export "_start")) {})"#, "(func)".repeat(100_000));
    let long_function = format!(r#"(module (func (export "_start") {}))"#, "(drop (i32.const 1))".repeat(600_000));
    let deep = format!(r#"(module (func (export "_start") {}{}))"#, "(block ".repeat(50_000), ")".repeat(50_000));
    let many_globals = format!(r#"(module (func (export "_start")) {})"#, "(global i32 (i32.const 0))".repeat(200_000));
    let many_locals = format!(r#"(module (func (export "_start") (local {})))"#, "i64 ".repeat(49_000));
    let large_table = r#"(module (table 4000000000 funcref) (func (export "_start")))"#.to_owned();
    for text in [many_functions, long_function, deep, many_globals, many_locals, large_table] {
        let guest = wasm(&text);
        assert!(guest.len() < 8 << 20, "{} bytes", guest.len());
        let reply = call(&node, &guest, json!([]), json!({ "timeout": 60 }));
        let code = reply["code"].as_str().unwrap_or_default();
        // One that may be compiled after all prints no result.
        let accepted = ["module_invalid", "task_failed", "memory_limit", "result_unusable"];
        assert!(accepted.contains(&code), "{:.60}: {reply:#}", text);
        check_serving(&node);
    }
}

#[test]
fn memory_has_a_limit() {
    let node = TestNode::peer().start();
    let limit = |mib: u64| json!({ "memory_limit_bytes": mib * MIB });
    let more = wasm(WORLD);
    // It may catch that.
    let reply = call(&node, &more, json!([]), with(limit(64), json!({ "function": "grow" })));
    assert_ran(&reply, &json!("refused"));
    // One that starts with more than it may have never starts.
    let large = command(r#"(func (export "_start") (call $print_number (memory.size)))"#, 2048);
    assert_ran(&call(&node, &large, json!([]), limit(256)), &json!(2048));
    assert_failed(&call(&node, &large, json!([]), limit(64)), "memory_limit", &(64 * MIB).to_string());
    let huge = command(r#"(func (export "_start") (call $print_number (memory.size)))"#, 65_536);
    let reply = call(&node, &huge, json!([]), json!({}));
    assert!(["memory_limit", "module_invalid"].contains(&reply["code"].as_str().unwrap()), "{reply:#}");
    check_serving(&node);
}

#[test]
fn output_has_a_limit() {
    let node = TestNode::peer().start();
    let flood = |stream: u32| {
        let body = format!(
            r#"(func (export "_start")
              (i32.store (i32.const 0) (i32.const 100))
              (i32.store (i32.const 4) (i32.const 30000))
              (loop $more
                (drop (call $fd_write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $more)))"#
        );
        command(&body, 1)
    };
    let before = resident_bytes(node.pid());
    for stream in [1, 2] {
        assert_failed(&call(&node, &flood(stream), json!([]), json!({})), "output_limit", "");
        let limit = json!({ "output_limit_bytes": 5000 });
        assert_failed(&call(&node, &flood(stream), json!([]), limit), "output_limit", "");
    }
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 100 * MIB, "the node has grown by {} MiB", growth / MIB);
    check_serving(&node);
}

#[test]
fn a_guest_that_fails_leaves_its_worker_alone() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = workers(&node);
    for body in [
        "unreachable",
        "(drop (i32.load (i32.const -8)))",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(call_indirect (type 0) (i32.const 7))",
        "(call $start)",
        "(drop (call $random_get (i32.const 0) (i32.const -1)))",
        "(drop (call $fd_write (i32.const 1) (i32.const -4) (i32.const 1000000) (i32.const -4)))",
        "(call $proc_exit (i32.const -1))",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))",
    ] {
        let guest = wasm(&format!(
            r#"(module
              (type (func))
              (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
              (memory (export "memory") 1)
              (table 1 funcref)
              (func $start (export "_start") {body}))"#
        ));
        let reply = call(&node, &guest, json!([]), json!({}));
        let code = reply["code"].as_str().unwrap_or_default();
        assert!(["task_failed", "result_unusable"].contains(&code), "{body}: {reply:#}");
        check_serving(&node);
    }
    assert_eq!(workers(&node), before, "the worker process was to live on");
}
