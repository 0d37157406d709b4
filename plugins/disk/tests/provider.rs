//! The provider through its real table, as a node calls it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::Caller;
use potluck_sdk::testing::Harness;
use provider_disk::Disk;
use serde_json::{Value, json};

const PEER: &str = "5f0c6b1e-0000-8000-8000-000000000000";

fn node_with(config: Value) -> Harness {
    let node = Harness::start::<Disk>(config).unwrap();
    node.answer("REGISTER_FILE", |_| json!({"type": "STATUS", "status": "OK", "file_count": 1}));
    node.answer("UNREGISTER_FILE", |_| json!({"type": "STATUS", "status": "OK", "file_count": 0}));
    node
}

fn put(node: &Harness, name: &str, data: &str) -> Value {
    node.call(json!({"type": "PUT_FILE", "filename": name, "data": data})).unwrap()
}

#[test]
fn a_file_comes_back_as_it_was_put() {
    let node = node_with(json!({}));
    assert_eq!(put(&node, "a/b.txt", "aGVsbG8=")["size"], 5);
    let got = node.call(json!({"type": "GET_FILE", "filename": "a/b.txt"})).unwrap();
    assert_eq!((&got["data"], &got["found"], &got["size"]), (&json!("aGVsbG8="), &json!(true), &json!(5)));
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "b.txt"})).unwrap()["found"], false);
    assert_eq!(put(&node, "empty", "")["size"], 0);
    let list = node.call(json!({"type": "LIST_FILES"})).unwrap();
    assert_eq!((&list["file_count"], &list["files"][0]["filename"]), (&json!(2), &json!("a/b.txt")));
    assert_eq!(node.status()["storage"]["total_size"], 5);
    let delete = json!({"type": "DELETE_FILE", "filename": "a/b.txt"});
    assert_eq!(node.call(&delete).unwrap()["deleted"], true);
    assert_eq!(node.call(&delete).unwrap()["deleted"], false);
}

#[test]
fn names_that_leave_the_folder_and_broken_base64_are_refused() {
    let node = node_with(json!({}));
    let refused = |name: &str, data: &str| {
        node.call(json!({"type": "PUT_FILE", "filename": name, "data": data})).unwrap_err().code
    };
    assert_eq!(refused("../x", "YQ=="), "invalid_name");
    assert_eq!(refused("/x", "YQ=="), "invalid_name");
    assert_eq!(refused("x", "Y!Q=="), "invalid_message");
    put(&node, "Report", "YQ==");
    assert_eq!(refused("report", "YQ=="), "name_conflict");
}

#[test]
fn quota_is_told_whose_the_bytes_are_that_there_are() {
    let node = node_with(json!({}));
    let held = || node.message(json!({"type": "HELD_STORAGE_BYTES"})).caller(Caller::Plugin("quota")).call().unwrap();
    put(&node, "mine", "aGVsbG8=");
    let message = json!({"type": "PUT_FILE", "filename": "theirs", "data": "YWJj"});
    node.message(message).caller(Caller::Member(PEER)).call().unwrap();
    node.wait_until("no room is kept any more", || held()["used_total"] == 8);
    assert_eq!(held(), json!({"type": "HELD", "used_total": 8, "callers": {"": 5, PEER: 3}}));
    node.call(json!({"type": "DELETE_FILE", "filename": "mine"})).unwrap();
    assert_eq!(held(), json!({"type": "HELD", "used_total": 3, "callers": {PEER: 3}}));
    assert_eq!(node.status()["storage"]["operation_count"], 3, "to be asked is no operation");
}

#[test]
fn only_the_owner_and_the_user_change_a_file_and_quotas_hold() {
    let node = node_with(json!({"peer_bytes_max": 4, "capacity_bytes": 6, "file_bytes_max": 5}));
    let as_peer = |json: Value| node.message(json).caller(Caller::Member(PEER)).call();
    put(&node, "mine", "YQ==");
    let message = json!({"type": "PUT_FILE", "filename": "mine", "data": "Yg=="});
    assert_eq!(as_peer(message).unwrap_err().code, "forbidden");
    let message = json!({"type": "DELETE_FILE", "filename": "mine"});
    assert_eq!(as_peer(message).unwrap_err().code, "forbidden");
    as_peer(json!({"type": "PUT_FILE", "filename": "theirs", "data": "YWJj"})).unwrap();
    let more = json!({"type": "PUT_FILE", "filename": "more", "data": "YWI="});
    assert_eq!(as_peer(more).unwrap_err().code, "limit_reached");
    let large = json!({"type": "PUT_FILE", "filename": "large", "data": "YWJjZGVm"});
    assert_eq!(node.call(large).unwrap_err().message, "File too large (max 5 bytes)");
}

