//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_memory_manager::MemoryManager;
use serde_json::{Value, json};
use std::time::Duration;

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// An arena of 1024 bytes.
fn node() -> Harness {
    node_with(json!({"arena_bytes": 1024}))
}

fn node_with(config: Value) -> Harness {
    Harness::start::<MemoryManager>(config).unwrap()
}

fn allocate(node: &Harness, pid: &str, size: i64) -> Result<u64, ProviderError> {
    let reply = node.call(json!({"type": "ALLOCATE_MEMORY", "pid": pid, "size": size}))?;
    Ok(reply["address"].as_u64().unwrap())
}

fn wait_for_room(node: &Harness, pid: &str, size: i64) -> PendingCall {
    node.begin(json!({"type": "ALLOCATE_MEMORY", "pid": pid, "size": size, "wait": true}))
}

fn deallocate(node: &Harness, pid: &str, address: impl Into<Value>) -> Value {
    node.call(json!({"type": "DEALLOCATE_MEMORY", "pid": pid, "address": address.into()})).unwrap()
}

fn fragmentation(node: &Harness) -> Value {
    node.status()["memory_manager"]["fragmentation"].clone()
}

fn map(node: &Harness) -> Vec<(u64, u64, String)> {
    let reply = node.call(json!({"type": "MEMORY_MAP"})).unwrap();
    let line = |line: &Value| {
        let whose = line["pid"].as_str().unwrap_or_else(|| line["state"].as_str().unwrap());
        (line["address"].as_u64().unwrap(), line["size"].as_u64().unwrap(), whose.to_owned())
    };
    reply["blocks"].as_array().unwrap().iter().map(line).collect()
}

#[track_caller]
fn refused(node: &Harness, message: Value) -> (String, String) {
    let error = node.call(message).unwrap_err();
    (error.code.into_owned(), error.message)
}

#[track_caller]
fn assert_refused(node: &Harness, message: Value, code: &str, words: &str) {
    let (found, text) = refused(node, message);
    assert_eq!(found, code, "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = node();
    let cases = [
        (
            r#"{"type":"ALLOCATE_MEMORY","pid":"P1","size":100}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","address":0,"size":100,"block_size":112}"#,
        ),
        (
            r#"{"type":"WRITE_BLOCK","pid":"P1","address":0,"offset":98,"data":"AQI="}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","address":0,"written":2}"#,
        ),
        (
            r#"{"type":"READ_BLOCK","pid":"P1","address":0,"offset":97}"#,
            r#"{"type":"BLOCK","pid":"P1","address":0,"offset":97,"size":100,"data":"AAEC"}"#,
        ),
        (
            r#"{"type":"SET_ALLOCATOR","algorithm":"best_fit"}"#,
            r#"{"type":"STATUS","status":"OK","algorithm":"BEST_FIT","previous":"FIRST_FIT"}"#,
        ),
        (
            r#"{"type":"DEALLOCATE_MEMORY","pid":"P1"}"#,
            r#"{"type":"STATUS","status":"OK","pid":"P1","blocks":1,"bytes":112}"#,
        ),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply);
    }
}

#[test]
fn what_is_wrong_is_refused_in_words() {
    let node = node();
    let allocate = |pid: Value, size: Value| json!({"type": "ALLOCATE_MEMORY", "pid": pid, "size": size});
    let invalid = ProviderError::INVALID_MESSAGE;
    assert_refused(&node, allocate(json!(null), json!(1)), invalid, "pid and size required");
    assert_refused(&node, allocate(json!("P1"), json!(null)), invalid, "pid and size required");
    assert_refused(&node, allocate(json!("P1"), json!(0)), invalid, "above 0");
    assert_refused(&node, allocate(json!("P1"), json!(-16)), invalid, "above 0");
    assert_refused(&node, allocate(json!("P1"), json!(1.5)), invalid, "ALLOCATE_MEMORY");
    assert_refused(&node, allocate(json!(""), json!(1)), invalid, "pid and size required");
    assert_refused(&node, allocate(json!("P1"), json!(1025)), "allocation_failed", "whole arena");
    assert_refused(&node, allocate(json!("P1"), json!(i64::MAX)), "allocation_failed", "Memory allocation failed");
    for timeout in [json!(-1), json!(1e300)] {
        let message = json!({"type": "ALLOCATE_MEMORY", "pid": "P1", "size": 1, "timeout": timeout});
        assert_refused(&node, message, invalid, "timeout");
    }
    assert_refused(&node, json!({"type": "DEALLOCATE_MEMORY"}), invalid, "pid required");
    let message = json!({"type": "DEALLOCATE_MEMORY", "pid": "P1"});
    assert_refused(&node, message, "block_not_found", "Memory deallocation failed");
    assert_refused(&node, json!({"type": "DEALLOCATE_MEMORY", "pid": ""}), invalid, "pid required");
    assert_refused(&node, json!({"type": "READ_BLOCK", "pid": "", "address": 0}), invalid, "pid and address required");
    for message in [json!({"type": "SET_ALLOCATOR"}), json!({"type": "SET_ALLOCATOR", "algorithm": ""})] {
        assert_refused(&node, message, invalid, "algorithm required");
    }
    let message = json!({"type": "SET_ALLOCATOR", "algorithm": "BUDDY"});
    assert_refused(&node, message, invalid, "Unknown algorithm: BUDDY. Available: FIRST_FIT");
    assert_eq!(fragmentation(&node)["free_memory"], 1024);
}

