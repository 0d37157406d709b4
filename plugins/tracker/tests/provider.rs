//! The provider through its real table, as a node calls it. Time stands still until a test moves it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::{Harness, PendingCall};
use potluck_sdk::{Caller, PeerId, ProviderError};
use provider_tracker::Tracker;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn tracker() -> Harness {
    tracker_with(json!({}))
}

fn tracker_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| {
        Tracker::start_with_clock(host, config, move || clock.now())
    })
    .unwrap()
}

fn id(number: u8) -> PeerId {
    PeerId::from_hash([number; 16])
}

fn register(node: &Harness, port: u16) -> u64 {
    let reply = node.call(json!({"type": "REGISTER", "ip": "10.0.0.7", "port": port})).unwrap();
    reply["peer_count"].as_u64().unwrap()
}

fn report(node: &Harness, port: u16, cpu_load: f64) {
    let message = json!({"type": "UPDATE_LOAD", "ip": "10.0.0.7", "port": port, "cpu_load": cpu_load});
    assert_eq!(node.call(message).unwrap(), json!({"type": "STATUS", "status": "LOAD_UPDATED"}));
}

fn chosen(node: &Harness) -> u64 {
    node.call(json!({"type": "REQUEST_CPU"})).unwrap()["port"].as_u64().unwrap()
}

#[track_caller]
fn refused(node: &Harness, message: Value) -> (String, String) {
    let error = node.call(message).unwrap_err();
    (error.code.into_owned(), error.message)
}

/// The table as a new watcher gets it.
fn table(node: &Harness) -> Value {
    node.call(json!({"type": "WATCH_PEERS"})).unwrap()
}

/// Asks for what follows a table.
fn watch(node: &Harness, table: &Value) -> PendingCall {
    node.begin(json!({"type": "WATCH_PEERS", "epoch": table["epoch"], "version": table["version"]}))
}

fn ports(table: &Value) -> BTreeSet<u64> {
    table["peers"].as_array().unwrap().iter().map(|peer| peer["port"].as_u64().unwrap()).collect()
}

fn topics(node: &Harness) -> Vec<String> {
    node.events().iter().map(|event| format!("{} {}", event.topic, event.body["port"])).collect()
}

#[test]
fn it_starts_as_a_node_starts_it() {
    let node = Harness::start::<Tracker>(json!({})).unwrap();
    assert_eq!(register(&node, 9000), 1);
    assert_eq!(node.status()["peer_count"], 1);
}

