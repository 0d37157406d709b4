//! Shared files that are found through the tracker and fetched from several peers at once.

use crate::files::content;
use potluck_tests::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const NAME: &str = "data/set.bin";

fn cluster(count: usize) -> Cluster {
    Cluster::start_with(count, |_, builder| builder.plugin("disk", ""))
}

fn put(peer: &TestNode, bytes: &[u8]) {
    let file = peer.folder().join("source");
    fs::write(&file, bytes).unwrap();
    peer.cli(["put-file", "--filename", NAME, "--filepath", file.to_str().unwrap()]).success();
}

fn holders(asker: &TestNode) -> Vec<Value> {
    let found = asker.call(json!({"type": "FIND_FILE", "filename": NAME, "to": "tracker"}));
    found["peers"].as_array().cloned().unwrap_or_default()
}

fn wait_for_holders(asker: &TestNode, count: usize) {
    wait_for(&format!("{count} peers to be known to have the file"), || holders(asker).len() == count);
}

fn stored(peer: &TestNode) -> PathBuf {
    peer.data_dir().join("peer_storage").join(NAME)
}

/// Bytes of the unfinished file of a fetch.
fn unfinished_bytes(peer: &TestNode) -> u64 {
    let folder = peer.data_dir().join("peer_storage/.potluck-temporary");
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn a_file_that_several_peers_have_is_fetched_from_all_of_them() {
    let cluster = cluster(3);
    let bytes = content((48 << 20) + 5);
    for peer in &cluster.peers[..2] {
        put(peer, &bytes);
    }
    let asker = &cluster.peers[2];
    wait_for_holders(asker, 2);
    let shown = asker.cli(["find-file", NAME]).success();
    assert!(cluster.peers[..2].iter().all(|peer| shown.stdout.contains(peer.peer_id())), "{}", shown.stdout);
    let target = asker.folder().join("fetched");
    let fetched = asker.cli(["fetch", NAME, "--json", "--save", target.to_str().unwrap()]).success().json_lines();
    assert!(fs::read(&target).unwrap() == bytes);
    let sources = fetched[0]["sources"].as_array().unwrap();
    let given: u64 = sources.iter().map(|source| source["bytes"].as_u64().unwrap()).sum();
    assert_eq!(given, bytes.len() as u64, "{sources:?}");
    assert!(sources.len() == 2 && sources.iter().all(|source| source["bytes"].as_u64() > Some(0)), "{sources:?}");
    wait_for_holders(asker, 3);
    let again = asker.call(json!({"type": "FETCH_FILE", "filename": NAME, "sha256": fetched[0]["sha256"]}));
    assert_eq!(again["sources"], json!([]), "it is here: {again}");
}

#[test]
fn a_damaged_copy_is_not_taken_and_it_is_told_whose_it_is() {
    let cluster = cluster(4);
    let bytes = content(9 << 20);
    for peer in &cluster.peers[..3] {
        put(peer, &bytes);
    }
    // A disk that has lost something says nothing of it: neither size nor time nor what was noted of the file change.
    let damaged = &cluster.peers[0];
    let file = File::options().write(true).open(stored(damaged)).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"rot", 5 << 20).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    let asker = &cluster.peers[3];
    wait_for_holders(asker, 3);
    let target = asker.folder().join("fetched");
    let output = asker.cli(["fetch", NAME, "--save", target.to_str().unwrap()]).success();
    assert!(fs::read(&target).unwrap() == bytes);
    let line = output.stdout.lines().find(|line| line.contains(damaged.peer_id())).unwrap_or_default();
    assert!(line.contains("0 B from") && line.contains("its copy is damaged"), "{}", output.stdout);
    assert_eq!(output.stdout.matches("dropped").count(), 1, "{}", output.stdout);
}