#[test]
fn scenario_6_blocks_are_split_and_come_together_again() {
    let node = node();
    assert_eq!(map(&node), [(0, 1024, "free".to_owned())]);
    for (pid, size) in [("P1", 256), ("P2", 256), ("P3", 512)] {
        allocate(&node, pid, size).unwrap();
    }
    assert_eq!(fragmentation(&node)["free_blocks_count"], 0);
    assert_eq!(fragmentation(&node)["external_fragmentation"], 0.0);
    deallocate(&node, "P1", 0);
    deallocate(&node, "P3", Value::Null);
    let line = |address, size, whose: &str| (address, size, whose.to_owned());
    assert_eq!(map(&node), [line(0, 256, "free"), line(256, 256, "P2"), line(512, 512, "free")]);
    let expected = json!({
        "total_memory": 1024, "allocated_memory": 256, "free_memory": 768, "largest_free_block": 512,
        "free_blocks_count": 2, "external_fragmentation": 1.0 - 512.0 / 768.0,
        "fragmentation_percentage": (1.0 - 512.0 / 768.0) * 100.0,
    });
    assert_eq!(fragmentation(&node), expected);
    let error = allocate(&node, "P4", 600).unwrap_err();
    assert_eq!(error.code, "allocation_failed");
    assert!(error.message.contains("the largest has 512 of 768 free bytes"), "{error}");
    deallocate(&node, "P2", 256);
    assert_eq!(map(&node), [line(0, 1024, "free")]);
}

#[test]
fn a_block_that_fits_exactly_can_be_freed_and_the_status_still_answers() {
    let node = node();
    for _ in 0..3 {
        let address = allocate(&node, "P1", 1024).unwrap();
        deallocate(&node, "P1", address);
        assert_eq!(fragmentation(&node)["largest_free_block"], 1024);
    }
}

#[test]
fn a_process_has_several_blocks_and_loses_them_when_it_ends() {
    let node = node();
    for _ in 0..4 {
        allocate(&node, "P1", 64).unwrap();
    }
    allocate(&node, "P2", 64).unwrap();
    let status = node.status()["memory_manager"].clone();
    assert_eq!(status["allocated_processes"], 2);
    assert_eq!(status["allocations"]["P1"], json!({"start": 0, "size": 64, "blocks": 4, "bytes": 256}));
    assert!(node.emit("process.ended", json!({"pid": "P1", "reason": "killed"})));
    assert_eq!(
        node.status()["memory_manager"]["allocations"],
        json!({"P2": {"start": 256, "size": 64, "blocks": 1, "bytes": 64}})
    );
    assert_eq!(fragmentation(&node)["free_memory"], 960);
}

#[test]
fn all_processes_of_a_peer_end_with_it() {
    let node = node();
    for pid in [format!("P1@{PEER}"), format!("P2@{PEER}"), "P1".to_owned()] {
        allocate(&node, &pid, 16).unwrap();
    }
    node.emit("process.ended", json!({"pid": format!("*@{PEER}"), "reason": "it has left"}));
    assert_eq!(map(&node), [(0, 32, "free".to_owned()), (32, 16, "P1".to_owned()), (48, 976, "free".to_owned())]);
}

