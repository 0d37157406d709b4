//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, Host, Level, PeerId, ProviderError};
use provider_history::History;
use serde_json::{Value, json};
use std::os::unix::fs::FileExt;
use std::time::Duration;

const CPU: Caller<'static> = Caller::Plugin("cpu");
const START_MS: u64 = 1_767_323_045_678;

/// The clock of these tests moves with that of the harness, from a fixed point on.
fn node_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host: Host, config, clock| {
        let start = clock.now();
        History::start_with_clock(host, config, move || {
            START_MS + u64::try_from((clock.now() - start).as_millis()).unwrap()
        })
    })
    .unwrap()
}

fn node() -> Harness {
    node_with(json!({}))
}

fn sample(id: &str, status: &str) -> Value {
    json!({"task_id": id, "task_type": "CPU_TASK", "status": status, "finished_unix_ms": START_MS,
           "execution_time": 1.5, "requested_by": "local"})
}

fn record(node: &Harness, batch: &str, records: &[Value]) -> Value {
    let message = json!({"type": "RECORD_TASKS", "batch": batch, "records": records});
    node.message(message).caller(CPU).call().unwrap()
}

fn ids(reply: &Value) -> Vec<String> {
    let records = reply["history"].as_array().unwrap();
    records.iter().map(|record| record["task_id"].as_str().unwrap().to_owned()).collect()
}

fn history(node: &Harness, filters: Value) -> Value {
    let mut message = json!({"type": "TASK_HISTORY"});
    message.as_object_mut().unwrap().extend(filters.as_object().unwrap().clone());
    node.call(message).unwrap()
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = node();
    let empty = json!({"total_tasks": 0, "successful": 0, "failed": 0, "cancelled": 0, "average_execution_time": 0.0});
    assert_eq!(node.status()["task_history"], empty);
    let reply = json!({"type": "STATUS", "status": "OK", "history": [], "statistics": empty, "next": null});
    assert_eq!(node.call(json!({"type": "TASK_HISTORY", "limit": 100, "task_type": null})).unwrap(), reply);
    let reply = record(&node, "b1", &[sample("a", "SUCCESS"), sample("b", "FAILED"), sample("c", "CANCELLED")]);
    assert_eq!(reply, json!({"type": "STATUS", "status": "OK", "recorded": 3}));
    record(&node, "b2", &[sample("d", "SUCCESS")]);
    let reply = history(&node, json!({"limit": 3}));
    assert_eq!(ids(&reply), ["b", "c", "d"], "the newest last");
    let statistics = json!({"total_tasks": 4, "successful": 2, "failed": 1, "cancelled": 1, "success_rate": 0.5,
        "average_execution_time": 1.5});
    assert_eq!(reply["statistics"], statistics, "filters do not change it");
    assert_eq!(node.status()["task_history"], statistics);
    assert_eq!(ids(&history(&node, json!({"before": reply["next"]}))), ["a"]);
    let one = node.call(json!({"type": "TASK_HISTORY", "task_id": "b"})).unwrap();
    assert_eq!((&one["status"], &one["task"]["status"]), (&json!("OK"), &json!("FAILED")));
    let none = node.call(json!({"type": "TASK_HISTORY", "task_id": "x"})).unwrap();
    assert_eq!(none, json!({"type": "STATUS", "status": "OK", "task": null}));
}

#[test]
fn a_search_sees_all_that_has_come_before_it() {
    let node = node();
    for number in 0..20 {
        let id = format!("T{number}");
        let message = json!({"type": "RECORD_TASKS", "batch": id, "records": [sample(&id, "SUCCESS")]});
        let recording = node.message(message).caller(CPU).begin();
        let one = node.call(json!({"type": "TASK_HISTORY", "task_id": id})).unwrap();
        assert_eq!(one["task"]["task_id"], *id);
        assert_eq!(ids(&history(&node, json!({"limit": 1}))), [id]);
        recording.wait().unwrap();
    }
}