#[test]
fn an_upload_goes_on_where_it_ended_and_is_checked() {
    let node = node_with(json!({}));
    let chunk = |offset: u64, data: &str, is_final: bool, sha256: Value| {
        node.call(json!({"type": "PUT_FILE_CHUNK", "filename": "f", "upload": "u", "offset": offset, "data": data,
            "final": is_final, "sha256": sha256}))
    };
    assert_eq!(chunk(0, "YWI=", false, Value::Null).unwrap()["received_bytes"], 2);
    let wrong = chunk(7, "Yw==", false, Value::Null).unwrap();
    assert_eq!((&wrong["received_bytes"], &wrong["stored"]), (&json!(2), &json!(false)));
    let sha256 = json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(chunk(2, "Yw==", true, sha256.clone()).unwrap()["complete"], true);
    let piece = node.call(json!({"type": "GET_FILE_CHUNK", "filename": "f", "offset": 1, "length": 1})).unwrap();
    assert_eq!((&piece["data"], &piece["sha256"]), (&json!("Yg=="), &sha256));
    assert_eq!(chunk(0, "eA==", true, sha256).unwrap_err().code, "hash_mismatch");
    assert_eq!(chunk(0, "eA==", false, Value::Null).unwrap()["received_bytes"], 1, "the upload was thrown away");
    let stat = node.call(json!({"type": "STAT_FILE", "filename": "f", "block_hashes": true})).unwrap();
    assert_eq!((&stat["size"], &stat["block_bytes"]), (&json!(3), &json!(1 << 20)));
}

fn piece(name: &str, upload: &str, offset: u64, data: &str, is_final: bool) -> Value {
    json!({"type": "PUT_FILE_CHUNK", "filename": name, "upload": upload, "offset": offset, "data": data, "final": is_final})
}

#[test]
fn of_two_uploads_of_names_that_look_alike_the_first_to_end_wins() {
    let node = node_with(json!({}));
    node.call(piece("Report", "u", 0, "YQ==", false)).unwrap();
    node.call(piece("report", "u", 0, "YQ==", false)).unwrap();
    node.call(piece("report", "u", 1, "", true)).unwrap();
    assert_eq!(node.call(piece("Report", "u", 1, "", true)).unwrap_err().code, "name_conflict");
    assert_eq!(node.call(json!({"type": "LIST_FILES"})).unwrap()["file_count"], 1);
}

#[test]
fn an_upload_does_not_replace_what_became_somebody_elses_meanwhile() {
    let node = node_with(json!({}));
    let as_peer = |json: Value| node.message(json).caller(Caller::Member(PEER)).call();
    as_peer(piece("f", "u", 0, "YQ==", false)).unwrap();
    put(&node, "f", "Yg==");
    assert_eq!(as_peer(piece("f", "u", 1, "", true)).unwrap_err().code, "forbidden");
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "f"})).unwrap()["data"], "Yg==");
}

#[test]
fn a_refused_piece_costs_neither_what_is_there_nor_the_room_for_it() {
    let node = node_with(json!({"capacity_bytes": 6}));
    node.call(piece("f", "u", 0, "YWJjZA==", false)).unwrap();
    assert_eq!(node.call(piece("f", "u", 4, "ZWZn", false)).unwrap_err().code, "limit_reached");
    let other = json!({"type": "PUT_FILE", "filename": "g", "data": "YWJj"});
    assert_eq!(node.call(&other).unwrap_err().code, "limit_reached", "the room for the upload is still kept");
    assert_eq!(node.call(piece("f", "u", 0, "", false)).unwrap()["received_bytes"], 4);
    let mut abort = piece("f", "u", 0, "", false);
    abort["abort"] = json!(true);
    node.call(abort).unwrap();
    assert_eq!(node.call(&other).unwrap()["status"], "OK");
}

#[test]
fn one_peer_does_not_keep_the_others_from_uploading() {
    let node = node_with(json!({"uploads_max": 8}));
    let as_peer = |json: Value| node.message(json).caller(Caller::Member(PEER)).call();
    for number in 0..2 {
        as_peer(piece("f", &format!("u{number}"), 0, "YQ==", false)).unwrap();
    }
    assert_eq!(as_peer(piece("f", "u2", 0, "YQ==", false)).unwrap_err().code, "limit_reached");
    node.call(piece("g", "u", 0, "YQ==", false)).unwrap();
}

#[test]
fn uploads_that_nobody_goes_on_with_make_room() {
    let node = node_with(json!({"uploads_max": 1, "unfinished_seconds": 0}));
    node.call(piece("f", "u", 0, "YQ==", false)).unwrap();
    node.call(piece("g", "u", 0, "YQ==", true)).unwrap();
    assert_eq!(node.call(piece("f", "u", 0, "", false)).unwrap()["received_bytes"], 0);
}
