//! SET_MEM, GET_MEM, DELETE_MEM and LIST_MEM.

use potluck_tests::{TestNode, Wire, wait_for, with};
use serde_json::{Value, json};
use std::thread;

/// A node without interpreters: it starts at once.
fn memory_node(settings: &str) -> TestNode {
    TestNode::peer().plugins(format!("[plugins.memory]\n{settings}\n")).start()
}

fn set(key: impl Into<Value>, value: impl Into<Value>) -> Value {
    json!({ "type": "SET_MEM", "key": key.into(), "value": value.into() })
}

fn get(key: impl Into<Value>) -> Value {
    json!({ "type": "GET_MEM", "key": key.into() })
}

fn delete(key: impl Into<Value>) -> Value {
    json!({ "type": "DELETE_MEM", "key": key.into() })
}

fn assert_refused(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply}");
}

#[test]
fn values_come_back_as_they_went_in() {
    let node = memory_node("");
    let mut wire = node.wire();
    let digits = "123456789".repeat(40);
    for value in [
        "0",
        "-0.0",
        "1e400",
        "1.50",
        &digits,
        "true",
        r#""""#,
        r#""text with \"quotes\" and \u0000""#,
        r#""grüße 🙂""#,
        "[]",
        r#"{"b":1,"a":{"b":[null,{}]},"b2":2}"#,
    ] {
        wire.send(format!(r#"{{"type":"SET_MEM","key":"k","value":{value}}}"#));
        let stored = wire.read();
        assert_eq!(stored["status"], "OK", "{value}: {stored}");
        assert_eq!((&stored["operation"], &stored["key"]), (&json!("SET_MEM"), &json!("k")));
        wire.send(get("k"));
        let found = wire.read_text();
        assert!(found.contains(&format!(r#""value":{value},"#)), "{value} became {found}");
        assert!(found.contains(r#""found":true"#), "{found}");
    }
}

#[test]
fn a_stored_null_is_found_and_a_missing_key_is_not() {
    let node = memory_node("");
    let missing = node.call(get("k"));
    assert_eq!((&missing["type"], &missing["found"]), (&json!("MEM_RESPONSE"), &json!(false)), "{missing}");
    assert_eq!((&missing["key"], &missing["value"]), (&json!("k"), &Value::Null));
    assert!(missing.get("error").is_none(), "a miss is no error: {missing}");
    node.call(set("k", Value::Null));
    let found = node.call(get("k"));
    assert_eq!((&found["found"], &found["value"]), (&json!(true), &Value::Null), "{found}");
    // A message without `value` stores null as well.
    node.call(json!({ "type": "SET_MEM", "key": "other" }));
    assert_eq!(node.call(get("other"))["found"], true);
}

#[test]
fn keys_of_different_types_are_different_keys() {
    let node = memory_node("");
    let keys = [json!("1"), json!(1), json!(true), json!("true"), json!(""), json!(1.5), json!("é\n")];
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(node.call(set(key.clone(), number))["key"], *key);
    }
    for (number, key) in keys.iter().enumerate() {
        let found = node.call(get(key.clone()));
        assert_eq!((&found["key"], &found["value"]), (key, &json!(number)));
    }
}

#[test]
fn the_remote_forms_mean_the_same_entries() {
    let node = memory_node("");
    node.call(with(set("k", "far"), json!({ "type": "SET_MEM_REMOTE" })));
    assert_eq!(node.call(get("k"))["value"], "far");
    assert_eq!(node.call(with(get("k"), json!({ "type": "GET_MEM_REMOTE" })))["value"], "far");
}

#[test]
fn a_deleted_entry_is_gone() {
    let node = memory_node("");
    node.call(set("k", 1));
    let deleted = node.call(delete("k"));
    assert_eq!((&deleted["status"], &deleted["deleted"]), (&json!("OK"), &json!(true)), "{deleted}");
    assert_eq!(node.call(get("k"))["found"], false);
    assert_eq!(node.call(delete("k"))["deleted"], false);
}

#[test]
fn an_entry_with_a_time_to_live_expires() {
    let node = memory_node("");
    node.call(with(set("long", 1), json!({ "ttl_seconds": 3600 })));
    let found = node.call(get("long"));
    let left = found["expires_in_seconds"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 3600.0, "{found}");

    let stored = node.call(with(set("short", 2), json!({ "ttl_seconds": 0.05 })));
    wait_for("the entry to expire", || node.call(get("short"))["found"] == false);
    assert_eq!(node.status()["memory"]["key_count"], 1);
    let list = node.call(json!({ "type": "LIST_MEM" }));
    assert_eq!(list["entries"].as_array().unwrap().len(), 1, "{list}");
    // It counts as if it had never been there, but its version is not given out again.
    let again = node.call(with(set("short", 3), json!({ "if_version": 0 })));
    assert!(again["version"].as_u64().unwrap() > stored["version"].as_u64().unwrap(), "{again}");

    // Storing again without a time keeps the entry for ever.
    node.call(set("long", 4));
    assert!(node.call(get("long")).get("expires_in_seconds").is_none());
}

#[test]
fn a_write_on_condition_needs_the_present_version() {
    let node = memory_node("");
    let if_version = |version: u64| json!({ "if_version": version });
    let first = node.call(with(set("k", "a"), if_version(0)));
    assert_eq!(first["status"], "OK", "{first}");
    let version = first["version"].as_u64().unwrap();
    assert_refused(&node.call(with(set("k", "b"), if_version(0))), "version_mismatch", &version.to_string());
    assert_refused(&node.call(with(set("k", "b"), if_version(version + 1))), "version_mismatch", "read it again");
    assert_eq!(node.call(get("k"))["value"], "a");

    let second = node.call(with(set("k", "b"), if_version(version)));
    assert!(second["version"].as_u64().unwrap() > version, "{second}");
    assert_eq!(node.call(get("k"))["version"], second["version"]);
    assert_refused(&node.call(with(delete("k"), if_version(version))), "version_mismatch", "version");
    let version = second["version"].as_u64().unwrap();
    assert_eq!(node.call(with(delete("k"), if_version(version)))["deleted"], true);
}

#[test]
fn all_keys_are_listed_once_and_in_order_over_many_pages() {
    let node = memory_node("");
    let mut expected: Vec<String> = (0..2500).map(|number| format!("key-{number}")).collect();
    let mut wire = node.wire();
    for (number, key) in expected.iter().enumerate() {
        wire.send(with(set(key.clone(), "x".repeat(number % 50)), json!({ "id": number })));
    }
    for _ in &expected {
        assert_eq!(wire.read()["status"], "OK");
    }
    expected.sort_unstable();
    for limit in [None, Some(7), Some(1000), Some(999_999)] {
        let keys = list(&mut wire, json!({ "limit": limit }));
        assert!(keys == expected, "with limit {limit:?} {} keys came", keys.len());
    }
    let with_prefix: Vec<String> = expected.iter().filter(|key| key.starts_with("key-24")).cloned().collect();
    assert_eq!(list(&mut wire, json!({ "prefix": "key-24", "limit": 10 })), with_prefix);
    assert!(list(&mut wire, json!({ "prefix": "nothing" })).is_empty());

    let page = wire.call(json!({ "type": "LIST_MEM", "limit": 1 }));
    assert_eq!(page["key_count"], 2500, "{page}");
    assert_eq!(page["entries"][0]["value_bytes"], 2, "{page}");
    assert!(page["entries"][0]["version"].as_u64().unwrap() > 0, "{page}");
}

/// All keys, page by page.
fn list(wire: &mut Wire, options: Value) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut message = with(json!({ "type": "LIST_MEM" }), options.clone());
        if !after.is_null() {
            message["after"] = after;
        }
        if message["limit"].is_null() {
            message.as_object_mut().unwrap().remove("limit");
        }
        let mut page = wire.call(message);
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 1000);
        keys.extend(entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        after = page["next"].take();
        if after.is_null() {
            return keys;
        }
    }
}

#[test]
fn limits_of_plugins_toml_are_kept_and_named() {
    let node = memory_node("entries_max = 3\nbytes_max = 1000\nkey_bytes_max = 20\nvalue_bytes_max = 700");
    assert_refused(&node.call(set("k".repeat(21), 1)), "limit_reached", "key_bytes_max");
    assert_refused(&node.call(set("k", "v".repeat(701))), "limit_reached", "value_bytes_max");
    for key in ["a", "b", "c"] {
        assert_eq!(node.call(set(key, 1))["status"], "OK");
    }
    assert_refused(&node.call(set("d", 1)), "limit_reached", "entries_max");
    // What is there can be replaced, read and removed although no room is left for more.
    assert_eq!(node.call(set("a", "v".repeat(690)))["status"], "OK");
    assert_refused(&node.call(set("b", "v".repeat(690))), "limit_reached", "bytes_max");
    assert_eq!(node.call(get("b"))["value"], 1);
    node.call(delete("a"));
    assert_eq!(node.call(set("d", "v".repeat(690)))["status"], "OK");
}

#[test]
fn an_expired_entry_makes_room() {
    let node = memory_node("entries_max = 1");
    node.call(with(set("short", 1), json!({ "ttl_seconds": 0.05 })));
    wait_for("room for another entry", || node.call(set("next", 2))["status"] == "OK");
}

#[test]
fn what_is_no_key_is_refused() {
    let node = memory_node("");
    assert_refused(&node.call(json!({ "type": "SET_MEM", "value": 1 })), "invalid_message", "Key required for SET_MEM");
    assert_refused(&node.call(get(Value::Null)), "invalid_message", "Key required for GET_MEM");
    assert_refused(&node.call(set(json!([1]), 1)), "invalid_message", "array");
    assert_refused(&node.call(get(json!({}))), "invalid_message", "object");
    assert_refused(&node.call(r#"{"type":"GET_MEM","key":"\ud800"}"#), "invalid_message", "Unicode");
    for ttl in [json!(0), json!(-1), json!(1e300)] {
        assert_refused(&node.call(with(set("k", 1), json!({ "ttl_seconds": ttl }))), "invalid_message", "ttl_seconds");
    }
    assert_refused(&node.call(with(set("k", 1), json!({ "ttl_seconds": "1" }))), "invalid_message", "SET_MEM");
    assert_refused(&node.call(with(set("k", 1), json!({ "if_version": -1 }))), "invalid_message", "SET_MEM");
}

#[test]
fn status_counts_keys_bytes_and_operations() {
    let node = memory_node("");
    let memory = || node.status()["memory"].take();
    assert_eq!((memory()["key_count"].clone(), memory()["operation_count"].clone()), (json!(0), json!(0)));
    node.call(set("a", "one"));
    node.call(set("b", "two"));
    node.call(get("a"));
    node.call(delete("b"));
    let status = memory();
    assert_eq!((&status["key_count"], &status["operation_count"]), (&json!(1), &json!(4)), "{status}");
    assert!(status["bytes"].as_u64().unwrap() >= 6, "{status}");
}

#[test]
fn eight_clients_that_increment_one_counter_lose_nothing() {
    const CLIENTS: u64 = 8;
    const INCREMENTS: u64 = 250;
    let node = memory_node("");
    node.call(set("counter", 0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut wire = node.wire();
                for _ in 0..INCREMENTS {
                    increment(&mut wire);
                }
            });
        }
    });
    assert_eq!(node.call(get("counter"))["value"], CLIENTS * INCREMENTS);
}

/// Reads, and writes on condition that nobody has written meanwhile, until that works.
fn increment(wire: &mut Wire) {
    loop {
        let entry = wire.call(get("counter"));
        let next = entry["value"].as_u64().unwrap() + 1;
        let stored = wire.call(with(set("counter", next), json!({ "if_version": entry["version"] })));
        if stored["status"] == "OK" {
            return;
        }
        assert_eq!(stored["code"], "version_mismatch", "{stored}");
    }
}

#[test]
fn many_requests_may_be_in_flight_on_one_connection() {
    let node = memory_node("");
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..5000 {
                writer.send(with(set(number % 100, number), json!({ "id": number })));
            }
        });
        let mut versions: Vec<u64> = (0..5000).map(|_| reader.read()["version"].as_u64().unwrap()).collect();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), 5000, "no version is given out twice");
    });
}

