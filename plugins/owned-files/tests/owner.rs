//! The owner's half through the provider's real table, with a tracker and holders that the test makes up.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

#[path = "owner/world.rs"]
mod world;

use potluck_sdk::files::{Blake3, Sha256, to_hex};
use potluck_sdk::message::owned_files::MANIFEST_LABEL;
use potluck_sdk::signature::signed_bytes;
use potluck_sdk::testing::Harness;
use potluck_sdk::{Provider, ProviderError};
use provider_owned_files::OwnedFiles;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use world::{FIRST, Manner, Node, PIECE, SECOND, Shared, World, error, manifest_of, text};

fn code<T>(result: Result<T, ProviderError>) -> String {
    result.err().map(|error| error.code.into_owned()).unwrap_or_default()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[test]
fn a_file_that_nobody_could_take_is_taken_when_the_same_piece_comes_again() {
    let node = Node::start();
    assert_eq!(code(node.upload("u", "a", b"small", json!({}))), "no_holders");
    assert!(node.list().is_empty());
    node.holders(&[(FIRST, Manner::Honest)]);
    let stored = node.upload("u", "a", b"small", json!({})).unwrap();
    assert_eq!((&stored["complete"], &stored["received_bytes"]), (&json!(true), &json!(5)));
    assert_eq!(node.list(), [("a".to_owned(), 1)]);
    assert!(node.outgoing().is_empty());
    // And again, as after an answer that was lost.
    assert_eq!(node.upload("u", "a", b"small", json!({})).unwrap()["complete"], true);
    assert_eq!(node.list(), [("a".to_owned(), 1)]);
}

#[test]
fn a_file_whose_end_is_here_already_ends_with_the_last_piece_sent_again() {
    for restarts in [false, true] {
        let node = Node::start();
        node.holders(&[(FIRST, Manner::Honest)]);
        let first = node.upload("u", "a", &content(PIECE), json!({"final": false})).unwrap();
        assert_eq!(first["received_bytes"], PIECE);
        let node = if restarts { node.reopened(true) } else { node };
        let mut received = first["received_bytes"].as_u64().unwrap();
        if restarts {
            let question = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": "u"});
            received = node.harness.call(question).unwrap()["received_bytes"].as_u64().unwrap();
        }
        if received == PIECE as u64 {
            assert_eq!(node.upload("u", "a", &content(PIECE), json!({})).unwrap()["complete"], true);
        } else {
            // What was not encrypted yet is lost, and is sent again.
            let received = usize::try_from(received).unwrap();
            let rest = content(PIECE)[received..].to_vec();
            let more = json!({"offset": received, "size": PIECE});
            assert_eq!(node.upload("u", "a", &rest, more).unwrap()["complete"], true);
        }
    }
}

#[test]
fn other_holders_can_be_named_when_those_named_before_are_gone() {
    let node = Node::start();
    node.holders(&[(SECOND, Manner::Honest)]);
    assert_eq!(code(node.upload("u", "a", b"x", json!({"holders": ["192.0.2.9:1"]}))), "no_holders");
    let stored = node.upload("u", "a", b"x", json!({"holders": [SECOND, SECOND]})).unwrap();
    assert_eq!(stored["storage_peers"][0]["peer_id"], SECOND);
    assert_eq!(stored["storage_peers"].as_array().unwrap().len(), 1);
    let many: Vec<String> = (0..17).map(|number| format!("192.0.2.1:{number}")).collect();
    assert_eq!(code(node.upload("v", "b", b"x", json!({"holders": many}))), ProviderError::INVALID_MESSAGE);
}

#[test]
fn another_number_of_replicas_counts_while_the_file_is_not_stored() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Full)]);
    assert_eq!(code(node.upload("u", "a", b"x", json!({}))), "no_holders");
    node.holders(&[(FIRST, Manner::Honest), (SECOND, Manner::Honest)]);
    let stored = node.upload("u", "a", b"x", json!({"replicas": 2})).unwrap();
    assert_eq!(stored["storage_peers"].as_array().unwrap().len(), 2, "{stored}");
    assert_eq!(node.list(), [("a".to_owned(), 2)]);
    let again = node.upload("u", "a", b"x", json!({"replicas": 3})).unwrap();
    assert!(again["errors"][0].as_str().unwrap().contains("delete it"), "{again}");
    assert!(node.upload("u", "a", b"x", json!({"replicas": 2})).unwrap()["errors"].is_null());
}

