//! FETCH_FILE through the provider's real table: what it says when there is nothing to fetch, and a file without blocks.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, ProviderError};
use provider_disk::Disk;
use serde_json::{Value, json};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A node that is told of these peers; each has an empty file, and says that its SHA-256 is what `sha256` says for its port.
fn node(ports: &'static [u16], sha256: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Harness {
    let node = Harness::start::<Disk>(json!({})).unwrap();
    for registers in ["REGISTER_FILE", "UNREGISTER_FILE"] {
        node.answer(registers, |_| json!({"type": "STATUS", "status": "OK", "file_count": 1}));
    }
    node.answer("FIND_FILE", move |message| {
        let peers: Vec<Value> = ports.iter().map(|port| json!({"ip": "10.0.0.7", "port": port})).collect();
        json!({"type": "FILE_PEERS", "filename": message["filename"], "found": !peers.is_empty(), "peers": peers})
    });
    node.answer("STAT_FILE", move |message| {
        json!({
            "type": "STATUS", "status": "OK", "filename": message["filename"], "found": true, "size": 0,
            "sha256": sha256(message["to"].as_str().unwrap()), "modified_unix_seconds": 1, "owner": null,
        })
    });
    node
}

fn fetch(node: &Harness, sha256: Value) -> Result<Value, ProviderError> {
    node.call(json!({"type": "FETCH_FILE", "filename": "a", "sha256": sha256}))
}

fn code(result: Result<Value, ProviderError>) -> String {
    result.unwrap_err().code.into_owned()
}

#[test]
fn what_nobody_has_is_not_found_and_what_is_no_request_is_refused() {
    let node = node(&[], |_| EMPTY);
    assert_eq!(code(fetch(&node, Value::Null)), "file_not_found");
    assert_eq!(code(fetch(&node, json!("abc"))), ProviderError::INVALID_MESSAGE);
    assert_eq!(code(node.call(json!({"type": "FETCH_FILE"}))), ProviderError::INVALID_MESSAGE);
    assert_eq!(code(node.call(json!({"type": "FETCH_FILE", "filename": "../a"}))), "invalid_name");
    let as_member = node.message(json!({"type": "FETCH_FILE", "filename": "a"})).caller(Caller::Member("m")).call();
    assert_eq!(code(as_member), ProviderError::FORBIDDEN);
}

#[test]
fn without_a_tracker_it_says_what_is_wrong() {
    let node = Harness::start::<Disk>(json!({})).unwrap();
    let error = fetch(&node, Value::Null).unwrap_err();
    assert!(error.message.starts_with("the tracker cannot be asked who has the file: "), "{error}");
}

#[test]
fn the_file_of_most_peers_is_fetched_and_the_others_are_told() {
    let node = node(&[1, 2, 3], |to| if to.ends_with(":2") { OTHER } else { EMPTY });
    let fetched = fetch(&node, Value::Null).unwrap();
    assert_eq!((&fetched["size"], &fetched["sha256"]), (&json!(0), &json!(EMPTY)));
    let dropped: Vec<bool> =
        fetched["sources"].as_array().unwrap().iter().map(|source| source["dropped"].is_string()).collect();
    assert_eq!((fetched["sources"].as_array().unwrap().len(), dropped.iter().filter(|d| **d).count()), (3, 1));
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "a"})).unwrap()["found"], true);
    assert!(node.events().iter().any(|event| event.topic == "file.fetch"));
    let again = fetch(&node, json!(EMPTY.to_uppercase())).unwrap();
    assert_eq!(again["sources"], json!([]), "it is here");
}

#[test]
fn a_copy_that_is_not_what_it_promises_is_not_kept() {
    let node = node(&[1, 2], |_| OTHER);
    let error = fetch(&node, Value::Null).unwrap_err();
    assert!(error.code == "hash_mismatch" && error.message.contains("10.0.0.7:2: its copy is damaged"), "{error}");
    assert_eq!(node.call(json!({"type": "LIST_FILES"})).unwrap()["file_count"], 0);
    assert_eq!(std::fs::read_dir(node.data_dir().join("peer_storage/.potluck-temporary")).unwrap().count(), 0);
}

#[test]
fn another_file_of_that_name_is_replaced_only_by_one_that_was_named() {
    let node = node(&[1], |_| EMPTY);
    node.call(json!({"type": "PUT_FILE", "filename": "a", "data": "YQ=="})).unwrap();
    let error = fetch(&node, Value::Null).unwrap_err();
    assert!(error.code == "name_conflict" && error.message.contains(EMPTY), "{error}");
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "a"})).unwrap()["data"], "YQ==");
    fetch(&node, json!(EMPTY)).unwrap();
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "a"})).unwrap()["size"], 0);
    assert_eq!(code(fetch(&node, json!(OTHER))), "file_not_found");
}

#[test]
fn a_tracker_that_knows_this_node_anew_is_told_what_is_here_also_when_that_is_nothing() {
    let node = node(&[], |_| EMPTY);
    let told = |node: &Harness| -> Value {
        assert!(node.emit("tracker.session", json!({"peer_id": null})));
        serde_json::from_str(&node.sent().pop().unwrap().json).unwrap()
    };
    let nothing = told(&node);
    assert_eq!((&nothing["type"], &nothing["replace"]), (&json!("REGISTER_FILE"), &json!(true)));
    assert!(nothing["files"].is_null() && nothing["to"] == "tracker", "{nothing}");
    node.call(json!({"type": "PUT_FILE", "filename": "a", "data": ""})).unwrap();
    assert_eq!(told(&node)["files"], json!([{"filename": "a", "size": 0, "sha256": EMPTY}]));
}