#[test]
fn a_peer_that_hangs_does_not_keep_a_file_from_coming() {
    let cluster = cluster(4);
    let bytes = content(3 << 20);
    for peer in &cluster.peers[..3] {
        put(peer, &bytes);
    }
    let (hanging, asker) = (&cluster.peers[1], &cluster.peers[3]);
    wait_for_holders(asker, 3);
    let pid = Pid::from_raw(i32::try_from(hanging.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let output = asker.cli(["fetch", NAME]);
    kill_process(pid, Signal::CONT).unwrap();
    let output = output.success();
    assert!(fs::read(stored(asker)).unwrap() == bytes);
    let line = output.stdout.lines().find(|line| line.contains(hanging.peer_id())).unwrap_or_default();
    assert!(line.contains("did not answer in time"), "{}", output.stdout);
}

#[test]
fn another_file_of_the_same_name_is_fetched_when_it_is_named() {
    let cluster = cluster(4);
    let (most, other) = (content(2 << 20), content(1 << 20));
    for (peer, bytes) in cluster.peers.iter().zip([&most, &most, &other]) {
        put(peer, bytes);
    }
    let asker = &cluster.peers[3];
    wait_for_holders(asker, 3);
    let reply = asker.call(json!({"type": "FETCH_FILE", "filename": NAME}));
    assert_eq!(reply["size"], most.len(), "{reply}");
    let rare = holders(asker).into_iter().find(|peer| peer["size"] == other.len()).unwrap();
    asker.cli(["fetch", NAME, "--sha256", rare["sha256"].as_str().unwrap()]).success();
    assert!(fs::read(stored(asker)).unwrap() == other);
    let reply = asker.call(json!({"type": "FETCH_FILE", "filename": NAME}));
    assert_eq!(reply["code"], "name_conflict", "what is here is not replaced unasked: {reply}");
}

#[test]
fn a_fetch_goes_on_where_it_was_when_a_source_or_the_asker_was_killed() {
    let mut cluster = cluster(2);
    let bytes = content(96 << 20);
    put(&cluster.peers[0], &bytes);
    wait_for_holders(&cluster.peers[1], 1);
    for victim in [0, 1] {
        let wire = {
            let mut wire = cluster.peers[1].wire();
            wire.send(json!({"type": "FETCH_FILE", "filename": NAME}));
            wire
        };
        let before = unfinished_bytes(&cluster.peers[1]);
        let asker = &cluster.peers[1];
        wait_for("a part of the file to come", || unfinished_bytes(asker) > before || stored(asker).exists());
        cluster.peers[victim].kill9();
        let asker = &cluster.peers[1];
        assert!(stored(asker).exists() || unfinished_bytes(asker) > 0, "what has come stays");
        drop(wire);
        cluster.peers[victim].restart();
        cluster.wait_until_complete();
        wait_for_holders(&cluster.peers[1], if stored(&cluster.peers[1]).exists() { 2 } else { 1 });
    }
    let asker = &cluster.peers[1];
    let reply = asker.call(json!({"type": "FETCH_FILE", "filename": NAME}));
    assert_eq!(reply["status"], "OK", "{reply}");
    assert!(fs::read(stored(asker)).unwrap() == bytes);
    assert_eq!(unfinished_bytes(asker), 0);
}

#[test]
fn nodes_without_a_pool_fetch_from_each_other_on_this_machine() {
    let cluster = Cluster::start_plain(2, |_, builder| builder.plugin("disk", ""));
    let bytes = content(3 << 20);
    put(&cluster.peers[0], &bytes);
    let asker = &cluster.peers[1];
    wait_for_holders(asker, 1);
    asker.cli(["fetch", NAME]).success();
    assert!(fs::read(stored(asker)).unwrap() == bytes);
    wait_for_holders(asker, 2);
    cluster.peers[0].cli(["del-file", NAME]).success();
    wait_for_holders(asker, 1);
}

#[test]
fn what_nobody_has_cannot_be_fetched() {
    let cluster = cluster(1);
    let output = cluster.peers[0].cli(["fetch", NAME]);
    assert!(output.status == 1 && output.stderr.contains("no other peer"), "{}", output.stderr);
}
