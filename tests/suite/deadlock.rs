//! Banker's algorithm over the wire, and deadlocks between clients that wait for semaphores, memory and units.

use potluck_tests::{TestNode, Wire, wait_for};
use serde_json::{Value, json};

/// A node without interpreters, with all that can be waited for.
fn node() -> TestNode {
    let plugins = "[plugins.process]\n[plugins.ipc]\n[plugins.memory-manager]\narena_bytes = 1024\n\
                   [plugins.deadlock]\npreset = \"classroom\"\ncheck_seconds = 0.05\n";
    TestNode::peer().plugins(plugins).start()
}

fn ok(node: &TestNode, message: Value) -> Value {
    let reply = node.call(&message);
    assert_eq!(reply["status"], "OK", "{message}: {reply}");
    reply
}

fn error(node: &TestNode, message: Value) -> String {
    let reply = node.call(message);
    reply["error"].as_str().unwrap_or_else(|| panic!("no error: {reply}")).to_owned()
}

fn request(pid: &str, resource: &str, units: u64) -> Value {
    json!({ "type": "REQUEST_RESOURCE", "pid": pid, "resource_id": resource, "units": units })
}

fn wait_semaphore(pid: &str, semaphore: &str) -> Value {
    json!({ "type": "SEMAPHORE_WAIT", "sem_id": semaphore, "process_id": pid })
}

/// Sends a message whose answer comes later.
fn begin(node: &TestNode, message: Value) -> Wire {
    let mut wire = node.wire();
    wire.send(message);
    wire
}

fn check(node: &TestNode) -> Value {
    ok(node, json!({ "type": "DEADLOCK_CHECK" }))
}