#[test]
fn what_one_process_wrote_is_never_seen_by_the_next() {
    let node = node_with(json!({"arena_bytes": 4 << 20}));
    // Small blocks are cleaned at once, large ones on another thread.
    for size in [64_i64, 1 << 20, 4 << 20] {
        let address = allocate(&node, "P1", size).unwrap();
        let data = "/".repeat(size as usize / 3 * 4);
        node.call(json!({"type": "WRITE_BLOCK", "pid": "P1", "address": address, "data": data})).unwrap();
        let freed = deallocate(&node, "P1", address);
        assert_eq!((&freed["blocks"], &freed["bytes"]), (&json!(1), &json!(size)));
        let again = allocate(&node, "P2", size).unwrap();
        assert_eq!(again, address);
        let read = node.call(json!({"type": "READ_BLOCK", "pid": "P2", "address": again})).unwrap();
        assert!(read["data"].as_str().unwrap().trim_end_matches(['A', '=']).is_empty(), "all {size} bytes are zero");
        deallocate(&node, "P2", again);
    }
}

#[test]
fn blocks_are_read_and_written_within_their_bounds_by_their_process_alone() {
    let node = node();
    let address = allocate(&node, "P1", 100).unwrap();
    let read = |pid: &str, address: u64, offset: u64, length: u64| json!({"type": "READ_BLOCK", "pid": pid, "address": address, "offset": offset, "length": length});
    let write = |offset: u64, data: &str| json!({"type": "WRITE_BLOCK", "pid": "P1", "address": address, "offset": offset, "data": data});
    assert_refused(&node, read("P2", address, 0, 1), "block_not_found", "process P2 has no block at 0");
    assert_refused(&node, read("P1", 16, 0, 1), "block_not_found", "MEMORY_MAP");
    assert_refused(&node, read("P1", address, 0, 101), "out_of_bounds", "100 bytes");
    // The block takes 112 bytes of the arena, but only 100 were asked for.
    assert_refused(&node, read("P1", address, 100, 1), "out_of_bounds", "100 bytes");
    assert_refused(&node, read("P1", address, u64::MAX, 2), "out_of_bounds", "100 bytes");
    assert_refused(&node, json!({"type": "READ_BLOCK", "pid": "P1", "address": 0, "offset": 101}), "out_of_bounds", "");
    assert_refused(&node, write(98, "AAAA"), "out_of_bounds", "3 bytes from 98 on");
    assert_refused(&node, write(0, "not base64!"), "invalid_message", "Base64");
    assert_eq!(node.call(read("P1", address, 100, 0)).unwrap()["data"], "");
    assert_eq!(node.call(write(97, "AAAA")).unwrap()["written"], 3);
    let missing = json!({"type": "WRITE_BLOCK", "pid": "P1", "address": 0});
    assert_refused(&node, missing, "invalid_message", "pid, address and data required");
}

#[test]
fn a_task_acts_for_itself_alone_and_a_member_for_its_own() {
    let node = node();
    let block = json!({"type": "ALLOCATE_MEMORY", "pid": "P1", "size": 16});
    let member = node.message(&block).caller(Caller::Member(PEER)).call().unwrap();
    assert_eq!(member["pid"], format!("P1@{PEER}"));
    let read = json!({"type": "READ_BLOCK", "pid": "P1", "address": 0});
    node.message(&read).caller(Caller::Member(PEER)).call().unwrap();
    let other = node.message(&read).caller(Caller::Member("5f0c6b1e-0000-8000-8000-000000000001")).call();
    assert_eq!(other.unwrap_err().code, "block_not_found");
    let task = node.message(&block).caller(Caller::Task(PEER)).call();
    assert_eq!(task.unwrap_err().code, ProviderError::INVALID_MESSAGE, "a task without a name has no blocks");
    let set = json!({"type": "SET_ALLOCATOR", "algorithm": "BEST_FIT"});
    assert_eq!(node.message(set).caller(Caller::Member(PEER)).call().unwrap_err().code, ProviderError::FORBIDDEN);
    let resources = json!({"type": "MEMORY_RESOURCES"});
    assert_eq!(node.call(resources).unwrap_err().code, ProviderError::FORBIDDEN);
}

