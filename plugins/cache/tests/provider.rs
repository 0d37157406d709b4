//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_cache::Cache;
use serde_json::{Value, json};
use std::time::Duration;

const CPU: Caller<'static> = Caller::Plugin("cpu");

/// Time stands still until the test moves it.
fn node(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| Cache::start_with_clock(host, config, move || clock.now()))
        .unwrap()
}

fn call(node: &Harness, message: Value) -> Value {
    node.message(message).caller(CPU).call().unwrap()
}

fn ask(node: &Harness, key: &str) -> PendingCall {
    node.message(json!({"type": "CACHE_GET", "key": key, "wait": true})).caller(CPU).begin()
}

fn lease(node: &Harness, key: &str) -> u64 {
    ask(node, key).wait().unwrap()["lease"].as_u64().unwrap()
}

fn put(node: &Harness, key: &str, value: Value) {
    let reply = call(node, json!({"type": "CACHE_PUT", "key": key, "value": value}));
    assert_eq!(reply, json!({"type": "STATUS", "status": "OK", "stored": true}));
}

fn is_there(node: &Harness, key: &str) -> bool {
    call(node, json!({"type": "CACHE_GET", "key": key}))["found"] == json!(true)
}

#[test]
fn it_starts_as_a_node_starts_it_and_tells_its_rules() {
    let node = Harness::start::<Cache>(json!({"assume_pure": true})).unwrap();
    assert_eq!(call(&node, json!({"type": "CACHE_RULES"})), json!({"type": "CACHE_RULES", "assume_pure": true}));
    let events = node.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].topic.as_str(), &events[0].body), ("cache.rules", &json!({"assume_pure": true})));
    assert_eq!(node.timers(), 0, "nothing wakes up by itself");
}

#[test]
fn only_plugins_look_up_and_store_and_only_the_user_clears() {
    let node = node(json!({}));
    let owner = potluck_sdk::PeerId::from_hash([2; 16]).to_string();
    for caller in [Caller::Local, Caller::Member(&owner), Caller::Task(&owner), Caller::Web("w")] {
        for message_type in ["CACHE_GET", "CACHE_PUT", "CACHE_ABANDON", "CACHE_RULES"] {
            let message = json!({"type": message_type, "key": "k", "value": 1, "lease": 1});
            let error = node.message(message).caller(caller).call().unwrap_err();
            assert_eq!(error.code, ProviderError::FORBIDDEN, "{message_type} by {caller:?}");
        }
    }
    for caller in [Caller::Member(&owner), Caller::Task(&owner)] {
        let error = node.message(json!({"type": "CACHE_CLEAR"})).caller(caller).call().unwrap_err();
        assert_eq!(error.code, ProviderError::FORBIDDEN);
    }
}

