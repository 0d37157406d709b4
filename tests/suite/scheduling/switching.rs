//! SET_SCHEDULER while tasks wait: what each algorithm has measured, and that nothing is lost.

use super::set;
use potluck_tests::{Gate, TestNode, Wire, wait_for_some, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TASKS: usize = 9;
/// Waits for its gate. Never so short that others would be sent to its worker ahead, where their order is settled.
const PROGRAM: &str = "
import os, time

def main(path):
    time.sleep(0.02)
    while not os.path.exists(path):
        time.sleep(0.002)
    return 'through'
";

fn statistics(node: &TestNode, algorithm: &str) -> Value {
    let state = node.call(json!({ "type": "GET_SCHEDULER" }));
    let all = state["statistics"].as_array().unwrap();
    let mut own = all.iter().filter(|one| one["algorithm"] == algorithm);
    let found = own.next().unwrap_or_else(|| panic!("{algorithm}: {state:#}")).clone();
    assert_eq!(own.next(), None, "{state:#}");
    found
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("{name}: {of:#}"))
}

#[test]
fn each_algorithm_measures_what_ended_while_it_was_in_force_and_switching_loses_nothing() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    let gates: Vec<Gate> = (0..TASKS).map(|_| Gate::new(&node)).collect();
    let mut wire = node.wire();
    let task = |number: usize| {
        let id = format!("task-{number}");
        let members = json!({ "id": id, "task_id": id, "priority": number, "cache": false, "program": PROGRAM });
        with(gates[number].task(), members)
    };
    wire.send(task(0));
    node.wait_for_tasks(1, 0);
    for number in 1..TASKS {
        wire.send(task(number));
    }
    node.wait_for_tasks(1, 8);
    let mut turnarounds = Vec::new();
    // Only the one that runs can end; then the next one runs.
    let end = |numbers: &[usize], wire: &mut Wire, turnarounds: &mut Vec<f64>| {
        for number in numbers {
            gates[*number].open();
            let reply = wire.read();
            assert_eq!((&reply["id"], &reply["result"]), (&json!(format!("task-{number}")), &json!("through")));
            turnarounds.push(reply["turnaround_time"].as_f64().unwrap());
            node.wait_for_tasks(1, (TASKS - 1 - turnarounds.len()) as u64);
        }
    };
    end(&[0], &mut wire, &mut turnarounds);
    set(&node, json!({ "algorithm": "SJF" }));
    // All are expected to need the same, so the first goes on, and the second is next.
    end(&[1], &mut wire, &mut turnarounds);
    set(&node, json!({ "algorithm": "PRIORITY" }));
    // The one that runs ends first, then the highest.
    end(&[2, 8], &mut wire, &mut turnarounds);
    set(&node, json!({ "algorithm": "RR", "quantum_ms": 10 }));
    wait_for_some("turns", || {
        let preemptions = statistics(&node, "RR")["preemptions"].as_u64();
        preemptions.filter(|preemptions| *preemptions > 5)
    });
    for gate in &gates {
        gate.open();
    }
    let mut rest = BTreeSet::new();
    for _ in 0..5 {
        let reply = wire.read();
        assert_eq!(reply["result"], "through", "{reply:#}");
        turnarounds.push(reply["turnaround_time"].as_f64().unwrap());
        rest.insert(reply["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(rest, (3..8).map(|number| format!("task-{number}")).collect());
    // None is answered twice.
    assert_eq!(wire.call(json!({ "type": "PING", "id": "last" }))["id"], "last");
    node.wait_for_tasks(0, 0);

    let all = ["FCFS", "SJF", "PRIORITY", "RR"].map(|algorithm| statistics(&node, algorithm));
    let of = |name: &str| all.each_ref().map(|one| number(one, name));
    assert_eq!(of("tasks"), [1.0, 1.0, 2.0, 5.0], "{all:#?}");
    let longest = of("longest_queue");
    assert_eq!((longest[0], longest[1], longest[2]), (8.0, 7.0, 6.0), "{all:#?}");
    // Whoever leaves its slot is in the queue before the next one is out of it.
    assert!((4.0..=5.0).contains(&longest[3]), "{all:#?}");
    for one in &all {
        let [waiting, turnaround, response] =
            ["average_waiting_seconds", "average_turnaround_seconds", "average_response_seconds"]
                .map(|name| number(one, name));
        assert!(0.0 <= response && response <= waiting && waiting < turnaround, "{one:#}");
        assert!(number(one, "throughput_per_second") > 0.0 && number(one, "in_force_seconds") > 0.0, "{one:#}");
        let queue = number(one, "average_queue");
        assert!(queue > 0.0 && queue <= number(one, "longest_queue"), "{one:#}");
    }
    // What a task is told of itself has the way through the node as well.
    let told = [&turnarounds[..1], &turnarounds[1..2], &turnarounds[2..4], &turnarounds[4..]]
        .map(|some| some.iter().sum::<f64>() / some.len() as f64);
    for (measured, told) in of("average_turnaround_seconds").into_iter().zip(told) {
        assert!(measured <= told, "{measured} {told}: {all:#?}");
    }
    // None but Round Robin stops what runs.
    let preemptions = of("preemptions");
    assert!(preemptions[..3] == [0.0; 3] && preemptions[3] > 5.0, "{all:#?}");
    let switches = of("context_switches");
    assert!(switches[3] >= preemptions[3] && switches[..3].iter().all(|few| *few <= 2.0), "{all:#?}");
    let stats = node.status()["scheduler"]["stats"].clone();
    assert_eq!((&stats["completed_tasks"], &stats["failed_tasks"]), (&json!(TASKS), &json!(0)), "{stats:#}");
}

#[test]
fn what_an_algorithm_has_measured_stays_while_another_is_in_force() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    node.check_serving();
    set(&node, json!({ "algorithm": "RR" }));
    let before = statistics(&node, "FCFS");
    assert_eq!((&before["tasks"], &statistics(&node, "RR")["tasks"]), (&json!(1), &json!(0)));
    for _ in 0..3 {
        node.check_serving();
    }
    assert_eq!((&statistics(&node, "FCFS"), &statistics(&node, "RR")["tasks"]), (&before, &json!(3)));
}
