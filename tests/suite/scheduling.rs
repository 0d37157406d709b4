//! Schedulers that preempt, with real processes: turns, priorities, switching, and what becomes of attempts without a slot.

mod ageing;
mod decisions;
mod switching;

use potluck_tests::{TestNode, Wire, children, is_alive, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The processor time of three loops is compared once each has had this much.
const SHARE_SECONDS: f64 = 0.75;

/// A way to run a program.
#[derive(Clone, Copy)]
enum Runtime {
    Python,
    Sandbox,
    Guest,
}

use Runtime::{Guest, Python, Sandbox};

const ENDLESS: &str = "def main():\n    while True:\n        pass";
/// Needs some processor time, a few turns of it.
const SHORT: &str =
    "def main():\n    total = 0\n    for number in range(2_000_000):\n        total += number\n    return 'short'";

/// A guest that counts down from so many, or for ever from 0, and then prints a result.
fn guest(rounds: u64) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 64) "\"short\"")
          (func (export "_start") (local $left i64)
            (local.set $left (i64.const {rounds}))
            (loop $more
              (local.set $left (i64.sub (local.get $left) (i64.const 1)))
              (br_if $more (i64.ne (local.get $left) (i64.const 0))))
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 7))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    ))
    .unwrap()
}

/// Sends a task; it stays on this node. Its answer has `id`.
fn send(wire: &mut Wire, runtime: Runtime, is_endless: bool, id: &str, members: Value) {
    let program = if is_endless { ENDLESS } else { SHORT };
    let common = json!({ "id": id, "task_id": id, "source_peer": "127.0.0.1:9", "timeout": 120, "cache": false });
    let message = match runtime {
        Python => task(program, json!([])),
        Sandbox => with(task(program, json!([])), json!({ "runtime": "sandbox" })),
        Guest => json!({ "type": "CPU_TASK", "runtime": "wasm", "args": [] }),
    };
    let message = with(with(message, common), members);
    if let Guest = runtime {
        let guest = guest(if is_endless { 0 } else { 300_000_000 });
        wire.send_with(with(message, json!({ "attachment": guest.len() })), &guest);
    } else {
        wire.send(message);
    }
}

/// One slot, and an algorithm.
fn node(algorithm: &str) -> TestNode {
    TestNode::peer().cpu(format!("workers = 1\nalgorithm = \"{algorithm}\"")).start()
}

fn set(node: &TestNode, members: Value) {
    let reply = node.call(with(json!({ "type": "SET_SCHEDULER" }), members));
    assert_eq!(reply["status"], "OK", "{reply}");
}

/// State and processor time, in seconds, of a process.
fn stat(pid: u32) -> Option<(char, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
    Some((fields[0].chars().next()?, ticks / 100.0))
}

fn stopped_workers(node: &TestNode) -> Vec<u32> {
    children(node.pid()).into_iter().filter(|pid| stat(*pid).is_some_and(|(state, _)| state == 'T')).collect()
}

/// The id of the next answer, which says that its task was run.
fn next(wire: &mut Wire) -> String {
    let reply = wire.read();
    assert_eq!((&reply["error"], &reply["result"]), (&Value::Null, &json!("short")), "{reply:#}");
    reply["id"].as_str().unwrap().to_owned()
}

/// Starts three endless loops in one slot, and a short task behind them.
fn crowd(node: &TestNode, loops: [Runtime; 3], short: Runtime, timeout: f64) -> Wire {
    let mut wire = node.wire();
    for (number, runtime) in loops.into_iter().enumerate() {
        send(&mut wire, runtime, true, &format!("loop-{number}"), json!({ "timeout": timeout }));
    }
    node.wait_for_tasks(1, 2);
    send(&mut wire, short, false, "short", json!({}));
    wire
}

fn takes_turns(loops: [Runtime; 3], short: Runtime) {
    let node = node("RR");
    let mut wire = crowd(&node, loops, short, 600.0);
    // Though three loops that never end came before it.
    assert_eq!(next(&mut wire), "short");
    // Each in a process of its own, which has used much more than those that do nothing.
    wait_for("equal shares of the three loops", || {
        let mut seconds: Vec<f64> = children(node.pid()).into_iter().filter_map(|pid| Some(stat(pid)?.1)).collect();
        seconds.sort_by(|a, b| b.total_cmp(a));
        seconds.truncate(3);
        let [most, _, least] = seconds[..] else { return false };
        least > SHARE_SECONDS && (most - least) / most < 0.1
    });
    for number in 0..3 {
        let reply = node.call(json!({ "type": "CANCEL_TASK", "task_id": format!("loop-{number}") }));
        assert_eq!(reply["status"], "CANCELLED", "{reply}");
    }
    for _ in 0..3 {
        let reply = wire.read();
        assert_eq!(reply["code"], "cancelled", "{reply:#}");
    }
    node.check_serving();
    assert!(stopped_workers(&node).is_empty());
}

