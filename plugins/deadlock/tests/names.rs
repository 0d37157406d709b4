//! Names of processes and resources: who hears that one is kept, what an empty one means, and one that is registered again.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, Message};
use potluck_sdk::{Caller, ProviderError};
use provider_deadlock::Deadlock;
use serde_json::{Value, json};

const FAR: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// CPU 4, MEMORY 1000, DISK 10.
fn node() -> Harness {
    Harness::start::<Deadlock>(json!({"preset": "classroom"})).unwrap()
}

/// Processes that were named, in order.
fn named(node: &Harness) -> Vec<String> {
    let events = node.events().into_iter().filter(|event| event.topic == "process.named");
    events.map(|event| event.body["pid"].as_str().unwrap().to_owned()).collect()
}

fn register(pid: &str) -> Value {
    json!({"type": "REGISTER_PROCESS", "pid": pid, "max_need": {"CPU": 4}})
}

fn request(pid: &str, units: u64) -> Value {
    json!({"type": "REQUEST_RESOURCE", "pid": pid, "resource_id": "CPU", "units": units})
}

fn waiting(pid: &str, units: u64) -> Value {
    let mut message = request(pid, units);
    message["wait"] = json!(true);
    message
}

fn as_task(node: &Harness, mut message: Value) -> Message<'_> {
    message["behalf"] = json!("task:P7");
    node.message(message).caller(Caller::Task(FAR))
}

#[test]
fn who_is_registered_has_units_or_waits_for_some_is_named() {
    let node = node();
    node.call(register("P1")).unwrap();
    assert_eq!(named(&node), ["P1"]);
    node.call(request("P1", 3)).unwrap();
    assert_eq!(named(&node), ["P1", "P1"]);
    node.call(register("P2")).unwrap();
    node.call(request("P2", 2)).unwrap_err();
    assert_eq!(named(&node)[2..], ["P2"], "nothing is kept of what is denied");
    let waits = node.begin(waiting("P2", 2));
    assert_eq!(named(&node)[3..], ["P2"]);
    node.call(request("P3", 1)).unwrap_err();
    node.call(json!({"type": "UNREGISTER_PROCESS", "pid": "P1"})).unwrap();
    waits.wait().unwrap();
    assert_eq!(named(&node).len(), 4);
}

#[test]
fn tasks_other_nodes_and_names_that_are_no_process_cause_no_event() {
    let node = node();
    as_task(&node, register("P7")).call().unwrap();
    as_task(&node, request("P7", 1)).call().unwrap();
    node.message(register("P8")).caller(Caller::Member(FAR)).call().unwrap();
    node.call(register("client")).unwrap();
    let _waits = [as_task(&node, waiting("P7", 3)).begin(), node.begin(waiting("client", 4))];
    assert_eq!(named(&node), [""; 0]);
}

#[test]
fn an_empty_name_is_none() {
    let node = node();
    let cases = [
        (request("", 1), "pid and resource_id required"),
        (json!({"type": "REQUEST_RESOURCE", "pid": "P1", "resource_id": ""}), "pid and resource_id required"),
        (json!({"type": "RELEASE_RESOURCE", "pid": "", "resource_id": "CPU"}), "pid and resource_id required"),
        (json!({"type": "RELEASE_RESOURCE", "pid": "P1", "resource_id": ""}), "pid and resource_id required"),
        (json!({"type": "REGISTER_PROCESS", "pid": "", "max_need": {}}), "pid required"),
        (json!({"type": "UNREGISTER_PROCESS", "pid": ""}), "pid required"),
        (
            json!({"type": "REGISTER_RESOURCE", "resource_id": "", "total_units": 1}),
            "resource_id and total_units required",
        ),
        (json!({"type": "UNREGISTER_RESOURCE", "resource_id": ""}), "resource_id required"),
    ];
    for (message, text) in cases {
        let error = node.call(&message).unwrap_err();
        assert_eq!((&*error.code, error.message.as_str()), (ProviderError::INVALID_MESSAGE, text), "{message}");
    }
    let other = json!({"type": "REGISTER_RESOURCE", "resource_id": "R", "resource_type": "", "total_units": 1});
    assert_eq!(node.call(other).unwrap()["resource_type"], "OTHER");
    assert_eq!(node.call(json!({"type": "RESOLVE_DEADLOCK", "pid": ""})).unwrap()["deadlock"], false);
}

#[test]
fn a_resource_that_is_registered_again_has_as_many_units_as_it_is_told() {
    let node = node();
    let cpu = |total: u64| json!({"type": "REGISTER_RESOURCE", "resource_id": "CPU", "total_units": total});
    node.call(register("P1")).unwrap();
    node.call(request("P1", 4)).unwrap();
    node.call(register("P2")).unwrap();
    let waits = node.begin(waiting("P2", 1));
    let refused = |total: u64| {
        let error = node.call(cpu(total)).unwrap_err();
        (error.code.into_owned(), error.message)
    };
    let (code, text) = refused(3);
    assert!(code == "in_use" && text.contains("4 units of CPU are allocated"), "{text}");
    let same = node.call(cpu(4)).unwrap();
    assert_eq!((&same["resource_type"], &same["total_units"]), (&json!("CPU"), &json!(4)));
    assert!(waits.try_answer().is_none());
    node.call(cpu(5)).unwrap();
    assert_eq!(waits.wait().unwrap()["allocation"], json!({"CPU": 1}));
    let line = node.status()["deadlock_detector"]["resources"]["CPU"].clone();
    assert_eq!((&line["total"], &line["available"]), (&json!(5), &json!(0)));
    node.call(json!({"type": "RELEASE_RESOURCE", "pid": "P1", "resource_id": "CPU", "units": 2})).unwrap();
    let (code, text) = refused(3);
    assert!(code == "in_use" && text.contains("4 units of CPU"), "{text}");
    let (code, text) = refused(0);
    assert!(code == ProviderError::INVALID_MESSAGE && text.contains("above 0"), "{text}");
}
