//! `scheduler.decision`: who got a slot, from whom it was chosen, and why, as whoever follows the events is told.

use super::{node, send, set, system};
use crate::scheduling::Runtime::Python;
use potluck_tests::{Gate, TestNode, Wire, potluck_command, task, wait_for, wait_for_some, with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// A program that ends at once; `number` makes it another one, of which nothing is known.
fn quick(number: usize) -> Value {
    task(&format!("def main():\n    return 'short' # {number}"), json!([]))
}

fn send_as(wire: &mut Wire, message: Value, id: &str, members: Value) {
    let common = json!({ "id": id, "task_id": id, "source_peer": "127.0.0.1:9", "timeout": 600, "cache": false });
    wire.send(with(with(message, common), members));
}

/// All decisions of a node so far.
fn decisions(node: &TestNode) -> Vec<Value> {
    let (mut after, mut all) = (json!(0), Vec::new());
    loop {
        // There is always one behind the last decision, so that this is answered.
        set_again(node);
        let mut reply = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["scheduler.*"], "after": after }));
        assert_eq!((&reply["type"], &reply["lost"]), (&json!("EVENTS"), &json!(0)), "{reply:#}");
        let events = reply["events"].as_array_mut().unwrap();
        let is_last = events.last().is_some_and(|event| event["topic"] == "scheduler.changed");
        all.extend(
            events.iter_mut().filter(|event| event["topic"] == "scheduler.decision").map(|event| event["body"].take()),
        );
        if is_last {
            return all;
        }
        after = reply["next"].take();
    }
}

/// Says what is in force once more.
fn set_again(node: &TestNode) {
    let mut state = node.call(json!({ "type": "GET_SCHEDULER" }));
    let options = ["algorithm", "quantum_ms", "preemptive", "ageing_seconds"];
    let chosen = options.iter().filter(|option| !state[**option].is_null()).map(|option| (*option).to_owned());
    let chosen: serde_json::Map<String, Value> =
        chosen.collect::<Vec<_>>().into_iter().map(|option| (option.clone(), state[option].take())).collect();
    set(node, Value::Object(chosen));
}

/// The first decision for a process; what was sent ahead to a worker may be decided once more.
#[track_caller]
fn first<'a>(decisions: &'a [Value], chosen: &str) -> &'a Value {
    let found = decisions.iter().find(|decision| decision["chosen"] == chosen);
    found.unwrap_or_else(|| panic!("{chosen}: {decisions:#?}"))
}

fn candidates(decision: &Value) -> Vec<&str> {
    let all = decision["candidates"].as_array().unwrap();
    all.iter().map(|candidate| candidate["pid"].as_str().unwrap()).collect()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What one decision must be: who, from whom, why.
type Expected<'a> = (&'a str, &'a [&'a str], &'a str);

