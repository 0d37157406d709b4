//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, ProviderError};
use provider_quota::Quota;
use serde_json::{Value, json};
use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

/// Some time in 2024.
const BEGIN: u64 = 1_720_000_000_000;
const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";
const OTHER: &str = "6a0c6b1e-0000-8000-8000-000000000000";

/// The id of the harness's node, which is always the same.
static OWN_ID: OnceLock<String> = OnceLock::new();

fn node(config: Value) -> Harness {
    node_at(config, BEGIN)
}

fn node_at(config: Value, begin: u64) -> Harness {
    Harness::start_with_clock(config, move |host, config, clock| {
        OWN_ID.get_or_init(|| host.node().peer_id.to_string());
        Quota::start_with_clock(host, config, begin, move || clock.now())
    })
    .unwrap()
}

/// A node that finds what another one has left on its disk, as after a kill: that one is not stopped.
fn node_after(former: &Harness, config: Value, begin: u64) -> Harness {
    let folder = former.data_dir().to_owned();
    Harness::start_with_clock(config, move |host, config, clock| {
        let own = host.node().data_dir;
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            // The index of the write-ahead log is made anew from the log.
            if entry.file_name().to_string_lossy().ends_with("-shm") {
                continue;
            }
            fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
        }
        Quota::start_with_clock(host, config, begin, move || clock.now())
    })
    .unwrap()
}

fn take_message(resource: &str, caller: Caller<'_>, amount: u64) -> Value {
    json!({
        "type": "QUOTA_TAKE", "resource": resource, "caller": caller.word(), "caller_id": caller.id(), "amount": amount,
    })
}

fn take(node: &Harness, resource: &str, caller: Caller<'_>, amount: u64) -> Result<Value, ProviderError> {
    node.message(take_message(resource, caller, amount)).caller(Caller::Plugin("cpu")).call()
}

fn stock(node: &Harness, resource: &str, caller: Caller<'_>, used: u64, total: u64) -> Result<Value, ProviderError> {
    let mut message = take_message(resource, caller, 1);
    message["used"] = used.into();
    message["used_total"] = total.into();
    node.message(message).caller(Caller::Plugin("memory")).call()
}

#[track_caller]
fn assert_exceeded(outcome: Result<Value, ProviderError>, text: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code, "quota_exceeded");
    assert_eq!(error.message, text);
}

#[test]
fn a_classroom_has_a_hundred_tasks_an_hour_together_and_not_one_more() {
    let node = node(json!({"preset": "classroom"}));
    for number in 0..100 {
        let caller = [Caller::Local, Caller::Member(PEER), Caller::Task(OTHER)][number % 3];
        assert_eq!(take(&node, "cpu_tasks", caller, 1).unwrap()["remaining"], 99 - number);
        node.advance(Duration::from_secs(1));
    }
    let full = "CPU task quota exceeded (100 per 3600.0s): all callers together have used 100, retry in 3500 s";
    assert_exceeded(take(&node, "cpu_tasks", Caller::Local, 1), full);
    node.advance(Duration::from_millis(3_499_999));
    let full = full.replace("3500 s", "1 s");
    assert_exceeded(take(&node, "cpu_tasks", Caller::Member(OTHER), 1), &full);
    node.advance(Duration::from_millis(1));
    assert_eq!(take(&node, "cpu_tasks", Caller::Member(OTHER), 1).unwrap()["remaining"], 0);
    assert_exceeded(take(&node, "cpu_tasks", Caller::Local, 1), &full);
}

#[test]
fn members_have_a_limit_each_and_this_machines_user_none() {
    let limits = json!({"cpu_tasks": {"member": 2, "window_seconds": 10}});
    let node = node(json!({"limits": limits}));
    let own_id = OWN_ID.get().unwrap().clone();
    for _ in 0..5 {
        take(&node, "cpu_tasks", Caller::Local, 1).unwrap();
        take(&node, "cpu_tasks", Caller::Web("session"), 1).unwrap();
        take(&node, "cpu_tasks", Caller::Task(&own_id), 1).unwrap();
    }
    for peer in [PEER, OTHER] {
        // A task counts for the peer that it works for.
        take(&node, "cpu_tasks", Caller::Member(peer), 1).unwrap();
        take(&node, "cpu_tasks", Caller::Task(peer), 1).unwrap();
        let full = "CPU task quota exceeded (2 per 10.0s): you have used 2, retry in 10 s";
        assert_exceeded(take(&node, "cpu_tasks", Caller::Member(peer), 1), full);
    }
    node.advance(Duration::from_secs(10));
    take(&node, "cpu_tasks", Caller::Member(PEER), 2).unwrap();
    let too_much = "CPU task quota exceeded (2 per 10.0s): you have used 2, 3 at once are more than the limit";
    assert_exceeded(take(&node, "cpu_tasks", Caller::Member(PEER), 3), too_much);
}

