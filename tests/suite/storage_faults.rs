//! Disks that are full, fail or write less than they should while files are stored: the answer says so, the node goes on,
//! nothing that was acknowledged is lost, nothing that was not is visible, and the same succeeds once the disk works.

pub(crate) mod disk;

use crate::storage_kills::client::fetch;
use crate::storage_kills::random::{Content, Random, sha256};
use crate::storage_kills::{CAPACITY_BYTES, Disturbance, builder, check_room, listed, names_in, rounds};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use disk::{Fault, Faults, OPEN, READ, SYNC, TRUNCATE, WRITE};
use potluck_tests::{NodeBuilder, TestNode, wait_for, with};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;

/// A call of a file's operation is one of fewer.
const CALLS_MAX: u32 = 60;

fn put(node: &TestNode, name: &str, bytes: &[u8]) -> Value {
    let message = json!({ "type": "PUT_FILE", "filename": name, "sha256": sha256(bytes) });
    node.call_with(message, bytes).value()
}

fn delete(node: &TestNode, name: &str) -> Value {
    node.call(json!({ "type": "DELETE_FILE", "filename": name }))
}

/// Sends a piece of an upload.
fn piece(node: &TestNode, name: &str, bytes: &[u8], begin: usize, end: usize) -> Value {
    let message = json!({
        "type": "PUT_FILE_CHUNK", "filename": name, "upload": "upload", "offset": begin, "size": bytes.len(),
        "final": end == bytes.len(), "sha256": sha256(bytes),
    });
    node.call_with(message, &bytes[begin..end]).value()
}

/// How much of an upload the node has.
fn ask(node: &TestNode, name: &str) -> Value {
    node.call(json!({ "type": "PUT_FILE_CHUNK", "filename": name, "upload": "upload", "offset": u64::MAX }))
}

fn received(node: &TestNode, name: &str) -> usize {
    ask(node, name)["received_bytes"].as_u64().unwrap() as usize
}

/// Sends the rest of an upload, as somebody does who knows nothing of what was sent.
fn resume(node: &TestNode, name: &str, bytes: &[u8]) -> Value {
    let reply = ask(node, name);
    match reply["received_bytes"].as_u64() {
        Some(begin) => piece(node, name, bytes, begin as usize, bytes.len()),
        None => reply,
    }
}

fn is_ok(reply: &Value) -> bool {
    reply["status"] == "OK"
}

/// Checks that all that is listed is there and whole, and that it is what is counted; `reserved` bytes are of uploads.
fn check_all(node: &TestNode, reserved: usize) {
    let (files, count, bytes) = listed(node);
    let mut sum = 0;
    for (name, (size, hash)) in &files {
        let found = fetch(&mut node.wire(), name).unwrap_or_else(|| panic!("{name} is listed and not there"));
        assert_eq!((found.len(), &json!(sha256(&found))), (*size, hash), "{name}");
        sum += found.len();
    }
    assert_eq!((count, bytes), (files.len(), sum));
    check_room(node, CAPACITY_BYTES - sum - reserved);
}

fn temporary(node: &TestNode) -> Vec<String> {
    names_in(&node.data_dir().join("peer_storage/.potluck-temporary"))
}

/// A name, and what it holds before an operation and after it.
type Subject = (String, Option<Vec<u8>>, Option<Vec<u8>>);

/// Something that is done to a file.
struct Operation<'a> {
    what: &'a str,
    prepare: &'a dyn Fn(&TestNode, u32) -> Subject,
    run: &'a dyn Fn(&TestNode, &str) -> Value,
}

/// Fails each call of an operation in turn, until there is none left to fail.
fn fail_each_call(
    faults: &Faults,
    node: &TestNode,
    operation: &Operation<'_>,
    (calls, error, code): (u32, Errno, &str),
) {
    let mut failed = 0;
    for skip in 0..=CALLS_MAX {
        let (name, before, after) = (operation.prepare)(node, skip);
        let fault = Fault { calls, error: Some(error), skip, fail: 1 };
        faults.begin(fault);
        let reply = (operation.run)(node, &name);
        let hits = faults.end();
        let context = format!("{} with {fault:?}: {reply}", operation.what);
        assert!(skip < CALLS_MAX, "{context}");
        // Words, since the answer has to tell apart what is done from what is not.
        let is_done = is_ok(&reply) || reply["error"].as_str().unwrap().contains(" is done, but ");
        let expected = if is_done { &after } else { &before };
        assert!(fetch(&mut node.wire(), &name) == *expected, "{context}");
        if hits == 0 {
            assert!(is_ok(&reply) && skip > 0, "{context}");
            println!("{}: {skip} calls, {failed} of them ended it, with {error}", operation.what);
            return;
        }
        if !is_ok(&reply) {
            failed += 1;
            let told = if is_done { "disk_failed" } else { code };
            assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(told)), "{context}");
            assert_eq!(
                reply["error"].as_str().unwrap().contains("the disk is full"),
                told == "limit_reached",
                "{context}"
            );
            let again = (operation.run)(node, &name);
            assert!(is_ok(&again), "{context}; and once the disk works: {again}");
            assert!(fetch(&mut node.wire(), &name) == after, "{context}");
        }
        assert_eq!(temporary(node), Vec::<String>::new(), "{context}");
        check_all(node, 0);
    }
}

