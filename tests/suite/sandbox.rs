//! The runtime `sandbox`: CPython in WebAssembly, each task in an instance of its own.

mod library;
mod world;

mod images;
mod packages;
mod science;

mod freshness;
mod results;

mod memory;
pub(crate) mod stopping;

use potluck_tests::{TestNode, children, command_line, sandboxed};
use serde_json::{Value, json};

/// Runs `main` of a program in the sandbox and returns what it returned.
#[track_caller]
fn run(node: &TestNode, program: &str, args: Value) -> Value {
    let mut reply = node.call(sandboxed(program, args));
    assert_eq!(reply["error"], Value::Null, "the task failed: {}", shown(&reply));
    assert_eq!(reply["runtime"], "sandbox", "{}", shown(&reply));
    reply["result"].take()
}

#[track_caller]
fn assert_failed(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!(code)), "{}", shown(reply));
    assert!(reply["error"].as_str().unwrap().contains(words), "{words:?} is missing in {}", shown(reply));
    assert_eq!(reply["result"], Value::Null, "{}", shown(reply));
}

/// A reply without the megabytes that it may have.
fn shown(reply: &Value) -> String {
    reply.to_string().chars().take(3000).collect()
}

/// The sandbox's worker processes.
fn workers(node: &TestNode) -> Vec<u32> {
    children(node.pid()).into_iter().filter(|pid| command_line(*pid).contains(" serve sandbox ")).collect()
}

/// Checks that the sandbox still runs tasks, and the node native ones.
#[track_caller]
fn check_serving(node: &TestNode) {
    assert_eq!(run(node, "def main(x): return x * x", json!([12])), 144);
    node.check_serving();
}