#[test]
fn what_was_granted_is_counted_after_a_kill_and_a_restart() {
    let config = json!({"limits": {"cpu_tasks": {"member": 5, "window_seconds": 100}}});
    let first = node(config.clone());
    for _ in 0..3 {
        take(&first, "cpu_tasks", Caller::Member(PEER), 1).unwrap();
        first.advance(Duration::from_secs(1));
    }
    // Ten seconds later; the first was never stopped.
    let second = node_after(&first, config.clone(), BEGIN + 10_000);
    take(&second, "cpu_tasks", Caller::Member(PEER), 1).unwrap();
    take(&second, "cpu_tasks", Caller::Member(PEER), 1).unwrap();
    let full = "CPU task quota exceeded (5 per 100.0s): you have used 5, retry in 90 s";
    assert_exceeded(take(&second, "cpu_tasks", Caller::Member(PEER), 1), full);
    second.stop();
    let third = node_after(&second, config.clone(), BEGIN + 100_500);
    assert_eq!(take(&third, "cpu_tasks", Caller::Member(PEER), 1).unwrap()["used"], 5, "one is old enough");
    // A clock that was far ahead when the uses were written locks nobody out for longer than the window.
    let fourth = node_after(&third, config, BEGIN - 1_000_000);
    assert!(take(&fourth, "cpu_tasks", Caller::Member(PEER), 1).is_err());
    fourth.advance(Duration::from_secs(101));
    take(&fourth, "cpu_tasks", Caller::Member(PEER), 5).unwrap();
}

#[test]
fn what_there_is_is_counted_by_who_has_it() {
    let node = node(json!({"preset": "classroom", "limits": {"memory_keys": {"member": 3}}}));
    assert_eq!(stock(&node, "memory_keys", Caller::Member(PEER), 2, 998).unwrap()["remaining"], 0);
    let own = "Memory quota exceeded (max 3 keys): you have used 3, delete some first";
    assert_exceeded(stock(&node, "memory_keys", Caller::Member(PEER), 3, 999), own);
    stock(&node, "memory_keys", Caller::Local, 995, 999).unwrap();
    let all = "Memory quota exceeded (max 1000 keys): all callers together have used 1000, delete some first";
    assert_exceeded(stock(&node, "memory_keys", Caller::Local, 996, 1000), all);
    let check = node.call(json!({"type": "QUOTA_CHECK"})).unwrap();
    assert_eq!(check["quota"]["memory_keys"], json!({"used": 1000, "limit": 1000}));
    assert_eq!(check["quota"]["storage"]["limit_mb"], 100.0);
}

#[test]
fn a_check_asks_those_who_have_it_how_much_there_is() {
    let node = node(json!({"preset": "classroom", "limits": {"storage_bytes": {"member": 500}}}));
    let status = || node.status()["quota"]["memory_keys"]["used"].clone();
    let check = || node.call(json!({"type": "QUOTA_CHECK"})).unwrap();
    assert_eq!(check()["quota"]["memory_keys"]["used"], Value::Null, "nobody has it");
    stock(&node, "memory_keys", Caller::Member(PEER), 2, 998).unwrap();
    assert_eq!((status(), check()["quota"]["memory_keys"]["used"].clone()), (json!(999), json!(999)));
    let held = json!({"type": "HELD", "used_total": 7, "callers": {"": 4, PEER: 3, OTHER: 0}});
    node.answer("HELD_MEMORY_KEYS", move |_| held.clone());
    let held = json!({"type": "HELD", "used_total": 1 << 20, "callers": {OTHER: 1 << 20}});
    node.answer("HELD_STORAGE_BYTES", move |_| held.clone());
    assert_eq!(status(), 7);
    let report = check();
    assert_eq!(report["quota"]["memory_keys"], json!({"used": 7, "limit": 1000}));
    assert_eq!(
        (&report["quota"]["storage"]["used_mb"], &report["quota"]["storage"]["limit_mb"]),
        (&json!(1.0), &json!(100.0))
    );
    let line = |caller: &str, resource: &str, used: u64, limit: Value| json!({"caller": caller, "resource": resource, "used": used, "limit": limit});
    let lines = [
        line("local", "memory_keys", 4, Value::Null),
        line(PEER, "memory_keys", 3, Value::Null),
        line(OTHER, "storage_bytes", 1 << 20, json!(500)),
    ];
    assert_eq!(report["callers"], json!(lines));
    let own = node.message(json!({"type": "QUOTA_CHECK"})).caller(Caller::Member(OTHER)).call().unwrap();
    assert_eq!(own["callers"], json!([lines[2]]));
    // All is deleted, and nobody has asked for more.
    node.answer("HELD_MEMORY_KEYS", |_| json!({"type": "HELD", "used_total": 0}));
    let report = check();
    assert_eq!((&report["quota"]["memory_keys"]["used"], &report["callers"]), (&json!(0), &json!([lines[2]])));
}

