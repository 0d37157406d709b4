//! Owned files through the command line: kept by others, read by nobody else, there again after restarts and moves.

use crate::storage_kills::random::{Content, Random, sha256};
use potluck_tests::*;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const SECRET: &str = "nobody but the owner reads this line";

/// A pool whose tracker checks replicas often, and peers that keep owned files.
fn pool(count: usize) -> Cluster {
    let tracker = TestNode::tracker().plugin("tracker", "repair_after_seconds = 1.0\naudit_seconds = 1.0");
    Cluster::start_under(tracker, count, |_, builder| builder.plugin("owned-files", ""))
}

/// A file with a line that would be found on a holder's disk if it were there in the open.
fn source(node: &TestNode, bytes: usize) -> PathBuf {
    let path = node.folder().join("private thesis.txt");
    fs::write(&path, format!("{SECRET}\n").repeat(bytes / SECRET.len() + 1)).unwrap();
    path
}

fn upload(node: &TestNode, path: &Path, holders: &[&TestNode]) {
    let mut arguments = vec!["upload".to_owned(), path.to_str().unwrap().to_owned()];
    for holder in holders {
        arguments.extend(["--to".to_owned(), holder.peer_id().to_owned()]);
    }
    node.cli(arguments).success();
}

fn download(node: &TestNode, name: &str) -> Vec<u8> {
    let target = node.folder().join("downloaded");
    let _ = fs::remove_file(&target);
    node.cli(["download", name, "--save", target.to_str().unwrap()]).success();
    fs::read(target).unwrap()
}

/// All files that a node keeps for others.
fn kept(node: &TestNode) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![node.data_dir().join("owned_storage")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let is_tombstone = path.extension().is_some_and(|extension| extension == "deleted");
            if path.is_dir() {
                folders.push(path);
            } else if !is_tombstone {
                found.push(path);
            }
        }
    }
    found
}

fn replica_states(node: &TestNode) -> Vec<String> {
    let list = node.call(json!({"type": "LIST_OWNED_FILES"}));
    let peers = list["owned_files"][0]["storage_peers"].as_array().cloned().unwrap_or_default();
    peers.iter().map(|peer| peer["state"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_file_outlives_restarts_moves_and_the_death_of_a_holder() {
    let mut pool = pool(3);
    let path = source(&pool.peers[0], 3 << 20);
    let bytes = fs::read(&path).unwrap();
    upload(&pool.peers[0], &path, &[&pool.peers[1], &pool.peers[2]]);
    for holder in &pool.peers[1..] {
        assert!(!kept(holder).is_empty());
        for file in kept(holder) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            assert!(!text.contains(SECRET) && !text.contains("thesis"), "{} can be read", file.display());
        }
    }
    pool.tracker.stop();
    pool.tracker.restart();
    pool.peers[0].stop();
    pool.peers[0].restart_elsewhere();
    pool.peers[1].kill9();
    wait_for("the owner to be registered again", || {
        pool.peers[0].call(json!({"type": "LIST_PEERS"}))["tracker_connected"] == true
    });
    assert_eq!(download(&pool.peers[0], "private thesis.txt"), bytes);
    pool.peers[0].cli(["delete-owned", "private thesis.txt"]).success();
    wait_for("the holder that is there to delete it", || kept(&pool.peers[2]).is_empty());
    pool.peers[1].restart();
    wait_for("the holder that was away to delete it", || kept(&pool.peers[1]).is_empty());
    assert_eq!(pool.peers[0].call(json!({"type": "LIST_OWNED_FILES"}))["owned_files"], json!([]));
}

#[test]
fn a_tracker_that_has_lost_its_state_learns_of_every_file_again() {
    let mut pool = pool(2);
    let path = source(&pool.peers[0], 1 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1]]);
    pool.tracker.stop();
    fs::remove_dir_all(pool.tracker.data_dir().join("tracker_state")).unwrap();
    pool.tracker.restart();
    wait_for("the file to be found again", || {
        let found = pool.peers[0].call(json!({"type": "LIST_OWNED_FILES"}));
        found["owned_files"].as_array().is_some_and(|files| files.len() == 1)
    });
    assert_eq!(download(&pool.peers[0], "private thesis.txt"), fs::read(&path).unwrap());
}

