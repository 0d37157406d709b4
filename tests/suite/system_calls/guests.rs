//! Guests in WebAssembly that call their node.

use super::{ok, peer};
use potluck_tests::{TestNode, with};
use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;

/// The bytes of an example, when `cargo xtask test` has built it.
fn example(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = env::var_os("POTLUCK_GUESTS").map(PathBuf::from) else {
        println!("skipped: POTLUCK_GUESTS names no folder of guests; `cargo xtask test` builds them");
        return None;
    };
    let path = folder.join(name).with_extension("wasm");
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display())))
}

fn run(node: &TestNode, guest: &[u8], function: &str, args: Value) -> Value {
    let message = json!({ "type": "CPU_TASK", "runtime": "wasm", "function": function, "args": args, "cache": false });
    node.call_with(message, guest).value()
}

#[test]
fn a_guest_written_by_hand_asks_the_node() {
    let Some(ask) = example("ask") else { return };
    let node = peer().start();
    ok(&node, json!({ "type": "SET_MEM", "key": "greeting", "value": "hello" }));
    let reply = run(&node, &ask, "main", json!([{ "type": "GET_MEM", "key": "greeting" }]));
    assert_eq!((&reply["error"], &reply["result"]["value"]), (&Value::Null, &json!("hello")), "{reply:#}");
    assert_eq!(reply["deterministic"], false, "{reply:#}");
    for (args, code) in [(json!([{ "type": "SET_SCHEDULER" }]), "forbidden"), (json!([1]), "invalid_message")] {
        let reply = run(&node, &ask, "main", args);
        assert_eq!(reply["code"], "task_failed", "{reply:#}");
        assert!(reply["error"].as_str().unwrap().contains(code), "{reply:#}");
    }
}

#[test]
fn a_guest_in_rust_counts_in_the_node_and_loses_nothing() {
    let Some(visits) = example("visits") else { return };
    let node = peer().start();
    let mut wire = node.wire();
    for number in 0..20 {
        let message = json!({ "type": "CPU_TASK", "runtime": "wasm", "args": ["door"], "cache": false, "id": number });
        wire.send_with(with(message, json!({ "attachment": visits.len() })), &visits);
    }
    let mut counts: Vec<u64> = (0..20).map(|_| wire.read()["result"].as_u64().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, Vec::from_iter(1..=20));
    assert_eq!(node.call(json!({ "type": "GET_MEM", "key": "visits-door" }))["value"], 20);
    let facts = run(&node, &visits, "whoami", json!([]))["result"].take();
    assert!(facts["pid"].as_str().is_some_and(|pid| pid.starts_with('P')), "{facts}");
    let reply = run(&node, &visits, "ask", json!([{ "type": "NO_SUCH_THING" }]));
    assert_eq!(reply["result"]["code"], "no_provider", "{reply:#}");
}

#[test]
fn a_guest_that_waits_can_be_cancelled() {
    let Some(ask) = example("ask") else { return };
    let node = peer().start();
    ok(&node, json!({ "type": "CREATE_SEMAPHORE", "sem_id": "never", "initial_value": 0 }));
    let mut wire = node.wire();
    let message = json!({
        "type": "CPU_TASK", "runtime": "wasm", "args": [{ "type": "SEMAPHORE_WAIT", "sem_id": "never" }],
        "task_id": "waits", "attachment": ask.len(),
    });
    wire.send_with(message, &ask);
    super::wait_for_waiters(&node, "never", 1);
    ok(&node, json!({ "type": "CANCEL_TASK", "task_id": "waits" }));
    assert_eq!(wire.read()["code"], "cancelled");
    super::wait_for_waiters(&node, "never", 0);
}
