//! Tasks that are run again.

use super::{ENDLESS, assert_failed, cancel, trusting};
use potluck_tests::{TestNode, task, wait_for, with};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Counts its runs in a file, which only a trusted user's task keeps from one run to the next; fails until the run that is
/// named.
const FAILS_AT_FIRST: &str = "
def main(path, succeeds_at, end=''):
    with open(path, 'a') as file:
        file.write('x')
    with open(path) as file:
        run = len(file.read())
    if run < succeeds_at:
        exec(end)
        raise RuntimeError(f'run {run} fails')
    return run
";

fn runs(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().len()
}

#[test]
fn a_task_that_fails_is_run_again_as_often_as_it_may() {
    let node = trusting();
    let count = node.folder().join("count");
    let reply = node.call(with(task(FAILS_AT_FIRST, json!([count, 3])), json!({ "max_retries": 5 })));
    assert_eq!((&reply["result"], &reply["attempts"]), (&json!(3), &json!(3)), "{reply:#}");
    assert_eq!(reply["error"], Value::Null);

    let count = node.folder().join("count again");
    let reply = node.call(with(task(FAILS_AT_FIRST, json!([count, 9])), json!({ "max_retries": 2 })));
    assert_failed(&reply, "task_failed", "run 3 fails");
    assert_eq!((&reply["attempts"], runs(&count)), (&json!(3), 3), "{reply:#}");

    let count = node.folder().join("count once");
    let reply = node.call(task(FAILS_AT_FIRST, json!([count, 9])));
    assert_failed(&reply, "task_failed", "run 1 fails");
    assert_eq!((&reply["attempts"], runs(&count)), (&json!(1), 1), "{reply:#}");
}

#[test]
fn a_task_that_kills_its_worker_is_run_again() {
    let node = trusting();
    let count = node.folder().join("count");
    let args = json!([count, 3, "import os; os._exit(1)"]);
    let reply = node.call(with(task(FAILS_AT_FIRST, args), json!({ "max_retries": 2 })));
    assert_eq!((&reply["result"], &reply["attempts"]), (&json!(3), &json!(3)), "{reply:#}");
}

#[test]
fn a_limit_is_no_reason_to_run_a_task_again() {
    let node = TestNode::peer().start();
    // The start of an interpreter is part of a task's time.
    node.check_serving();
    for (program, members, code) in [
        (ENDLESS, json!({ "timeout": 0.3 }), "timeout"),
        (ENDLESS, json!({ "cpu_limit_seconds": 0.1 }), "cpu_limit"),
        ("def main(): return bytearray(1 << 40)", json!({}), "memory_limit"),
        ("def main(): return {1}", json!({}), "result_unusable"),
    ] {
        let reply = node.call(with(with(task(program, json!([])), json!({ "max_retries": 3 })), members));
        assert_failed(&reply, code, "");
        assert_eq!(reply["attempts"], 1, "{reply:#}");
    }
}

#[test]
fn a_task_that_waits_for_its_next_run_can_be_cancelled() {
    let node = trusting();
    let count = node.folder().join("count");
    let mut wire = node.wire();
    let options = json!({ "max_retries": 1000, "task_id": "stubborn", "timeout": 600 });
    wire.send(with(task(FAILS_AT_FIRST, json!([count, 1_000_000])), options));
    wait_for("the task to have run twice", || runs(&count) >= 2);
    assert_eq!(cancel(&node, "stubborn")["status"], "CANCELLED");
    assert_failed(&wire.read(), "cancelled", "");
    node.wait_for_tasks(0, 0);
    assert_eq!(cancel(&node, "stubborn")["code"], "task_not_found");
}

#[test]
fn retries_end_with_the_time_of_the_task() {
    let node = trusting();
    let count = node.folder().join("count");
    let reply =
        node.call(with(task(FAILS_AT_FIRST, json!([count, 1_000_000])), json!({ "max_retries": 1000, "timeout": 1 })));
    assert!(["task_failed", "timeout"].contains(&reply["code"].as_str().unwrap()), "{reply:#}");
    // The last run may have been stopped before it was counted.
    let uncounted = reply["attempts"].as_u64().unwrap() - runs(&count) as u64;
    assert!(uncounted <= 1, "{uncounted} runs are missing: {reply:#}");
}

#[test]
fn a_task_is_run_again_until_what_it_waits_for_is_there() {
    let node = TestNode::peer().start();
    let path = node.folder().join("there");
    let program = "
import os
def main(path, end):
    if not os.path.exists(path):
        exec(end)
        raise RuntimeError('not there')
    return 'there'
";
    for end in ["pass", "os._exit(1)"] {
        let mut wire = node.wire();
        wire.send(with(task(program, json!([path, end])), json!({ "max_retries": 1000, "timeout": 600 })));
        let executed = || node.status()["executor"]["execution_count"].as_u64().unwrap();
        let before = executed();
        wait_for("the task to have run twice", || executed() >= before + 2);
        fs::write(&path, "").unwrap();
        let reply = wire.read();
        assert_eq!((&reply["error"], &reply["result"]), (&Value::Null, &json!("there")), "{reply:#}");
        assert!(reply["attempts"].as_u64() >= Some(3), "{reply:#}");
        fs::remove_file(&path).unwrap();
    }
}
