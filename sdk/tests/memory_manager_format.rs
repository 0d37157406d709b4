//! The text of the messages of memory-manager, frozen: a change here is a change of the protocol.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "support/golden.rs"]
mod golden;

use golden::golden;
use potluck_sdk::message::memory_manager::*;
use std::collections::BTreeMap;

fn ok() -> String {
    "OK".to_owned()
}

fn pid() -> String {
    "P7".to_owned()
}

fn fragmentation() -> Fragmentation {
    Fragmentation {
        total_memory: 1024,
        allocated_memory: 256,
        free_memory: 768,
        largest_free_block: 384,
        free_blocks_count: 2,
        external_fragmentation: 0.5,
        fragmentation_percentage: 50.0,
    }
}

const FRAGMENTATION: &str = r#"{"total_memory":1024,"allocated_memory":256,"free_memory":768,"largest_free_block":384,"free_blocks_count":2,"external_fragmentation":0.5,"fragmentation_percentage":50.0}"#;

#[test]
fn blocks_are_allocated_and_freed() {
    golden(
        &AllocateMemory { pid: Some(pid()), size: Some(100), timeout: Some(2.5), wait: true },
        r#"{"type":"ALLOCATE_MEMORY","pid":"P7","size":100,"timeout":2.5,"wait":true}"#,
    );
    golden(
        &MemoryAllocated { status: ok(), pid: pid(), address: 16, size: 100, block_size: 112 },
        r#"{"type":"STATUS","status":"OK","pid":"P7","address":16,"size":100,"block_size":112}"#,
    );
    golden(
        &DeallocateMemory { pid: Some(pid()), address: Some(16) },
        r#"{"type":"DEALLOCATE_MEMORY","pid":"P7","address":16}"#,
    );
    golden(
        &MemoryDeallocated { status: ok(), pid: pid(), blocks: 1, bytes: 112 },
        r#"{"type":"STATUS","status":"OK","pid":"P7","blocks":1,"bytes":112}"#,
    );
}

#[test]
fn blocks_are_read_and_written() {
    golden(
        &ReadBlock { pid: Some(pid()), address: Some(16), offset: 3, length: Some(2) },
        r#"{"type":"READ_BLOCK","pid":"P7","address":16,"offset":3,"length":2}"#,
    );
    golden(
        &Block { pid: pid(), address: 16, offset: 3, size: 100, data: "AQI=".to_owned() },
        r#"{"type":"BLOCK","pid":"P7","address":16,"offset":3,"size":100,"data":"AQI="}"#,
    );
    golden(
        &WriteBlock { pid: Some(pid()), address: Some(16), offset: 3, data: Some("AQI=".to_owned()) },
        r#"{"type":"WRITE_BLOCK","pid":"P7","address":16,"offset":3,"data":"AQI="}"#,
    );
    golden(
        &BlockWritten { status: ok(), pid: pid(), address: 16, written: 2 },
        r#"{"type":"STATUS","status":"OK","pid":"P7","address":16,"written":2}"#,
    );
}

#[test]
fn the_algorithm_is_set_and_the_arena_is_shown() {
    golden(
        &SetAllocator { algorithm: Some("BEST_FIT".to_owned()) },
        r#"{"type":"SET_ALLOCATOR","algorithm":"BEST_FIT"}"#,
    );
    golden(
        &AllocatorSet { status: ok(), algorithm: "BEST_FIT".to_owned(), previous: "FIRST_FIT".to_owned() },
        r#"{"type":"STATUS","status":"OK","algorithm":"BEST_FIT","previous":"FIRST_FIT"}"#,
    );
    golden(&MemoryMap { limit: Some(2), from: Some(16) }, r#"{"type":"MEMORY_MAP","limit":2,"from":16}"#);
    let line = |address, state: &str, pid| MapLine { address, size: 112, state: state.to_owned(), pid };
    golden(
        &MemoryMapped {
            algorithm: "BEST_FIT".to_owned(),
            blocks: vec![line(16, "used", Some(pid())), line(128, "free", None)],
            block_count: 3,
            waiting: 1,
            fragmentation: fragmentation(),
            next: Some(240),
        },
        &format!(
            r#"{{"type":"MEMORY_MAP","algorithm":"BEST_FIT","blocks":[{{"address":16,"size":112,"state":"used","pid":"P7"}},{{"address":128,"size":112,"state":"free","pid":null}}],"block_count":3,"waiting":1,"fragmentation":{FRAGMENTATION},"next":240}}"#
        ),
    );
    golden(
        &MemoryManagerStatus {
            algorithm: "BEST_FIT".to_owned(),
            fragmentation: fragmentation(),
            allocated_processes: 1,
            allocations: BTreeMap::from([(pid(), Allocation { start: 16, size: 112, blocks: 2, bytes: 256 })]),
            allocated_blocks: 2,
            waiting: 0,
        },
        &format!(
            r#"{{"algorithm":"BEST_FIT","fragmentation":{FRAGMENTATION},"allocated_processes":1,"allocations":{{"P7":{{"start":16,"size":112,"blocks":2,"bytes":256}}}},"allocated_blocks":2,"waiting":0}}"#
        ),
    );
}

#[test]
fn what_the_original_system_sends_is_understood() {
    let read: AllocateMemory = serde_json::from_str(r#"{"type":"ALLOCATE_MEMORY","pid":"P7","size":100}"#).unwrap();
    assert_eq!(read, AllocateMemory { pid: Some(pid()), size: Some(100), ..AllocateMemory::default() });
    let read: DeallocateMemory = serde_json::from_str(r#"{"type":"DEALLOCATE_MEMORY","pid":"P7"}"#).unwrap();
    assert_eq!(read, DeallocateMemory { pid: Some(pid()), address: None });
}