#[test]
fn what_cannot_be_repaired_is_told_by_its_name() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("u", "a name", b"x", json!({})).unwrap();
    let tag = node.world.lock().unwrap().files.keys().next().unwrap().clone();
    node.answer("REPAIR_OWNED_FILES", move |_, _| {
        json!({"type": "STATUS", "status": "OK", "checked_files": 1, "damaged_replicas": 1, "repaired_replicas": 0,
            "errors": [format!("nobody has {tag}: all are away")]})
    });
    let repaired = node.harness.call(json!({"type": "REPAIR_OWNED_FILES"})).unwrap();
    assert_eq!(repaired["errors"], json!(["nobody has a name: all are away"]));
}

#[test]
fn a_version_is_later_than_all_others_though_the_list_is_lost_and_the_tracker_away() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    for upload in ["1", "2", "3"] {
        node.upload(upload, "a", upload.as_bytes(), json!({})).unwrap();
    }
    assert_eq!(node.list(), [("a".to_owned(), 3)]);
    let node = node.reopened(false);
    node.tracker_error(Some(ProviderError::PEER_LOST));
    assert_eq!(node.upload("4", "a", b"new", json!({"holders": [FIRST]})).unwrap()["complete"], true);
    let [(_, revision)] = node.list().try_into().unwrap();
    assert!(revision > 3, "{revision}");
    node.tracker_error(None);
    node.meet_tracker();
    node.harness.wait_until("the tracker knows of it", || {
        let world = node.world.lock().unwrap();
        world.files.values().any(|(signed, _)| manifest_of(signed)["revision"] == revision)
    });
    assert_eq!(node.list(), [("a".to_owned(), revision)]);
}

#[test]
fn a_deletion_without_the_tracker_is_later_than_all_that_it_knows() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("1", "a", b"1", json!({})).unwrap();
    let old = node.reopened(true);
    node.upload("2", "a", b"2", json!({})).unwrap();
    node.upload("3", "a", b"3", json!({})).unwrap();
    // A list from before, as from a backup.
    old.tracker_error(Some(ProviderError::PEER_LOST));
    assert_eq!(old.delete("a").unwrap()["deleted"], true);
    old.tracker_error(None);
    old.meet_tracker();
    old.harness.wait_until("the tracker knows of it", || {
        old.world.lock().unwrap().files.values().all(|(signed, _)| manifest_of(signed)["blob"].is_null())
    });
    assert!(old.list().is_empty());
}

#[test]
fn uploads_and_deletions_of_one_name_at_once_never_share_a_revision() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest), (SECOND, Manner::Honest)]);
    let mut calls = Vec::new();
    for number in 0..40_u8 {
        if number % 3 == 0 {
            calls.push(node.harness.begin(json!({"type": "DELETE_OWNED_FILE", "filename": "a"})));
        } else {
            let message = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": format!("u{number}"),
                "final": true, "size": 1, "replicas": 2});
            calls.push(node.harness.message(message).attachment(&[number]).begin());
        }
    }
    for call in calls {
        let code = code(call.wait());
        assert!(matches!(code.as_str(), "" | "superseded" | "aborted"), "{code}");
    }
    let mut texts: BTreeMap<u64, String> = BTreeMap::new();
    for message in node.harness.sent() {
        let message: Value = serde_json::from_str(&message.json).unwrap();
        if message["manifest"].is_string() {
            let revision = manifest_of(&message)["revision"].as_u64().unwrap();
            let known = texts.entry(revision).or_insert_with(|| text(&message["manifest"]));
            assert_eq!(*known, text(&message["manifest"]), "two of revision {revision}");
        }
    }
    // The tracker and the node agree.
    let registered = {
        let world = node.world.lock().unwrap();
        let (signed, _) = world.files.values().next().unwrap().clone();
        manifest_of(&signed)
    };
    let expected = if registered["blob"].is_null() { None } else { registered["revision"].as_u64() };
    assert_eq!(node.list().first().map(|(_, revision)| *revision), expected);
    assert!(node.outgoing().is_empty());
}

