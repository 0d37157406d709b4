//! Owned files whose holder, owner or tracker has a disk that is full, fails or writes less than it should: whoever asks is
//! told, what was acknowledged is there, nothing half is served, and the same succeeds once the disk works.

use crate::storage_faults::disk::{
    CHANGE_BY_PATH, CHANGES, Fault, Faults, OPEN_BY_PATH, READ, REMOVE, SYNC, TRUNCATE, WRITE,
};
use crate::storage_kills::random::{Content, sha256};
use potluck_tests::*;
use rustix::io::Errno;
use serde_json::{Value, json};

/// A call of an upload is one of fewer.
const CALLS_MAX: u32 = 120;
/// All that a disk may refuse: calls and error.
const BROKEN: (u32, Errno) = (CHANGES | TRUNCATE | REMOVE | READ | OPEN_BY_PATH | CHANGE_BY_PATH, Errno::IO);
/// All that a full disk may refuse.
const FULL: (u32, Errno) = (WRITE | SYNC | OPEN_BY_PATH, Errno::NOSPC);

/// A peer that starts no other programs.
fn peer() -> NodeBuilder {
    TestNode::peer().plugins("[node]\nheartbeat_seconds = 0.5\n[plugins.owned-files]\n")
}

fn tracker() -> NodeBuilder {
    TestNode::tracker().plugin("tracker", "").node("heartbeat_seconds = 0.5")
}

/// The owner is the first peer; `faulty` is the one whose disk may fail.
fn pool(faults: &Faults, count: usize, faulty: usize) -> Cluster {
    let preload = |number| if number == faulty { faults.preload(peer()) } else { peer() };
    Cluster::start_under(tracker(), count, |number, _| preload(number))
}

fn bytes(seed: u64) -> Vec<u8> {
    Content::new(seed, (2 << 20) + 12_345).bytes()
}

/// Uploads in one piece, or goes on with it.
fn put(owner: &TestNode, upload: &str, content: &[u8], holder: Option<&TestNode>) -> Value {
    let message = json!({
        "type": "UPLOAD_OWNED_FILE", "filename": upload, "upload": upload, "size": content.len(),
        "sha256": sha256(content), "replicas": 1,
    });
    let named = holder.map_or(json!({}), |holder| json!({"holders": [holder.peer_id()]}));
    let message = with(message, named);
    let asked = owner.call(with(message.clone(), json!({"offset": u64::MAX})));
    let Some(begin) = asked["received_bytes"].as_u64() else { return asked };
    let begin = begin as usize;
    owner.call_with(with(message, json!({"offset": begin, "final": true})), &content[begin..]).value()
}

/// A file as the owner's node decrypts it; what it says when it cannot.
fn download(owner: &TestNode, name: &str) -> Result<Vec<u8>, Value> {
    let mut bytes = Vec::new();
    loop {
        let message = json!({
            "type": "DOWNLOAD_OWNED_FILE", "filename": name, "offset": bytes.len(), "encoding": "raw",
        });
        let frame = owner.call_with(message, b"");
        let reply = frame.value();
        if reply["found"] != true {
            return Err(reply);
        }
        bytes.extend_from_slice(&frame.attachment);
        if frame.attachment.is_empty() || bytes.len() as u64 >= reply["size"].as_u64().unwrap() {
            return Ok(bytes);
        }
    }
}

fn delete(owner: &TestNode, name: &str) -> Value {
    owner.call(json!({"type": "DELETE_OWNED_FILE", "filename": name}))
}

/// What the client is told: an error, or a warning beside what is done.
fn is_told(reply: &Value) -> bool {
    let has_warning = reply["errors"].as_array().is_some_and(|errors| !errors.is_empty());
    reply["type"] == "ERROR" && reply["code"].is_string() || has_warning || reply["complete"] == true
}

/// Fails each call of an upload in turn, on files whose path contains `path`, until there is none left to fail.
fn fail_each_call(faults: &Faults, pool: &Cluster, path: &str, (calls, error): (u32, Errno)) {
    let (owner, holder) = (&pool.peers[0], &pool.peers[1]);
    let bystander = bytes(1);
    assert_eq!(put(owner, "bystander", &bystander, Some(holder))["complete"], true);
    let mut failed = 0;
    for skip in 0..=CALLS_MAX {
        let (name, content) = (format!("file-{skip}"), bytes(u64::from(skip) + 2));
        let fault = Fault { calls, error: Some(error), skip, fail: 1 };
        faults.begin_at(fault, path);
        let reply = put(owner, &name, &content, Some(holder));
        let hits = faults.end();
        let context = format!("{path} with {fault:?}: {reply}");
        assert!(skip < CALLS_MAX && is_told(&reply), "{context}");
        match download(owner, &name) {
            Ok(found) => assert!(found == content, "other bytes are served: {context}"),
            Err(_) => assert_ne!(reply["complete"], true, "it was acknowledged: {context}"),
        }
        if reply["complete"] != true {
            failed += 1;
            let mut again = Value::Null;
            wait_for("the same upload to succeed once the disk works", || {
                again = put(owner, &name, &content, Some(holder));
                if again["complete"] != true {
                    println!("{context}; and once the disk works: {again}");
                }
                again["complete"] == true
            });
        }
        match download(owner, &name) {
            Ok(found) => assert!(found == content, "other bytes are served: {context}"),
            Err(error) => panic!("{error}: {context}"),
        }
        assert!(download(owner, "bystander").is_ok_and(|found| found == bystander), "{context}");
        assert_eq!(delete(owner, &name)["deleted"], true, "{context}");
        if hits == 0 {
            assert!(skip > 0, "{context}");
            println!("{path}: {skip} calls, {failed} of them ended the upload, with {error}");
            return;
        }
    }
}