#[test]
fn filters_narrow_what_is_shown() {
    let node = node();
    let changed = |id: &str, change: Value| {
        let mut record = sample(id, "SUCCESS");
        record.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        record
    };
    let records = [
        changed("a", json!({"status": "FAILED", "finished_unix_ms": START_MS - 5000})),
        changed("b", json!({"peer_info": "10.0.0.7:9000", "peer_id": "p7", "function": "fold"})),
        changed("c", json!({"requested_by": "bert", "task_type": "OTHER"})),
    ];
    record(&node, "b", &records);
    let cases = [
        (json!({"status": "failed"}), vec!["a"]),
        (json!({"peer": "p7"}), vec!["b"]),
        (json!({"peer": "10.0.0.7:9000"}), vec!["b"]),
        (json!({"requested_by": "bert"}), vec!["c"]),
        (json!({"requested_by": "local", "status": "SUCCESS"}), vec!["b"]),
        (json!({"task_type": "CPU_TASK"}), vec!["a", "b"]),
        (json!({"text": "FOL"}), vec!["b"]),
        (json!({"since": START_MS / 1000 - 2}), vec!["b", "c"]),
        (json!({"until": START_MS / 1000 - 2}), vec!["a"]),
        (json!({"since": "2026-01-02T03:04:04Z", "until": "2026-01-02T03:04:06Z"}), vec!["b", "c"]),
        (json!({"since": "2027-01-01"}), vec![]),
        (json!({"limit": 0}), vec!["a", "b", "c"]),
        (json!({"peer": "nobody"}), vec![]),
    ];
    for (filters, expected) in cases {
        assert_eq!(ids(&history(&node, filters.clone())), expected, "{filters}");
    }
}

#[test]
fn members_and_tasks_see_what_ran_for_them() {
    let node = node();
    let bert = PeerId::from_hash([2; 16]).to_string();
    let mut of_bert = sample("of-bert", "FAILED");
    of_bert["requested_by"] = json!(bert);
    record(&node, "b", &[sample("of-local", "SUCCESS"), of_bert]);
    for caller in [Caller::Member(&bert), Caller::Task(&bert)] {
        let ask = |message: Value| node.message(message).caller(caller).call().unwrap();
        let reply = ask(json!({"type": "TASK_HISTORY"}));
        assert_eq!(ids(&reply), ["of-bert"]);
        assert_eq!(reply["statistics"]["total_tasks"], 1);
        assert_eq!(ids(&ask(json!({"type": "TASK_HISTORY", "requested_by": "local"}))), Vec::<String>::new());
        assert_eq!(ask(json!({"type": "TASK_HISTORY", "task_id": "of-local"}))["task"], Value::Null);
        assert_eq!(ask(json!({"type": "TASK_HISTORY", "task_id": "of-bert"}))["task"]["status"], "FAILED");
        for message_type in ["RECORD_TASKS", "HISTORY_CLEAR"] {
            let message = json!({"type": message_type, "batch": "x", "records": []});
            let error = node.message(message).caller(caller).call().unwrap_err();
            assert_eq!(error.code, ProviderError::FORBIDDEN);
        }
    }
    let error = node.call(json!({"type": "RECORD_TASKS", "batch": "x", "records": []})).unwrap_err();
    assert_eq!(error.code, ProviderError::FORBIDDEN, "the user makes no history up");
}

#[test]
fn a_batch_that_comes_twice_is_recorded_once() {
    let node = node();
    for recorded in [1, 0, 0] {
        assert_eq!(record(&node, "b1", &[sample("a", "SUCCESS")])["recorded"], recorded);
    }
    assert_eq!(record(&node, "b2", &[sample("a", "SUCCESS")])["recorded"], 1);
    assert_eq!(node.status()["task_history"]["total_tasks"], 2);
}

#[test]
fn a_batch_says_once_what_its_records_have_in_common() {
    let node = node();
    let message = json!({"type": "RECORD_TASKS", "batch": "b", "records": [
            {"task_id": "a", "finished_unix_ms": 1},
            {"task_id": "b", "finished_unix_ms": 2, "status": "FAILED", "role": "CLIENT", "peer_id": "", "runtime": null},
        ], "defaults": {"task_type": "CPU_TASK", "status": "SUCCESS", "peer_info": "10.0.0.7:9000",
            "requested_by": "local", "role": "EXECUTOR", "runtime": "python", "peer_id": "p"}});
    assert_eq!(node.message(message).caller(CPU).call().unwrap()["recorded"], 2);
    let found = history(&node, json!({}))["history"].clone();
    let of = |place: usize, fields: [&str; 7]| fields.map(|field| found[place][field].clone());
    let fields = ["task_type", "status", "peer_info", "requested_by", "role", "runtime", "peer_id"];
    assert_eq!(of(0, fields), ["CPU_TASK", "SUCCESS", "10.0.0.7:9000", "local", "EXECUTOR", "python", "p"]);
    assert_eq!(of(1, fields)[..5], ["CPU_TASK", "FAILED", "10.0.0.7:9000", "local", "CLIENT"]);
    assert_eq!(of(1, fields)[5..], [json!("python"), json!(null)]);
    for defaults in [json!({"task_type": "CPU_TASK"}), json!({"status": "SUCCESS"}), json!({"status": "DONE"})] {
        let message =
            json!({"type": "RECORD_TASKS", "batch": "c", "defaults": defaults, "records": [{"task_id": "a"}]});
        let error = node.message(message).caller(CPU).call().unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{error}");
    }
}

