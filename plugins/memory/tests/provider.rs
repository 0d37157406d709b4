//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, ProviderError};
use provider_memory::Memory;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn node() -> Harness {
    node_with(json!({}))
}

/// Time stands still until the test moves it.
fn node_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| Memory::start_with_clock(host, config, move || clock.now()))
        .unwrap()
}

fn set(node: &Harness, key: &str, value: Value) -> u64 {
    let reply = node.call(json!({"type": "SET_MEM", "key": key, "value": value})).unwrap();
    reply["version"].as_u64().unwrap()
}

fn get(node: &Harness, key: Value) -> Value {
    node.call(json!({"type": "GET_MEM", "key": key})).unwrap()
}

#[track_caller]
fn refused(node: &Harness, message: Value) -> (String, String) {
    let error = node.call(message).unwrap_err();
    (error.code.into_owned(), error.message)
}

#[test]
fn it_starts_as_a_node_starts_it() {
    let node = Harness::start::<Memory>(json!({"entries_max": 3})).unwrap();
    node.call(json!({"type": "SET_MEM", "key": "a", "value": 1})).unwrap();
    assert_eq!(get(&node, json!("a"))["value"], 1);
    assert_eq!(node.timers(), 0, "nothing wakes up by itself");
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = node();
    let cases = [
        (r#"{"type":"GET_MEM","key":"k"}"#, r#"{"type":"MEM_RESPONSE","key":"k","value":null,"found":false}"#),
        (
            r#"{"type":"SET_MEM","key":"k","value":[1, 2]}"#,
            r#"{"type":"STATUS","status":"OK","operation":"SET_MEM","key":"k","version":1}"#,
        ),
        (
            r#"{"type":"SET_MEM_REMOTE","key":"k","value":"v"}"#,
            r#"{"type":"STATUS","status":"OK","operation":"SET_MEM","key":"k","version":2}"#,
        ),
        (
            r#"{"type":"GET_MEM_REMOTE","key":"k"}"#,
            r#"{"type":"MEM_RESPONSE","key":"k","value":"v","found":true,"version":2}"#,
        ),
        (
            r#"{"type":"SET_MEM","key":7,"value":1,"ttl_seconds":2.5}"#,
            r#"{"type":"STATUS","status":"OK","operation":"SET_MEM","key":7,"version":3}"#,
        ),
        (
            r#"{"type":"GET_MEM","key":7}"#,
            r#"{"type":"MEM_RESPONSE","key":7,"value":1,"found":true,"version":3,"expires_in_seconds":2.5}"#,
        ),
        (
            r#"{"type":"LIST_MEM"}"#,
            r#"{"type":"MEM_LIST","entries":[{"key":"k","value_bytes":3,"version":2,"expires_in_seconds":null},{"key":7,"value_bytes":1,"version":3,"expires_in_seconds":2.5}],"next":null,"key_count":2}"#,
        ),
        (
            r#"{"type":"DELETE_MEM","key":"k"}"#,
            r#"{"type":"STATUS","status":"OK","operation":"DELETE_MEM","key":"k","deleted":true}"#,
        ),
        (
            r#"{"type":"DELETE_MEM","key":"k"}"#,
            r#"{"type":"STATUS","status":"OK","operation":"DELETE_MEM","key":"k","deleted":false}"#,
        ),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply);
    }
}

