//! What a member, or somebody who has been one, might do on purpose.

use potluck_tests::{Cluster, Stranger, TestNode, wait_for, with};
use serde_json::{Value, json};
use std::fs;

/// More than the socket's buffers take, so that replies wait for room.
const VALUE_BYTES: usize = 100_000;
const REQUESTS: usize = 2_000;
const BATCH: usize = 200;

fn revoke(tracker: &TestNode, peer_id: &str) {
    let reply = tracker.call(json!({ "type": "POOL_REVOKE", "peer": peer_id }));
    assert_eq!(reply["status"], "REVOKED", "{reply}");
}

#[test]
fn a_member_that_never_stops_talking_is_cut_off_like_everybody() {
    let cluster = Cluster::start(1);
    let token = cluster.token(json!({ "reusable": true }));
    let batch: Vec<u8> = potluck_tests::frame_bytes(r#"{"type":"PING","id":1}"#).repeat(BATCH);
    for node in [&cluster.peers[0], &cluster.tracker] {
        let stranger = Stranger::new();
        let mut wire = stranger.member_at(node, &cluster.tracker, &token);
        wire.send_bytes(&batch).unwrap();
        revoke(&cluster.tracker, &stranger.peer_id());
        // The next batch is always on its way before the last one is answered.
        let mut answered = 0;
        while wire.send_bytes(&batch).is_ok() && (0..BATCH).all(|_| wire.read_frame().is_some()) {
            answered += BATCH;
            assert!(answered < 10_000_000, "it is answered for ever");
        }
    }
}

#[test]
fn requests_with_large_replies_may_be_sent_all_at_once() {
    let cluster = Cluster::start(1);
    let node = &cluster.peers[0];
    let set = json!({ "type": "SET_MEM", "key": "large", "value": "x".repeat(VALUE_BYTES) });
    assert_eq!(node.call(set)["status"], "OK");
    let requests: Vec<u8> = (0..REQUESTS)
        .flat_map(|id| potluck_tests::frame_bytes(&json!({ "type": "GET_MEM", "key": "large", "id": id }).to_string()))
        .collect();

    let mut wire = node.wire();
    let mut reader = wire.another();
    let reading = std::thread::spawn(move || {
        (0..REQUESTS).map(|_| reader.read()["value"].as_str().unwrap().len()).sum::<usize>()
    });
    wire.send_bytes(&requests);
    assert_eq!(reading.join().unwrap(), REQUESTS * VALUE_BYTES);

    // All requests fit into the buffers of the sockets, so that one thread does.
    let token = cluster.token(json!({}));
    let mut wire = Stranger::new().member_at(node, &cluster.tracker, &token);
    wire.send_bytes(&requests).unwrap();
    let mut ids: Vec<Value> = (0..REQUESTS).map(|_| wire.read()["id"].take()).collect();
    ids.sort_by_key(Value::as_u64);
    assert_eq!(ids, (0..REQUESTS).map(|id| json!(id)).collect::<Vec<_>>());
}

#[test]
fn what_a_member_waits_for_is_forgotten_when_it_is_gone() {
    let cluster = Cluster::start(0);
    let token = cluster.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    let membership = stranger.join(cluster.tracker.address(), &token);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", cluster.tracker.pid())).unwrap().count();
    let before = descriptors();
    for _ in 0..40 {
        let mut wire = stranger.enter(cluster.tracker.address(), &token, &membership);
        wire.send(json!({ "type": "WATCH_REVOCATIONS", "version": u64::MAX, "id": 1 }));
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    }
    wait_for("the connections to be closed", || descriptors() <= before + 2);
    // Of the last ones a descriptor or two may be left.
    wait_for("the member to count as gone", || {
        let members = cluster.tracker.call(json!({ "type": "POOL_MEMBERS" }));
        let entry = members["members"].as_array().unwrap().iter().find(|entry| entry["peer_id"] == stranger.peer_id());
        entry.unwrap()["connected"] == false
    });
}

#[test]
fn a_member_has_a_bounded_number_of_connections() {
    let cluster = Cluster::start(0);
    let token = cluster.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    let membership = stranger.join(cluster.tracker.address(), &token);
    let hello = potluck_tests::hello(&token, &membership);
    let mut open = Vec::new();
    let refused = loop {
        let mut wire = stranger.connect(cluster.tracker.address());
        let reply = wire.call(with(hello.clone(), json!({})));
        if reply["type"] == "ERROR" {
            break reply;
        }
        open.push(wire);
        assert!(open.len() < 1000, "there is no bound");
    };
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    open.truncate(1);
    wait_for("places to be free again", || {
        let mut wire = stranger.connect(cluster.tracker.address());
        wire.call(hello.clone())["type"] == "HELLO"
    });
}