#[test]
fn whoever_is_not_the_owner_is_refused_whatever_it_says() {
    let pool = pool(3);
    let path = source(&pool.peers[0], 1 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1]]);
    let owner = &pool.peers[0];
    let found = owner.call(json!({"type": "LIST_OWNED_FILES", "requester_id": owner.peer_id(), "to": "tracker"}));
    let manifest = &found["owned_files"][0];
    let details: Value = serde_json::from_str(manifest["manifest"].as_str().unwrap()).unwrap();
    let (tag, blob) = (&details["name_tag"], &details["blob"]["id"]);
    let claims = json!({
        "requester_id": owner.peer_id(), "requester_port": owner.port(), "requester_ip": "127.0.0.1",
        "owner_id": owner.peer_id(), "owner_port": owner.port(), "owner_ip": "127.0.0.1",
        "manifest": manifest["manifest"], "signature": manifest["signature"],
    });
    let thief = &pool.peers[2];
    let holder = pool.peers[1].peer_id();
    let (at_tracker, at_holder) = (json!({"to": "tracker"}), json!({"to": holder}));
    for (message, to) in [
        (json!({"type": "FIND_OWNED_FILE", "name_tag": tag}), &at_tracker),
        (json!({"type": "REGISTER_OWNED_FILE", "holders": [thief.peer_id()]}), &at_tracker),
        (json!({"type": "DELETE_OWNED_FILE"}), &at_tracker),
        (json!({"type": "GET_OWNED_FILE", "blob": blob, "block": 0}), &at_holder),
        (json!({"type": "AUDIT_OWNED_FILE", "blob": blob, "block": 0}), &at_holder),
        (json!({"type": "DELETE_OWNED_FILE", "blob": blob}), &at_holder),
        (json!({"type": "REPLICATE_OWNED_FILE", "blob": blob, "target": thief.peer_id()}), &at_holder),
    ] {
        let reply = thief.call(with(with(message.clone(), claims.clone()), to.clone()));
        let refused = reply["code"] == "forbidden" || reply["found"] == false && reply["error"].is_string();
        assert!(refused, "{message}: {reply}");
    }
    let seen = thief.call(with(json!({"type": "LIST_OWNED_FILES", "to": "tracker"}), claims));
    assert_eq!(seen["code"], "forbidden", "{seen}");
    // Without the claims it is a list of its own files.
    let seen = thief.call(json!({"type": "LIST_OWNED_FILES", "to": "tracker", "requester_id": thief.peer_id()}));
    assert_eq!(seen["owned_files"], json!([]), "{seen}");
    assert_eq!(download(owner, "private thesis.txt"), fs::read(&path).unwrap());
}

#[test]
fn a_flipped_byte_is_noticed_and_repaired_from_another_replica() {
    let pool = pool(3);
    let path = source(&pool.peers[0], 2 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1], &pool.peers[2]]);
    let blob = kept(&pool.peers[1]).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let good = fs::read(&blob).unwrap();
    let mut damaged = good.clone();
    damaged[1_500_000] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    wait_for("the replica to be repaired", || {
        pool.peers[0].cli(["files", "repair"]);
        fs::read(&blob).is_ok_and(|bytes| bytes == good)
    });
    wait_for("both replicas to be in order", || replica_states(&pool.peers[0]) == ["ok", "ok"]);
}

#[test]
fn a_replica_of_a_holder_that_is_gone_is_made_anew_elsewhere() {
    let mut pool = pool(3);
    let path = source(&pool.peers[0], 1 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1]]);
    pool.peers[0].cli(["upload", path.to_str().unwrap(), "--name", "second", "--replicas", "2"]).success();
    wait_for("two nodes to keep the second file", || kept(&pool.peers[2]).len() >= 2);
    pool.peers[1].kill9();
    assert_eq!(download(&pool.peers[0], "second"), fs::read(&path).unwrap());
}

