//! What others keep in the name of a task, and what a task keeps while it waits for its child.

use super::deaths::Waiters;
use super::{begin_task, complete, living, out, wait_for_state};
use potluck_tests::{TestNode, wait_for};
use serde_json::json;

/// Asks the node for nothing.
const SILENT: &str = "
import time
def main(_):
    while True:
        time.sleep(0.05)
";

/// Has what its child waits for, and waits for the child.
const PARENT: &str = "
import potluck
def child():
    with potluck.lock('m2'):
        return 'got'
def main(_):
    with potluck.lock('m2'):
        try:
            return potluck.spawn(child).result()
        except Exception as error:
            return str(error)
";

#[test]
fn what_others_keep_in_the_name_of_a_task_is_released_with_it() {
    let node = complete(TestNode::peer()).start();
    for (runtime, end) in [("python", "kill"), ("sandbox", "cancel")] {
        Waiters::expect(&node);
        let task = begin_task(&node, "silent", runtime, SILENT, "x");
        let pid = wait_for_state(&node, "silent", "RUNNING", "");
        for line in [
            format!("resources need {pid} PRINTER=2"),
            format!("resources request {pid} PRINTER=2"),
            format!("sem wait door --as {pid}"),
            format!("alloc {pid} 1048000"),
            format!("set-mem --key holder --value {pid}"),
        ] {
            out(&node, &line);
        }
        let waiters = Waiters::begin(&node);
        out(&node, &if end == "kill" { format!("kill {pid}") } else { "cancel --task-id silent".to_owned() });
        waiters.get_all(&node);
        assert_eq!(task.join().unwrap().status, 1);
        wait_for("no process to be left", || living(&node).is_empty());
    }
}

#[test]
fn a_parent_that_waits_for_a_child_which_waits_for_it_is_a_deadlock() {
    let node = complete(TestNode::peer()).start();
    let check = || node.call(json!({ "type": "DEADLOCK_CHECK" }));
    for runtime in ["python", "sandbox"] {
        let task = begin_task(&node, "parent", runtime, PARENT, "x");
        wait_for("the deadlock", || check()["deadlock"] == true);
        let found = check();
        let child = found["cycle"].as_array().unwrap().iter().find(|edge| edge["waits_for"] == "semaphore:m2").unwrap();
        let (child, parent) = (child["pid"].as_str().unwrap(), child["held_by"].as_str().unwrap());
        let text = found["explanation"].as_str().unwrap();
        assert!(text.contains(&format!("{parent} has semaphore:m2 and waits for the end of {child}")), "{found:#}");
        out(&node, "deadlock resolve");
        let ended = task.join().unwrap();
        assert!(ended.status == 0 || ended.stdout.contains("deadlock"), "{ended:?}");
        wait_for("no process to be left", || living(&node).is_empty());
        assert_eq!(check()["deadlock"], false);
        out(&node, "sem delete m2");
    }
}
