//! Very many who wait. Alone in its file: it measures the whole process.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use provider_ipc::Ipc;
use serde_json::{Value, json};
use std::time::Duration;

fn node() -> Harness {
    Harness::start_with_clock(json!({}), |host, config, clock| Ipc::start_with_clock(host, config, move || clock.now()))
        .unwrap()
}

fn create_semaphore(node: &Harness, id: &str, initial: u64) {
    node.call(json!({"type": "CREATE_SEMAPHORE", "sem_id": id, "initial_value": initial})).unwrap();
}

fn wait(node: &Harness, id: &str, process: &str) -> PendingCall {
    node.begin(format!(r#"{{"type":"SEMAPHORE_WAIT","sem_id":"{id}","process_id":"{process}"}}"#))
}

fn signal(node: &Harness, id: &str, process: &str) -> Value {
    node.call(format!(r#"{{"type":"SEMAPHORE_SIGNAL","sem_id":"{id}","process_id":"{process}"}}"#)).unwrap()
}

/// A number of this process's, from /proc/self/status.
fn own(field: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_thousand_blocked_waits_and_ten_thousand_queues_take_little_memory_and_no_thread() {
    const WAITS: usize = 100_000;
    const QUEUES: usize = 10_000;
    let node = node();
    create_semaphore(&node, "m", 1);
    create_semaphore(&node, "timed", 0);
    wait(&node, "m", "W0").wait().unwrap();
    let (memory, threads) = (own("VmRSS"), own("Threads"));
    for number in 0..QUEUES {
        node.call(format!(r#"{{"type":"CREATE_QUEUE","queue_id":"queue-{number}"}}"#)).unwrap();
    }
    let with_queues = own("VmRSS");
    let mut calls: Vec<PendingCall> = Vec::with_capacity(WAITS);
    for number in 1..=WAITS / 2 {
        calls.push(wait(&node, "m", &format!("W{number}")));
    }
    // Each ends before the one before it, which is the hardest for the timer.
    for number in 0..WAITS / 2 {
        let timeout = 3600.0 - number as f64 / 20.0;
        calls.push(node.begin(format!(
            r#"{{"type":"SEMAPHORE_WAIT","sem_id":"timed","process_id":"T{number}","timeout":{timeout}}}"#
        )));
    }
    let grown = own("VmRSS");
    println!("{} KiB for the queues and their events, {} KiB for the waits", with_queues - memory, grown - with_queues);
    assert_eq!(own("Threads"), threads);
    assert!(node.timers() <= 64, "{} timers", node.timers());
    assert_eq!(node.status()["ipc"]["semaphore_waits"], WAITS);
    // The harness's half of a call is in it, and the events that it keeps.
    assert!(with_queues - memory < 40 << 10, "{QUEUES} queues take {} KiB", with_queues - memory);
    assert!(grown - with_queues < 100 << 10, "{WAITS} waits take {} KiB", grown - with_queues);

    // Half of them go away, and half of the rest are served, each in its turn.
    let (blocked, timed) = calls.split_at(WAITS / 2);
    for call in blocked.iter().step_by(2) {
        call.cancel();
    }
    for number in (0..WAITS / 2).step_by(2) {
        signal(&node, "m", &format!("W{number}"));
        assert!(blocked[number + 1].try_answer().unwrap().is_ok());
    }
    node.advance(Duration::from_secs(3600));
    node.wait_until("all are told that their time is over", || {
        timed.iter().all(|call| call.try_answer().is_some_and(|answer| answer.unwrap()["status"] == "BLOCKED"))
    });
    let status = &node.status()["ipc"];
    assert_eq!((&status["semaphore_waits"], &status["semaphore_holders"]), (&json!(0), &json!(1)));
    assert_eq!(node.timers(), 0);
}