#[test]
fn the_owner_on_a_new_machine_has_its_files_again_by_the_recovery_key() {
    let mut pool = pool(2);
    let path = source(&pool.peers[0], 1 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1]]);
    let data_dir = pool.peers[0].data_dir().to_str().unwrap().to_owned();
    let key = potluck(["recovery", "export", "--data-dir", &data_dir]).success().stdout;
    let blob = kept(&pool.peers[1]).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let identity = pool.peers[0].folder().join("age.key");
    potluck(["recovery", "export", "--data-dir", &data_dir, "--age-identity", identity.to_str().unwrap()]).success();
    let age = std::process::Command::new("age").arg("-d").arg("-i").arg(&identity).arg(&blob).output().unwrap();
    assert!(age.status.success(), "{}", String::from_utf8_lossy(&age.stderr));
    assert_eq!(age.stdout, fs::read(&path).unwrap());
    pool.peers[0].stop();
    let folder = tempfile::tempdir().unwrap();
    let new_dir = folder.path().join("data");
    potluck(["recovery", "restore", key.trim(), "--data-dir", new_dir.to_str().unwrap()]).success();
    let new = TestNode::peer().plugin("owned-files", "").data_dir(&new_dir).start();
    assert_eq!(new.peer_id(), pool.peers[0].peer_id());
    join_as(&new, &pool.token(json!({})), "new");
    wait_for("the new machine to be registered", || {
        new.call(json!({"type": "LIST_PEERS"}))["tracker_connected"] == true
    });
    wait_for("the new machine to have learnt of its files", || {
        new.cli(["owned"]).success().stdout.contains("private thesis.txt")
    });
    assert_eq!(download(&new, "private thesis.txt"), fs::read(&path).unwrap());
}

/// Uploads in one piece; the answer when it is stored.
fn put(node: &TestNode, upload: &str, name: &str, bytes: &[u8]) -> Value {
    let message = json!({
        "type": "UPLOAD_OWNED_FILE", "filename": name, "upload": upload, "final": true, "size": bytes.len(),
        "sha256": sha256(bytes),
    });
    node.call_with(message, bytes).value()
}

/// A piece of a file, decrypted, and what the node says of it.
fn piece(node: &TestNode, name: &str, offset: u64, length: u64) -> (Value, Vec<u8>) {
    let message = json!({
        "type": "DOWNLOAD_OWNED_FILE", "filename": name, "offset": offset, "length": length, "encoding": "raw",
    });
    let frame = node.call_with(message, b"");
    (frame.value(), frame.attachment)
}

#[test]
fn files_of_all_sizes_at_the_edges_of_blocks_come_back_from_any_place() {
    const CHUNK: usize = 64 << 10;
    const BLOCK: usize = 1 << 20;
    let pool = pool(2);
    let owner = &pool.peers[0];
    let mut random = Random::new(5);
    for length in
        [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK, 3 * BLOCK + 12_345]
    {
        let name = format!("{length} bytes");
        let bytes = Content::new(length as u64, length).bytes();
        let stored = put(owner, &format!("u{length}"), &name, &bytes);
        assert_eq!((&stored["complete"], &stored["received_bytes"]), (&json!(true), &json!(length)), "{stored}");
        let listed = owner.call(json!({"type": "LIST_OWNED_FILES", "filename": name}));
        assert_eq!(listed["owned_files"][0]["sha256"], sha256(&bytes));
        let edges =
            [0, 1, CHUNK - 1, CHUNK, BLOCK - 1, BLOCK, length / 2, length.saturating_sub(1), length, length + 1];
        let mut places: Vec<(u64, u64)> = edges.iter().map(|offset| (*offset as u64, 3)).collect();
        places.extend((0..30).map(|_| (random.below(length as u64 + 2), random.below(3 * CHUNK as u64))));
        places.extend([(0, u64::MAX), (u64::MAX, 5), (1, 0), (length as u64 / CHUNK as u64 * CHUNK as u64, u64::MAX)]);
        for (offset, wanted) in places {
            let (head, got) = piece(owner, &name, offset, wanted);
            assert_eq!((&head["found"], &head["size"]), (&json!(true), &json!(length)), "{length} at {offset}: {head}");
            let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
            let end = begin.saturating_add(usize::try_from(wanted).unwrap_or(usize::MAX)).min(length);
            assert!(got == bytes[begin..end], "{wanted} bytes at {offset} of {length}: {} came", got.len());
        }
    }
}