#[test]
fn a_value_comes_back_digit_for_digit() {
    let node = node();
    let long = "9".repeat(300);
    for value in [long.as_str(), "1.10", "1e5", r#"{"b":1,  "a":[1.0,-0]}"#, r#""\u00e9 é \ud800""#] {
        node.call(format!(r#"{{"type":"SET_MEM","key":"k","value": {value} }}"#)).unwrap();
        let reply = node.call_raw(r#"{"type":"GET_MEM","key":"k"}"#);
        assert!(reply.contains(&format!(r#""value":{value},"#)), "{value} became {reply}");
    }
}

#[test]
fn a_stored_null_is_found() {
    let node = node();
    set(&node, "null", json!(null));
    node.call(r#"{"type":"SET_MEM","key":"missing"}"#).unwrap();
    for key in ["null", "missing"] {
        let reply = get(&node, json!(key));
        assert_eq!((&reply["found"], &reply["value"]), (&json!(true), &json!(null)));
    }
}

#[test]
fn keys_are_equal_by_meaning_and_apart_by_type() {
    let node = node();
    node.call(r#"{"type":"SET_MEM","key":"\u0061","value":"string"}"#).unwrap();
    node.call(r#"{"type":"SET_MEM","key":1,"value":"number"}"#).unwrap();
    node.call(r#"{"type":"SET_MEM","key":"1","value":"text"}"#).unwrap();
    node.call(r#"{"type":"SET_MEM","key":true,"value":"boolean"}"#).unwrap();
    let cases = [(json!("a"), "string"), (json!(1), "number"), (json!("1"), "text"), (json!(true), "boolean")];
    for (key, value) in cases {
        assert_eq!(get(&node, key)["value"], value);
    }
}

#[test]
fn a_message_without_a_usable_key_is_refused() {
    let node = node();
    for message_type in ["SET_MEM", "GET_MEM", "DELETE_MEM"] {
        let text = format!("Key required for {message_type}");
        let expected = (ProviderError::INVALID_MESSAGE.to_owned(), text);
        assert_eq!(refused(&node, json!({"type": message_type})), expected);
        assert_eq!(refused(&node, json!({"type": message_type, "key": null})), expected);
        let (code, text) = refused(&node, json!({"type": message_type, "key": [1]}));
        assert_eq!(code, ProviderError::INVALID_MESSAGE);
        assert_eq!(text, "A key must be a string, a number or a boolean, not an array");
        assert!(refused(&node, json!({"type": message_type, "key": {}})).1.ends_with("not an object"));
    }
    assert_eq!(refused(&node, json!({"type": "SET_MEM_REMOTE"})).1, "Key required for SET_MEM");
}

#[test]
fn a_condition_on_the_version_lets_one_writer_win() {
    let node = node();
    let create = json!({"type": "SET_MEM", "key": "lock", "value": 1, "if_version": 0});
    let version = node.call(&create).unwrap()["version"].as_u64().unwrap();
    let (code, text) = refused(&node, create);
    assert_eq!(code, "version_mismatch");
    assert!(text.contains(&format!("version {version}")), "{text}");
    node.call(json!({"type": "SET_MEM", "key": "lock", "value": 2, "if_version": version})).unwrap();
    let stale = json!({"type": "DELETE_MEM", "key": "lock", "if_version": version});
    assert_eq!(refused(&node, stale).0, "version_mismatch");
    node.call(json!({"type": "DELETE_MEM", "key": "lock", "if_version": version + 1})).unwrap();
    assert!(set(&node, "lock", json!(3)) > version + 1, "versions are not used again");
}

#[test]
fn an_entry_expires() {
    let node = node();
    node.call(json!({"type": "SET_MEM", "key": "k", "value": 1, "ttl_seconds": 0.5})).unwrap();
    node.advance(Duration::from_millis(499));
    assert_eq!(get(&node, json!("k"))["found"], true);
    node.advance(Duration::from_millis(1));
    assert_eq!(get(&node, json!("k"))["found"], false);
    assert_eq!(node.status()["memory"]["key_count"], 0);
    assert_eq!(node.call(json!({"type": "DELETE_MEM", "key": "k"})).unwrap()["deleted"], false);
}

#[test]
fn a_time_to_live_is_a_positive_number_of_seconds() {
    let node = node();
    for ttl in ["0", "-1", "1e-12", "315360000", "1e300"] {
        let message = format!(r#"{{"type":"SET_MEM","key":"k","value":1,"ttl_seconds":{ttl}}}"#);
        let error = node.call(message).unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{ttl}");
        assert!(error.message.starts_with("ttl_seconds must be above 0"), "{error}");
    }
    let (code, text) = refused(&node, json!({"type": "SET_MEM", "key": "k", "ttl_seconds": "5"}));
    assert_eq!(code, ProviderError::INVALID_MESSAGE);
    assert!(text.starts_with("SET_MEM: "), "{text}");
}

#[test]
fn limits_refuse_with_what_to_do() {
    let config = json!({"entries_max": 2, "bytes_max": 40, "key_bytes_max": 8, "value_bytes_max": 20});
    let node = node_with(config);
    set(&node, "a", json!(1));
    set(&node, "b", json!(2));
    set(&node, "b", json!(3));
    let text_of = |key: &str, value: Value| {
        let (code, text) = refused(&node, json!({"type": "SET_MEM", "key": key, "value": value}));
        assert_eq!(code, ProviderError::LIMIT_REACHED);
        text
    };
    assert!(text_of("c", json!(1)).contains("entries_max"));
    assert!(text_of("a long key", json!(1)).contains("key_bytes_max"));
    assert!(text_of("a", json!("x".repeat(19))).contains("value_bytes_max"));
    set(&node, "a", json!("x".repeat(18)));
    assert!(text_of("b", json!("x".repeat(18))).contains("bytes_max"));
}

#[test]
fn keys_are_listed_a_page_at_a_time() {
    let node = node();
    for n in 0..1200 {
        set(&node, &format!("user:{n:04}"), json!(n));
    }
    set(&node, "other \"quoted\"", json!(1));
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = node.call(json!({"type": "LIST_MEM", "prefix": "user:", "limit": 5000, "after": after})).unwrap();
        assert_eq!(page["key_count"], 1201);
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 1000);
        seen.extend(entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
        node.call(json!({"type": "DELETE_MEM", "key": after})).unwrap();
        set(&node, "user:", json!("behind us"));
    }
    let expected: Vec<String> = (0..1200).map(|n| format!("user:{n:04}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(node.call(r#"{"type":"LIST_MEM"}"#).unwrap()["entries"].as_array().unwrap().len(), 100);
    let quoted = node.call(json!({"type": "LIST_MEM", "prefix": "other \""})).unwrap();
    assert_eq!(quoted["entries"][0]["key"], "other \"quoted\"");
}

#[test]
fn status_counts() {
    let node = node_with(json!({"entries_max": 10}));
    set(&node, "k", json!("value"));
    get(&node, json!("k"));
    let expected = json!({"key_count": 1, "operation_count": 2, "bytes": 10, "entries_max": 10, "bytes_max": 1 << 30, "watchers": 0});
    assert_eq!(node.status(), json!({"memory": expected}));
}

#[test]
fn tasks_share_memory_too() {
    let node = node();
    for message_type in ["SET_MEM", "SET_MEM_REMOTE", "GET_MEM", "GET_MEM_REMOTE", "LIST_MEM", "DELETE_MEM"] {
        let message = json!({"type": message_type, "key": "k", "value": 1});
        node.message(message).caller(Caller::Task("t1")).call().unwrap();
    }
}

#[test]
fn configuration_is_checked() {
    let error = |config| Harness::start::<Memory>(config).err().unwrap();
    assert!(error(json!({"entires_max": 3})).message.contains("unknown field `entires_max`"));
    assert!(error(json!({"entries_max": 0})).message.contains("key `entries_max`: it must be at least 1"));
    assert!(error(json!({"value_bytes_max": 16 << 20})).message.contains("key `value_bytes_max`"));
    assert!(error(json!({"bytes_max": "1 GB"})).message.contains("key `bytes_max`: invalid type"));
    assert_eq!(error(json!({"bytes_max": -1})).code, ProviderError::INVALID_CONFIG);
}

fn watch(node: &Harness, key: &str, after_version: u64, timeout: Option<f64>) -> PendingCall {
    let mut message = json!({"type": "WATCH_MEM", "key": key, "after_version": after_version});
    if let Some(timeout) = timeout {
        message["timeout"] = json!(timeout);
    }
    node.begin(message)
}

#[test]
fn a_watcher_is_told_of_the_next_change() {
    let node = node();
    let waiting = watch(&node, "k", 0, None);
    set(&node, "other", json!(1));
    assert!(waiting.try_answer().is_none());
    let version = set(&node, "k", json!("new"));
    let expected = format!(r#"{{"type":"MEM_RESPONSE","key":"k","value":"new","found":true,"version":{version}}}"#);
    assert_eq!(waiting.wait_raw(), expected);
    // What the caller does not know yet is told at once.
    assert_eq!(watch(&node, "k", 0, None).wait().unwrap()["version"], version);
    let waiting = watch(&node, "k", version, None);
    node.call(json!({"type": "DELETE_MEM", "key": "k"})).unwrap();
    assert_eq!(waiting.wait().unwrap()["found"], false);
    // Without a version it is the present one.
    let waiting = node.begin(r#"{"type":"WATCH_MEM","key":"\u006b"}"#);
    assert!(waiting.try_answer().is_none());
    set(&node, "k", json!(2));
    assert!(waiting.wait_raw().contains(r#""key":"\u006b","value":2"#), "the key as it was sent");
    assert_eq!(node.status()["memory"]["watchers"], 0);
}

#[test]
fn a_watcher_is_told_when_the_entry_expires() {
    let node = node();
    node.call(json!({"type": "SET_MEM", "key": "k", "value": 1, "ttl_seconds": 2})).unwrap();
    let waiting = watch(&node, "k", 1, Some(60.0));
    node.advance(Duration::from_millis(1999));
    assert!(waiting.try_answer().is_none());
    node.advance(Duration::from_millis(1));
    assert_eq!(waiting.wait().unwrap()["found"], false);
}

#[test]
fn a_watcher_whose_time_is_over_gets_what_is_there() {
    let node = node();
    let version = set(&node, "k", json!(1));
    let waiting = watch(&node, "k", version, Some(1.5));
    let absent = watch(&node, "nothing", 0, Some(0.5));
    node.advance(Duration::from_millis(1500));
    assert_eq!(
        (waiting.wait().unwrap()["version"].clone(), absent.wait().unwrap()["found"].clone()),
        (json!(version), json!(false))
    );
    assert_eq!(watch(&node, "k", version, Some(0.0)).wait().unwrap()["value"], 1);
    assert_eq!(node.timers(), 0);
    for timeout in ["-1", "1e300"] {
        let error = node.call(format!(r#"{{"type":"WATCH_MEM","key":"k","timeout":{timeout}}}"#)).unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE);
    }
}

#[test]
fn watchers_are_bounded_and_go_with_their_callers() {
    let node = node_with(json!({"watchers_max": 2}));
    let (first, second) = (watch(&node, "k", 0, None), watch(&node, "k", 0, Some(9.0)));
    let error = watch(&node, "k", 0, None).wait().unwrap_err();
    assert!(error.code == ProviderError::LIMIT_REACHED && error.message.contains("watchers_max"), "{error}");
    first.cancel();
    assert_eq!(node.status()["memory"]["watchers"], 1);
    let third = watch(&node, "k", 0, None);
    set(&node, "k", json!(1));
    assert!(second.wait().is_ok() && third.wait().is_ok());
    let waiting = watch(&node, "k", 1, None);
    node.stop();
    assert_eq!(waiting.wait().unwrap_err().code, ProviderError::NODE_STOPPING);
}

#[test]
fn a_peer_has_a_share_of_the_watchers() {
    let node = node_with(json!({"watchers_max": 4, "peer_share": 0.5}));
    let begin =
        |caller| node.message(json!({"type": "WATCH_MEM", "key": "k", "after_version": 0})).caller(caller).begin();
    let theirs = [begin(Caller::Member(FAR)), begin(Caller::Task(FAR))];
    let error = begin(Caller::Member(FAR)).wait().unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    assert!(error.message.contains(FAR) && error.message.contains("peer_share in [plugins.memory]"), "{error}");
    let own = [begin(Caller::Local), begin(Caller::Local)];
    let full = begin(Caller::Local).wait().unwrap_err();
    assert!(full.message.contains("watchers_max"), "this node's user is bounded by the total: {full}");
    let [called_off, left] = theirs;
    called_off.cancel();
    let again = begin(Caller::Member(FAR));
    assert!(again.try_answer().is_none(), "the place of one that goes away is free");
    set(&node, "k", json!(1));
    for wait in own.into_iter().chain([left, again]) {
        assert_eq!(wait.wait().unwrap()["value"], 1);
    }
    // Those who were answered have no place any more.
    let next = |caller| node.message(json!({"type": "WATCH_MEM", "key": "k"})).caller(caller).begin();
    assert!([next(Caller::Member(FAR)), next(Caller::Member(FAR))].iter().all(|wait| wait.try_answer().is_none()));
}

#[test]
fn a_change_is_never_missed_while_many_write_and_watch() {
    let node = node();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=2000 {
                set(&node, "k", json!(number));
            }
        });
        for _ in 0..3 {
            scope.spawn(|| {
                let mut version = 0;
                while version < 2000 {
                    let next = watch(&node, "k", version, None).wait().unwrap()["version"].as_u64().unwrap();
                    assert!(next > version);
                    version = next;
                }
            });
        }
    });
    assert_eq!(node.status()["memory"]["watchers"], 0);
}

const FAR: &str = "5f0c6b1e-0000-8000-8000-000000000000";

/// A quota that lets each member have `member` keys and all together `total`.
fn with_quota(member: u64, total: u64) -> (Harness, Arc<AtomicU64>) {
    let node = node();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    node.answer("QUOTA_TAKE", move |message| {
        count.fetch_add(1, Ordering::SeqCst);
        let is_member = message["caller_id"] == FAR;
        let (used, used_total) = (message["used"].as_u64().unwrap(), message["used_total"].as_u64().unwrap());
        if used_total >= total || (is_member && used >= member) {
            return json!({"type": "ERROR", "code": "quota_exceeded", "error": format!("{used} of {used_total} used")});
        }
        json!({"type": "STATUS", "status": "OK", "resource": "memory_keys", "used": used + 1})
    });
    let rules = json!({"type": "QUOTA_RULES", "rules": {"memory_keys": {"member": member, "total": total}}});
    assert!(node.emit("quota.rules", rules));
    (node, asked)
}

#[test]
fn quota_is_asked_for_new_keys_with_what_the_caller_has() {
    let (node, asked) = with_quota(2, 4);
    let put = |caller: Caller<'_>, key: &str| {
        let message = json!({"type": "SET_MEM", "key": key, "value": 1});
        node.message(message).caller(caller).call().map(|_| ()).map_err(|error| error.message)
    };
    let far = Caller::Member(FAR);
    assert_eq!(put(far, "a"), Ok(()));
    assert_eq!(put(Caller::Task(FAR), "b"), Ok(()), "a task counts for the node that it works for");
    assert_eq!(put(far, "c"), Err("2 of 2 used".to_owned()));
    // What is there can be written again, by anybody.
    assert_eq!((put(far, "a"), put(Caller::Local, "b")), (Ok(()), Ok(())));
    assert_eq!(put(Caller::Local, "d"), Ok(()));
    node.call(json!({"type": "DELETE_MEM", "key": "a"})).unwrap();
    assert_eq!(put(far, "c"), Ok(()), "what is deleted does not count");
    assert_eq!(put(Caller::Local, "e"), Ok(()));
    assert_eq!(put(Caller::Local, "f"), Err("2 of 4 used".to_owned()));
    assert_eq!(asked.load(Ordering::SeqCst), 7, "nobody is asked about keys that are there");
}

#[test]
fn entries_that_expire_are_off_the_account() {
    let (node, _) = with_quota(1, 100);
    let message = json!({"type": "SET_MEM", "key": "a", "value": 1, "ttl_seconds": 1});
    node.message(message).caller(Caller::Member(FAR)).call().unwrap();
    let second = json!({"type": "SET_MEM", "key": "b", "value": 1});
    let put = || node.message(&second).caller(Caller::Member(FAR)).call();
    assert_eq!(put().unwrap_err().code, "quota_exceeded");
    node.advance(Duration::from_secs(1));
    put().unwrap();
}

#[test]
fn quota_is_told_whose_the_entries_are_that_there_are() {
    let (node, _) = with_quota(10, 100);
    let held = || node.message(json!({"type": "HELD_MEMORY_KEYS"})).caller(Caller::Plugin("quota")).call().unwrap();
    assert_eq!(held(), json!({"type": "HELD", "used_total": 0, "callers": {}}));
    for (caller, key, ttl) in [(Caller::Member(FAR), "a", 1), (Caller::Task(FAR), "b", 9), (Caller::Local, "c", 9)] {
        let message = json!({"type": "SET_MEM", "key": key, "value": 1, "ttl_seconds": ttl});
        node.message(message).caller(caller).call().unwrap();
    }
    assert_eq!(held(), json!({"type": "HELD", "used_total": 3, "callers": {"": 1, FAR: 2}}));
    node.advance(Duration::from_secs(1));
    assert_eq!(held()["callers"], json!({"": 1, FAR: 1}), "what has expired is not there");
    node.call(json!({"type": "DELETE_MEM", "key": "b"})).unwrap();
    assert_eq!(held(), json!({"type": "HELD", "used_total": 1, "callers": {"": 1}}));
    let refused = node.call(json!({"type": "HELD_MEMORY_KEYS"})).unwrap_err();
    assert_eq!(refused.code, ProviderError::FORBIDDEN);
}

#[test]
fn nobody_is_asked_where_there_are_no_limits() {
    let node = node();
    let (asked, unlimited) = (Arc::new(AtomicU64::new(0)), json!({"type": "QUOTA_RULES", "rules": {}}));
    let count = Arc::clone(&asked);
    node.answer("QUOTA_TAKE", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        json!({"type": "STATUS", "status": "OK"})
    });
    node.emit("quota.rules", &unlimited);
    set(&node, "a", json!(1));
    set(&node, "a", json!(2));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(node.sent().len(), 0, "quota has told its rules");
}
