//! The guests of `guest-examples`, as `cargo xtask guests` builds them from their source.

use super::{assert_failed, assert_ran, call};
use potluck_tests::TestNode;
use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;

/// The bytes of an example, when `cargo xtask test` has built it.
fn example(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = env::var_os("POTLUCK_GUESTS").map(PathBuf::from) else {
        println!("skipped: POTLUCK_GUESTS names no folder of guests; `cargo xtask test` builds them");
        return None;
    };
    let path = folder.join(name).with_extension("wasm");
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display())))
}

fn run(node: &TestNode, guest: &[u8], function: &str, args: Value) -> Value {
    call(node, guest, args, json!({ "function": function }))
}

#[test]
fn the_sum_in_webassembly_text() {
    let Some(sum) = example("sum") else { return };
    let node = TestNode::peer().start();
    for (args, result) in [
        (json!([3, 4, -2]), json!(5)),
        (json!([]), json!(0)),
        (json!([i64::MIN]), json!(i64::MIN)),
        (Value::from_iter(1..=5000), json!(12_502_500)),
    ] {
        assert_ran(&run(&node, &sum, "main", args), &result);
    }
    assert_failed(&run(&node, &sum, "main", json!([1.5])), "task_failed", "no whole numbers");
}

#[test]
fn the_primes_in_c() {
    let Some(primes) = example("prime_sum") else { return };
    let node = TestNode::peer().start();
    assert_ran(&run(&node, &primes, "main", json!([1, 1_000_000])), &json!(37_550_402_023_u64));
    assert_ran(&run(&node, &primes, "primes", json!([10, 50])), &json!([11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]));
    assert_ran(&run(&node, &primes, "primes", json!([24, 28])), &json!([]));
    assert_failed(&run(&node, &primes, "main", json!(["x", 50])), "task_failed", "two whole numbers");
    assert_failed(&run(&node, &primes, "main", json!([0, 10_000_000_001_u64])), "task_failed", "beyond");
    assert_failed(&run(&node, &primes, "nope", json!([1, 2])), "task_failed", "no such function");
    assert_failed(&run(&node, &primes, "primes", json!([0, 10_000_000])), "result_unusable", "256 KiB");
}

#[test]
fn the_planets_in_rust() {
    let Some(nbody) = example("nbody") else { return };
    let node = TestNode::peer().start();
    let reply = run(&node, &nbody, "main", json!([1000]));
    assert_ran(&reply, &json!({ "before": -0.169_075_163_828_524_58, "after": -0.169_087_605_234_606_1 }));
    assert_eq!(reply["deterministic"], true, "it imports nothing at all: {reply:#}");
    assert_failed(&run(&node, &nbody, "nope", json!([1])), "task_failed", "there is no function nope");
    assert_failed(&run(&node, &nbody, "main", json!([-1])), "task_failed", "do not fit");
}

#[test]
fn the_mandelbrot_set_in_rust() {
    let Some(mandelbrot) = example("mandelbrot") else { return };
    let node = TestNode::peer().start();
    let bands = json!([[1, 2, 3, 3, 4, 17, 4, 2], [1, 4, 9, 10, 100, 100, 100, 4]]);
    assert_ran(&run(&node, &mandelbrot, "main", json!([8, 4, 0, 2])), &bands);
    assert_failed(&run(&node, &mandelbrot, "nope", json!([])), "task_failed", "there is no function nope");
}