#[test]
fn a_limit_of_something_unknown_is_told_and_one_that_is_misspelt_is_refused() {
    let node = node(json!({"limits": {"cpu_tasks": {"member": 1}, "renders": {"total": 7}}}));
    let warnings: Vec<String> = node.logs().into_iter().map(|(_, text)| text).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("`renders`") && warnings[0].contains("cpu_tasks, memory_keys, storage_bytes"));
}

#[test]
fn the_rules_tell_who_has_no_limit() {
    let node = node(json!({"limits": {"memory_keys": {"member": "unlimited"}, "renders": {"total": 7}}}));
    let event = node.events().into_iter().find(|event| event.topic == "quota.rules").unwrap();
    let rules = node.message(json!({"type": "QUOTA_RULES"})).caller(Caller::Plugin("cpu")).call().unwrap();
    assert_eq!(event.body, rules);
    let rules = &rules["rules"];
    let tasks = json!({"local": null, "member": 100_000, "total": null, "window_seconds": 3600.0});
    assert_eq!(rules["cpu_tasks"], tasks);
    assert_eq!(rules["memory_keys"], json!({"local": null, "member": null, "total": null}));
    assert_eq!(rules["renders"], json!({"local": null, "member": null, "total": 7}));
    // What has no limit is granted, and not counted.
    take(&node, "unheard_of", Caller::Member(PEER), 1_000_000).unwrap();
}

#[test]
fn a_check_shows_members_themselves_and_this_machines_user_everybody() {
    let node = node(json!({"preset": "classroom"}));
    take(&node, "cpu_tasks", Caller::Local, 1).unwrap();
    take(&node, "cpu_tasks", Caller::Member(PEER), 2).unwrap();
    let check = |caller| node.message(json!({"type": "QUOTA_CHECK"})).caller(caller).call().unwrap();
    let all = check(Caller::Local);
    assert_eq!(all["quota"]["cpu_tasks"], json!({"used": 3, "limit": 100, "window_seconds": 3600.0}));
    let names = |report: &Value| -> Vec<String> {
        let lines = report["callers"].as_array().unwrap();
        lines.iter().map(|line| line["caller"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["local", PEER]);
    let own = check(Caller::Member(PEER));
    assert_eq!(names(&own), [PEER]);
    assert_eq!(own["callers"][0]["used"], 2);
    assert_eq!(own["callers"][0]["frees_in_seconds"], 3600.0);
    assert!(names(&check(Caller::Task(OTHER))).is_empty());
    assert_eq!(node.status()["quota"]["cpu_tasks"]["used"], 3);
}

#[test]
fn many_at_once_get_exactly_the_limit() {
    let node = node(json!({"limits": {"cpu_tasks": {"total": 500}}}));
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| (0..100).filter(|_| take(&node, "cpu_tasks", Caller::Member(PEER), 1).is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 500);
    let second = node_after(&node, json!({"limits": {"cpu_tasks": {"total": 500}}}), BEGIN);
    assert!(take(&second, "cpu_tasks", Caller::Member(PEER), 1).is_err());
}

#[test]
fn a_configuration_that_means_nothing_is_refused_by_name() {
    let refused = |config: Value| Harness::start::<Quota>(config).map(drop).unwrap_err();
    for (config, words) in [
        (json!({"preset": "school"}), "preset"),
        (json!({"limit": {}}), "unknown field `limit`"),
        (json!({"limits": {"cpu_tasks": {"member": -1}}}), "limits.cpu_tasks.member"),
        (json!({"limits": {"cpu_tasks": {"member": "none"}}}), "\"unlimited\""),
        (json!({"limits": {"cpu_tasks": {"window_seconds": 0}}}), "limits.cpu_tasks.window_seconds"),
        (json!({"limits": {"memory_keys": {"window_seconds": 5}}}), "limits.memory_keys.window_seconds"),
        (json!({"limits": {"Cpu": {"member": 1}}}), "is no resource"),
        (
            json!({"limits": {"cpu_taks": {"member": 1}}}),
            "`limits.cpu_taks`: nothing has that name; did you mean `cpu_tasks`?",
        ),
    ] {
        let error = refused(config);
        assert_eq!(error.code, ProviderError::INVALID_CONFIG);
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[test]
fn only_providers_take_and_what_they_say_is_checked() {
    let node = node(json!({}));
    let take = take_message("cpu_tasks", Caller::Local, 1);
    assert_eq!(node.message(take).caller(Caller::Local).call().unwrap_err().code, ProviderError::FORBIDDEN);
    for message in [
        json!({"type": "QUOTA_TAKE"}),
        json!({"type": "QUOTA_TAKE", "resource": "cpu_tasks", "caller": "king", "amount": 1}),
        json!({"type": "QUOTA_TAKE", "resource": "cpu_tasks", "caller": "local", "amount": -1}),
        json!({"type": "QUOTA_TAKE", "resource": "cpu_tasks", "caller": "local", "amount": u64::MAX}),
    ] {
        let error = node.message(message).caller(Caller::Plugin("cpu")).call().unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE);
    }
}