#[test]
fn a_value_comes_back_digit_for_digit() {
    let node = node(json!({}));
    let text = r#"{"b":1,  "a":[1.0,-0],"n":123456789012345678901234567890}"#;
    let message = format!(r#"{{"type":"CACHE_PUT","key":"k","value":{text}}}"#);
    node.message(message).caller(CPU).call().unwrap();
    let reply = node.message(json!({"type": "CACHE_GET", "key": "k"})).caller(CPU).begin().wait_raw();
    assert_eq!(reply, format!(r#"{{"type":"CACHE_ENTRY","found":true,"value":{text}}}"#));
    let reply = node.message(json!({"type": "CACHE_GET", "key": "l"})).caller(CPU).begin().wait_raw();
    assert_eq!(reply, r#"{"type":"CACHE_ENTRY","found":false}"#);
}

#[test]
fn the_least_recently_used_value_makes_room() {
    let node = node(json!({"entries_max": 2}));
    put(&node, "a", json!(1));
    put(&node, "b", json!(2));
    assert!(is_there(&node, "a"));
    put(&node, "c", json!(3));
    assert!(is_there(&node, "a") && is_there(&node, "c") && !is_there(&node, "b"));
    let status = &node.status()["cache"];
    assert_eq!((&status["size"], &status["max_size"], &status["evictions"]), (&json!(2), &json!(2), &json!(1)));
}

#[test]
fn bytes_are_bounded_and_a_value_that_is_too_large_is_not_kept() {
    let node = node(json!({"bytes_max": 20, "value_bytes_max": 15}));
    put(&node, "a", json!("12345678"));
    put(&node, "b", json!("12345678"));
    assert!(!is_there(&node, "a") && is_there(&node, "b"));
    let reply = call(&node, json!({"type": "CACHE_PUT", "key": "c", "value": "1234567890123456"}));
    assert_eq!(reply["stored"], false);
    assert!(is_there(&node, "b"));
    assert_eq!(node.status()["cache"]["bytes"], 11);
}

#[test]
fn a_value_is_forgotten_after_its_time() {
    let node = node(json!({"ttl_seconds": 60}));
    put(&node, "a", json!(1));
    call(&node, json!({"type": "CACHE_PUT", "key": "b", "value": 1, "ttl_seconds": 5}));
    call(&node, json!({"type": "CACHE_PUT", "key": "c", "value": 1, "ttl_seconds": 5000}));
    node.advance(Duration::from_secs(5));
    assert!(is_there(&node, "a") && !is_there(&node, "b"));
    node.advance(Duration::from_secs(55));
    assert_eq!(node.status()["cache"]["size"], 0, "nothing is kept for longer than configured");
    assert_eq!(node.status()["cache"]["expirations"], 3);
}

#[test]
fn statistics_are_those_of_the_protocol() {
    let node = node(json!({}));
    put(&node, "a", json!(1));
    for key in ["a", "a", "a", "b"] {
        is_there(&node, key);
    }
    let status = node.status();
    let cache = &status["cache"];
    assert_eq!((&cache["size"], &cache["max_size"]), (&json!(1), &json!(100)));
    assert_eq!((&cache["hits"], &cache["misses"], &cache["hit_rate"]), (&json!(3), &json!(1), &json!(0.75)));
    assert_eq!(node.call(json!({"type": "CACHE_STATISTICS"})).unwrap()["cache"], *cache);
    let cleared = node.call(json!({"type": "CACHE_CLEAR"})).unwrap();
    assert_eq!(cleared, json!({"type": "STATUS", "status": "OK", "removed": 1}));
    assert!(!is_there(&node, "a"));
}

#[test]
fn a_thousand_who_ask_at_once_cost_one_run() {
    let node = node(json!({}));
    let lease = lease(&node, "k");
    let calls: Vec<PendingCall> = (0..1000).map(|_| ask(&node, "k")).collect();
    assert!(calls.iter().all(|call| call.try_answer().is_none()));
    assert_eq!(node.timers(), 1, "one timer for all");
    call(&node, json!({"type": "CACHE_PUT", "key": "k", "value": [7], "lease": lease}));
    for call in calls {
        assert_eq!(call.wait().unwrap(), json!({"type": "CACHE_ENTRY", "found": true, "value": [7]}));
    }
}

#[test]
fn a_run_that_fails_or_is_lost_is_made_by_the_next() {
    let node = node(json!({"lease_seconds": 10}));
    let first = lease(&node, "k");
    let (second, third) = (ask(&node, "k"), ask(&node, "k"));
    call(&node, json!({"type": "CACHE_ABANDON", "key": "k", "lease": first}));
    let lease = second.wait().unwrap()["lease"].as_u64().unwrap();
    assert_ne!(lease, first);
    assert!(third.try_answer().is_none());
    node.advance(Duration::from_secs(10));
    assert!(third.wait().unwrap()["lease"].is_u64());
    let late = call(&node, json!({"type": "CACHE_PUT", "key": "k", "value": 1, "lease": lease}));
    assert_eq!(late["stored"], false);
}

#[test]
fn nobody_waits_for_a_value_that_will_not_come() {
    let node = node(json!({}));
    let first = lease(&node, "k");
    let calls: Vec<PendingCall> = (0..5).map(|_| ask(&node, "k")).collect();
    call(&node, json!({"type": "CACHE_ABANDON", "key": "k", "lease": first, "for_good": true}));
    for call in calls {
        assert_eq!(call.wait_raw(), r#"{"type":"CACHE_ENTRY","found":false}"#);
    }
    assert_eq!(node.status()["cache"]["leases"], 0);
}

#[test]
fn leases_end_one_after_the_other_by_one_timer() {
    let node = node(json!({"lease_seconds": 10}));
    for second in 0..5 {
        lease(&node, &format!("k{second}"));
        node.advance(Duration::from_secs(1));
    }
    assert_eq!((node.timers(), &node.status()["cache"]["leases"]), (1, &json!(5)));
    node.advance(Duration::from_secs(7));
    assert_eq!((node.timers(), &node.status()["cache"]["leases"]), (1, &json!(2)));
    node.advance(Duration::from_secs(2));
    assert_eq!((node.timers(), &node.status()["cache"]["leases"]), (0, &json!(0)));
}

#[test]
fn a_wait_ends_with_its_time_out_or_its_caller() {
    let node = node(json!({}));
    lease(&node, "k");
    let gone = ask(&node, "k");
    let message = json!({"type": "CACHE_GET", "key": "k", "wait": true, "timeout_seconds": 2});
    let impatient = node.message(message).caller(CPU).begin();
    assert_eq!(node.status()["cache"]["waiting"], 2);
    gone.cancel();
    assert_eq!(node.status()["cache"]["waiting"], 1);
    node.advance(Duration::from_secs(2));
    assert_eq!(impatient.wait_raw(), r#"{"type":"CACHE_ENTRY","found":false}"#);
    assert_eq!(node.status()["cache"]["waiting"], 0);
}

#[test]
fn whoever_waits_is_let_go_when_the_node_stops() {
    let node = node(json!({}));
    lease(&node, "k");
    let waiting = ask(&node, "k");
    node.stop();
    assert_eq!(waiting.wait_raw(), r#"{"type":"CACHE_ENTRY","found":false}"#);
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    let node = node(json!({}));
    for message in [
        json!({"type": "CACHE_GET"}),
        json!({"type": "CACHE_GET", "key": ""}),
        json!({"type": "CACHE_GET", "key": "k".repeat(257)}),
        json!({"type": "CACHE_GET", "key": "k", "wait": true, "timeout_seconds": -1}),
        json!({"type": "CACHE_PUT", "key": "k"}),
        json!({"type": "CACHE_PUT", "key": "k", "value": 1, "ttl_seconds": 0}),
        json!({"type": "CACHE_PUT", "key": "k", "value": 1, "ttl_seconds": 1e300}),
        json!({"type": "CACHE_ABANDON", "key": "k"}),
    ] {
        let error = node.message(&message).caller(CPU).call().unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{message}");
    }
}

#[test]
fn a_table_that_makes_no_sense_is_refused() {
    for table in [
        json!({"entries_max": 0}),
        json!({"waiting_max": 0}),
        json!({"ttl_seconds": 0}),
        json!({"lease_seconds": -1}),
        json!({"entrys_max": 1}),
    ] {
        let Err(error) = Harness::start::<Cache>(table.clone()) else { panic!("{table} was taken") };
        assert_eq!(error.code, ProviderError::INVALID_CONFIG);
    }
}