#[test]
fn a_watcher_is_told_of_the_next_change_and_costs_nothing_when_it_is_gone() {
    let node = memory_node("");
    let version = node.call(set("k", 1))["version"].as_u64().unwrap();
    let watch = |after: u64| json!({ "type": "WATCH_MEM", "key": "k", "after_version": after });
    let (mut first, second) = (node.wire(), node.wire());
    first.send(watch(version));
    second.another().send(watch(version));
    node.wait_until("both to watch", |status| status["memory"]["watchers"] == 2);
    drop(second);
    node.wait_until("one to be gone", |status| status["memory"]["watchers"] == 1);
    node.call(set("k", "new"));
    let told = first.read();
    assert_eq!((&told["type"], &told["value"]), (&json!("MEM_RESPONSE"), &json!("new")), "{told}");
    // The change that it has missed is told at once; after a time-out it gets what is there.
    assert_eq!(first.call(watch(version))["value"], "new");
    let waited = first.call(with(watch(told["version"].as_u64().unwrap()), json!({ "timeout": 0.05 })));
    assert_eq!((&waited["value"], &waited["version"]), (&json!("new"), &told["version"]));
    assert_eq!(node.status()["memory"]["watchers"], 0);
}

#[test]
fn an_entry_that_expires_is_told_to_who_watches_it() {
    let node = memory_node("");
    let stored = node.call(with(set("k", 1), json!({ "ttl_seconds": 0.1 })));
    let told = node.call(json!({ "type": "WATCH_MEM", "key": "k", "after_version": stored["version"], "timeout": 60 }));
    assert_eq!(told["found"], false, "{told}");
}