#[test]
fn batches_that_wait_together_are_all_recorded() {
    let node = node();
    let calls: Vec<_> = (0..500)
        .map(|number| {
            let message = json!({"type": "RECORD_TASKS", "batch": format!("b{number}"),
                "records": [sample(&format!("t{number}"), "SUCCESS")]});
            node.message(message).caller(CPU).begin()
        })
        .collect();
    for call in calls {
        assert_eq!(call.wait().unwrap()["recorded"], 1);
    }
    let reply = history(&node, json!({"limit": 1000}));
    assert_eq!(ids(&reply), (0..500).map(|number| format!("t{number}")).collect::<Vec<_>>());
}

#[test]
fn the_oldest_records_make_room() {
    let node = node_with(json!({"records_max": 100}));
    for batch in 0..50 {
        let records: Vec<Value> =
            (0..10).map(|number| sample(&format!("t{}", batch * 10 + number), "SUCCESS")).collect();
        record(&node, &format!("b{batch}"), &records);
    }
    let total = || node.status()["task_history"]["total_tasks"].as_u64().unwrap();
    node.wait_until("the oldest are gone", || total() <= 110);
    let reply = history(&node, json!({"limit": 1000}));
    assert_eq!(ids(&reply).len() as u64, total());
    assert_eq!(ids(&reply).last().unwrap(), "t499");
    assert_eq!(node.call(json!({"type": "TASK_HISTORY", "task_id": "t0"})).unwrap()["task"], Value::Null);
}

#[test]
fn records_that_are_too_old_go_by_themselves() {
    let node = node_with(json!({"keep_seconds": 3600}));
    assert_eq!(node.timers(), 0, "nothing wakes up while there is nothing");
    record(&node, "b1", &[sample("old", "FAILED")]);
    node.advance(Duration::from_secs(3000));
    let mut young = sample("young", "SUCCESS");
    young["finished_unix_ms"] = json!(START_MS + 3_000_000);
    record(&node, "b2", &[young]);
    assert_eq!(ids(&history(&node, json!({}))), ["old", "young"]);
    node.advance(Duration::from_secs(1000));
    node.wait_until("the old one is gone", || node.status()["task_history"]["total_tasks"] == 1);
    assert_eq!(ids(&history(&node, json!({}))), ["young"]);
    node.wait_until("the timer is set again", || node.timers() == 1);
}

#[test]
fn records_go_by_their_age_also_after_others_went_by_their_number() {
    let node = node_with(json!({"records_max": 50, "keep_seconds": 20}));
    let records: Vec<Value> = (0..60).map(|number| sample(&format!("T{number}"), "SUCCESS")).collect();
    record(&node, "b1", &records);
    node.wait_until("the surplus is gone", || node.status()["task_history"]["total_tasks"] == 50);
    node.wait_until("the rest has a timer", || node.timers() == 1);
    node.advance(Duration::from_secs(30));
    node.wait_until("all are gone", || node.status()["task_history"]["total_tasks"] == 0);
}