#[test]
fn requests_wait_for_room_first_come_first_served() {
    let node = node();
    allocate(&node, "P1", 512).unwrap();
    allocate(&node, "P2", 512).unwrap();
    let large = wait_for_room(&node, "P3", 600);
    let small = wait_for_room(&node, "P4", 16);
    let told: Vec<_> = node.events().into_iter().filter(|event| event.topic == "resource.waiting").collect();
    assert_eq!(told.len(), 1, "it is said once that somebody waits");
    assert_eq!(told[0].body, json!({"kind": "memory"}));
    deallocate(&node, "P1", Value::Null);
    assert!(large.try_answer().is_none() && small.try_answer().is_none(), "nobody overtakes");
    assert_eq!(allocate(&node, "P5", 16).unwrap(), 0, "who does not wait takes what is free");
    deallocate(&node, "P5", Value::Null);
    deallocate(&node, "P2", Value::Null);
    assert_eq!(large.wait().unwrap()["address"], 0);
    assert_eq!(small.wait().unwrap()["address"], 608);
    assert_eq!(node.timers(), 0);
}

#[test]
fn a_process_of_another_node_holds_up_no_wait_of_this_node() {
    let node = node();
    let far = format!("P1@{PEER}");
    allocate(&node, "P1", 512).unwrap();
    allocate(&node, "P2", 480).unwrap();
    let first_far = wait_for_room(&node, &far, 1024);
    assert_eq!(wait_for_room(&node, "P3", 16).wait().unwrap()["address"], 992, "nobody of this node waits");
    let second_far = wait_for_room(&node, &far, 16);
    assert!(second_far.try_answer().is_none(), "it stands behind the first, though there is room");
    let large = wait_for_room(&node, "P4", 512);
    let small = wait_for_room(&node, "P5", 16);
    deallocate(&node, "P1", Value::Null);
    assert_eq!(large.wait().unwrap()["address"], 0, "it comes before those of other nodes");
    assert_eq!(small.wait().unwrap()["address"], 1008);
    for pid in ["P2", "P3", "P4", "P5"] {
        assert!(first_far.try_answer().is_none() && second_far.try_answer().is_none());
        deallocate(&node, pid, Value::Null);
    }
    assert_eq!(first_far.wait().unwrap()["address"], 0);
    assert!(second_far.try_answer().is_none());
    node.emit("process.ended", json!({"pid": far, "reason": "killed"}));
    assert_eq!(second_far.wait().unwrap_err().code, "process_ended");
}

#[test]
fn an_endless_wait_does_not_stop_all_others() {
    let node = node();
    allocate(&node, "P1", 16).unwrap();
    let endless = wait_for_room(&node, "P1", 1024);
    for _ in 0..3 {
        let address = allocate(&node, "P2", 1008).unwrap();
        deallocate(&node, "P2", address);
    }
    let now = json!({"type": "ALLOCATE_MEMORY", "pid": "P3", "size": 16, "timeout": 0});
    node.call(now).unwrap();
    assert!(endless.try_answer().is_none());
}