#[test]
fn a_holder_that_never_has_enough_is_replaced_by_another() {
    for manner in [Manner::Insatiable, Manner::Boundless] {
        let node = Node::start();
        node.holders(&[(FIRST, manner), (SECOND, Manner::Honest)]);
        let stored = node.upload("u", "a", &content(3 * PIECE), json!({})).unwrap();
        let holders: Vec<&Value> =
            stored["storage_peers"].as_array().unwrap().iter().map(|peer| &peer["peer_id"]).collect();
        assert_eq!(holders, [SECOND], "{manner:?}: {stored}");
        node.holders(&[(FIRST, manner)]);
        let refused = node.upload("v", "b", b"x", json!({})).unwrap_err();
        assert_eq!(refused.code, "no_holders", "{manner:?}: {refused}");
    }
}

#[test]
fn an_upload_that_nobody_has_got_is_forgotten_without_a_trace() {
    let node = Node::start();
    assert_eq!(code(node.upload("u", "a", b"x", json!({}))), "no_holders");
    let forgotten = node.upload("u", "a", b"", json!({"abort": true})).unwrap();
    assert_eq!((&forgotten["received_bytes"], &forgotten["complete"]), (&json!(0), &json!(false)));
    assert!(node.outgoing().is_empty());
    node.meet_tracker();
    node.harness.wait_until("the tracker is asked for its list", || !node.sent("LIST_OWNED_FILES").is_empty());
    assert!(node.world.lock().unwrap().files.is_empty());
}

#[test]
fn an_upload_is_taken_back_from_holders_while_they_are_away() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Away)]);
    let message = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": "u", "final": true});
    let waiting = node.harness.message(message).attachment(b"x").begin();
    node.harness.wait_until("the holder is asked", || !node.sent("UPLOAD_TO_PEER").is_empty());
    node.holders(&[(FIRST, Manner::Honest)]);
    let forgotten = node.upload("u", "a", b"", json!({"abort": true})).unwrap();
    let outcome = waiting.wait();
    if forgotten["complete"] == true {
        // The holder was faster.
        assert_eq!(outcome.unwrap()["complete"], true);
        return;
    }
    assert!(matches!(code(outcome).as_str(), "aborted" | "superseded"));
    assert!(node.list().is_empty() && node.outgoing().is_empty());
    let told = node.sent("DELETE_OWNED_FILE");
    assert!(told.iter().any(|message| message["to"] == FIRST), "{told:?}");
}

#[test]
fn an_aborted_version_leaves_the_one_before_as_it_was() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("1", "a", b"old", json!({})).unwrap();
    node.holders(&[(SECOND, Manner::Full)]);
    assert_eq!(code(node.upload("2", "a", b"new", json!({"holders": [SECOND]}))), "no_holders");
    node.upload("2", "a", b"", json!({"abort": true})).unwrap();
    let entry = node.harness.call(json!({"type": "LIST_OWNED_FILES"})).unwrap()["owned_files"][0].clone();
    assert_eq!((&entry["filename"], &entry["size"]), (&json!("a"), &json!(3)));
    // Whoever has got the aborted one deletes it for a later one.
    assert_eq!(entry["revision"], 3);
    assert_eq!(entry["storage_peers"][0]["peer_id"], FIRST);
}

#[test]
fn a_version_that_only_a_holder_tells_of_does_not_count_yet() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("1", "a", b"old", json!({})).unwrap();
    // The holder has it, and the tracker takes it from the holder only.
    node.answer("REGISTER_OWNED_FILE", |world, message| {
        world.apply(message, vec![FIRST.to_owned()]);
        error("busy")
    });
    assert_eq!(code(node.upload("2", "a", b"newer", json!({}))), "busy");
    node.meet_tracker();
    node.harness.wait_until("the tracker has told its list", || !node.sent("LIST_OWNED_FILES").is_empty());
    assert_eq!(node.list(), [("a".to_owned(), 1)]);
    node.upload("2", "a", b"", json!({"abort": true})).unwrap();
    let entry = node.harness.call(json!({"type": "LIST_OWNED_FILES"})).unwrap()["owned_files"][0].clone();
    assert_eq!((&entry["size"], &entry["revision"]), (&json!(3), &json!(3)));
}

