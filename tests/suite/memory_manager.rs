//! ALLOCATE_MEMORY and its companions, as clients see them.

use potluck_tests::{TestNode, wait_for};
use serde_json::{Value, json};

/// A node with an arena of that many bytes.
fn node(arena_bytes: u64) -> TestNode {
    TestNode::peer().plugins(format!("[plugins.memory-manager]\narena_bytes = {arena_bytes}\n")).start()
}

fn allocate(pid: &str, size: i64) -> Value {
    json!({ "type": "ALLOCATE_MEMORY", "pid": pid, "size": size })
}

fn deallocate(pid: &str) -> Value {
    json!({ "type": "DEALLOCATE_MEMORY", "pid": pid })
}

fn fragmentation(node: &TestNode) -> Value {
    node.status()["memory_manager"]["fragmentation"].take()
}

#[test]
fn scenario_6_allocation_fragmentation_and_coalescing() {
    let node = node(1000 << 10);
    for (pid, kibibytes) in [("P1", 200), ("P2", 300), ("P3", 100)] {
        let reply = node.call(allocate(pid, kibibytes << 10));
        assert_eq!((&reply["status"], &reply["size"]), (&json!("OK"), &json!(kibibytes << 10)), "{reply}");
    }
    let status = node.status()["memory_manager"].take();
    assert_eq!((&status["algorithm"], &status["allocated_processes"]), (&json!("FIRST_FIT"), &json!(3)));
    assert_eq!(
        (&status["allocations"]["P2"]["start"], &status["allocations"]["P2"]["size"]),
        (&json!(200 << 10), &json!(300 << 10))
    );
    node.call(deallocate("P2"));
    let pieces = fragmentation(&node);
    assert_eq!(
        (&pieces["free_blocks_count"], &pieces["largest_free_block"]),
        (&json!(2), &json!(400 << 10)),
        "{pieces}"
    );
    let external = pieces["external_fragmentation"].as_f64().unwrap();
    assert!((external - (1.0 - 400.0 / 700.0)).abs() < 1e-9, "{pieces}");
    let refused = node.call(allocate("P4", 500 << 10));
    assert_eq!((&refused["type"], &refused["code"]), (&json!("ERROR"), &json!("allocation_failed")), "{refused}");
    assert!(refused["error"].as_str().unwrap().starts_with("Memory allocation failed"), "{refused}");
    node.call(deallocate("P1"));
    node.call(deallocate("P3"));
    let whole = fragmentation(&node);
    assert_eq!((&whole["free_blocks_count"], &whole["external_fragmentation"]), (&json!(1), &json!(0.0)), "{whole}");
    let refused = node.call(deallocate("P1"));
    assert!(refused["error"].as_str().unwrap().starts_with("Memory deallocation failed"), "{refused}");
}

#[test]
fn freeing_a_block_that_fitted_exactly_leaves_a_node_that_answers() {
    let node = node(4096);
    for _ in 0..3 {
        assert_eq!(node.call(allocate("P1", 4096))["address"], 0);
        assert_eq!(node.call(deallocate("P1"))["bytes"], 4096);
        assert_eq!(fragmentation(&node)["largest_free_block"], 4096);
    }
}

#[test]
fn blocks_are_written_and_read_and_the_next_owner_sees_zeros() {
    let node = node(1 << 20);
    let address = node.call(allocate("P1", 1 << 20))["address"].clone();
    let data = "q6ur".repeat(1 << 18);
    let part = &data[..(1 << 20) / 4 * 4];
    let written =
        node.call(json!({ "type": "WRITE_BLOCK", "pid": "P1", "address": address, "offset": 100, "data": part }));
    assert_eq!(written["written"], part.len() / 4 * 3, "{written}");
    let read = node.call(json!({ "type": "READ_BLOCK", "pid": "P1", "address": address, "offset": 99, "length": 4 }));
    assert_eq!(read["data"], "AKurqw==");
    let others = node.call(json!({ "type": "READ_BLOCK", "pid": "P2", "address": address }));
    assert_eq!(others["code"], "block_not_found", "{others}");
    node.call(deallocate("P1"));
    let address = node.call(allocate("P2", 1 << 20))["address"].clone();
    let read = node.call(json!({ "type": "READ_BLOCK", "pid": "P2", "address": address }));
    assert!(read["data"].as_str().unwrap().trim_end_matches(['A', '=']).is_empty());
}

#[test]
fn who_waits_gets_the_room_in_order_and_who_has_gone_does_not() {
    let node = node(1024);
    node.call(allocate("P1", 1024));
    let wait = |pid: &str| {
        let mut wire = node.wire();
        let mut message = allocate(pid, 512);
        message["wait"] = json!(true);
        wire.send(message);
        wire
    };
    let waiting = |count: u64| {
        wait_for("the requests to wait", || node.status()["memory_manager"]["waiting"] == count);
    };
    let gone = wait("P2");
    waiting(1);
    let mut second = wait("P3");
    waiting(2);
    let mut third = wait("P4");
    waiting(3);
    drop(gone);
    waiting(2);
    node.call(deallocate("P1"));
    assert_eq!(second.read()["address"], 0);
    assert_eq!(third.read()["address"], 512);
    let timed = node.call(json!({ "type": "ALLOCATE_MEMORY", "pid": "P5", "size": 16, "timeout": 0.05 }));
    assert_eq!(timed["code"], "allocation_failed", "{timed}");
}

#[test]
fn the_algorithm_can_be_changed_while_blocks_are_in_use() {
    let node = node(1000 << 4);
    let sizes = [100, 500, 200, 100, 100];
    for (number, granules) in sizes.into_iter().enumerate() {
        node.call(allocate(&format!("P{number}"), granules << 4));
    }
    node.call(deallocate("P1"));
    node.call(deallocate("P3"));
    for (algorithm, granule) in [("BEST_FIT", 800), ("WORST_FIT", 100), ("NEXT_FIT", 200), ("FIRST_FIT", 300)] {
        let set = node.call(json!({ "type": "SET_ALLOCATOR", "algorithm": algorithm }));
        assert_eq!(set["algorithm"], algorithm, "{set}");
        assert_eq!(node.call(allocate("P9", 100 << 4))["address"], granule << 4, "{algorithm}");
    }
    let map = node.call(json!({ "type": "MEMORY_MAP", "limit": 3 }));
    assert_eq!((map["blocks"].as_array().unwrap().len(), &map["next"]), (3, &json!(300 << 4)), "{map}");
}