fn whole(seed: u64, length: usize) -> Vec<u8> {
    Content::new(seed, length).bytes()
}

fn fail_each_call_of_all(fault: (u32, Errno, &str)) {
    let faults = Faults::new();
    let mut node = faults.preload(builder()).start();
    let (old, new) = (whole(1, 300_000), whole(2, 600_000));
    assert!(is_ok(&put(&node, "bystander", &whole(3, 5000))));
    let put_old = |node: &TestNode| {
        assert!(is_ok(&put(node, "file", &old)));
    };
    let operations = [
        Operation {
            what: "a new file in new folders",
            prepare: &|_, count| (format!("folder-{count}/deep/file"), None, Some(new.clone())),
            run: &|node, name| put(node, name, &new),
        },
        Operation {
            what: "a file in the place of another",
            prepare: &|node, _| {
                put_old(node);
                ("file".to_owned(), Some(old.clone()), Some(new.clone()))
            },
            run: &|node, name| put(node, name, &new),
        },
        Operation {
            what: "the deletion of a file",
            prepare: &|node, _| {
                put_old(node);
                ("file".to_owned(), Some(old.clone()), None)
            },
            run: &|node, name| delete(node, name),
        },
        Operation {
            what: "an upload in one piece",
            prepare: &|node, _| {
                put_old(node);
                ("file".to_owned(), Some(old.clone()), Some(new.clone()))
            },
            run: &|node, name| resume(node, name, &new),
        },
        Operation {
            what: "the end of an upload",
            prepare: &|node, count| {
                let name = format!("uploaded-{count}");
                assert!(is_ok(&piece(node, &name, &new, 0, 400_000)));
                (name, None, Some(new.clone()))
            },
            run: &|node, name| resume(node, name, &new),
        },
    ];
    for operation in operations {
        fail_each_call(&faults, &node, &operation, fault);
        for name in listed(&node).0.into_keys().filter(|name| name != "bystander") {
            assert_eq!(delete(&node, &name)["deleted"], true);
        }
    }
    node.kill9();
    node.restart();
    assert_eq!(fetch(&mut node.wire(), "bystander"), Some(whole(3, 5000)));
    check_all(&node, 0);
}

#[test]
fn each_call_that_a_disk_refuses_once_ends_one_message_and_no_more() {
    fail_each_call_of_all(Fault::IO);
}

#[test]
fn each_call_that_a_full_disk_refuses_ends_one_message_and_no_more() {
    fail_each_call_of_all(Fault::FULL);
}

#[test]
fn a_piece_that_could_not_be_written_is_taken_back_and_the_upload_goes_on() {
    let faults = Faults::new();
    let node = faults.preload(builder()).start();
    let bytes = whole(4, 900_000);
    for (name, error) in [("one", Errno::IO), ("two", Errno::NOSPC)] {
        assert_eq!(piece(&node, name, &bytes, 0, 300_000)["received_bytes"], 300_000);
        for calls in [WRITE, OPEN, WRITE | TRUNCATE] {
            faults.begin(Fault { calls, error: Some(error), skip: 0, fail: 2 });
            let reply = piece(&node, name, &bytes, 300_000, 600_000);
            assert!(faults.end() > 0 && reply["code"].is_string(), "{reply}");
            assert_eq!(received(&node, name), 300_000);
            assert_eq!(node.call(json!({ "type": "GET_FILE", "filename": name }))["found"], false);
            check_all(&node, bytes.len());
        }
        assert_eq!(piece(&node, name, &bytes, 300_000, 600_000)["received_bytes"], 600_000);
        assert_eq!(piece(&node, name, &bytes, 600_000, 900_000)["complete"], true);
        assert_eq!(fetch(&mut node.wire(), name).as_ref(), Some(&bytes));
    }
    assert_eq!(temporary(&node), Vec::<String>::new());
    check_all(&node, 0);
}

