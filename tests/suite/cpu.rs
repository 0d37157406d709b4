//! CPU_TASK, BATCH_TASK, CANCEL_TASK, SET_SCHEDULER, and what becomes of the worker processes.

mod results;

mod batches;
mod cancelling;
mod order;
mod retries;

mod sharing;
mod workers;

mod stopping;
mod storms;

use potluck_tests::{TestNode, Wire, wait_for_some};
use serde_json::{Value, json};
use std::fs;

/// Never ends; writes the id of its process to a file in its folder, if one is named.
const ENDLESS: &str = "
import os
def main(name=None):
    if name is not None:
        with open(name + '.new', 'w') as file:
            file.write(str(os.getpid()))
        os.rename(name + '.new', name)
    while True:
        pass
";
/// Tells in which process it runs.
const PID: &str = "import os\ndef main(): return os.getpid()";

fn one_worker() -> TestNode {
    TestNode::peer().cpu("workers = 1").start()
}

/// A node whose owner trusts this machine's user: tasks may start programs, and keep files that outlive their worker.
fn trusting() -> TestNode {
    TestNode::peer().cpu("workers = 1\ntrusted = true").start()
}

fn assert_failed(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!(code)), "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply:#}");
    assert_eq!(reply["result"], Value::Null);
}

/// Each task's answer in the order in which they come, by `id`.
fn ids(wire: &mut Wire, count: usize) -> Vec<String> {
    let mut id = || {
        let reply = wire.read();
        assert_eq!(reply["error"], Value::Null, "{reply:#}");
        reply["id"].as_str().unwrap().to_owned()
    };
    (0..count).map(|_| id()).collect()
}

fn cancel(node: &TestNode, task_id: &str) -> Value {
    node.call(json!({ "type": "CANCEL_TASK", "task_id": task_id }))
}

/// Waits until [`ENDLESS`] runs, and tells in which process.
fn wait_for_pid(node: &TestNode, name: &str) -> u32 {
    wait_for_some("the task to run", || fs::read_to_string(node.scratch_file(name)?).ok()?.parse().ok())
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
