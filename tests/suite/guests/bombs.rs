//! Guests that are small, and that the compiler would make much of.

use super::{call, check_serving, wasm, workers};
use potluck_tests::{TestNode, resident_bytes, wait_for};
use serde_json::json;

/// What a worker may need to compile for somebody else, with the 512 MiB beside the task's own memory.
const COMPILER_BYTES_MAX: u64 = 1 << 30;
const MEMORY_LIMIT_BYTES: u64 = 256 << 20;

/// Local variables that are set at many places, and known at none: each is joined again at each place.
fn joins(locals: usize, places: usize) -> String {
    let places: String = (0..places)
        .map(|place| {
            let (from, to) = (place % locals, place * 7 % locals);
            format!("(if (local.get 0) (then (local.set {to} (local.get {from}))))")
        })
        .collect();
    format!("(local {}) (loop {places})", "i32 ".repeat(locals))
}

fn guest(functions: &[String]) -> Vec<u8> {
    let functions: String = functions.iter().map(|body| format!("(func {body})")).collect();
    wasm(&format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {functions})"#))
}

#[test]
fn no_guest_takes_the_compiler_more_memory_than_it_may_have() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    // The largest that were ever accepted; a limit on one function or its variables alone refuses the first two.
    for (name, functions) in [
        ("one function", vec![joins(2000, 40_000)]),
        ("one function with fewer variables", vec![joins(500, 40_000)]),
        ("functions as large as they may be", vec![joins(2000, 10_000); 60]),
        ("many functions", vec![joins(100, 1000); 600]),
    ] {
        let bomb = guest(&functions);
        assert!(bomb.len() < 8 << 20, "{name}: {} bytes", bomb.len());
        let mut peak = 0;
        let reply = std::thread::scope(|scope| {
            let members = json!({ "timeout": 60, "memory_limit_bytes": MEMORY_LIMIT_BYTES });
            let reader = scope.spawn(|| call(&node, &bomb, json!([]), members));
            while !reader.is_finished() {
                let resident = |pid: u32| std::panic::catch_unwind(|| resident_bytes(pid)).unwrap_or(0);
                peak = peak.max(workers(&node).into_iter().map(resident).max().unwrap_or(0));
            }
            reader.join().unwrap()
        });
        let code = reply["code"].as_str().unwrap_or_default();
        // One that may be compiled after all prints no result.
        assert!(["module_invalid", "memory_limit", "result_unusable"].contains(&code), "{name}: {reply:#}");
        assert!(peak < COMPILER_BYTES_MAX, "{name}: a worker had {} MiB", peak >> 20);
        check_serving(&node);
        wait_for("the memory to be given back", || {
            workers(&node).into_iter().all(|pid| resident_bytes(pid) < COMPILER_BYTES_MAX / 2)
        });
    }
}

#[test]
fn a_guest_that_takes_the_compiler_too_long_does_not_wait_for_its_own_time() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let members = json!({ "timeout": 7 * 24 * 3600, "memory_limit_bytes": 2_u64 << 30 });
    // Within every limit on what a guest may look like, if there are any.
    let reply = call(&node, &guest(&vec![joins(1900, 10_000); 72]), json!([]), members);
    let code = reply["code"].as_str().unwrap_or_default();
    assert!(["module_invalid", "memory_limit", "result_unusable"].contains(&code), "{reply:#}");
    check_serving(&node);
}