#[test]
fn python_loops_take_turns_and_a_short_task_gets_through() {
    takes_turns([Python; 3], Python);
}

#[test]
fn sandboxed_loops_take_turns_and_a_short_task_gets_through() {
    takes_turns([Sandbox; 3], Sandbox);
}

#[test]
fn loops_of_guests_take_turns_and_a_short_guest_gets_through() {
    takes_turns([Guest; 3], Guest);
}

#[test]
fn loops_of_all_runtimes_take_turns_with_each_other() {
    takes_turns([Python, Sandbox, Guest], Sandbox);
}

#[test]
fn with_fcfs_a_short_task_waits_for_the_loops_before_it() {
    let node = node("FCFS");
    let mut wire = node.wire();
    node.check_serving();
    for number in 0..3 {
        let timeout = 1.0 + f64::from(number) / 2.0;
        send(&mut wire, Python, true, &format!("loop-{number}"), json!({ "timeout": timeout }));
    }
    send(&mut wire, Python, false, "short", json!({}));
    for number in 0..3 {
        let reply = wire.read();
        assert_eq!((&reply["id"], &reply["code"]), (&json!(format!("loop-{number}")), &json!("timeout")), "{reply:#}");
    }
    assert_eq!(next(&mut wire), "short");
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "FCFS");
}

#[test]
fn a_higher_priority_takes_the_slot_from_a_lower_one() {
    let node = node("PRIORITY_PREEMPTIVE");
    for runtime in [Python, Sandbox, Guest] {
        let mut wire = node.wire();
        send(&mut wire, runtime, true, "low", json!({ "priority": 1 }));
        node.wait_for_tasks(1, 0);
        send(&mut wire, runtime, false, "same", json!({ "priority": 1 }));
        send(&mut wire, runtime, false, "high", json!({ "priority": 2 }));
        send(&mut wire, Python, false, "higher", json!({ "priority": 3 }));
        let mut first = [next(&mut wire), next(&mut wire)];
        first.sort();
        assert_eq!(first, ["high", "higher"]);
        // It has its slot back, which an equal does not take.
        node.wait_for_tasks(1, 1);
        assert!(stopped_workers(&node).is_empty());
        assert_eq!(node.call(json!({ "type": "CANCEL_TASK", "task_id": "low" }))["status"], "CANCELLED");
        assert_eq!(wire.read()["code"], "cancelled");
        assert_eq!(next(&mut wire), "same");
    }
}

#[test]
fn without_preemption_a_higher_priority_waits() {
    let node = node("PRIORITY");
    let mut wire = node.wire();
    node.check_serving();
    send(&mut wire, Python, true, "low", json!({ "priority": 1, "timeout": 1 }));
    node.wait_for_tasks(1, 0);
    send(&mut wire, Python, false, "high", json!({ "priority": 2 }));
    assert_eq!(wire.read()["id"], "low");
    assert_eq!(next(&mut wire), "high");
}

#[test]
fn switching_while_tasks_are_suspended_strands_none() {
    const TASKS: usize = 12;
    let node = node("RR");
    set(&node, json!({ "algorithm": "RR", "quantum_ms": 10 }));
    let mut wire = node.wire();
    for number in 0..TASKS {
        let runtime = [Python, Sandbox, Guest][number % 3];
        send(&mut wire, runtime, false, &format!("task-{number}"), json!({ "priority": number }));
    }
    for algorithm in ["FCFS", "RR", "PRIORITY_PREEMPTIVE", "RR", "SJF", "RR", "SRTF", "RR", "PRIORITY", "RR", "FCFS"] {
        set(&node, json!({ "algorithm": algorithm }));
        // Something happens under each of them.
        if algorithm == "RR" {
            let has_ended = || node.status()["scheduler"]["stats"]["completed_tasks"].as_u64() == Some(TASKS as u64);
            wait_for("a task to be suspended", || !stopped_workers(&node).is_empty() || has_ended());
        }
    }
    let ended: BTreeSet<String> = (0..TASKS).map(|_| next(&mut wire)).collect();
    assert_eq!(ended.len(), TASKS);
    node.wait_for_tasks(0, 0);
    assert!(stopped_workers(&node).is_empty());
}