#[test]
fn a_stored_upload_is_not_forgotten_by_an_abort_that_comes_too_late() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("u", "a", b"x", json!({})).unwrap();
    assert_eq!(node.upload("u", "a", b"", json!({"abort": true})).unwrap()["complete"], true);
    assert_eq!(node.list(), [("a".to_owned(), 1)]);
}

#[test]
fn a_deletion_holds_though_the_tracker_refuses_it_at_first() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("u", "a", b"x", json!({})).unwrap();
    node.answer("DELETE_OWNED_FILE", |_, message| {
        if World::is_tracker(message) {
            error("busy")
        } else {
            json!({"type": "STATUS", "status": "OK", "deleted": true})
        }
    });
    let deleted = node.delete("a").unwrap();
    assert_eq!((&deleted["deleted"], &deleted["storage_peers"][0]["peer_id"]), (&json!(true), &json!(FIRST)));
    assert!(node.list().is_empty());
    let node = node.reopened(true);
    assert!(node.list().is_empty());
    node.meet_tracker();
    node.harness.wait_until("the tracker knows of it", || {
        node.world.lock().unwrap().files.values().all(|(signed, _)| manifest_of(signed)["blob"].is_null())
    });
}

#[test]
fn uploads_that_were_left_go_on_after_a_restart() {
    let node = Node::start();
    for name in ["a", "b", "c"] {
        assert_eq!(code(node.upload(name, name, name.as_bytes(), json!({}))), "no_holders");
    }
    let node = node.reopened(true);
    node.holders(&[(FIRST, Manner::Honest)]);
    node.meet_tracker();
    node.harness.wait_until("all are stored", || node.list().len() == 3);
    assert!(node.outgoing().is_empty());
}

#[test]
fn an_upload_without_holders_is_tried_again_by_itself() {
    let node = Node::start();
    assert_eq!(code(node.upload("u", "a", b"x", json!({}))), "no_holders");
    node.holders(&[(FIRST, Manner::Honest)]);
    node.harness.advance(Duration::from_secs(60));
    node.harness.wait_until("it is stored", || node.list().len() == 1);
}

#[test]
fn encrypted_bytes_that_were_damaged_are_sent_again() {
    let node = Node::start();
    assert_eq!(code(node.upload("u", "a", b"some bytes", json!({}))), "no_holders");
    let [file] = node.outgoing().try_into().unwrap();
    std::fs::write(node.harness.data_dir().join("owned_outgoing").join(file), "nothing of it").unwrap();
    let node = node.reopened(true);
    node.holders(&[(FIRST, Manner::Honest)]);
    let question = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": "u"});
    assert_eq!(node.harness.call(question).unwrap()["received_bytes"], 0);
    assert_eq!(node.upload("u", "a", b"some bytes", json!({})).unwrap()["complete"], true);
}

#[test]
fn an_upload_that_nobody_goes_on_with_is_removed() {
    let node = Node::with(json!({"unfinished_seconds": 0}), Shared::default());
    let timers = node.harness.timers();
    node.upload("u", "a", &content(PIECE), json!({"final": false})).unwrap();
    assert_eq!(node.outgoing().len(), 1);
    node.harness.advance(Duration::from_secs(60));
    node.harness.wait_until("it is removed", || node.outgoing().is_empty());
    let question = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": "u"});
    assert_eq!(node.harness.call(question).unwrap()["received_bytes"], 0);
    node.harness.wait_until("nothing more is waited for", || node.harness.timers() == timers);
}

#[test]
fn uploads_in_the_making_are_bounded() {
    let node = Node::with(json!({"uploads_max": 2}), Shared::default());
    for upload in ["1", "2"] {
        node.upload(upload, upload, b"x", json!({"final": false})).unwrap();
    }
    let refused = node.upload("3", "3", b"x", json!({"final": false})).unwrap_err();
    assert_eq!(refused.code, ProviderError::LIMIT_REACHED, "{refused}");
    node.upload("1", "1", b"", json!({"abort": true})).unwrap();
    node.upload("3", "3", b"x", json!({"final": false})).unwrap();
}

