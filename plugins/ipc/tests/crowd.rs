//! Many at once: threads that fight for permits and messages.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use provider_ipc::Ipc;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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

#[test]
fn eight_threads_are_never_more_than_three_inside() {
    const PERMITS: usize = 3;
    let node = node();
    create_semaphore(&node, "m", PERMITS as u64);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (node, inside) = (&node, &inside);
            scope.spawn(move || {
                let process = format!("P{thread}");
                for _ in 0..500 {
                    assert_eq!(wait(node, "m", &process).wait().unwrap()["status"], "OK");
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < PERMITS);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    signal(node, "m", &process);
                }
            });
        }
    });
    let info = &node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap()["semaphores"][0];
    assert_eq!((&info["value"], &info["owned"], &info["waiting"]), (&json!(PERMITS), &json!(true), &json!(0)));
}

#[test]
fn callers_that_go_away_at_any_moment_take_no_permit_along() {
    let node = node();
    create_semaphore(&node, "m", 1);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let node = &node;
            scope.spawn(move || {
                for round in 0..400 {
                    // A name for each round: what it held is given back in its name alone.
                    let process = format!("P{thread}-{round}");
                    let call = wait(node, "m", &process);
                    if (round + thread) % 3 == 0 {
                        // Answered already, or not, or just now: the process ends in any case.
                        drop(call);
                        node.emit("process.ended", format!(r#"{{"pid":"{process}","reason":"gone"}}"#));
                    } else {
                        assert_eq!(call.wait().unwrap()["status"], "OK");
                        signal(node, "m", &process);
                    }
                }
            });
        }
    });
    let info = node.call(json!({"type": "LIST_SEMAPHORES"})).unwrap()["semaphores"][0].clone();
    assert_eq!(
        (&info["value"], &info["owned"], &info["waiting"], &info["holder_count"]),
        (&json!(1), &json!(true), &json!(0), &json!(0)),
        "{info}"
    );
}

#[test]
fn every_message_arrives_once_and_in_the_order_of_its_sender() {
    const MESSAGES: usize = 400;
    let node = node();
    node.call(json!({"type": "CREATE_QUEUE", "queue_id": "q", "max_size": 5})).unwrap();
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for sender in 0..4 {
            let node = &node;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let text = format!(
                        r#"{{"type":"SEND_MESSAGE","queue_id":"q","sender":"s{sender}","receiver":"?","data":{number},"timeout":1000}}"#
                    );
                    node.call(text).unwrap();
                }
            });
        }
        for receiver in 0..4 {
            let (node, seen) = (&node, &seen);
            scope.spawn(move || {
                let mut last = [None; 4];
                for _ in 0..MESSAGES {
                    let text = format!(r#"{{"type":"RECEIVE_MESSAGE","queue_id":"q","receiver":"r{receiver}"}}"#);
                    let message = node.call(text).unwrap();
                    let sender: usize = message["sender"].as_str().unwrap()[1..].parse().unwrap();
                    let number = message["data"].as_u64().unwrap();
                    assert!(last[sender].is_none_or(|last| last < number), "messages of one sender stay in order");
                    last[sender] = Some(number);
                    seen.lock().unwrap().push((sender, number));
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (4 * MESSAGES, 4 * MESSAGES));
    let status = &node.status()["ipc"];
    assert_eq!((&status["message_count"], &status["message_bytes"]), (&json!(0), &json!(0)));
}
