//! The text of the messages of deadlock, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::deadlock::*;
use std::collections::BTreeMap;

fn ok() -> String {
    "OK".to_owned()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn map<T>(units: T) -> BTreeMap<String, T> {
    BTreeMap::from([(text("CPU"), units)])
}

#[test]
fn resources_and_processes_are_registered() {
    golden(
        &RegisterResource { resource_id: Some(text("R1")), resource_type: Some(text("NETWORK")), total_units: Some(2) },
        r#"{"type":"REGISTER_RESOURCE","resource_id":"R1","resource_type":"NETWORK","total_units":2}"#,
    );
    golden(
        &UnregisterResource { resource_id: Some(text("R1")) },
        r#"{"type":"UNREGISTER_RESOURCE","resource_id":"R1"}"#,
    );
    golden(
        &ResourceDone { status: ok(), resource_id: text("R1"), resource_type: text("NETWORK"), total_units: 2 },
        r#"{"type":"STATUS","status":"OK","resource_id":"R1","resource_type":"NETWORK","total_units":2}"#,
    );
    golden(
        &RegisterProcess { pid: Some(text("P7")), max_need: map(2) },
        r#"{"type":"REGISTER_PROCESS","pid":"P7","max_need":{"CPU":2}}"#,
    );
    golden(&UnregisterProcess { pid: Some(text("P7")) }, r#"{"type":"UNREGISTER_PROCESS","pid":"P7"}"#);
    golden(
        &ProcessDone { status: ok(), pid: text("P7"), max_need: map(2), allocation: map(1) },
        r#"{"type":"STATUS","status":"OK","pid":"P7","max_need":{"CPU":2},"allocation":{"CPU":1}}"#,
    );
}

#[test]
fn units_are_requested_and_released() {
    golden(
        &RequestResource {
            pid: Some(text("P7")),
            resource_id: Some(text("CPU")),
            units: Some(2),
            timeout: Some(1.5),
            wait: true,
            requests: map(1),
        },
        r#"{"type":"REQUEST_RESOURCE","pid":"P7","resource_id":"CPU","units":2,"requests":{"CPU":1},"timeout":1.5,"wait":true}"#,
    );
    golden(
        &ReleaseResource {
            pid: Some(text("P7")),
            resource_id: Some(text("CPU")),
            units: Some(2),
            requests: BTreeMap::new(),
        },
        r#"{"type":"RELEASE_RESOURCE","pid":"P7","resource_id":"CPU","units":2}"#,
    );
    golden(
        &UnitsDone {
            status: ok(),
            pid: text("P7"),
            resource_id: Some(text("CPU")),
            units: Some(2),
            requests: map(1),
            allocation: map(2),
        },
        r#"{"type":"STATUS","status":"OK","pid":"P7","resource_id":"CPU","units":2,"requests":{"CPU":1},"allocation":{"CPU":2}}"#,
    );
}

#[test]
fn the_books_are_listed() {
    golden(
        &ListResources { limit: Some(5), after: Some(text("P6")) },
        r#"{"type":"LIST_RESOURCES","limit":5,"after":"P6"}"#,
    );
    golden(
        &ResourceList {
            resources: vec![ResourceLine {
                resource_id: text("CPU"),
                resource_type: text("CPU"),
                total: 4,
                available: 3,
                allocated: 1,
            }],
            processes: vec![ProcessLine { pid: text("P7"), allocation: map(1), need: map(1), max_need: map(2) }],
            waiting: vec![WaitingLine { pid: text("P8"), requests: map(4), since_unix_ms: 9, why: text("w") }],
            waiting_count: 1,
            safe_state: true,
            safe_sequence: vec![text("P7")],
            next: None,
        },
        r#"{"type":"RESOURCE_LIST","resources":[{"resource_id":"CPU","resource_type":"CPU","total":4,"available":3,"allocated":1}],"processes":[{"pid":"P7","allocation":{"CPU":1},"need":{"CPU":1},"max_need":{"CPU":2}}],"waiting":[{"pid":"P8","requests":{"CPU":4},"since_unix_ms":9,"why":"w"}],"waiting_count":1,"safe_state":true,"safe_sequence":["P7"],"next":null}"#,
    );
}

#[test]
fn deadlocks_are_found_and_resolved() {
    golden(&DeadlockCheck {}, r#"{"type":"DEADLOCK_CHECK"}"#);
    let edge = |pid: &str, held_by: &str| CycleEdge {
        pid: text(pid),
        waits_for: text("semaphore:s"),
        units: 1,
        held_by: text(held_by),
    };
    golden(
        &DeadlockChecked {
            status: ok(),
            found: DeadlockFound {
                deadlock: true,
                deadlocked_processes: vec![text("P7"), text("P8")],
                deadlocked_count: 2,
                cycle: vec![edge("P7", "P8")],
                cycles: vec![vec![edge("P7", "P8")]],
                cycle_count: 1,
                explanation: text("e"),
                victim: Some(Victim { pid: text("P8"), why: text("w") }),
                waiting: 3,
                not_looked_at: vec![text("ipc: broken")],
            },
        },
        r#"{"type":"STATUS","status":"OK","deadlock":true,"deadlocked_processes":["P7","P8"],"deadlocked_count":2,"cycle":[{"pid":"P7","waits_for":"semaphore:s","units":1,"held_by":"P8"}],"cycles":[[{"pid":"P7","waits_for":"semaphore:s","units":1,"held_by":"P8"}]],"cycle_count":1,"explanation":"e","victim":{"pid":"P8","why":"w"},"waiting":3,"not_looked_at":["ipc: broken"]}"#,
    );
    golden(
        &ResolveDeadlock { pid: Some(text("P7")), once: true },
        r#"{"type":"RESOLVE_DEADLOCK","pid":"P7","once":true}"#,
    );
    golden(
        &DeadlockResolved {
            status: ok(),
            ended: vec![EndedVictim { pid: text("P7"), why: text("w"), how: text("terminated") }],
            deadlock: false,
            deadlocked_processes: Vec::new(),
            failures: vec![text("f")],
            explanation: text("e"),
        },
        r#"{"type":"STATUS","status":"OK","ended":[{"pid":"P7","why":"w","how":"terminated"}],"deadlock":false,"deadlocked_processes":[],"failures":["f"],"explanation":"e"}"#,
    );
    golden(
        &VictimChosen { pid: text("P7"), code: text(DEADLOCK_VICTIM), reason: text("r") },
        r#"{"pid":"P7","code":"deadlock_victim","reason":"r"}"#,
    );
}

#[test]
fn what_the_original_system_sends_is_understood() {
    let read: RequestResource =
        serde_json::from_str(r#"{"type":"REQUEST_RESOURCE","pid":"P7","resource_id":"CPU"}"#).unwrap();
    let expected =
        RequestResource { pid: Some(text("P7")), resource_id: Some(text("CPU")), ..RequestResource::default() };
    assert_eq!(read, expected);
}