#[test]
fn pieces_at_impossible_places_are_not_stored() {
    let node = Node::start();
    node.upload("u", "a", b"12345", json!({"final": false})).unwrap();
    for offset in [0, 4, 6, u64::MAX - 1, u64::MAX] {
        let answer = node.upload("u", "a", b"xx", json!({"offset": offset, "final": false})).unwrap();
        assert_eq!((&answer["received_bytes"], &answer["stored"]), (&json!(5), &json!(false)), "{offset}");
    }
    for (offset, size) in [(u64::MAX, 0), (5, u64::MAX)] {
        let answer = node.upload("v", "a", b"xx", json!({"offset": offset, "size": size, "final": false})).unwrap();
        assert_eq!(answer["received_bytes"], 0);
    }
    assert_eq!(code(node.upload("w", "a", b"xx", json!({"size": u64::MAX}))), "file_too_large");
    assert_eq!(code(node.upload("w", "a", b"xx", json!({"size": 3}))), "hash_mismatch");
    assert_eq!(code(node.upload("w", "a", b"xx", json!({"sha256": "00"}))), "hash_mismatch");
    let message = json!({"type": "UPLOAD_OWNED_FILE", "filename": "a", "upload": "x", "data": "A".repeat(12 << 20)});
    assert_eq!(code(node.harness.call(message)), "file_too_large");
}

#[test]
fn a_content_that_is_checked_by_blake3_keeps_the_sha256_that_was_stated() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    let content = b"content";
    let (mut blake3, mut sha256) = (Blake3::new(), Sha256::new());
    blake3.update(content);
    sha256.update(content);
    let (blake3, sha256) = (blake3.finish(), sha256.finish());
    let upload = |members: Value| node.upload("u", "a", content, members);
    for members in [
        json!({"with_blake3": true}),
        json!({"with_blake3": true, "sha256": sha256}),
        json!({"with_blake3": true, "blake3": blake3}),
        json!({"with_blake3": true, "blake3": sha256, "sha256": sha256}),
        json!({"with_blake3": true, "blake3": blake3, "sha256": "00"}),
    ] {
        assert_eq!(code(upload(members.clone())), "hash_mismatch", "{members}");
    }
    let stored = upload(json!({"with_blake3": true, "blake3": blake3, "sha256": sha256})).unwrap();
    assert_eq!((&stored["complete"], &stored["sha256"]), (&json!(true), &json!(sha256)));
}

#[test]
fn names_that_lead_elsewhere_are_refused_in_every_message() {
    let node = Node::start();
    let long = "x".repeat(300);
    for name in [
        "..",
        "../a",
        "a/../../b",
        "/etc/passwd",
        "a\0b",
        "a//b",
        "./a",
        "a\\b",
        "CON",
        "nul.txt",
        " a",
        "a.",
        "e\u{301}",
        "a\u{202e}b",
        "a／b",
        ".potluck-x",
        &long,
    ] {
        for kind in ["UPLOAD", "DOWNLOAD", "LIST", "DELETE", "REPAIR"] {
            let plural = if matches!(kind, "LIST" | "REPAIR") { "S" } else { "" };
            let message_type = format!("{kind}_OWNED_FILE{plural}");
            let refused =
                node.harness.call(json!({"type": message_type, "filename": name, "upload": "u", "final": true}));
            assert_eq!(code(refused), "invalid_name", "{message_type} {name:?}");
        }
    }
    for upload in ["", "../a", "a/b", "a\0", &long] {
        assert_eq!(code(node.upload(upload, "a", b"x", json!({}))), ProviderError::INVALID_MESSAGE, "{upload:?}");
    }
    assert!(node.outgoing().is_empty() && node.harness.sent().is_empty());
}

#[test]
fn links_among_the_files_on_their_way_are_not_followed() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    let folder = node.harness.data_dir().join("owned_outgoing");
    let victim = node.harness.data_dir().join("victim");
    std::fs::write(&victim, "as it was").unwrap();
    let key = |upload: &str| {
        let hash = ring::digest::digest(&ring::digest::SHA256, format!("{upload}\0a").as_bytes());
        to_hex(hash.as_ref())
    };
    let plant = |path: &Path| std::os::unix::fs::symlink(&victim, path).unwrap();
    plant(&folder.join(format!("{}.age", key("u"))));
    plant(&folder.join(format!("{}.new", key("v"))));
    for upload in ["u", "v"] {
        let outcome = node.upload(upload, "a", b"something else", json!({}));
        assert!(outcome.is_err() || outcome.unwrap()["complete"] == true);
        assert_eq!(std::fs::read(&victim).unwrap(), b"as it was", "{upload}");
    }
    std::fs::create_dir(folder.join("somebody's folder")).unwrap();
    let node = Node::start();
    std::fs::create_dir(node.harness.data_dir().join("owned_outgoing/folder.new")).unwrap();
    drop(node.reopened_beside_folders());
}

