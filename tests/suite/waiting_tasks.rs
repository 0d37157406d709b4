//! Many tasks that wait at once: each holds a process, and keeps nobody from running.

use potluck_tests::{NodeBuilder, TestNode, Wire, task, wait_for_some, with};
use serde_json::{Value, json};

/// More than may be stopped for others at once.
const WAITING: u64 = 80;

/// A peer with one slot, and what tasks wait for.
fn peer() -> NodeBuilder {
    let settings = "workers = 1\nsuspended_max = 64\nwaiting_max = 128\nalgorithm = \"FCFS\"";
    TestNode::peer().cpu(settings).plugin("process", "").plugin("ipc", "")
}

/// A CPU_TASK of this machine's user.
fn calling(program: &str, args: Value) -> Value {
    let members = json!({ "cache": false, "timeout": 300 });
    with(task(&format!("import potluck\n{program}"), args), members)
}

fn begin(node: &TestNode, program: &str, args: Value) -> Wire {
    let mut wire = node.wire();
    wire.send(calling(program, args));
    wire
}

#[track_caller]
fn result(wire: &mut Wire) -> Value {
    let mut reply = wire.read();
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    reply["result"].take()
}

fn wait_for_waiters(node: &TestNode, name: &str, count: u64) {
    wait_for_some(&format!("{count} to wait for {name}"), || {
        let list = node.call(json!({ "type": "LIST_SEMAPHORES", "prefix": name }));
        list["semaphores"].as_array()?.iter().find(|one| one["sem_id"] == name && one["waiting"] == count).map(|_| ())
    });
}

const ACQUIRE: &str = "def main(name):\n    potluck.semaphore(name, 0).acquire()\n    return 'acquired'\n";

#[test]
fn tasks_that_wait_at_a_semaphore_keep_no_other_one_from_running() {
    let node = peer().start();
    let mut waiting: Vec<Wire> = (0..WAITING).map(|_| begin(&node, ACQUIRE, json!(["gate"]))).collect();
    wait_for_waiters(&node, "gate", WAITING);
    assert_eq!(result(&mut begin(&node, "def main(): return 7", json!([]))), 7);
    let release = "def main(count):\n    for _ in range(count):\n        potluck.semaphore('gate', 0).release()\n    return 'released'\n";
    assert_eq!(result(&mut begin(&node, release, json!([WAITING]))), "released");
    for wire in &mut waiting {
        assert_eq!(result(wire), "acquired");
    }
    node.check_serving();
}

#[test]
fn a_task_that_waits_for_a_child_that_waits_for_a_child_ends_however_many_there_are() {
    let node = peer().start();
    let program = "def main(n):
    if n == 0:
        return 1
    return potluck.spawn(main, n - 1, timeout=300).result() + 1
";
    assert_eq!(result(&mut begin(&node, program, json!([WAITING]))), WAITING + 1);
}

#[test]
fn one_more_than_may_wait_is_told_so() {
    let settings = "workers = 1\nwaiting_max = 8";
    let node = TestNode::peer().cpu(settings).plugin("process", "").plugin("ipc", "").start();
    let mut waiting: Vec<Wire> = (0..6).map(|_| begin(&node, ACQUIRE, json!(["gate"]))).collect();
    wait_for_waiters(&node, "gate", 6);
    let reply = node.call(calling(ACQUIRE, json!(["gate"])));
    assert_eq!(reply["code"], "limit_reached", "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains("waiting_max 8"), "{reply:#}");
    let release = "def main():\n    for _ in range(6):\n        potluck.semaphore('gate', 0).release()\n";
    result(&mut begin(&node, release, json!([])));
    for wire in &mut waiting {
        assert_eq!(result(wire), "acquired");
    }
}

#[test]
fn a_task_whose_threads_wait_and_call_leaves_its_slot_to_whom_it_waits_for() {
    let node = peer().start();
    // The second thread makes one short call, which brings the task back into the only slot.
    let program = "import threading
def main(name):
    gate = potluck.semaphore(name, 0)
    second = threading.Thread(target=lambda: potluck.semaphore(name + '-first', 0).acquire())
    second.start()
    gate.acquire()
    second.join()
    return 'acquired'
";
    let mut waiting = begin(&node, program, json!(["t"]));
    wait_for_waiters(&node, "t", 1);
    wait_for_waiters(&node, "t-first", 1);
    let reply = node.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "t-first", "process_id": "test" }));
    assert_ne!(reply["type"], "ERROR", "{reply:#}");
    let release = "def main():\n    potluck.semaphore('t', 0).release()\n    return 'released'\n";
    assert_eq!(result(&mut begin(&node, release, json!([]))), "released");
    assert_eq!(result(&mut waiting), "acquired");
}