#[test]
fn a_suspended_task_is_stopped_when_its_time_is_over() {
    let node = node("RR");
    for runtime in [Python, Sandbox, Guest] {
        let mut wire = node.wire();
        send(&mut wire, runtime, true, "long", json!({ "timeout": 100 }));
        node.wait_for_tasks(1, 0);
        for number in 0..3 {
            send(&mut wire, runtime, true, &format!("loop-{number}"), json!({ "timeout": 2 }));
        }
        for _ in 0..3 {
            let reply = wire.read();
            assert_eq!(reply["code"], "timeout", "{reply:#}");
        }
        node.wait_for_tasks(1, 0);
        assert_eq!(node.call(json!({ "type": "CANCEL_TASK", "task_id": "long" }))["status"], "CANCELLED");
        assert_eq!(wire.read()["code"], "cancelled");
    }
    node.check_serving();
}

#[test]
fn a_suspended_worker_that_is_killed_fails_its_task_alone() {
    let node = node("RR");
    // Else the killed one may be tried again.
    let mut wire = node.wire();
    for number in 0..3 {
        send(&mut wire, Python, true, &format!("loop-{number}"), json!({ "timeout": 600, "max_retries": 0 }));
    }
    node.wait_for_tasks(1, 2);
    let victim = wait_for_some("a suspended worker", || stopped_workers(&node).first().copied());
    kill(victim);
    let reply = wire.read();
    assert_eq!(reply["code"], "worker_died", "{reply:#}");
    node.wait_for_tasks(1, 1);
    send(&mut wire, Python, false, "short", json!({}));
    assert_eq!(next(&mut wire), "short");
    assert!(!is_alive(victim));
}

#[test]
fn what_is_suspended_ends_with_its_node() {
    let mut node = node("RR");
    let mut wire = node.wire();
    for (number, runtime) in [Python, Sandbox, Guest].into_iter().enumerate() {
        send(&mut wire, runtime, true, &format!("loop-{number}"), json!({}));
    }
    node.wait_for_tasks(1, 2);
    wait_for("a suspended worker", || !stopped_workers(&node).is_empty());
    let workers = children(node.pid());
    assert!(node.stop().success());
    wait_for("the workers to be gone", || workers.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn no_more_tasks_are_begun_than_may_be_suspended() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"RR\"\nquantum_ms = 10\nsuspended_max = 2").start();
    let mut wire = node.wire();
    for number in 0..5 {
        send(&mut wire, Python, true, &format!("loop-{number}"), json!({}));
    }
    node.wait_for_tasks(1, 4);
    let by_time = || {
        let mut seconds: Vec<f64> = children(node.pid()).into_iter().filter_map(|pid| Some(stat(pid)?.1)).collect();
        seconds.sort_by(|a, b| b.total_cmp(a));
        seconds
    };
    // One has the slot, and two may be without.
    wait_for("three loops to take turns", || by_time().get(2).is_some_and(|seconds| *seconds > SHARE_SECONDS));
    let seconds = by_time();
    assert!(seconds.get(3).is_none_or(|fourth| *fourth < SHARE_SECONDS / 2.0), "{seconds:?}");
    // Whoever ends makes room for the next one.
    for number in 0..5 {
        assert_eq!(
            node.call(json!({ "type": "CANCEL_TASK", "task_id": format!("loop-{number}") }))["status"],
            "CANCELLED"
        );
        assert_eq!(wire.read()["code"], "cancelled");
    }
    node.check_serving();
}

/// As [`node`], with processes and semaphores.
fn system(algorithm: &str) -> TestNode {
    let settings = format!("workers = 1\nalgorithm = \"{algorithm}\"");
    TestNode::peer().cpu(settings).plugin("process", "").plugin("ipc", "").start()
}

/// State, and why, of each process that has not ended, by the name of its task.
fn states(node: &TestNode) -> BTreeMap<String, (String, String)> {
    let listed = node.call(json!({ "type": "LIST_PROCESSES" }));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let living = listed["processes"].as_array().unwrap().iter().filter(|process| process["state"] != "TERMINATED");
    living.map(|process| (text(&process["task_id"]), (text(&process["state"]), text(&process["reason"])))).collect()
}

fn wait_for_state(node: &TestNode, task: &str, state: &str, reason: &str) {
    let expected = (state.to_owned(), reason.to_owned());
    wait_for(&format!("{task} to be {state} {reason}"), || states(node).get(task) == Some(&expected));
}

fn signal(node: &TestNode, task: &str, signal: &str) {
    // The table learns of tasks a little later than the queue does.
    let pid = wait_for_some(&format!("{task} to be a process"), || {
        let listed = node.call(json!({ "type": "LIST_PROCESSES" }));
        let process = listed["processes"].as_array()?.iter().find(|process| process["task_id"] == task)?.clone();
        Some(process["pid"].clone())
    });
    let reply = node.call(json!({ "type": "SIGNAL_PROCESS", "pid": pid, "signal": signal }));
    assert_eq!(reply["status"], "OK", "{reply}");
}