impl Node {
    /// The node begins anew where somebody has put folders among its files.
    fn reopened_beside_folders(&self) -> Harness {
        Harness::start_with_clock::<OwnedFiles>(json!({}), |host, config, _| {
            let outgoing = host.node().node_dir.join("owned_outgoing");
            std::fs::create_dir_all(outgoing.join("a.age")).unwrap();
            std::fs::create_dir_all(outgoing.join("b.new")).unwrap();
            OwnedFiles::start(host, config)
        })
        .unwrap()
    }
}

#[test]
fn a_list_that_is_damaged_or_of_another_owner_is_put_aside_and_learnt_anew() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("u", "a", b"mine", json!({})).unwrap();
    let world = Arc::clone(&node.world);
    let harness = Harness::start_with_clock::<OwnedFiles>(json!({}), |host, config, _| {
        let folder = host.node().node_dir;
        std::fs::write(folder.join("owned_files.sqlite"), "no list".repeat(1000)).unwrap();
        OwnedFiles::start(host, config)
    });
    let damaged = Node::of(harness.unwrap(), world);
    assert!(damaged.harness.data_dir().join("owned_files.damaged.sqlite").exists());
    damaged.meet_tracker();
    damaged.harness.wait_until("it has learnt", || damaged.list() == [("a".to_owned(), 1)]);
    let path = node.harness.data_dir().join("owned_files.sqlite");
    let other = rusqlite::Connection::open(path).unwrap();
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let said: String = other.query_row("SELECT manifest FROM files", [], |row| row.get(0)).unwrap();
    let mut said: Value = serde_json::from_str(&said).unwrap();
    said["owner_key"] = json!(to_hex(key.public_key().as_ref()));
    let said = said.to_string();
    let signature = to_hex(key.sign(&signed_bytes(MANIFEST_LABEL, said.as_bytes())).as_ref());
    other.execute("UPDATE files SET manifest = ?1, signature = ?2", [said, signature]).unwrap();
    drop(other);
    let node = node.reopened(true);
    assert!(node.list().is_empty());
    node.meet_tracker();
    node.harness.wait_until("it has learnt", || node.list() == [("a".to_owned(), 1)]);
}

#[test]
fn a_tracker_that_shows_what_others_have_signed_is_not_believed() {
    let node = Node::start();
    node.holders(&[(FIRST, Manner::Honest)]);
    node.upload("u", "a", b"mine", json!({})).unwrap();
    let mut signed = node.world.lock().unwrap().files.values().next().unwrap().0.clone();
    // A manifest that was changed, and one of another file.
    let lies = [
        {
            let said = signed["manifest"].as_str().unwrap().replace("\"revision\":1", "\"revision\":9");
            signed["manifest"] = json!(said);
            signed.clone()
        },
        {
            node.upload("v", "other", b"other", json!({})).unwrap();
            let world = node.world.lock().unwrap();
            let other = world.files.values().map(|(signed, _)| signed.clone());
            let tag = |signed: &Value| text(&manifest_of(signed)["name_tag"]);
            let own = tag(&signed);
            other.into_iter().find(|signed| tag(signed) != own).unwrap()
        },
    ];
    for lie in lies {
        let found = json!({"type": "OWNED_FILE_RESPONSE", "found": true, "manifest": lie["manifest"],
            "signature": lie["signature"], "storage_peers": []});
        node.world.lock().unwrap().lie = Some(found);
        let entry =
            node.harness.call(json!({"type": "LIST_OWNED_FILES", "filename": "a"})).unwrap()["owned_files"][0].clone();
        assert_eq!((&entry["revision"], &entry["storage_peers"][0]["peer_id"]), (&json!(1), &json!(FIRST)));
    }
}