#[test]
fn all_can_be_forgotten() {
    let node = node();
    record(&node, "b1", &[sample("a", "SUCCESS"), sample("b", "FAILED")]);
    let page = history(&node, json!({"limit": 1}));
    let reply = node.call(json!({"type": "HISTORY_CLEAR"})).unwrap();
    assert_eq!(reply, json!({"type": "STATUS", "status": "OK", "removed": 2}));
    assert_eq!(node.status()["task_history"]["total_tasks"], 0);
    record(&node, "b2", &[sample("c", "SUCCESS")]);
    assert_eq!(ids(&history(&node, json!({}))), ["c"]);
    assert_eq!(ids(&history(&node, json!({"before": page["next"]}))), Vec::<String>::new());
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    let node = node();
    for filters in [
        json!({"limit": -1}),
        json!({"limit": "x"}),
        json!({"status": "DONE"}),
        json!({"since": "yesterday"}),
        json!({"until": [1]}),
        json!({"before": -1}),
        json!({"task_id": 7}),
    ] {
        let mut message = json!({"type": "TASK_HISTORY"});
        message.as_object_mut().unwrap().extend(filters.as_object().unwrap().clone());
        let error = node.call(message).unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{filters}");
    }
    for message in [
        json!({"type": "RECORD_TASKS", "records": []}),
        json!({"type": "RECORD_TASKS", "batch": "", "records": []}),
        json!({"type": "RECORD_TASKS", "batch": "b".repeat(65), "records": []}),
        json!({"type": "RECORD_TASKS", "batch": "b", "records": [{"task_id": "a"}]}),
        json!({"type": "RECORD_TASKS", "batch": "b", "records": [sample("a", "DONE")]}),
    ] {
        let error = node.message(&message).caller(CPU).call().unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{message}");
    }
    assert_eq!(node.status()["task_history"]["total_tasks"], 0);
    for table in [json!({"records_max": 0}), json!({"keep_seconds": 0}), json!({"keep": 1})] {
        let Err(error) = Harness::start::<History>(table.clone()) else { panic!("{table} was taken") };
        assert_eq!(error.code, ProviderError::INVALID_CONFIG);
    }
}

#[test]
fn a_damaged_database_is_put_aside_when_the_node_starts() {
    for garbage in
        [vec![0xa5_u8; 8192], b"SQLite format 3\0 and then something else altogether, which is long enough".repeat(99)]
    {
        let node = Harness::start_with_clock(json!({}), move |host: Host, config, _| {
            std::fs::write(host.node().node_dir.join("history.sqlite"), &garbage).unwrap();
            History::start_with_clock(host, config, || START_MS)
        })
        .unwrap();
        record(&node, "b1", &[sample("a", "SUCCESS")]);
        assert_eq!(ids(&history(&node, json!({}))), ["a"]);
        let warning = node.logs().into_iter().find(|(level, _)| *level == Level::Warn).unwrap().1;
        assert!(warning.contains("damaged"), "{warning}");
        let aside = node.data_dir().join(format!("history.sqlite.damaged-{START_MS}"));
        assert!(aside.exists() && warning.contains(&aside.display().to_string()), "{warning}");
    }
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let started = Harness::start_with_clock(json!({}), |host: Host, config, _| {
        let path = host.node().node_dir.join("history.sqlite");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        History::start_with_clock(host, config, || START_MS)
    });
    let Err(error) = started else { panic!("it was opened") };
    assert!(error.message.contains("version 99"), "{error}");
}

#[test]
fn damage_that_a_search_meets_is_told_and_cleared_on_request() {
    let node = Harness::start_with_clock(json!({}), |host: Host, config, _| {
        let path = host.node().node_dir.join("history.sqlite");
        // Everything but an index that only a search reads is as it should be.
        drop(History::start_with_clock(host, config, || START_MS).map_err(drop));
        let connection = rusqlite::Connection::open(&path).unwrap();
        let page: u32 = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'places_by_address'", [], |row| row.get(0))
            .unwrap();
        let page_bytes: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(connection);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&vec![0xa5; page_bytes as usize], u64::from((page - 1) * page_bytes)).unwrap();
        History::start_with_clock(host, config, || START_MS)
    })
    .unwrap();
    let error = node.call(json!({"type": "TASK_HISTORY", "peer": "10.0.0.7:9000"})).unwrap_err();
    assert_eq!(error.code, "disk_failed");
    assert!(error.message.contains("HISTORY_CLEAR"), "{error}");
    node.call(json!({"type": "HISTORY_CLEAR"})).unwrap();
    record(&node, "b3", &[sample("c", "SUCCESS")]);
    assert_eq!(ids(&history(&node, json!({}))), ["c"]);
    assert!(node.logs().iter().any(|(level, text)| *level == Level::Warn && text.contains("damaged")));
}
