//! SET_SCHEDULER while tasks wait: the new order holds from the next start, nothing is lost, and each algorithm is measured
//! by itself.

use super::{set, states};
use potluck_tests::{Gate, TestNode, Wire, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

const TASKS: usize = 9;
/// Short tasks that wait, and how many of them end until the order is switched again.
const SHORT_TASKS: usize = 600;
const SHORT_TASKS_BETWEEN: usize = 40;
/// Waits for its gate.
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

/// Checks that a task runs, and no other one.
#[track_caller]
fn check_runs(node: &TestNode, task: &str) {
    let stats = node.status()["scheduler"]["stats"].clone();
    assert_eq!((&stats["running_process"], &stats["active_tasks"]), (&json!(task), &json!(1)), "{stats:#}");
    // The table learns of it a little later.
    wait_for(&format!("{task} alone to be shown as running"), || {
        let states = states(node);
        let mut running = states.iter().filter(|(_, (state, _))| state == "RUNNING").map(|(name, _)| name.as_str());
        running.next() == Some(task) && running.next().is_none()
    });
}

#[test]
fn each_algorithm_measures_what_ended_while_it_was_in_force_and_switching_loses_nothing() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").plugin("process", "").start();
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
            check_runs(&node, &format!("task-{number}"));
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
    assert_eq!(node.status()["scheduler"]["stats"]["running_process"], Value::Null);

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

/// As tasks tell when they begin.
fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// An order of the tasks, which have their numbers as priorities.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Arrival,
    Priority,
}

impl Order {
    fn next(self, waiting: &BTreeSet<usize>) -> Option<usize> {
        match self {
            Order::Arrival => waiting.first().copied(),
            Order::Priority => waiting.last().copied(),
        }
    }
}

#[test]
fn short_tasks_begin_in_the_order_of_the_algorithm_in_force_though_they_were_sent_ahead_in_another() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    // They need so little time that many are sent to the worker ahead.
    let program = "import time\ndef main(number):\n    begun = time.time_ns()\n    time.sleep(0.0005)\n    return [number, begun]";
    let (gate, mut wire) = (Gate::new(&node), node.wire());
    wire.send(gate.task());
    node.wait_for_tasks(1, 0);
    for number in 0..SHORT_TASKS {
        let id = format!("task-{number}");
        let members = json!({ "id": id, "task_id": id, "source_peer": "127.0.0.1:9", "timeout": 600, "cache": false,
            "priority": number });
        wire.send(with(task(program, json!([number])), members));
    }
    node.wait_for_tasks(1, SHORT_TASKS as u64);
    gate.open();
    assert_eq!(wire.read()["result"], "through");
    // The order, and when it came into force: not before the first time, and by the second.
    let mut orders = vec![(Order::Arrival, (0, 0))];
    let mut begun: Vec<(u64, usize)> = Vec::new();
    let mut read = |wire: &mut Wire, count: usize| {
        for _ in 0..count {
            let reply = wire.read();
            let result = &reply["result"];
            let number = result[0].as_u64().and_then(|number| usize::try_from(number).ok());
            let number = number.unwrap_or_else(|| panic!("{reply:#}"));
            assert_eq!(reply["id"], format!("task-{number}"));
            begun.push((result[1].as_u64().unwrap(), number));
        }
    };
    let switches = [
        ("PRIORITY", Order::Priority),
        ("FCFS", Order::Arrival),
        ("PRIORITY", Order::Priority),
        ("SJF", Order::Arrival),
        ("PRIORITY", Order::Priority),
        ("RR", Order::Arrival),
        ("PRIORITY", Order::Priority),
    ];
    for (algorithm, order) in switches {
        read(&mut wire, SHORT_TASKS_BETWEEN);
        let before = now_ns();
        if algorithm == "RR" {
            set(&node, json!({ "algorithm": algorithm, "quantum_ms": 60000 }));
        } else {
            set(&node, json!({ "algorithm": algorithm }));
        }
        orders.push((order, (before, now_ns())));
    }
    read(&mut wire, SHORT_TASKS - switches.len() * SHORT_TASKS_BETWEEN);
    // None is answered twice.
    assert_eq!(wire.call(json!({ "type": "PING", "id": "last" }))["id"], "last");
    node.wait_for_tasks(0, 0);

    begun.sort_unstable();
    let mut waiting: BTreeSet<usize> = (0..SHORT_TASKS).collect();
    let mut certain_before = 0;
    for (at, number) in &begun {
        let certain = orders.iter().rposition(|(_, (_, by))| by <= at).unwrap();
        let possible = orders.iter().rposition(|(_, (from, _))| from <= at).unwrap();
        // Its worker may have begun the first one after a switch before that, and it looked at its clock later.
        let orders_then = &orders[certain_before..=possible];
        let is_next = orders_then.iter().any(|(order, _)| order.next(&waiting) == Some(*number));
        assert!(is_next, "{number} at {at}, in one of the orders {orders_then:?} of {waiting:?}: {begun:?}");
        certain_before = certain;
        assert!(waiting.remove(number), "{number} was run twice: {begun:?}");
    }
    assert_eq!((waiting.len(), begun.len()), (0, SHORT_TASKS));
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