/// A node with a file of some blocks at these holders.
fn with_file(manners: &[(&str, Manner)]) -> (Node, Vec<u8>) {
    let node = Node::start();
    node.holders(manners);
    let bytes = content(5 * PIECE + 7);
    let stored = node.upload("u", "a", &bytes, json!({"replicas": manners.len()})).unwrap();
    assert_eq!(stored["storage_peers"].as_array().unwrap().len(), manners.len(), "{stored}");
    node.note_bytes();
    (node, bytes)
}

#[test]
fn what_a_holder_makes_up_is_never_served() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Liar), (SECOND, Manner::Honest)]);
    for offset in [0, 1, PIECE, 3 * PIECE - 1, 5 * PIECE] {
        let end = bytes.len().min(offset + 2 * PIECE);
        assert!(node.download("a", offset, 2 * PIECE, json!({})) == Ok(bytes[offset..end].to_vec()), "{offset}");
    }
    node.holders(&[(FIRST, Manner::Liar), (SECOND, Manner::Liar)]);
    let node = node.reopened(true);
    assert_eq!(node.download("a", 0, 10, json!({})), Err("no_holders".to_owned()));
}

#[test]
fn a_holder_that_is_busy_for_a_moment_is_asked_again() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Busy(7))]);
    assert!(node.download("a", 0, 8 * PIECE, json!({})) == Ok(bytes));
}

#[test]
fn a_file_is_read_without_the_tracker_and_from_whoever_is_there() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Honest), (SECOND, Manner::Honest)]);
    node.holders(&[(FIRST, Manner::Away), (SECOND, Manner::Honest)]);
    node.tracker_error(Some(ProviderError::PEER_LOST));
    assert!(node.download("a", 0, 8 * PIECE, json!({})) == Ok(bytes));
    assert_eq!(node.download("nothing", 0, 1, json!({})), Err(ProviderError::PEER_LOST.to_owned()));
}

#[test]
fn a_file_is_read_by_what_a_holder_knows_when_everything_else_is_lost() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Liar), (SECOND, Manner::Honest)]);
    let node = node.reopened(false);
    node.meet_tracker();
    node.harness.wait_until("it has learnt", || node.list() == [("a".to_owned(), 1)]);
    assert!(node.download("a", 0, 8 * PIECE, json!({})) == Ok(bytes));
}

#[test]
fn a_reader_of_one_version_never_gets_bytes_of_another() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Honest)]);
    assert!(node.download("a", 0, PIECE, json!({"revision": 1})) == Ok(bytes[..PIECE].to_vec()));
    let newer = vec![7; 3 * PIECE];
    assert!(node.download("a", 0, PIECE, json!({})) == Ok(bytes[..PIECE].to_vec()));
    node.upload("v", "a", &newer, json!({})).unwrap();
    node.note_bytes();
    assert!(node.download("a", 0, PIECE, json!({})) == Ok(newer[..PIECE].to_vec()));
    for offset in [PIECE, 0, 2 * PIECE] {
        let piece = node.download("a", offset, PIECE, json!({"revision": 1}));
        assert!(piece == Err("file_changed".to_owned()) || piece == Ok(bytes[offset..offset + PIECE].to_vec()));
    }
    assert!(node.download("a", 0, PIECE, json!({"revision": 2})) == Ok(newer[..PIECE].to_vec()));
    node.delete("a").unwrap();
    assert_eq!(node.download("a", 0, PIECE, json!({})), Ok(Vec::new()));
}

#[test]
fn pieces_come_from_any_place_in_any_order() {
    let (node, bytes) = with_file(&[(FIRST, Manner::Honest), (SECOND, Manner::Honest)]);
    let mut state = 1_u64;
    let mut random = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..400 {
        let offset = match random(3) {
            0 => random(bytes.len() >> 16) << 16,
            1 => random(6) * PIECE,
            _ => random(bytes.len() + 10),
        };
        let digits = random(21);
        let length = random(1 + (1 << digits));
        let begin = offset.min(bytes.len());
        let expected = &bytes[begin..bytes.len().min(begin + length)];
        assert!(node.download("a", offset, length, json!({})).as_deref() == Ok(expected), "{length} at {offset}");
    }
}
