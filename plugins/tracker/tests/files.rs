//! Who has which shared file, through the provider's real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, PeerId, ProviderError};
use provider_tracker::Tracker;
use serde_json::{Value, json};
use std::time::Duration;

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn tracker_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| {
        Tracker::start_with_clock(host, config, move || clock.now())
    })
    .unwrap()
}

fn tracker() -> Harness {
    tracker_with(json!({}))
}

fn id(number: u8) -> PeerId {
    PeerId::from_hash([number; 16])
}

/// A message of a member of the pool.
fn ask(node: &Harness, number: u8, message: Value) -> Result<Value, ProviderError> {
    node.message(message).caller(Caller::Member(&id(number).to_string())).call()
}

fn join(node: &Harness, number: u8, port: u16) {
    ask(node, number, json!({"type": "REGISTER", "ip": "10.0.0.7", "port": port})).unwrap();
}

fn register(node: &Harness, number: u8, names: &[&str]) -> u64 {
    let files: Vec<Value> = names.iter().map(|name| json!({"filename": name, "size": 3, "sha256": SHA256})).collect();
    let reply = ask(node, number, json!({"type": "REGISTER_FILE", "files": files, "port": 1})).unwrap();
    reply["file_count"].as_u64().unwrap()
}

fn ports(node: &Harness, name: &str) -> Vec<u64> {
    let found = node.call(json!({"type": "FIND_FILE", "filename": name})).unwrap();
    assert_eq!(found["found"], !found["peers"].as_array().unwrap().is_empty());
    found["peers"].as_array().unwrap().iter().map(|peer| peer["port"].as_u64().unwrap()).collect()
}

#[test]
fn a_file_is_found_with_what_its_holder_has_told() {
    let node = tracker();
    join(&node, 1, 9001);
    assert_eq!(register(&node, 1, &["data/set.bin", "other"]), 2);
    let peer = json!({"ip": "10.0.0.7", "port": 9001, "peer_id": id(1), "size": 3, "sha256": SHA256});
    assert_eq!(
        node.call(json!({"type": "FIND_FILE", "filename": "data/set.bin"})).unwrap(),
        json!({"type": "FILE_PEERS", "filename": "data/set.bin", "peers": [peer], "found": true})
    );
    assert_eq!(ports(&node, "set.bin"), [0; 0]);
    assert_eq!(node.status()["tracker"]["shared_files"], 2);
    let reply = ask(&node, 1, json!({"type": "UNREGISTER_FILE", "filenames": ["other", "never there"]})).unwrap();
    assert_eq!(reply["file_count"], 1);
    assert_eq!(ports(&node, "other"), [0; 0]);
}