#[test]
fn an_upload_whose_end_could_not_be_synced_is_written_anew_and_survives_a_kill() {
    let faults = Faults::new();
    let mut node = faults.preload(builder()).start();
    let bytes = whole(5, 900_000);
    assert!(is_ok(&piece(&node, "file", &bytes, 0, 600_000)));
    faults.begin(Fault::always(SYNC, Errno::IO));
    assert_eq!(piece(&node, "file", &bytes, 600_000, 900_000)["code"], "disk_failed");
    faults.end();
    node.kill9();
    node.restart();
    check_all(&node, bytes.len());
    assert_eq!(received(&node, "file"), bytes.len(), "nothing has to be sent again");
    // Only writing it anew can fail here.
    faults.begin(Fault::always(WRITE, Errno::NOSPC));
    assert_eq!(piece(&node, "file", &bytes, 900_000, 900_000)["code"], "limit_reached");
    assert!(faults.end() > 0);
    check_all(&node, bytes.len());
    assert_eq!(piece(&node, "file", &bytes, 900_000, 900_000)["complete"], true);
    assert_eq!(fetch(&mut node.wire(), "file").as_ref(), Some(&bytes));
    assert_eq!(temporary(&node), Vec::<String>::new());
}

#[test]
fn short_writes_make_nothing_shorter() {
    let faults = Faults::new();
    let node = faults.preload(builder()).start();
    let bytes = whole(6, 700_000);
    let fault = Fault { calls: WRITE, error: None, skip: 0, fail: u32::MAX };
    faults.begin(fault);
    assert!(is_ok(&put(&node, "put", &bytes)));
    assert!(is_ok(&piece(&node, "uploaded", &bytes, 0, 500_000)));
    assert_eq!(piece(&node, "uploaded", &bytes, 500_000, 700_000)["complete"], true);
    assert!(faults.end() > 10);
    for name in ["put", "uploaded"] {
        assert_eq!(fetch(&mut node.wire(), name).as_ref(), Some(&bytes));
    }
    check_all(&node, 0);
}

#[test]
fn a_disk_that_fails_all_the_time_costs_nothing_that_was_acknowledged() {
    let faults = Faults::new();
    let mut node = faults.preload(builder()).start();
    let (old, new) = (whole(7, 200_000), whole(8, 400_000));
    for (calls, error, _) in [Fault::IO, Fault::FULL] {
        assert!(is_ok(&put(&node, "file", &old)));
        assert!(is_ok(&piece(&node, "upload", &new, 0, 150_000)));
        faults.begin(Fault::always(calls, error));
        for _ in 0..3 {
            for reply in [
                put(&node, "file", &new),
                put(&node, "other", &new),
                piece(&node, "upload", &new, 150_000, 400_000),
                piece(&node, "another", &new, 0, 400_000),
            ] {
                assert!(reply["code"] == "disk_failed" || reply["code"] == "limit_reached", "{reply}");
            }
        }
        node.kill9();
        assert!(faults.end() > 0);
        node.restart();
        assert_eq!(fetch(&mut node.wire(), "file").as_ref(), Some(&old));
        assert_eq!((listed(&node).1, temporary(&node).len()), (1, 1), "the file, and the part");
        check_all(&node, new.len());
        assert_eq!(received(&node, "upload"), 150_000);
        assert_eq!(piece(&node, "upload", &new, 150_000, 400_000)["complete"], true);
        assert!(is_ok(&put(&node, "other", &new)));
        assert_eq!(temporary(&node), Vec::<String>::new());
        check_all(&node, 0);
        for name in ["upload", "other"] {
            assert_eq!(delete(&node, name)["deleted"], true);
        }
    }
}

/// Errors now and then, on any call.
struct Flicker {
    faults: Faults,
    hits: Cell<u32>,
}

impl Disturbance for Flicker {
    fn prepare(&self, builder: NodeBuilder) -> NodeBuilder {
        self.faults.preload(builder)
    }

    fn may_fail(&self) -> bool {
        true
    }

    fn disturb(&self, random: &mut Random) {
        if random.one_in(20) {
            self.end();
            let (calls, error, _) = if random.one_in(2) { Fault::IO } else { Fault::FULL };
            let calls = if random.one_in(2) { calls } else { calls & (1 << random.below(9)) };
            let (skip, fail) = (random.below(50) as u32, 1 + random.below(10) as u32);
            self.faults.begin(Fault { calls, error: Some(error), skip, fail });
        }
    }

    fn end(&self) {
        self.hits.set(self.hits.get() + self.faults.end());
    }
}

#[test]
fn what_was_acknowledged_outlives_a_disk_that_fails_now_and_then_and_kills() {
    let flicker = Flicker { faults: Faults::new(), hits: Cell::new(0) };
    rounds(&flicker);
    println!("{} calls have failed", flicker.hits.get());
    assert!(flicker.hits.get() > 0);
}