/// Lets tasks wait behind one that has the only slot, then lets them through, and looks at what was decided.
fn decide(node: &TestNode, tasks: &[(&str, Value, Value)], expected: &[Expected<'_>]) -> Vec<Value> {
    let algorithm = node.status()["scheduler"]["stats"]["algorithm"].clone();
    let (gate, mut wire, before) = (Gate::new(node), node.wire(), now_ms());
    send_as(&mut wire, gate.task(), "holder", json!({}));
    node.wait_for_tasks(1, 0);
    for (id, message, members) in tasks {
        send_as(&mut wire, message.clone(), id, members.clone());
    }
    node.wait_for_tasks(1, tasks.len() as u64);
    gate.open();
    assert_eq!(wire.read()["result"], "through");
    let answered: Vec<String> = tasks.iter().map(|_| super::next(&mut wire)).collect();
    let order: Vec<&str> = expected.iter().map(|(chosen, ..)| *chosen).collect();
    assert_eq!(answered, order);
    let (decisions, after) = (decisions(node), now_ms());
    let mut waiting = tasks.len() as u64;
    for (chosen, from, why) in expected {
        let decision = first(&decisions, chosen);
        assert_eq!((candidates(decision), decision["why"].as_str()), (from.to_vec(), Some(*why)), "{decision:#}");
        assert_eq!((&decision["algorithm"], &decision["queue"]), (&algorithm, &json!(waiting)), "{decision:#}");
        assert!((before..=after).contains(&decision["unix_ms"].as_u64().unwrap()), "{before} {after} {decision:#}");
        assert_eq!((&decision["skipped"], decision.get("instead_of")), (&json!(0), None), "{decision:#}");
        waiting -= 1;
    }
    let times: Vec<u64> = decisions.iter().map(|decision| decision["unix_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    decisions
}

#[test]
fn fcfs_says_that_the_chosen_one_came_first() {
    let tasks = ["one", "two", "three"].map(|id| (id, quick(0), json!({})));
    let expected: [Expected<'_>; 3] = [
        ("one", &["one", "two", "three"], "it came first"),
        ("two", &["two", "three"], "it came first"),
        ("three", &["three"], "it is the only one that waits"),
    ];
    decide(&node("FCFS"), &tasks, &expected);
}

#[test]
fn sjf_says_how_long_it_expects_the_chosen_one_and_the_next_one_to_need() {
    let node = node("SJF");
    // From then on it is known that this one is short; others are expected to need a second.
    assert_eq!(node.run(quick(0)["program"].as_str().unwrap(), json!([])), "short");
    let tasks =
        [("unknown", quick(1), json!({})), ("unknown too", quick(2), json!({})), ("known", quick(0), json!({}))];
    let (gate, mut wire) = (Gate::new(&node), node.wire());
    send_as(&mut wire, gate.task(), "holder", json!({}));
    node.wait_for_tasks(1, 0);
    for (id, message, members) in tasks {
        send_as(&mut wire, message, id, members);
    }
    node.wait_for_tasks(1, 3);
    gate.open();
    assert_eq!(wire.read()["result"], "through");
    assert_eq!([(); 3].map(|()| super::next(&mut wire)), ["known", "unknown", "unknown too"]);
    let decisions = decisions(&node);
    let known = first(&decisions, "known");
    assert_eq!(candidates(known), ["known", "unknown", "unknown too"]);
    let estimates: Vec<f64> = known["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|candidate| candidate["estimate_seconds"].as_f64().unwrap())
        .collect();
    assert!(estimates[0] < 1.0 && estimates[1..] == [1.0, 1.0], "{known:#}");
    let why = known["why"].as_str().unwrap();
    let (own, other) = why.split_once(", the next one ").unwrap();
    let own = own.strip_prefix("it is expected to need ").and_then(|own| own.strip_suffix(" ms")).unwrap();
    // Both are whole microseconds.
    let shown_us = (own.parse::<f64>().unwrap() * 1e3).round();
    assert_eq!((shown_us, other), ((estimates[0] * 1e6).round(), "1 s"), "{known:#}");
    let why = &first(&decisions, "unknown")["why"];
    assert_eq!(why, "it is expected to need 1 s, as the next one, and came first");
    assert_eq!(known["algorithm"], "SJF");
}

#[test]
fn priority_says_the_priorities() {
    let tasks =
        [("low", 1), ("high", 5), ("low too", 1)].map(|(id, priority)| (id, quick(0), json!({ "priority": priority })));
    let expected: [Expected<'_>; 3] = [
        ("high", &["high", "low", "low too"], "it has priority 5, the next one 1"),
        ("low", &["low", "low too"], "it has priority 1, as the next one, and came first"),
        ("low too", &["low too"], "it is the only one that waits"),
    ];
    let decisions = decide(&node("PRIORITY"), &tasks, &expected);
    let high = &first(&decisions, "high")["candidates"];
    let shown: Vec<(&Value, &Value)> =
        high.as_array().unwrap().iter().map(|one| (&one["priority"], &one["begun"])).collect();
    let waits = json!(false);
    assert_eq!(shown, [(&json!(5), &waits), (&json!(1), &waits), (&json!(1), &waits)]);
}

#[test]
fn a_preemption_says_who_had_to_leave_its_slot_and_for_what_priority() {
    let node = node("PRIORITY_PREEMPTIVE");
    let mut wire = node.wire();
    // The worker is there, and another one for whoever takes the slot.
    node.check_serving();
    send(&mut wire, Python, true, "low", json!({ "priority": 1 }));
    node.wait_for_tasks(1, 0);
    send_as(&mut wire, quick(0), "high", json!({ "priority": 2 }));
    assert_eq!(super::next(&mut wire), "high");
    node.wait_for_tasks(1, 0);
    let decisions = decisions(&node);
    let high = first(&decisions, "high");
    assert_eq!((&high["instead_of"], &high["why"]), (&json!("low"), &json!("priority 2 is above 1")), "{high:#}");
    assert_eq!((candidates(high), &high["queue"]), (vec!["high", "low"], &json!(2)), "{high:#}");
    assert_eq!((&high["candidates"][0]["begun"], &high["candidates"][1]["begun"]), (&json!(false), &json!(true)));
    assert_eq!(high["algorithm"], "PRIORITY_PREEMPTIVE");
    // And back.
    let back = decisions.last().unwrap();
    assert_eq!((&back["chosen"], &back["why"]), (&json!("low"), &json!("it is the only one that waits")), "{back:#}");
    assert_eq!((&back["candidates"][0]["begun"], back.get("instead_of")), (&json!(true), None), "{back:#}");
}

#[test]
fn a_shorter_task_takes_the_slot_of_a_longer_one_where_the_shortest_remaining_time_goes_first() {
    let node = node("SRTF");
    let mut wire = node.wire();
    node.check_serving();
    send(&mut wire, Python, true, "long", json!({ "estimated_time": 60 }));
    node.wait_for_tasks(1, 0);
    // This one has to wait for its end.
    send_as(&mut wire, quick(0), "longer", json!({ "estimated_time": 120 }));
    node.wait_for_tasks(1, 1);
    send_as(&mut wire, quick(1), "short", json!({ "estimated_time": 1 }));
    assert_eq!(super::next(&mut wire), "short");
    node.wait_for_tasks(1, 1);
    let decisions = decisions(&node);
    let short = first(&decisions, "short");
    assert_eq!((&short["instead_of"], &short["algorithm"]), (&json!("long"), &json!("SRTF")), "{short:#}");
    let back = decisions.last().unwrap();
    assert_eq!((&back["chosen"], &back["candidates"][0]["begun"]), (&json!("long"), &json!(true)), "{back:#}");
    assert!(decisions.iter().all(|decision| decision["chosen"] != "longer"), "{decisions:#?}");
    node.call(json!({ "type": "CANCEL_TASK", "task_id": "long" }));
    let mut ended = [wire.read(), wire.read()].map(|reply| reply["id"].as_str().unwrap().to_owned());
    ended.sort();
    assert_eq!(ended, ["long", "longer"]);
}

#[test]
fn round_robin_says_whose_turn_it_is() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"RR\"\nquantum_ms = 60000").start();
    let tasks = ["one", "two"].map(|id| (id, quick(0), json!({})));
    let expected: [Expected<'_>; 2] =
        [("one", &["one", "two"], "it is its turn, for 60 s"), ("two", &["two"], "it is the only one that waits")];
    decide(&node, &tasks, &expected);
}

#[test]
fn an_expired_quantum_says_so_and_who_had_to_leave() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"RR\"\nquantum_ms = 20").plugin("process", "").start();
    let mut wire = node.wire();
    for id in ["one", "two", "three"] {
        send(&mut wire, Python, true, id, json!({}));
    }
    node.wait_for_tasks(1, 2);
    let turns = wait_for_some("a few turns", || {
        // As long as there are no workers for all, those that have one take turns.
        let have_all_begun = |decision: &Value| {
            let candidates = decision["candidates"].as_array().unwrap();
            candidates.len() == 3 && candidates.iter().all(|candidate| candidate["begun"] == true)
        };
        let turns = decisions(&node).into_iter().filter(|decision| decision.get("instead_of").is_some());
        let turns = turns.filter(have_all_begun).filter(|decision| decision["queue"] == 3);
        Some(turns.collect::<Vec<_>>()).filter(|turns| turns.len() > 3)
    });
    // Decisions name processes.
    let listed = node.call(json!({ "type": "LIST_PROCESSES" }));
    let mut pids: Vec<&Value> = listed["processes"].as_array().unwrap().iter().map(|process| &process["pid"]).collect();
    pids.sort_by_key(|pid| pid.as_str());
    assert_eq!(pids.len(), 3, "{listed:#}");
    for turn in &turns {
        assert_eq!((&turn["why"], &turn["algorithm"]), (&json!("its quantum of 20 ms is over"), &json!("RR")));
        let (chosen, left) = (&turn["chosen"], &turn["instead_of"]);
        assert!(chosen != left && pids.contains(&chosen) && pids.contains(&left), "{turn:#}");
        // Who leaves goes to the end of the queue.
        let from = candidates(turn);
        assert_eq!((Some(from[0]), from.last().copied()), (chosen.as_str(), left.as_str()), "{turn:#}");
        assert_eq!((from.len(), &turn["queue"]), (3, &json!(3)), "{turn:#}");
    }
    // Each leaves for the one after it.
    for pair in turns.windows(2) {
        assert_eq!(pair[0]["chosen"], pair[1]["instead_of"], "{pair:#?}");
    }
}

#[test]
fn the_command_line_shows_each_decision_as_it_is_taken() {
    let node = system("FCFS");
    let mut child = potluck_command()
        .args(["--port", &node.port().to_string(), "--json", "events", "--topic", "scheduler.*"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel::<Value>();
    let reader = thread::spawn(move || {
        for line in stdout.lines() {
            let _ = sender.send(serde_json::from_str(&line.unwrap()).unwrap());
        }
    });
    // Only events from now on are shown, and nobody tells when that is.
    let changed = wait_for_some("it to follow the events", || {
        set(&node, json!({ "algorithm": "FCFS" }));
        lines.try_recv().ok()
    });
    assert_eq!((&changed["topic"], &changed["body"]["algorithm"]), (&json!("scheduler.changed"), &json!("FCFS")));
    let (gate, mut wire) = (Gate::new(&node), node.wire());
    send_as(&mut wire, gate.task(), "holder", json!({}));
    node.wait_for_tasks(1, 0);
    for id in ["one", "two"] {
        send_as(&mut wire, quick(0), id, json!({}));
    }
    node.wait_for_tasks(1, 2);
    gate.open();
    assert_eq!(wire.read()["result"], "through");
    let pids: Vec<Value> = (0..2).map(|_| wire.read()["pid"].take()).collect();
    let mut seen = Vec::new();
    wait_for("both decisions to be shown", || {
        seen.extend(lines.try_iter().filter(|event| event["topic"] == "scheduler.decision"));
        pids.iter().all(|pid| seen.iter().any(|event| event["body"]["chosen"] == *pid))
    });
    let one = seen.iter().find(|event| event["body"]["chosen"] == pids[0]).unwrap();
    let named: Vec<&Value> =
        one["body"]["candidates"].as_array().unwrap().iter().map(|candidate| &candidate["pid"]).collect();
    assert_eq!((named, &one["body"]["why"]), (pids.iter().collect(), &json!("it came first")), "{one:#}");
    let (decided, told) = (one["body"]["unix_ms"].as_u64().unwrap(), one["unix_milliseconds"].as_u64().unwrap());
    assert!(decided <= told, "{one:#}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reader.join().unwrap();
}

#[test]
fn where_nobody_has_to_wait_there_is_nothing_to_decide() {
    let node = node("FCFS");
    node.check_serving();
    let before = decisions(&node).len();
    for _ in 0..20 {
        node.check_serving();
    }
    let all = decisions(&node);
    assert_eq!(all.len(), before, "{all:#?}");
}