#[test]
fn each_call_that_the_holders_disk_refuses_is_told_and_costs_nothing() {
    let faults = Faults::new();
    let mut pool = pool(&faults, 2, 1);
    for fault in [BROKEN, FULL] {
        fail_each_call(&faults, &pool, "/owned_storage", fault);
    }
    pool.peers[1].kill9();
    pool.peers[1].restart();
    pool.wait_until_complete();
    assert!(download(&pool.peers[0], "bystander").is_ok_and(|found| found == bytes(1)));
}

#[test]
fn each_call_that_the_owners_disk_refuses_is_told_and_the_upload_goes_on() {
    let faults = Faults::new();
    let mut pool = pool(&faults, 2, 0);
    for path in ["/owned_outgoing", "/owned_files.sqlite"] {
        fail_each_call(&faults, &pool, path, BROKEN);
    }
    pool.peers[0].kill9();
    pool.peers[0].restart();
    pool.wait_until_complete();
    assert!(download(&pool.peers[0], "bystander").is_ok_and(|found| found == bytes(1)));
}

#[test]
fn the_owners_full_disk_is_told_as_such() {
    let faults = Faults::new();
    let pool = pool(&faults, 2, 0);
    for (number, path) in ["/owned_outgoing", "/owned_files.sqlite"].into_iter().enumerate() {
        let (name, content) = (format!("file-{number}"), bytes(number as u64));
        faults.begin_at(Fault::always(WRITE, Errno::NOSPC), path);
        let reply = put(&pool.peers[0], &name, &content, Some(&pool.peers[1]));
        assert!(faults.end() > 0);
        assert_eq!(reply["code"], "limit_reached", "{path}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains("the disk is full"), "{path}: {reply}");
        assert_eq!(put(&pool.peers[0], &name, &content, Some(&pool.peers[1]))["complete"], true);
        assert!(download(&pool.peers[0], &name).is_ok_and(|found| found == content));
    }
}

#[test]
fn short_writes_of_owner_and_holder_make_nothing_shorter() {
    for (faulty, path) in [(0, "/owned_outgoing"), (1, "/owned_storage")] {
        let faults = Faults::new();
        let pool = pool(&faults, 2, faulty);
        faults.begin_at(Fault { calls: WRITE, error: None, skip: 0, fail: u32::MAX }, path);
        let reply = put(&pool.peers[0], "file", &bytes(1), Some(&pool.peers[1]));
        assert!(faults.end() > 3);
        assert_eq!(reply["complete"], true, "{reply}");
        assert!(download(&pool.peers[0], "file").is_ok_and(|found| found == bytes(1)));
    }
}

/// Whether the tracker names a file of the owner's.
fn is_registered(owner: &TestNode, count: usize) -> bool {
    let list = owner.call(json!({"type": "LIST_OWNED_FILES", "requester_id": owner.peer_id(), "to": "tracker"}));
    list["owned_files"].as_array().is_some_and(|files| files.len() == count)
}

#[test]
fn what_the_tracker_could_not_write_it_learns_once_it_can() {
    for error in [Errno::IO, Errno::NOSPC] {
        let faults = Faults::new();
        let mut pool = Cluster::start_under(faults.preload(tracker()), 2, |_, _| peer());
        assert_eq!(put(&pool.peers[0], "old", &bytes(1), Some(&pool.peers[1]))["complete"], true);
        faults.begin_at(Fault::always(WRITE | SYNC, error), "/registry.sqlite");
        let reply = put(&pool.peers[0], "new", &bytes(2), Some(&pool.peers[1]));
        println!("{error}: {reply}");
        assert!(reply["type"] == "ERROR" || reply["errors"].as_array().is_some_and(|it| !it.is_empty()), "{reply}");
        let deleted = delete(&pool.peers[0], "old");
        println!("{error}: {deleted}");
        assert!(faults.end() > 0);
        if reply["complete"] != true {
            assert_eq!(put(&pool.peers[0], "new", &bytes(2), Some(&pool.peers[1]))["complete"], true);
        }
        let mut left = 1;
        if deleted["type"] == "ERROR" {
            left = 1 + usize::from(delete(&pool.peers[0], "old")["type"] == "ERROR");
        }
        for _ in 0..2 {
            pool.tracker.kill9();
            pool.tracker.restart();
            wait_for("the tracker to have the file, and not the deleted one", || is_registered(&pool.peers[0], left));
        }
        assert_eq!(left, 1);
        assert!(download(&pool.peers[0], "new").is_ok_and(|found| found == bytes(2)));
        assert!(download(&pool.peers[0], "old").is_err());
    }
}