#[test]
fn a_file_that_cannot_be_read_is_told_as_such_and_is_there_when_it_can() {
    let faults = Faults::new();
    let node = faults.preload(builder()).start();
    let bytes = whole(9, 300_000);
    assert!(is_ok(&put(&node, "file", &bytes)));
    let messages = [
        json!({ "type": "GET_FILE", "encoding": "raw" }),
        json!({ "type": "GET_FILE_CHUNK", "encoding": "raw", "offset": 5, "length": 1000 }),
        json!({ "type": "STAT_FILE", "block_hashes": true }),
    ];
    for message in messages {
        let message = with(message, json!({ "filename": "file" }));
        for calls in [READ, OPEN] {
            faults.begin(Fault::always(calls, Errno::IO));
            let reply = node.call(message.clone());
            assert!(faults.end() > 0);
            assert_eq!(reply["code"], "disk_failed", "{message} {reply}");
            assert_eq!(node.call(message.clone())["found"], true);
        }
    }
    assert_eq!(fetch(&mut node.wire(), "file").as_ref(), Some(&bytes));
}

#[test]
fn a_message_larger_than_a_frame_meets_a_disk_that_fails() {
    let faults = Faults::new();
    let node = faults.preload(builder()).start();
    let bytes = whole(10, 13 << 20);
    let message = json!({ "type": "PUT_FILE", "filename": "file", "data": STANDARD.encode(&bytes) }).to_string();
    let put = |node: &TestNode| -> Value { serde_json::from_str(&node.call_raw(&message)).unwrap() };
    for (path, error) in [("/spool", Errno::IO), ("/spool", Errno::NOSPC), ("/peer_storage", Errno::NOSPC)] {
        faults.begin_at(Fault { calls: WRITE, error: Some(error), skip: 3, fail: u32::MAX }, path);
        let reply = put(&node);
        assert!(faults.end() > 0, "{path} {error}");
        assert_eq!(reply["type"], "ERROR", "{path} {error}: {reply}");
        println!("{path} {error}: {reply}");
        wait_for("the spooled file is removed", || names_in(&node.data_dir().join("spool")).is_empty());
        assert_eq!((fetch(&mut node.wire(), "file"), temporary(&node)), (None, Vec::new()));
        check_all(&node, 0);
    }
    assert!(is_ok(&put(&node)));
    assert_eq!(fetch(&mut node.wire(), "file"), Some(bytes));
}

#[test]
fn a_small_disk_fills_up_and_serves_again_once_something_is_deleted() {
    let faults = Faults::new();
    let small = faults.folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let plugins = format!("[plugins.disk]\nfolder = {}\n", json!(small.join("files")));
    let node = faults.small_disk(TestNode::peer().plugins(plugins), &small, 4 << 20).start();
    let bytes = |number: u64| whole(number, 300_000);
    let name = |number: u64| format!("file-{number}");
    let full = (0..).find(|number| !is_ok(&put(&node, &name(*number), &bytes(*number)))).unwrap();
    assert!((10..14).contains(&full), "{full} files of 300 kB are on a disk of 4 MiB");
    let big = whole(99, 500_000);
    for _ in 0..3 {
        let reply = put(&node, &name(full), &bytes(full));
        assert_eq!(reply["code"], "limit_reached", "{reply}");
        assert!(reply["error"].as_str().unwrap().contains("the disk is full"), "{reply}");
        let reply = put(&node, &name(0), &big);
        assert_eq!(reply["code"], "limit_reached", "{reply}");
    }
    let mut begin = 0;
    let refused = loop {
        let reply = piece(&node, "upload", &big, begin, begin + 50_000);
        if !is_ok(&reply) {
            break reply;
        }
        begin += 50_000;
    };
    assert_eq!(refused["code"], "limit_reached", "{refused}");
    assert_eq!(received(&node, "upload"), begin, "what was acknowledged of the upload is there, and no more");
    for number in 0..full {
        assert_eq!(fetch(&mut node.wire(), &name(number)), Some(bytes(number)));
    }
    for number in [0, 1] {
        assert_eq!(delete(&node, &name(number))["deleted"], true);
    }
    assert_eq!(piece(&node, "upload", &big, begin, big.len())["complete"], true);
    assert_eq!(fetch(&mut node.wire(), "upload"), Some(big));
    assert_eq!(delete(&node, &name(2))["deleted"], true);
    assert!(is_ok(&put(&node, &name(full), &bytes(full))));
    let (files, _, sum) = listed(&node);
    assert_eq!((files.len() as u64, sum as u64), (full - 1, (full - 2) * 300_000 + 500_000));
}