/// Each has one semaphore and waits for that of the next; the answers come on the connections.
fn circle(node: &TestNode, pids: &[&str]) -> Vec<Wire> {
    for (index, pid) in pids.iter().enumerate() {
        ok(node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": format!("fork-{index}") }));
        ok(node, wait_semaphore(pid, &format!("fork-{index}")));
    }
    let next = |index: usize| format!("fork-{}", (index + 1) % pids.len());
    let waits = pids.iter().enumerate().map(|(index, pid)| begin(node, wait_semaphore(pid, &next(index)))).collect();
    wait_for("all to wait", || check(node)["waiting"] == pids.len());
    waits
}

#[test]
fn the_textbook_example_step_by_step() {
    let node = node();
    for (name, total) in [("A", 10), ("B", 5), ("C", 7)] {
        ok(
            &node,
            json!({ "type": "REGISTER_RESOURCE", "resource_id": name, "resource_type": "CPU", "total_units": total }),
        );
    }
    let vector = |numbers: [u64; 3]| {
        let pairs = ["A", "B", "C"].into_iter().zip(numbers).filter(|(_, units)| *units > 0);
        Value::Object(pairs.map(|(name, units)| (name.to_owned(), json!(units))).collect())
    };
    let ask = |pid: &str, numbers| json!({ "type": "REQUEST_RESOURCE", "pid": pid, "requests": vector(numbers) });
    for (pid, max, allocation) in [
        ("P0", [7, 5, 3], [0, 1, 0]),
        ("P1", [3, 2, 2], [2, 0, 0]),
        ("P2", [9, 0, 2], [3, 0, 2]),
        ("P3", [2, 2, 2], [2, 1, 1]),
        ("P4", [4, 3, 3], [0, 0, 2]),
    ] {
        ok(&node, json!({ "type": "REGISTER_PROCESS", "pid": pid, "max_need": vector(max) }));
        ok(&node, ask(pid, allocation));
    }
    ok(&node, ask("P1", [1, 0, 2]));
    assert_eq!(error(&node, ask("P4", [3, 3, 0])), "Insufficient resources available");
    assert_eq!(error(&node, ask("P0", [0, 2, 0])), "Allocation would lead to unsafe state");
    let detector = node.status()["deadlock_detector"].take();
    assert_eq!(detector["safe_state"], true);
    assert_eq!(detector["resources"]["A"]["available"], 2);
    assert_eq!(detector["processes"]["P1"]["need"], json!({ "B": 2 }));
    // P0's request is kept until it is safe: when P1 has ended.
    let mut kept = ask("P0", [0, 2, 0]);
    kept["wait"] = json!(true);
    let mut waiting = begin(&node, kept);
    wait_for("the request to wait", || node.status()["deadlock_detector"]["waiting"] == 1);
    assert_eq!(check(&node)["deadlock"], false);
    ok(&node, json!({ "type": "UNREGISTER_PROCESS", "pid": "P1" }));
    assert_eq!(waiting.read()["allocation"], json!({ "B": 3 }));
}

#[test]
fn scenario_5_an_unsafe_request_is_denied_so_that_no_deadlock_comes_about() {
    let node = node();
    for name in ["R1", "R2"] {
        ok(
            &node,
            json!({ "type": "REGISTER_RESOURCE", "resource_id": name, "resource_type": "CPU", "total_units": 2 }),
        );
    }
    ok(&node, json!({ "type": "REGISTER_PROCESS", "pid": "P1", "max_need": { "R1": 2, "R2": 1 } }));
    ok(&node, json!({ "type": "REGISTER_PROCESS", "pid": "P2", "max_need": { "R1": 1, "R2": 2 } }));
    ok(&node, request("P1", "R1", 2));
    assert_eq!(error(&node, request("P2", "R2", 2)), "Allocation would lead to unsafe state");
    ok(&node, request("P2", "R2", 1));
    let found = check(&node);
    assert_eq!((&found["deadlock"], &found["deadlocked_processes"]), (&json!(false), &json!([])), "{found}");
    ok(&node, json!({ "type": "RELEASE_RESOURCE", "pid": "P1", "resource_id": "R1", "units": 2 }));
    ok(&node, request("P2", "R2", 1));
}

#[test]
fn five_clients_in_a_circle_are_named_and_one_is_ended() {
    let node = node();
    let pids = ["client-1", "client-2", "client-3", "client-4", "client-5"];
    let waits = circle(&node, &pids);
    let found = check(&node);
    assert_eq!((&found["deadlock"], &found["deadlocked_processes"]), (&json!(true), &json!(pids)), "{found}");
    let edges: Vec<(&Value, &Value)> =
        found["cycle"].as_array().unwrap().iter().map(|edge| (&edge["pid"], &edge["held_by"])).collect();
    assert_eq!(edges.len(), 5, "{found}");
    assert_eq!(edges[4], (&json!("client-5"), &json!("client-1")));
    let explanation = found["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("client-1 has semaphore:fork-0 and waits for semaphore:fork-1, which client-2 has."),
        "{explanation}"
    );

    let resolved = ok(&node, json!({ "type": "RESOLVE_DEADLOCK", "pid": "client-3" }));
    assert_eq!(
        (&resolved["ended"][0]["pid"], &resolved["deadlock"]),
        (&json!("client-3"), &json!(false)),
        "{resolved}"
    );
    let mut answers: Vec<Value> = Vec::new();
    for (index, mut wait) in waits.into_iter().enumerate() {
        if index == 2 {
            assert_eq!(wait.read()["code"], "process_ended");
        } else if index == 1 {
            // It has got the fork of the one who was ended.
            answers.push(wait.read());
        }
    }
    assert_eq!(answers[0]["status"], "OK");
    assert_eq!(check(&node)["deadlock"], false);
}

#[test]
fn a_deadlock_over_a_semaphore_memory_and_units_is_one() {
    let node = node();
    ok(&node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": "s" }));
    ok(&node, wait_semaphore("a", "s"));
    ok(&node, json!({ "type": "ALLOCATE_MEMORY", "pid": "b", "size": 1000 }));
    for pid in ["a", "b", "c"] {
        ok(&node, json!({ "type": "REGISTER_PROCESS", "pid": pid, "max_need": { "CPU": 4 } }));
    }
    ok(&node, request("c", "CPU", 4));
    let _first = begin(&node, json!({ "type": "ALLOCATE_MEMORY", "pid": "a", "size": 100, "wait": true }));
    let mut units = request("b", "CPU", 1);
    units["wait"] = json!(true);
    let _second = begin(&node, units);
    wait_for("two to wait", || check(&node)["waiting"] == 2);
    assert_eq!(check(&node)["deadlock"], false, "c can still end");
    let third = begin(&node, wait_semaphore("c", "s"));
    wait_for("the deadlock", || check(&node)["deadlock"] == true);
    let found = check(&node);
    let waits: Vec<&Value> = found["cycle"].as_array().unwrap().iter().map(|edge| &edge["waits_for"]).collect();
    assert_eq!(waits, [&json!("memory"), &json!("CPU"), &json!("semaphore:s")], "{found}");
    drop(third);
    wait_for("the deadlock to be over when its client goes", || check(&node)["deadlock"] == false);
}

#[test]
fn memory_that_is_free_in_pieces_only_is_a_deadlock_until_one_of_them_ends() {
    let node = node();
    let block = |pid: &str, size: u64| json!({ "type": "ALLOCATE_MEMORY", "pid": pid, "size": size });
    for pid in ["a", "between", "b"] {
        ok(&node, block(pid, 256));
    }
    let wait = |pid: &str| {
        let mut message = block(pid, 304);
        message["wait"] = json!(true);
        begin(&node, message)
    };
    let mut waits = [wait("a"), wait("b")];
    wait_for("the deadlock", || check(&node)["deadlock"] == true);
    // It is one even when `between` gives back what it has: then there are two pieces of 256.
    ok(&node, json!({ "type": "DEALLOCATE_MEMORY", "pid": "between" }));
    let found = check(&node);
    assert_eq!(found["deadlocked_processes"], json!(["a", "b"]), "{found}");
    let text = found["explanation"].as_str().unwrap();
    assert!(text.contains("512 of 1024 are free, but no more than 256 in one piece"), "{text}");
    // A request that does not wait is not held up.
    ok(&node, block("c", 256));
    ok(&node, json!({ "type": "DEALLOCATE_MEMORY", "pid": "c" }));
    let resolved = ok(&node, json!({ "type": "RESOLVE_DEADLOCK", "pid": "a" }));
    assert_eq!(resolved["deadlock"], false, "{resolved}");
    assert_eq!(waits[0].read()["code"], "process_ended");
    assert_eq!(waits[1].read()["address"], 0);
}

#[test]
fn it_tells_by_itself_of_a_deadlock_and_of_its_end() {
    let node = node();
    // An answer tells of the events since the one before; the first is asked for before anything has happened.
    let watch = |after: Option<&Value>| json!({ "type": "WATCH_EVENTS", "topics": ["deadlock.*"], "after": after });
    let mut detected = begin(&node, watch(None));
    let _waits = circle(&node, &["client-1", "client-2"]);
    let detected = detected.read();
    assert_eq!(detected["events"][0]["topic"], "deadlock.detected", "{detected}");
    let text = detected.to_string();
    assert!(text.contains("client-1") && text.contains("client-2"), "{text}");
    ok(&node, json!({ "type": "RESOLVE_DEADLOCK" }));
    let resolved = node.call(watch(Some(&detected["next"])));
    assert_eq!(resolved["events"][0]["topic"], "deadlock.resolved", "{resolved}");
}