#[test]
fn a_file_goes_in_through_standard_input_and_out_through_standard_output() {
    let pool = pool(2);
    let owner = &pool.peers[0];
    for (name, text) in [("empty", String::new()), ("long", "a line of it\n".repeat(300_000))] {
        owner.cli_with_input(["upload", "-", "--name", name], &text).success();
        let out = owner.cli(["download", name, "--save", "-"]).success();
        assert!(out.stdout == text, "{} bytes of {}", out.stdout.len(), text.len());
    }
    let status = owner.cli(["files", "status"]).success();
    assert!(status.stdout.contains("long") && status.stdout.contains("empty"), "{}", status.stdout);
    assert!(owner.cli(["owned"]).success().stdout.contains("1 of 1"));
}

#[test]
fn a_small_file_that_nobody_could_take_is_stored_by_the_same_command() {
    let pool = pool(1);
    let path = source(&pool.peers[0], 100);
    let refused = pool.peers[0].cli(["upload", path.to_str().unwrap()]);
    assert!(refused.status != 0 && refused.stderr.contains("other peers"), "{}", refused.stderr);
    let missing = pool.peers[0].cli(["upload", path.to_str().unwrap(), "--to", "192.0.2.7:9000"]);
    assert!(missing.status != 0 && missing.stderr.contains("potluck peers"), "{}", missing.stderr);
    let own = pool.peers[0].peer_id().to_owned();
    let own = pool.peers[0].cli(["upload", path.to_str().unwrap(), "--to", own.as_str()]);
    assert!(own.status != 0 && own.stderr.contains("name another"), "{}", own.stderr);
    let other = TestNode::peer().plugin("owned-files", "").start();
    join_as(&other, &pool.token(json!({})), "other");
    wait_for("the other node to be known", || {
        let list = pool.peers[0].call(json!({"type": "LIST_PEERS"}));
        list["peers"].as_array().is_some_and(|peers| peers.iter().any(|peer| peer["peer_id"] == other.peer_id()))
    });
    upload(&pool.peers[0], &path, &[&other]);
    assert_eq!(download(&pool.peers[0], "private thesis.txt"), fs::read(&path).unwrap());
}