#[test]
fn a_paused_task_holds_no_slot_and_goes_on_when_it_is_resumed() {
    for runtime in [Python, Sandbox, Guest] {
        let node = system("FCFS");
        let mut wire = node.wire();
        send(&mut wire, runtime, true, "long", json!({}));
        wait_for_state(&node, "long", "RUNNING", "");
        send(&mut wire, runtime, true, "next", json!({}));
        send(&mut wire, runtime, false, "short", json!({}));
        node.wait_for_tasks(1, 2);
        // One that has not begun does not begin.
        signal(&node, "next", "pause");
        wait_for_state(&node, "next", "WAITING", "paused");
        signal(&node, "long", "pause");
        wait_for_state(&node, "long", "WAITING", "paused");
        assert_eq!(next(&mut wire), "short");
        let stopped = stopped_workers(&node);
        assert_eq!((stopped.len(), node.active_tasks()), (1, 0));
        let seconds = stat(stopped[0]).unwrap().1;
        send(&mut wire, Python, false, "another", json!({}));
        assert_eq!(next(&mut wire), "another");
        assert_eq!(stat(stopped[0]), Some(('T', seconds)));
        signal(&node, "long", "resume");
        wait_for_state(&node, "long", "RUNNING", "");
        wait_for("it to go on", || stat(stopped[0]).is_some_and(|(_, now)| now > seconds));
        signal(&node, "next", "resume");
        wait_for_state(&node, "next", "READY", "queued");
        signal(&node, "long", "pause");
        wait_for_state(&node, "next", "RUNNING", "");
        for task in ["long", "next"] {
            signal(&node, task, "kill");
            assert_eq!(wire.read()["id"], task);
        }
        node.wait_for_tasks(0, 0);
        assert!(stopped_workers(&node).is_empty());
        node.check_serving();
    }
}

#[test]
fn a_task_that_waits_holds_no_slot_and_queues_for_one_when_it_is_answered() {
    const WAITER: &str = "import potluck\ndef main():\n    with potluck.semaphore('gate'):\n        return 'short'";
    for runtime in ["python", "sandbox"] {
        let node = system("RR");
        node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "gate", "initial_value": 0 }));
        let mut wire = node.wire();
        for number in 0..4 {
            let options = json!({ "runtime": runtime, "cache": false, "id": format!("waiter-{number}"),
                "task_id": format!("waiter-{number}"), "source_peer": "127.0.0.1:9" });
            wire.send(with(task(WAITER, json!([])), options));
        }
        for number in 0..4 {
            wait_for_state(&node, &format!("waiter-{number}"), "WAITING", "semaphore gate");
        }
        // All of them, in one slot, which is free.
        node.wait_for_tasks(0, 0);
        send(&mut wire, Python, false, "free", json!({}));
        assert_eq!(next(&mut wire), "free");
        // One is paused as well: its answer does not wake it.
        signal(&node, "waiter-0", "pause");
        send(&mut wire, Python, true, "loop", json!({}));
        wait_for_state(&node, "loop", "RUNNING", "");
        node.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "gate", "process_id": "the test" }));
        wait_for_state(&node, "waiter-0", "WAITING", "paused");
        node.wait_for_tasks(1, 0);
        signal(&node, "waiter-0", "resume");
        let ended: BTreeSet<String> = (0..4).map(|_| next(&mut wire)).collect();
        assert_eq!(ended.len(), 4);
        signal(&node, "loop", "kill");
        assert_eq!(wire.read()["id"], "loop");
    }
}

#[test]
fn a_task_that_waits_ends_with_its_time_or_when_it_is_cancelled_and_leaves_its_place_in_the_queue() {
    const WAITER: &str = "import potluck\ndef main():\n    with potluck.semaphore('gate'):\n        return 'short'";
    let node = system("FCFS");
    node.call(json!({ "type": "CREATE_SEMAPHORE", "sem_id": "gate", "initial_value": 0 }));
    let mut wire = node.wire();
    for (id, timeout) in [("late", 1), ("cancelled", 100), ("patient", 100)] {
        let options =
            json!({ "id": id, "task_id": id, "timeout": timeout, "source_peer": "127.0.0.1:9", "cache": false });
        wire.send(with(task(WAITER, json!([])), options));
    }
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["code"]), (&json!("late"), &json!("timeout")), "{reply:#}");
    wait_for_state(&node, "cancelled", "WAITING", "semaphore gate");
    assert_eq!(node.call(json!({ "type": "CANCEL_TASK", "task_id": "cancelled" }))["status"], "CANCELLED");
    assert_eq!(wire.read()["code"], "cancelled");
    wait_for_state(&node, "patient", "WAITING", "semaphore gate");
    node.call(json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "gate", "process_id": "the test" }));
    assert_eq!(next(&mut wire), "patient");
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