#[test]
fn replies_are_those_of_the_protocol() {
    let node = tracker();
    let cases = [
        (
            r#"{"type":"REGISTER","port":9000,"cpu_load":0.5,"old_ip":null}"#,
            r#"{"type":"STATUS","status":"REGISTERED","peer_count":1}"#,
        ),
        (
            r#"{"type":"REGISTER","port":9000,"ip":"127.0.0.1"}"#,
            r#"{"type":"STATUS","status":"REGISTERED","peer_count":1}"#,
        ),
        (r#"{"type":"UPDATE_LOAD","port":9000,"cpu_load":0.25}"#, r#"{"type":"STATUS","status":"LOAD_UPDATED"}"#),
        (r#"{"type":"REQUEST_CPU"}"#, r#"{"type":"CPU_RESPONSE","ip":"127.0.0.1","port":9000,"cpu_load":0.25}"#),
        (r#"{"type":"UNREGISTER","port":9000}"#, r#"{"type":"STATUS","status":"UNREGISTERED"}"#),
        (
            r#"{"type":"UNREGISTER","port":9000}"#,
            r#"{"type":"ERROR","code":"peer_not_found","error":"Peer not found"}"#,
        ),
        (r#"{"type":"REQUEST_CPU"}"#, r#"{"type":"ERROR","code":"no_peers","error":"No peers available"}"#),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply);
    }
}

#[test]
fn a_message_without_a_port_is_refused() {
    let node = tracker();
    for (message_type, purpose) in
        [("REGISTER", "registration"), ("UNREGISTER", "unregistration"), ("UPDATE_LOAD", "load update")]
    {
        for port in [json!(null), json!(0)] {
            let (code, text) = refused(&node, json!({"type": message_type, "port": port}));
            assert_eq!(code, ProviderError::INVALID_MESSAGE);
            assert_eq!(text, format!("Port required for {purpose}"));
        }
    }
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let node = tracker();
    register(&node, 1);
    for load in ["\"much\"", "null", "-1", "[]", "1e999"] {
        let message = format!(r#"{{"type":"UPDATE_LOAD","port":2,"cpu_load":{load}}}"#);
        let error = node.call(message).unwrap_err();
        assert_eq!(error.code, ProviderError::INVALID_MESSAGE, "{load}: {error}");
    }
    let (_, text) = refused(&node, json!({"type": "REGISTER", "port": 2, "ip": "a b"}));
    assert!(text.starts_with("ip must be an IP address"), "{text}");
    refused(&node, json!({"type": "REGISTER", "port": 70_000}));
    refused(&node, json!({"type": "REGISTER", "port": 2, "peer_id": "me"}));
    assert_eq!(chosen(&node), 1);
    assert_eq!(node.status()["peer_count"], 1);
}

#[test]
fn a_heartbeat_of_an_unknown_peer_registers_it() {
    let node = tracker();
    report(&node, 9000, 0.5);
    assert_eq!(node.status()["peer_count"], 1);
    assert_eq!(topics(&node), ["peer.joined 9000"]);
}

#[test]
fn a_peer_that_moves_keeps_one_entry() {
    let node = tracker();
    for port in [9000, 9001] {
        node.call(json!({"type": "REGISTER", "port": port, "peer_id": id(1)})).unwrap();
    }
    let status = node.status();
    assert_eq!((&status["peer_count"], &status["peers"][0]["port"]), (&json!(1), &json!(9001)));
    assert_eq!(topics(&node), ["peer.joined 9000", "peer.left 9000", "peer.joined 9001"]);
}

#[test]
fn a_silent_peer_is_lost_and_never_chosen() {
    let node = tracker();
    register(&node, 1);
    register(&node, 2);
    node.advance(Duration::from_secs(15));
    report(&node, 2, 0.9);
    node.advance(Duration::from_millis(14_999));
    assert_eq!(chosen(&node), 1);
    node.advance(Duration::from_millis(1));
    assert_eq!(chosen(&node), 2);
    assert_eq!(topics(&node), ["peer.joined 1", "peer.joined 2", "peer.lost 1"]);
    let lost = &node.events()[2];
    assert_eq!(lost.body, json!({"peer_id": null, "ip": "10.0.0.7", "port": 1}));
}

#[test]
fn liveness_follows_the_configuration() {
    let node = tracker_with(json!({"heartbeat_seconds": 0.1, "dead_after_seconds": 0.3}));
    register(&node, 1);
    node.advance(Duration::from_millis(299));
    assert_eq!(chosen(&node), 1);
    node.advance(Duration::from_millis(1));
    assert_eq!(refused(&node, json!({"type": "REQUEST_CPU"})).0, "no_peers");
}

#[test]
fn timers_run_only_while_there_are_peers() {
    let node = tracker();
    assert_eq!(node.timers(), 0);
    register(&node, 1);
    register(&node, 2);
    assert_eq!(node.timers(), 1);
    for _ in 0..10 {
        node.advance(Duration::from_secs(10));
        report(&node, 1, 0.0);
        assert_eq!(node.timers(), 1);
    }
    assert_eq!(topics(&node), ["peer.joined 1", "peer.joined 2", "peer.lost 2"]);
    node.advance(Duration::from_secs(60));
    assert_eq!(node.timers(), 0);
}

#[test]
fn requests_between_two_heartbeats_are_spread() {
    let node = tracker();
    for port in 1..=3 {
        register(&node, port);
    }
    let choices: Vec<u64> = (0..6).map(|_| chosen(&node)).collect();
    assert_eq!(choices, [1, 2, 3, 1, 2, 3]);
    let busy = json!({"type": "UPDATE_LOAD", "ip": "10.0.0.7", "port": 1, "workers": 2, "running": 2, "queued": 8});
    node.call(busy).unwrap();
    let choices: BTreeSet<u64> = (0..4).map(|_| chosen(&node)).collect();
    assert_eq!(choices, BTreeSet::from([2, 3]));
}

#[test]
fn the_number_of_peers_is_bounded() {
    let node = tracker_with(json!({"peers_max": 2}));
    register(&node, 1);
    register(&node, 2);
    let (code, text) = refused(&node, json!({"type": "REGISTER", "ip": "10.0.0.7", "port": 3}));
    assert_eq!(code, ProviderError::LIMIT_REACHED);
    assert!(text.contains("peers_max"), "{text}");
    assert_eq!(register(&node, 2), 2);
    node.advance(Duration::from_secs(30));
    assert_eq!(register(&node, 3), 1, "the dead make room");
}

#[test]
fn a_member_speaks_only_for_itself() {
    let node = tracker();
    let (own, other) = (id(1).to_string(), id(2).to_string());
    let send = |caller: &str, message: Value| node.message(message).caller(Caller::Member(caller)).call();
    send(&own, json!({"type": "REGISTER", "port": 1})).unwrap();
    assert_eq!(node.status()["peers"][0]["peer_id"], json!(own), "the id of the connection is entered");
    for message in [
        json!({"type": "REGISTER", "port": 2, "peer_id": own}),
        json!({"type": "UPDATE_LOAD", "port": 1, "peer_id": own, "cpu_load": 9}),
        json!({"type": "UNREGISTER", "port": 1}),
    ] {
        assert_eq!(send(&other, message).unwrap_err().code, ProviderError::FORBIDDEN);
    }
    send(&own, json!({"type": "UNREGISTER", "port": 1})).unwrap();
    let as_task = node.message(json!({"type": "REQUEST_CPU"})).caller(Caller::Task(&own));
    assert_eq!(as_task.call().unwrap_err().code, ProviderError::FORBIDDEN);
}

#[test]
fn status_shows_the_peers_and_counts_the_messages() {
    let node = tracker();
    report(&node, 9000, 0.5);
    register(&node, 9001);
    chosen(&node);
    let _watching = watch(&node, &table(&node));
    let status = node.status();
    assert_eq!(status["peer_count"], 2);
    let peer = &status["peers"][0];
    assert_eq!((&peer["ip"], &peer["port"], &peer["cpu_load"]), (&json!("10.0.0.7"), &json!(9000), &json!(0.5)));
    for time in ["last_update", "registered_at"] {
        assert_eq!(peer[time].as_str().unwrap().len(), "2024-05-01T12:00:00.000000".len());
    }
    assert_eq!(
        status["tracker"],
        json!({
            "registers": 1, "unregisters": 0, "heartbeats": 1, "cpu_requests": 1, "watches": 2,
            "tables_sent": 1, "peers_lost": 0, "watchers": 1, "shared_files": 0,
        })
    );
}

#[test]
fn status_lists_some_of_many_peers() {
    let node = tracker();
    for port in 1..=1100 {
        register(&node, port);
    }
    let status = node.status();
    assert_eq!((&status["peer_count"], status["peers"].as_array().unwrap().len()), (&json!(1100), 1000));
}

#[test]
fn a_new_watcher_gets_the_whole_table_at_once() {
    let node = tracker();
    let empty = table(&node);
    assert_eq!((&empty["full"], &empty["peers"], &empty["version"]), (&json!(true), &json!([]), &json!(1)));
    register(&node, 1);
    let full = table(&node);
    assert_eq!((&full["full"], ports(&full)), (&json!(true), BTreeSet::from([1])));
    let epoch = full["epoch"].as_u64().unwrap();
    for question in [
        json!({"type": "WATCH_PEERS", "epoch": epoch + 1, "version": full["version"]}),
        json!({"type": "WATCH_PEERS", "epoch": epoch, "version": 0}),
        json!({"type": "WATCH_PEERS", "epoch": epoch, "version": 99}),
    ] {
        assert_eq!(node.call(question).unwrap(), full);
    }
}

#[test]
fn a_watcher_is_told_of_changes_alone() {
    let node = tracker();
    register(&node, 1);
    register(&node, 2);
    let known = table(&node);
    let waiting = watch(&node, &known);
    report(&node, 1, 0.0);
    node.advance(Duration::from_secs(1));
    assert!(waiting.try_answer().is_none(), "nothing has changed");
    assert_eq!(node.timers(), 1, "nothing but the look for the dead");
    report(&node, 1, 0.75);
    let change = waiting.wait().unwrap();
    assert_eq!((&change["full"], &change["removed"]), (&json!(false), &json!([])));
    assert_eq!(change["peers"][0]["cpu_load"], 0.75);
    assert_eq!(ports(&change), BTreeSet::from([1]));

    let waiting = watch(&node, &change);
    node.advance(Duration::from_secs(1));
    node.call(json!({"type": "UNREGISTER", "ip": "10.0.0.7", "port": 2})).unwrap();
    let change = waiting.wait().unwrap();
    assert_eq!((&change["peers"], &change["removed"]), (&json!([]), &json!(["10.0.0.7:2"])));

    let waiting = watch(&node, &change);
    node.advance(Duration::from_secs(30));
    assert_eq!(waiting.wait().unwrap()["removed"], json!(["10.0.0.7:1"]), "a lost peer is a change too");
}

#[test]
fn changes_in_quick_succession_make_one_answer() {
    let node = tracker();
    register(&node, 1);
    let waiting = watch(&node, &table(&node));
    let mut answers = 0;
    let mut waiting = Some(waiting);
    for step in 0..1000 {
        report(&node, 1 + step % 3, f64::from(step));
        node.advance(Duration::from_millis(1));
        let answer = waiting.as_ref().and_then(PendingCall::try_answer);
        if let Some(answer) = answer {
            answers += 1;
            waiting = Some(watch(&node, &answer.unwrap()));
        }
    }
    assert!((19..=20).contains(&answers), "{answers} answers in a second");
    drop(waiting);
}

#[test]
fn a_watcher_that_fell_behind_gets_the_whole_table() {
    let node = tracker();
    register(&node, 1);
    let old = table(&node);
    for _ in 0..300 {
        register(&node, 2);
        node.call(json!({"type": "UNREGISTER", "ip": "10.0.0.7", "port": 2})).unwrap();
    }
    let full = watch(&node, &old).wait().unwrap();
    assert_eq!((&full["full"], ports(&full)), (&json!(true), BTreeSet::from([1])));
}

#[test]
fn a_cancelled_watcher_is_forgotten() {
    let node = tracker_with(json!({"watchers_max": 2}));
    let known = table(&node);
    let first = watch(&node, &known);
    let second = watch(&node, &known);
    let error = watch(&node, &known).wait().unwrap_err();
    assert_eq!(error.code, ProviderError::LIMIT_REACHED);
    assert!(error.message.contains("watchers_max"), "{error}");
    first.cancel();
    assert_eq!(node.status()["tracker"]["watchers"], 1);
    let third = watch(&node, &known);
    register(&node, 1);
    node.advance(Duration::from_millis(50));
    for waiting in [second, third] {
        assert_eq!(ports(&waiting.wait().unwrap()), BTreeSet::from([1]));
    }
    assert_eq!(node.status()["tracker"]["watchers"], 0);
}

#[test]
fn watchers_are_answered_when_the_tracker_stops() {
    let node = tracker();
    let waiting = watch(&node, &table(&node));
    node.stop();
    assert_eq!(waiting.wait().unwrap_err().code, ProviderError::NODE_STOPPING);
}

#[test]
fn a_large_pool_is_shown_by_samples() {
    let node = tracker();
    for port in 1..=200 {
        register(&node, port);
    }
    let first = table(&node);
    assert_eq!((&first["full"], ports(&first).len()), (&json!(true), 64));

    let waiting = watch(&node, &first);
    report(&node, 1, 0.5);
    node.advance(Duration::from_millis(999));
    assert!(waiting.try_answer().is_none(), "about one answer a second");
    node.advance(Duration::from_millis(1));
    let second = waiting.wait().unwrap();
    assert_eq!((&second["full"], ports(&second).len()), (&json!(true), 64));
    assert_ne!(ports(&second), ports(&first));

    let mut seen = BTreeSet::new();
    let mut last = second;
    for round in 0..60 {
        let waiting = watch(&node, &last);
        report(&node, 1, f64::from(round));
        node.advance(Duration::from_secs(1));
        last = waiting.wait().unwrap();
        seen.extend(ports(&last));
        for port in 2..=200 {
            report(&node, port, 0.0);
        }
    }
    assert_eq!(seen.len(), 200, "in time everybody is seen");
}

#[test]
fn when_a_large_pool_becomes_small_all_is_told() {
    let node = tracker();
    for port in 1..=65 {
        register(&node, port);
    }
    let sample = table(&node);
    let waiting = watch(&node, &sample);
    node.call(json!({"type": "UNREGISTER", "ip": "10.0.0.7", "port": 1})).unwrap();
    node.advance(Duration::from_millis(1000));
    let full = waiting.wait().unwrap();
    assert_eq!((&full["full"], ports(&full)), (&json!(true), (2..=65).collect()));
}

#[test]
fn a_crowd_of_watchers_is_answered_in_turns() {
    let node = tracker();
    for port in 1..=100 {
        register(&node, port);
    }
    let known = table(&node);
    let crowd: Vec<PendingCall> = (0..4000).map(|_| watch(&node, &known)).collect();
    node.advance(Duration::from_secs(10));
    let answered = || crowd.iter().filter(|waiting| waiting.try_answer().is_some()).count();
    assert_eq!(answered(), 0);
    report(&node, 1, 0.5);
    assert!(answered() <= 100, "no message waits for all of them");
    node.advance(Duration::from_secs(1));
    assert!((1900..=2200).contains(&answered()), "{} tables in a second", answered());
    node.advance(Duration::from_secs(1));
    assert_eq!(answered(), 4000);
}

#[test]
fn watching_cancelling_and_reporting_at_once_loses_nobody() {
    let node = tracker();
    register(&node, 1);
    let first = table(&node);
    std::thread::scope(|scope| {
        for thread in 0..3_u16 {
            let (node, mut known) = (&node, first.clone());
            scope.spawn(move || {
                for step in 0..300 {
                    let waiting = watch(node, &known);
                    report(node, 1 + thread, f64::from(step));
                    if step % 3 == 0 {
                        waiting.cancel();
                    } else {
                        node.wait_until("the watcher is answered", || {
                            node.advance(Duration::from_millis(50));
                            waiting.try_answer().is_some()
                        });
                        known = waiting.wait().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(node.status()["tracker"]["watchers"], 0);
}

#[test]
fn configuration_is_checked() {
    let error = |config| Harness::start::<Tracker>(config).err().unwrap();
    assert!(error(json!({"heartbeat": 3})).message.contains("unknown field `heartbeat`"));
    assert!(error(json!({"heartbeat_seconds": 0})).message.contains("key `heartbeat_seconds`"));
    assert!(error(json!({"dead_after_seconds": 10})).message.contains("longer than heartbeat_seconds"));
    assert!(error(json!({"peers_max": 0})).message.contains("key `peers_max`"));
    assert_eq!(error(json!({"watchers_max": "many"})).code, ProviderError::INVALID_CONFIG);
}