#[test]
fn a_peer_of_the_original_system_is_understood() {
    let node = tracker();
    let cases = [
        (
            r#"{"type":"REGISTER_FILE","filename":"a","port":9000}"#,
            r#"{"type":"ERROR","code":"peer_not_found","error":"Peer not registered"}"#,
        ),
        (r#"{"type":"REGISTER","port":9000}"#, r#"{"type":"STATUS","status":"REGISTERED","peer_count":1}"#),
        (
            r#"{"type":"REGISTER_FILE","filename":"a","port":9000}"#,
            r#"{"type":"STATUS","status":"OK","filename":"a","file_count":1}"#,
        ),
        (
            r#"{"type":"REGISTER_FILE","filename":"a"}"#,
            r#"{"type":"ERROR","code":"invalid_message","error":"Port required"}"#,
        ),
        (
            r#"{"type":"REGISTER_FILE","port":9000}"#,
            r#"{"type":"ERROR","code":"invalid_message","error":"Filename required"}"#,
        ),
        (
            r#"{"type":"FIND_FILE","filename":"a"}"#,
            r#"{"type":"FILE_PEERS","filename":"a","peers":[{"ip":"127.0.0.1","port":9000}],"found":true}"#,
        ),
        (
            r#"{"type":"UNREGISTER_FILE","filename":"a","port":9000}"#,
            r#"{"type":"STATUS","status":"OK","filename":"a","file_count":0}"#,
        ),
        (
            r#"{"type":"UNREGISTER_FILE","filename":"a","port":9999}"#,
            r#"{"type":"STATUS","status":"OK","filename":"a","file_count":0}"#,
        ),
        (r#"{"type":"FIND_FILE","filename":"a"}"#, r#"{"type":"FILE_PEERS","filename":"a","peers":[],"found":false}"#),
        (r#"{"type":"FIND_FILE"}"#, r#"{"type":"ERROR","code":"invalid_message","error":"Filename required"}"#),
    ];
    for (message, reply) in cases {
        assert_eq!(node.call_raw(message), reply, "{message}");
    }
}

#[test]
fn a_peer_speaks_for_itself_whatever_address_it_names() {
    let node = tracker();
    join(&node, 1, 9001);
    join(&node, 2, 9002);
    let as_other = json!({"type": "REGISTER_FILE", "filename": "a", "ip": "10.0.0.7", "port": 9002});
    ask(&node, 1, as_other).unwrap();
    assert_eq!(ports(&node, "a"), [9001]);
    register(&node, 2, &["a"]);
    ask(&node, 1, json!({"type": "UNREGISTER_FILE", "filename": "a", "ip": "10.0.0.7", "port": 9002})).unwrap();
    assert_eq!(ports(&node, "a"), [9002]);
    let stranger = ask(&node, 3, json!({"type": "REGISTER_FILE", "filename": "a", "ip": "10.0.0.7", "port": 9001}));
    assert_eq!(stranger.unwrap_err().code, "peer_not_found");
}

type Way<'a> = &'a dyn Fn(&Harness);

#[test]
fn what_a_peer_has_told_goes_with_it_however_it_goes() {
    let leave = |node: &Harness| {
        ask(node, 1, json!({"type": "UNREGISTER", "ip": "10.0.0.7", "port": 9001})).unwrap();
    };
    let die = |node: &Harness| {
        node.advance(Duration::from_secs(20));
        join(node, 2, 9002);
        node.advance(Duration::from_secs(10));
    };
    let be_expelled = |node: &Harness| assert!(node.emit("peer.revoked", json!({"peer_id": id(1)})));
    let be_displaced = |node: &Harness| join(node, 3, 9001);
    let ways: [(&str, Way); 4] =
        [("leaves", &leave), ("dies", &die), ("is expelled", &be_expelled), ("is displaced", &be_displaced)];
    for (way, go) in ways {
        let node = tracker();
        join(&node, 1, 9001);
        join(&node, 2, 9002);
        register(&node, 1, &["a", "b"]);
        register(&node, 2, &["b"]);
        go(&node);
        assert_eq!((ports(&node, "a"), ports(&node, "b")), (vec![], vec![9002]), "{way}");
        assert_eq!(node.status()["tracker"]["shared_files"], 1, "{way}");
        join(&node, 1, 9001);
        assert_eq!(ports(&node, "a"), [0; 0], "it {way}, and tells all anew when it is back");
        assert_eq!(register(&node, 1, &["a"]), 1, "{way}");
    }
}

#[test]
fn a_peer_that_moves_takes_its_files_along() {
    let node = tracker();
    join(&node, 1, 9001);
    register(&node, 1, &["a", "b"]);
    join(&node, 1, 9005);
    assert_eq!((ports(&node, "a"), ports(&node, "b")), (vec![9005], vec![9005]));
    assert_eq!(register(&node, 1, &["c"]), 3);
}

#[test]
fn a_whole_list_replaces_the_one_before() {
    let node = tracker();
    join(&node, 1, 9001);
    register(&node, 1, &["a", "b"]);
    let files = json!([{"filename": "b", "size": 9}]);
    let reply = ask(&node, 1, json!({"type": "REGISTER_FILE", "files": files, "replace": true})).unwrap();
    assert_eq!(reply["file_count"], 1);
    assert_eq!(ports(&node, "a"), [0; 0]);
    let reply = ask(&node, 1, json!({"type": "REGISTER_FILE", "files": [], "replace": true})).unwrap();
    assert_eq!((&reply["file_count"], ports(&node, "b")), (&json!(0), vec![]));
}

#[test]
fn limits_hold_and_are_told() {
    let node = tracker_with(json!({"shared_files_max": 3, "peer_files_max": 2}));
    join(&node, 1, 9001);
    join(&node, 2, 9002);
    let files =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"filename": name, "size": 1})).collect() };
    let message = json!({"type": "REGISTER_FILE", "files": files(&["a", "b", "c"])});
    let error = ask(&node, 1, message).unwrap_err();
    assert!(error.code == ProviderError::LIMIT_REACHED && error.message.contains("peer_files_max"), "{error}");
    let message = json!({"type": "REGISTER_FILE", "files": files(&["d", "e"])});
    let error = ask(&node, 2, message).unwrap_err();
    assert!(error.code == ProviderError::LIMIT_REACHED && error.message.contains("shared_files_max"), "{error}");
    assert_eq!(node.status()["tracker"]["shared_files"], 3);
    let many: Vec<Value> = (0..1001).map(|number| json!({"filename": format!("{number}"), "size": 1})).collect();
    let error = ask(&node, 2, json!({"type": "REGISTER_FILE", "files": many})).unwrap_err();
    assert_eq!(error.code, ProviderError::INVALID_MESSAGE);
    for config in [json!({"shared_files_max": 0}), json!({"peer_files_max": 0})] {
        assert_eq!(Harness::start::<Tracker>(config).err().unwrap().code, ProviderError::INVALID_CONFIG);
    }
}

#[test]
fn of_many_holders_an_answer_names_64() {
    let node = tracker();
    for number in 1..=70 {
        join(&node, number, 9000 + u16::from(number));
        register(&node, number, &["a"]);
    }
    let (first, second) = (ports(&node, "a"), ports(&node, "a"));
    assert_eq!((first.len(), second.len()), (64, 64));
    assert_ne!(first, second, "the others come in their turn");
}
