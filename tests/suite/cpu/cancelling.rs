//! CANCEL_TASK, and clients that go away.

use super::{ENDLESS, assert_failed, cancel, one_worker, trusting, wait_for_pid};
use potluck_tests::{Gate, TestNode, is_alive, task, wait_for, wait_for_some, with};
use serde_json::json;
use std::fs;

#[test]
fn a_running_task_is_cancelled_and_its_slot_is_free() {
    let node = one_worker();
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!(["pid"])), json!({ "task_id": "endless" })));
    let pid = wait_for_pid(&node, "pid");
    let cancelled = cancel(&node, "endless");
    assert_eq!((&cancelled["type"], &cancelled["status"]), (&json!("STATUS"), &json!("CANCELLED")), "{cancelled}");
    assert_eq!(cancelled["task_id"], "endless");
    let reply = wire.read();
    assert_failed(&reply, "cancelled", "Task cancelled");
    assert_eq!((&reply["task_id"], &reply["attempts"]), (&json!("endless"), &json!(1)), "{reply:#}");
    node.check_serving();
    let stats = node.status()["scheduler"]["stats"].take();
    assert_eq!((&stats["cancelled_tasks"], &stats["active_tasks"]), (&json!(1), &json!(0)), "{stats:#}");
    wait_for("the cancelled task's process to be gone", || !is_alive(pid));
}

#[test]
fn a_queued_task_is_cancelled_and_never_runs() {
    let node = one_worker();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "gate" })));
    node.wait_for_tasks(1, 0);
    wire.send(with(task("def main(): open('ran', 'w')", json!([])), json!({ "id": "queued", "task_id": "queued" })));
    node.wait_for_tasks(1, 1);
    assert_eq!(cancel(&node, "queued")["status"], "CANCELLED");
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["attempts"]), (&json!("queued"), &json!(0)), "{reply:#}");
    assert_failed(&reply, "cancelled", "Task cancelled");
    gate.open();
    assert_eq!(wire.read()["id"], "gate");
    node.check_serving();
    assert!(node.scratch_file("ran").is_none(), "the cancelled task was run");
}

#[test]
fn a_cancelled_task_takes_its_children_with_it() {
    let node = trusting();
    let pids = node.folder().join("pids");
    let program = "
import os, subprocess, time
def main(path):
    child = subprocess.Popen(['sleep', '1000'])
    forked = os.fork()
    if forked == 0:
        time.sleep(1000)
    with open(path + '.new', 'w') as file:
        file.write(f'{child.pid} {forked}')
    os.rename(path + '.new', path)
    child.wait()
";
    let mut wire = node.wire();
    wire.send(with(task(program, json!([pids])), json!({ "task_id": "parent" })));
    let text = wait_for_some("the task to start its children", || fs::read_to_string(&pids).ok());
    let pids: Vec<u32> = text.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    cancel(&node, "parent");
    assert_failed(&wire.read(), "cancelled", "");
    wait_for("the children of the cancelled task to be gone", || !pids.iter().any(|pid| is_alive(*pid)));
    node.check_serving();
}

#[test]
fn a_cancelled_task_takes_children_with_it_that_have_left_its_group() {
    let node = trusting();
    let program = "
import os, subprocess, time
def main(name):
    child = subprocess.Popen(['sleep', '100'], start_new_session=True)
    with open(name + '.new', 'w') as file:
        file.write(str(child.pid))
    os.rename(name + '.new', name)
    child.wait()
";
    let mut wire = node.wire();
    wire.send(with(task(program, json!(["pid"])), json!({ "task_id": "parent" })));
    let pid = wait_for_pid(&node, "pid");
    cancel(&node, "parent");
    assert_failed(&wire.read(), "cancelled", "");
    wait_for("the child of the cancelled task to be gone", || !is_alive(pid));
}

#[test]
fn cancelling_what_is_not_there_is_an_error() {
    let node = TestNode::peer().start();
    let reply = cancel(&node, "nobody");
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("task_not_found")), "{reply}");
    assert!(reply["error"].as_str().unwrap().starts_with("Task nobody not found"), "{reply}");
    assert_eq!(cancel(&node, "")["error"], "task_id required");
    assert_eq!(node.call(json!({ "type": "CANCEL_TASK" }))["error"], "task_id required");
    node.call(with(task("def main(): pass", json!([])), json!({ "task_id": "over" })));
    assert_eq!(cancel(&node, "over")["code"], "task_not_found");
}

#[test]
fn cancelling_again_and_again_stops_each_task_once() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    for round in 0..20 {
        let name = format!("endless-{round}");
        wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": name })));
        // At once, so that it is met while it is queued, on its way, or running.
        wait_for("the task to be known", || cancel(&node, &name)["status"] == "CANCELLED");
        assert_failed(&wire.read(), "cancelled", "");
    }
    node.check_serving();
    assert_eq!(node.status()["scheduler"]["stats"]["cancelled_tasks"], 20);
}

#[test]
fn a_task_whose_client_has_gone_is_stopped() {
    let node = one_worker();
    let mut wire = node.wire();
    wire.send(task(ENDLESS, json!([])));
    wire.send(with(task(ENDLESS, json!([])), json!({ "id": "queued" })));
    node.wait_for_tasks(1, 1);
    drop(wire);
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_batch_whose_client_has_gone_is_stopped() {
    let node = one_worker();
    let mut wire = node.wire();
    let tasks = vec![json!({ "program": ENDLESS }); 3];
    wire.send(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    node.wait_for_tasks(1, 2);
    drop(wire);
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_task_at_another_peer_is_stopped_when_its_client_goes() {
    let (node, other) = (TestNode::peer().plugins("[plugins.memory]\n").start(), one_worker());
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "to": other.address(), "timeout": 600 })));
    other.wait_for_tasks(1, 0);
    drop(wire);
    other.wait_for_tasks(0, 0);
}

#[test]
fn a_name_that_two_tasks_share_cancels_both() {
    let node = TestNode::peer().cpu("workers = 2").start();
    let mut wire = node.wire();
    for id in ["one", "two"] {
        wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": "same", "id": id })));
    }
    node.wait_for_tasks(2, 0);
    assert_eq!(cancel(&node, "same")["status"], "CANCELLED");
    for _ in 0..2 {
        assert_failed(&wire.read(), "cancelled", "");
    }
}
