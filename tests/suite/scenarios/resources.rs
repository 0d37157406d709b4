//! Scenarios 5 to 7 and workflow 4: deadlocks, memory, queues and semaphores.

use super::{begin, begin_task, complete, json, living, out, refused, wait_for_state, wait_for_waiters};
use potluck_tests::{TestNode, wait_for};
use serde_json::json;

/// Takes one lock, then the other, as soon as both have their first.
const CROSSING: &str = "
import potluck
def main(order):
    first, second = [potluck.lock(name) for name in order.split()]
    with first:
        gate = potluck.semaphore('gate', 0)
        if potluck.update('holding', lambda count: count + 1, 0) == 2:
            gate.release()
            gate.release()
        gate.acquire()
        with second:
            return order
";

#[test]
fn scenario_5_a_deadlock_of_two_tasks_is_found_explained_and_resolved() {
    let node = complete(TestNode::peer()).start();
    for runtime in ["python", "sandbox"] {
        assert_eq!(out(&node, "deadlock").lines().next(), Some("No deadlock"));
        let tasks = ["left right", "right left"].map(|order| begin_task(&node, order, runtime, CROSSING, order));
        let first = wait_for_state(&node, "left right", "WAITING", "semaphore right");
        let second = wait_for_state(&node, "right left", "WAITING", "semaphore left");
        let found = node.cli(["deadlock"]);
        assert_eq!(found.status, 1, "{found:?}");
        for text in [
            format!("{first} has semaphore:left and waits for semaphore:right, which {second} has."),
            format!("{second} has semaphore:right and waits for semaphore:left, which {first} has."),
        ] {
            assert!(found.stdout.contains(&text), "{text} in {}", found.stdout);
        }
        assert!(out(&node, &format!("deadlock resolve {second}")).starts_with(&format!("{second} ended")));
        let [first, second] = tasks.map(|task| task.join().unwrap());
        assert_eq!(first.success().json()["result"], "left right");
        assert!(second.status == 1 && second.stdout.contains("cancelled"), "{second:?}");
        out(&node, "del-mem --key holding");
        for name in ["left", "right", "gate"] {
            out(&node, &format!("sem delete {name}"));
        }
        wait_for("no process to be left", || living(&node).is_empty());
    }
}

#[test]
fn workflow_4_an_unsafe_request_is_denied_until_it_is_safe() {
    let node = complete(TestNode::peer()).start();
    let list = out(&node, "resources");
    for line in ["CPU", "MEMORY", "DISK"] {
        assert!(list.contains(line), "{line} in {list}");
    }
    for line in ["resources need P100 CPU=3 DISK=4", "resources need P101 CPU=3 DISK=6", "resources need P102 DISK=10"]
    {
        out(&node, line);
    }
    assert_eq!(out(&node, "resources request P100 CPU=2"), "Granted; P100 has 2 CPU\n");
    assert_eq!(out(&node, "resources request P101 DISK=5"), "Granted; P101 has 5 DISK\n");
    assert!(refused(&node, "resources request P101 CPU=2").contains("Allocation would lead to unsafe state"));
    assert!(refused(&node, "resources request P102 DISK=6").contains("Insufficient resources available"));
    assert!(refused(&node, "resources request P100 CPU=2").contains("Request exceeds need"));
    assert!(out(&node, "resources").contains("Safe state"));
    assert_eq!(node.cli(["deadlock"]).status, 0);
    // Kept until it is safe.
    let waiting = begin(&node, &["resources", "request", "P101", "CPU=2", "--wait"]);
    wait_for("the request to wait", || node.status()["deadlock_detector"]["waiting"] == 1);
    assert_eq!(node.cli(["deadlock"]).status, 0);
    out(&node, "resources release P100 CPU=2");
    assert_eq!(waiting.join().unwrap().success().stdout, "Granted; P101 has 2 CPU, 5 DISK\n");
}

#[test]
fn scenario_6_memory_is_allocated_broken_up_and_put_together_again() {
    let node = complete(TestNode::peer()).start();
    let free = || node.status()["memory_manager"]["fragmentation"].clone();
    for (name, size) in [("P1", "200K"), ("P2", "300K"), ("P3", "524K")] {
        assert!(out(&node, &format!("alloc {name} {size}")).starts_with(&format!("{name}: ")));
    }
    assert_eq!(free()["free_blocks_count"], 0);
    assert!(refused(&node, "alloc P4 16").contains("Memory allocation failed"));
    out(&node, "free P1");
    out(&node, "free P3");
    // Enough in all, but not in one piece.
    assert_eq!((&free()["free_blocks_count"], &free()["largest_free_block"]), (&json!(2), &json!(524 << 10)));
    assert!(refused(&node, "alloc P4 600K").contains("Memory allocation failed"));
    let map = out(&node, "memmap");
    assert!(map.contains("P2") && map.contains('#') && map.contains('.'), "{map}");
    let waiting = begin(&node, &["alloc", "P4", "600K", "--wait"]);
    wait_for("it to wait", || node.status()["memory_manager"]["waiting"] == 1);
    out(&node, "free P2");
    assert!(waiting.join().unwrap().success().stdout.starts_with("P4: 614400 bytes at address 0"));
    out(&node, "free P4");
    assert_eq!((&free()["free_blocks_count"], &free()["largest_free_block"]), (&json!(1), &json!(1 << 20)));
    assert_eq!(free()["external_fragmentation"].as_f64(), Some(0.0));
    // An exact fit given back, which the original never came back from.
    assert!(out(&node, "alloc P1 1MiB").starts_with("P1: 1048576 bytes"));
    assert!(out(&node, "free P1").contains("1 block given back"));
}

#[test]
fn scenario_7_a_queue_and_a_semaphore_join_tasks_and_the_command_line() {
    let node = complete(TestNode::peer().cpu("workers = 1")).start();
    let program = "
import potluck
def main(me):
    with potluck.lock('door'):
        job = potluck.queue('jobs').receive()
        potluck.queue('done').send(f'{me}: {job * job}')
    return me
";
    for runtime in ["python", "sandbox"] {
        for command in ["queue create jobs --max-size 2", "queue create done", "sem create door --binary"] {
            out(&node, command);
        }
        out(&node, "sem wait door --as guard");
        let tasks = ["ann", "bob"].map(|name| begin_task(&node, name, runtime, program, name));
        wait_for_waiters(&node, "door", 2);
        // Both wait, so the only slot is free.
        node.wait_for_tasks(0, 0);
        out(&node, "sem signal door --as guard");
        out(&node, "queue send jobs 7 --receiver ?");
        let results = begin(&node, &["--json", "queue", "receive", "done", "--as", "reader", "--timeout", "60"]);
        assert!(results.join().unwrap().success().json()["data"].as_str().unwrap().ends_with(": 49"));
        wait_for("the second to be in", || json(&node, "sem list")["semaphores"][0]["waiting"] == 0);
        out(&node, "queue send jobs 8 --receiver ?");
        let second = out(&node, "queue receive done --as reader --timeout 60");
        assert!(second.contains(": 64"), "{second}");
        tasks.into_iter().for_each(|task| drop(task.join().unwrap().success()));
        // What both have left is as it was.
        out(&node, "sem wait door --as guard --timeout 0");
        assert_eq!(node.cli(["queue", "receive", "jobs", "--timeout", "0"]).stdout, "No message\n");
        for command in ["queue delete jobs", "queue delete done", "sem delete door"] {
            out(&node, command);
        }
    }
}
