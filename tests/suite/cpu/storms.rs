//! Many tasks at once, while things go wrong.

use potluck_tests::{TestNode, children, resident_bytes, task, wait_for, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

/// Sends tasks that square their number over one connection, all at once, and checks every answer: each comes once, and
/// is right or is accepted as it is. `change` may change the message.
fn storm(
    node: &TestNode,
    count: u64,
    change: impl Fn(u64, Value) -> Value + Send,
    accept: impl Fn(u64, &Value) -> bool,
) {
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..count {
                let square = with(task("def main(x): return x * x", json!([id])), json!({ "id": id, "timeout": 600 }));
                writer.send(change(id, square));
            }
        });
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let reply = reader.read();
            let id = reply["id"].as_u64().unwrap();
            assert!(seen.insert(id), "{id} was answered twice: {reply:#}");
            let right = reply["error"].is_null() && reply["result"] == id * id;
            assert!(right || accept(id, &reply), "{reply:#}");
        }
    });
}

#[test]
fn tasks_of_many_submitters_at_once_all_get_their_turn() {
    let node = TestNode::peer().cpu("workers = 2\nspare_workers = 1\nworker_processes_max = 4").start();
    let submitter = |id: u64, message| with(message, json!({ "source_peer": format!("127.0.0.1:{}", 9100 + id % 12) }));
    storm(&node, 120, submitter, |_, _| false);
    node.wait_for_tasks(0, 0);
}

#[test]
fn workers_that_are_killed_at_work_cost_no_task_that_may_be_retried() {
    let node = TestNode::peer().start();
    // Once one has worked, every child of the node is a worker.
    node.check_serving();
    let patient = |_, message| with(message, json!({ "max_retries": 1000 }));
    let completed = || node.status()["scheduler"]["stats"]["completed_tasks"].as_u64().unwrap();
    thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&node, 6000, patient, |_, _| false));
        for _ in 0..25 {
            // The oldest one is at work, and not one that is still on its way.
            let Some(oldest) = children(node.pid()).into_iter().min() else { continue };
            let oldest = rustix::process::Pid::from_raw(i32::try_from(oldest).unwrap()).unwrap();
            // It may just have ended.
            let _ = rustix::process::kill_process(oldest, rustix::process::Signal::KILL);
            let before = completed();
            wait_for("some tasks to be done", || completed() > before + 20 || storm.is_finished());
            if storm.is_finished() {
                break;
            }
        }
        storm.join().unwrap();
    });
    node.check_serving();
}

#[test]
fn tasks_behind_one_that_leaves_a_thread_are_run_elsewhere() {
    let node = TestNode::peer().start();
    let leaves = "
import threading, time
def main(x):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return x * x
";
    let change = |id, message| if id % 20 == 7 { with(message, json!({ "program": leaves })) } else { message };
    storm(&node, 400, change, |_, _| false);
    node.check_serving();
}

#[test]
fn cancelling_in_a_storm_answers_each_task_once() {
    let node = TestNode::peer().start();
    let running = &node;
    thread::scope(|scope| {
        let named = |id: u64, message| with(message, json!({ "task_id": format!("task-{id}") }));
        let cancelled = |_, reply: &Value| reply["code"] == "cancelled";
        let storm = scope.spawn(move || storm(running, 2000, named, cancelled));
        let mut wire = node.wire();
        let mut hits = 0;
        for id in (0..2000).cycle().step_by(3) {
            if storm.is_finished() {
                break;
            }
            let reply = wire.call(json!({ "type": "CANCEL_TASK", "task_id": format!("task-{id}") }));
            hits += u64::from(reply["status"] == "CANCELLED");
        }
        storm.join().unwrap();
        assert_eq!(node.status()["scheduler"]["stats"]["cancelled_tasks"], hits);
    });
}

#[test]
fn thousands_of_tasks_leave_nothing_behind_in_the_node() {
    let node = TestNode::peer().start();
    let named = |id: u64, message| with(message, json!({ "task_id": format!("{id}-{}", "x".repeat(200)) }));
    storm(&node, 3000, named, |_, _| false);
    let before = resident_bytes(node.pid());
    storm(&node, 20_000, named, |_, _| false);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 32 << 20, "20,000 tasks have left {} KiB behind", growth >> 10);
}