#[test]
fn versions_that_are_uploaded_and_deleted_at_once_end_as_one_of_them() {
    let pool = pool(3);
    let owner = &pool.peers[0];
    std::thread::scope(|scope| {
        for client in 0..4_u64 {
            scope.spawn(move || {
                for round in 0..6_u64 {
                    let number = client * 10 + round;
                    if number % 5 == 4 {
                        owner.call(json!({"type": "DELETE_OWNED_FILE", "filename": "one"}));
                    } else {
                        let bytes = Content::new(number, 100_000).bytes();
                        let reply = put(owner, &format!("u{number}"), "one", &bytes);
                        assert!(
                            reply["complete"] == true || reply["code"] == "superseded" || reply["code"] == "aborted",
                            "{reply}"
                        );
                    }
                    let (head, bytes) = piece(owner, "one", 0, u64::MAX);
                    let is_one =
                        head["found"] == false || Content::is_whole(&bytes) && head["sha256"] == sha256(&bytes);
                    assert!(is_one || head["type"] == "ERROR", "{head}");
                }
            });
        }
    });
    let bytes = Content::new(99, 100_000).bytes();
    assert_eq!(put(owner, "last", "one", &bytes)["complete"], true);
    assert!(piece(owner, "one", 0, u64::MAX).1 == bytes);
    assert_eq!(owner.call(json!({"type": "DELETE_OWNED_FILE", "filename": "one"}))["deleted"], true);
    assert_eq!(piece(owner, "one", 0, u64::MAX).0["found"], false);
    for holder in &pool.peers[1..] {
        wait_for("nothing to be left with a holder", || kept(holder).is_empty());
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_in_every_message() {
    let tracker = TestNode::tracker().plugin("tracker", "");
    let pool = Cluster::start_under(tracker, 2, |_, builder| builder.plugin("owned-files", "").plugin("disk", ""));
    let (owner, holder) = (&pool.peers[0], pool.peers[1].peer_id());
    let long = "x".repeat(2000);
    let names = [
        "..",
        "../a",
        "a/../../b",
        "/etc/passwd",
        "a\0b",
        "a//b",
        "./a",
        "a\\b",
        "COM1",
        "x/nul.txt",
        " a",
        "a.",
        "e\u{301}",
        "a\u{202e}b",
        "a\u{200b}b",
        "a／b",
        "‥",
        ".potluck-x",
        &long,
    ];
    for name in names {
        for message in [
            json!({"type": "UPLOAD_OWNED_FILE", "upload": "u", "final": true, "data": "eA=="}),
            json!({"type": "DOWNLOAD_OWNED_FILE"}),
            json!({"type": "DELETE_OWNED_FILE"}),
            json!({"type": "LIST_OWNED_FILES"}),
            json!({"type": "REPAIR_OWNED_FILES"}),
            json!({"type": "UPLOAD_TO_PEER", "data": "eA==", "to": holder}),
            json!({"type": "GET_OWNED_FILE", "to": holder}),
            json!({"type": "DELETE_OWNED_FILE", "requester_port": owner.port(), "to": holder}),
            json!({"type": "REGISTER_FILE", "port": owner.port(), "to": "tracker"}),
            json!({"type": "REGISTER_FILE", "files": [{"filename": name, "size": 1}], "to": "tracker"}),
            json!({"type": "FIND_FILE", "to": "tracker"}),
            json!({"type": "FIND_OWNED_FILE", "to": "tracker"}),
            json!({
                "type": "REGISTER_OWNED_FILE", "owner_ip": "127.0.0.1", "owner_port": owner.port(), "storage_ip": "127.0.0.1",
                "storage_port": 1, "to": "tracker",
            }),
            json!({"type": "FETCH_FILE"}),
        ] {
            let reply = owner.call(with(message.clone(), json!({"filename": name})));
            let refused = reply["type"] == "ERROR" || reply["status"] == "ERROR" || reply["found"] == false;
            assert!(refused, "{message} {name:?}: {reply}");
        }
    }
    assert!(kept(owner).is_empty());
    for file in kept(&pool.peers[1]) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let digits = name.strip_suffix(".named").unwrap_or(name);
        assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", file.display());
    }
    for node in [owner, &pool.peers[1]] {
        let outgoing = fs::read_dir(node.data_dir().join("owned_outgoing")).unwrap();
        assert_eq!(outgoing.count(), 0);
    }
}

#[test]
fn links_in_the_place_of_replicas_are_not_followed() {
    let pool = pool(2);
    let path = source(&pool.peers[0], 2 << 20);
    upload(&pool.peers[0], &path, &[&pool.peers[1]]);
    let holder = &pool.peers[1];
    let blob = kept(holder).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let victim = holder.folder().join("victim");
    fs::rename(&blob, &victim).unwrap();
    let before = fs::read(&victim).unwrap();
    std::os::unix::fs::symlink(&victim, &blob).unwrap();
    let (refused, bytes) = piece(&pool.peers[0], "private thesis.txt", 0, 10);
    assert!(refused["type"] == "ERROR" && bytes.is_empty(), "{refused}");
    upload(&pool.peers[0], &source(&pool.peers[0], 1 << 20), &[&pool.peers[1]]);
    pool.peers[0].cli(["delete-owned", "private thesis.txt"]).success();
    wait_for("nothing to be left with the holder", || kept(holder).is_empty());
    assert!(fs::read(&victim).unwrap() == before);
}