#[test]
fn who_has_a_block_or_waits_for_one_is_named() {
    let node = node();
    let named = || {
        let events = node.events().into_iter().filter(|event| event.topic == "process.named");
        events.map(|event| event.body["pid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let address = allocate(&node, "P1", 1024).unwrap();
    assert_eq!(named(), ["P1"]);
    allocate(&node, "P2", 16).unwrap_err();
    assert_eq!(named().len(), 1, "nothing is kept of what is refused");
    let waits = wait_for_room(&node, "P2", 16);
    assert_eq!(named()[1..], ["P2"]);
    deallocate(&node, "P1", address);
    waits.wait().unwrap();
    wait_for_room(&node, "P3", 16).wait().unwrap();
    assert_eq!(named()[2..], ["P3"]);

    let block = |pid: &str| json!({"type": "ALLOCATE_MEMORY", "pid": pid, "size": 16, "behalf": "task:P7"});
    node.message(block("P7")).caller(Caller::Task(PEER)).call().unwrap();
    node.message(json!({"type": "ALLOCATE_MEMORY", "pid": "P8", "size": 16}))
        .caller(Caller::Member(PEER))
        .call()
        .unwrap();
    allocate(&node, "client", 16).unwrap();
    assert_eq!(named().len(), 3, "tasks and other nodes tell of their ends themselves");
}

#[test]
fn a_wait_ends_with_its_time_its_caller_or_its_process() {
    let node = node();
    allocate(&node, "P1", 1024).unwrap();
    let timed = node.begin(json!({"type": "ALLOCATE_MEMORY", "pid": "P2", "size": 1024, "timeout": 2.5}));
    let told = node.events().iter().any(|event| event.topic == "resource.waiting");
    assert!(!told, "a wait that ends by itself is no part of a deadlock");
    let left = wait_for_room(&node, "P3", 1024);
    let ended = wait_for_room(&node, "P4", 16);
    let last = wait_for_room(&node, "P5", 16);
    node.advance(Duration::from_secs(3));
    let error = timed.wait().unwrap_err();
    assert_eq!(error.code, "allocation_failed");
    assert!(error.message.contains("within 2.5 s"), "{error}");
    left.cancel();
    assert_eq!(node.status()["memory_manager"]["waiting"], 2);
    node.emit("process.ended", json!({"pid": "P4", "reason": "killed"}));
    let error = ended.wait().unwrap_err();
    assert_eq!((&*error.code, error.message.as_str()), ("process_ended", "process P4 has ended: killed"));
    deallocate(&node, "P1", Value::Null);
    assert_eq!(last.wait().unwrap()["address"], 0);
    let expected = [(0, 16, "P5".to_owned()), (16, 1008, "free".to_owned())];
    assert_eq!(map(&node), expected, "nobody has a block that he does not know of");
}

#[test]
fn the_victim_of_a_deadlock_gives_up_its_waits_and_its_blocks() {
    let node = node();
    let pid = format!("P1@{PEER}");
    allocate(&node, &pid, 512).unwrap();
    let wait = wait_for_room(&node, &pid, 1024);
    node.emit("deadlock.victim", json!({"pid": pid, "code": "deadlock_victim", "reason": "a deadlock"}));
    assert_eq!(wait.wait().unwrap_err().code, "deadlock_victim");
    assert_eq!(fragmentation(&node)["free_memory"], 1024);
}

#[test]
fn who_has_and_waits_for_memory_is_told_to_other_providers() {
    let node = node();
    let all = || {
        let message = json!({"type": "MEMORY_RESOURCES"});
        node.message(message).caller(Caller::Plugin("deadlock")).call().unwrap()
    };
    assert_eq!(all(), json!({"type": "RESOURCES", "resources": []}));
    allocate(&node, "P1", 1000).unwrap();
    assert_eq!(all()["places"], Value::Null, "nobody waits");
    let _wait = wait_for_room(&node, "P2", 17);
    let place = json!({"resource_id": "memory", "blocks": [{"pid": "P1", "address": 0, "size": 1008}]});
    assert_eq!(all()["places"], json!([place]));
    let mut found = all()["resources"].clone();
    assert!(found[0]["waiters"][0]["since_unix_milliseconds"].take().as_u64().unwrap() > 0);
    let expected = json!([{
        "resource_id": "memory", "kind": "memory", "total_units": 1024, "available_units": 16, "owned": true,
        "holders": [{"pid": "P1", "units": 1008}],
        "waiters": [{"pid": "P2", "units": 32, "since_unix_milliseconds": null, "bounded": false}],
    }]);
    assert_eq!(found, expected);
}

#[test]
fn of_very_many_blocks_those_of_processes_that_wait_are_told() {
    let node = node_with(json!({"arena_bytes": 1 << 20}));
    allocate(&node, "P2", 32).unwrap();
    for _ in 0..10_000 {
        allocate(&node, "P1", 16).unwrap();
    }
    let _wait = wait_for_room(&node, "P2", 1 << 20);
    let message = json!({"type": "MEMORY_RESOURCES"});
    let found = node.message(message).caller(Caller::Plugin("deadlock")).call().unwrap();
    assert_eq!(found["places"][0]["blocks"], json!([{"pid": "P2", "address": 0, "size": 32}]));
    assert_eq!(found["resources"][0]["available_units"], (1 << 20) - 160_032);
}

#[test]
fn the_map_comes_in_pages() {
    let node = node();
    for number in 0..32 {
        allocate(&node, &format!("P{number}"), 16).unwrap();
    }
    for number in (0..32).step_by(2) {
        deallocate(&node, &format!("P{number}"), Value::Null);
    }
    let whole = map(&node);
    assert_eq!(whole.len(), 33);
    for limit in [1, 2, 3, 7, 32, 33] {
        let (mut pages, mut from) = (Vec::new(), json!(0));
        loop {
            let page = node.call(json!({"type": "MEMORY_MAP", "limit": limit, "from": from})).unwrap();
            let blocks = page["blocks"].as_array().unwrap();
            assert!(!blocks.is_empty() && blocks.len() <= limit);
            assert!(pages.len() < 100, "the pages never end");
            pages.extend(blocks.iter().map(|block| block["address"].as_u64().unwrap()));
            from = page["next"].clone();
            if from.is_null() {
                break;
            }
        }
        assert_eq!(pages, whole.iter().map(|line| line.0).collect::<Vec<_>>(), "pages of {limit}");
    }
    let beyond = node.call(json!({"type": "MEMORY_MAP", "from": u64::MAX})).unwrap();
    assert_eq!(beyond["next"], Value::Null);
}

#[test]
fn limits_of_plugins_toml_are_kept_and_named() {
    let node = node_with(json!({"blocks_max": 3, "processes_max": 2, "peer_bytes_max": 100, "waits_max": 1}));
    let peer = format!("P9@{PEER}");
    let error = |pid: &str, size| allocate(&node, pid, size).unwrap_err();
    assert!(error(&peer, 101).message.contains("peer_bytes_max"));
    allocate(&node, &peer, 90).unwrap();
    assert!(error(&format!("P8@{PEER}"), 10).message.contains("peer_bytes_max"));
    allocate(&node, "P1", 1).unwrap();
    assert!(error("P2", 1).message.contains("processes_max"));
    allocate(&node, "P1", 1).unwrap();
    assert_eq!(error("P1", 1).code, ProviderError::LIMIT_REACHED);
    deallocate(&node, "P1", Value::Null);
    allocate(&node, "P1", (1 << 30) - 96).unwrap();
    let _wait = wait_for_room(&node, "P1", 1 << 30);
    let error = wait_for_room(&node, "P1", 1).wait().unwrap_err();
    assert!(error.message.contains("waits_max"), "{error}");
}

#[test]
fn one_other_node_cannot_take_the_whole_tables() {
    let node = node_with(json!({"blocks_max": 20, "processes_max": 8, "waits_max": 4}));
    allocate(&node, "P1", (1 << 29) + 4096).unwrap();
    let peer = |number: u32| format!("P{number}@{PEER}");
    for number in 0..5 {
        allocate(&node, &peer(number % 2), 16).unwrap();
    }
    assert!(allocate(&node, &peer(0), 16).unwrap_err().message.contains("5 blocks or 2 processes"));
    node.emit("process.ended", json!({"pid": peer(0), "reason": "killed"}));
    allocate(&node, &peer(7), 16).unwrap();
    assert!(allocate(&node, &peer(8), 16).unwrap_err().message.contains("2 processes"));
    let _wait = wait_for_room(&node, &peer(7), (1 << 29) - 1024);
    assert_eq!(wait_for_room(&node, &peer(7), 16).wait().unwrap_err().code, ProviderError::LIMIT_REACHED);
    let _other = wait_for_room(&node, "P1", 16);
}

#[test]
fn a_wrong_table_is_refused_by_the_name_of_its_key() {
    let cases = [
        (json!({"arena_byte": 1}), "arena_byte"),
        (json!({"arena_bytes": 15}), "arena_bytes"),
        (json!({"arena_bytes": u64::MAX}), "arena_bytes"),
        (json!({"algorithm": "BUDDY"}), "algorithm"),
        (json!({"blocks_max": 0}), "blocks_max"),
    ];
    for (config, key) in cases {
        let Err(error) = Harness::start::<MemoryManager>(config) else { panic!("{key} is taken") };
        assert_eq!(error.code, ProviderError::INVALID_CONFIG);
        assert!(error.message.contains(key), "{error}");
    }
}

#[test]
fn open_waits_are_answered_when_the_node_stops() {
    let node = node();
    allocate(&node, "P1", 1024).unwrap();
    let wait = wait_for_room(&node, "P2", 16);
    node.stop();
    assert_eq!(wait.wait().unwrap_err().code, ProviderError::NODE_STOPPING);
}
