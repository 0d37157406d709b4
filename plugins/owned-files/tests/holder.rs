//! The holder's half through the provider's real table: what owners store here, and what others may not do with it.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::files::{BlockHashes, to_hex};
use potluck_sdk::message::owned_files::{MANIFEST_LABEL, MANIFEST_VERSION};
use potluck_sdk::signature::{peer_id, signed_bytes};
use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, PeerId, Provider, ProviderError, Response};
use provider_owned_files::OwnedFiles;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TRACKER: &str = "5f0c6b1e-0000-8000-8000-000000000000";
const OTHER: &str = "6f0c6b1e-0000-8000-8000-000000000000";
const BLOCK: usize = 1 << 20;

/// Somebody who has files, with a key of its own.
struct Owner {
    pair: Ed25519KeyPair,
}

/// A version of a file, as its owner has made it.
struct Version {
    owner: PeerId,
    blob: String,
    bytes: Vec<u8>,
    hashes: Vec<u8>,
    manifest: Value,
}

impl Owner {
    fn new(seed: u8) -> Owner {
        Owner { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    fn key(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    fn id(&self) -> String {
        peer_id(&self.key()).to_string()
    }

    fn sign(&self, tag: u8, revision: u64, blob: Value) -> Value {
        let manifest =
            json!({"version": MANIFEST_VERSION, "owner_key": to_hex(&self.key()), "name_tag": to_hex(&[tag; 32]),
            "revision": revision, "blob": blob, "replicas": 1, "sealed": ""})
            .to_string();
        let signature = self.pair.sign(&signed_bytes(MANIFEST_LABEL, manifest.as_bytes()));
        json!({"manifest": manifest, "signature": to_hex(signature.as_ref())})
    }

    /// A version with other bytes in each block and each revision.
    fn version(&self, tag: u8, revision: u64, size: usize) -> Version {
        let bytes: Vec<u8> = (0..size).map(|at| (at / BLOCK + at) as u8 ^ revision as u8 ^ tag).collect();
        let hashes = BlockHashes::read(size as u64, bytes.as_slice()).unwrap();
        let blob = to_hex(&[[tag; 8], revision.to_be_bytes()].concat());
        let about = json!({"id": blob, "size": size, "block_bytes": BLOCK, "root": to_hex(&hashes.root())});
        let manifest = self.sign(tag, revision, about);
        Version { owner: peer_id(&self.key()), blob, bytes, hashes: hashes.to_bytes(), manifest }
    }
}

/// A message with the members of a manifest.
fn with(message: Value, manifest: &Value) -> Value {
    let mut message = message;
    message.as_object_mut().unwrap().extend(manifest.as_object().unwrap().clone());
    message
}

impl Version {
    fn offer(&self, node: &Harness) -> Result<Value, ProviderError> {
        self.offer_by(node, &self.owner.to_string())
    }

    /// Somebody else brings it.
    fn offer_by(&self, node: &Harness, member: &str) -> Result<Value, ProviderError> {
        let message = with(json!({"type": "UPLOAD_TO_PEER"}), &self.manifest);
        node.message(message).caller(Caller::Member(member)).attachment(&self.hashes).call()
    }

    fn block(&self, number: usize) -> &[u8] {
        &self.bytes[number * BLOCK..self.bytes.len().min((number + 1) * BLOCK)]
    }

    fn send(&self, node: &Harness, number: usize) -> Result<Value, ProviderError> {
        let message = json!({"type": "UPLOAD_TO_PEER", "blob": self.blob, "block": number});
        node.message(message).caller(Caller::Member(OTHER)).attachment(self.block(number)).call()
    }

    fn store(&self, node: &Harness) {
        let offered = self.offer(node).unwrap();
        for range in offered["missing"].as_array().into_iter().flatten() {
            for number in range[0].as_u64().unwrap()..range[1].as_u64().unwrap() {
                self.send(node, number as usize).unwrap();
            }
        }
        assert_eq!(self.offer(node).unwrap()["complete"], true);
    }

    fn get(&self, node: &Harness, number: usize, caller: Caller<'_>) -> Result<Response, ProviderError> {
        let message = json!({"type": "GET_OWNED_FILE", "blob": self.blob, "block": number});
        node.message(message).caller(caller).begin().wait_response()
    }

    fn get_as_owner(&self, node: &Harness, number: usize) -> Result<Vec<u8>, String> {
        let answer = self.get(node, number, Caller::Member(&self.owner.to_string()));
        answer.map(|response| response.attachment).map_err(|error| error.code.into_owned())
    }

    fn path(&self, node: &Harness, suffix: &str) -> PathBuf {
        node.data_dir().join("owned_storage").join(self.owner.to_string()).join(format!("{}{suffix}", self.blob))
    }
}

fn node_with(config: Value) -> Harness {
    scripted(Harness::start::<OwnedFiles>(config).unwrap())
}

fn scripted(node: Harness) -> Harness {
    takes_reports(&node);
    node
}

fn takes_reports(node: &Harness) {
    node.answer("REPORT_OWNED_FILES", |_| json!({"type": "STATUS", "status": "OK", "updated_count": 1}));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The provider begins anew with what the old one has left on the disk at this moment.
fn reopened(node: &Harness, config: Value) -> Harness {
    let from = node.data_dir().join("owned_storage");
    let started = Harness::start_with_clock::<OwnedFiles>(config, move |host, config, _| {
        copy(&from, &host.node().node_dir.join("owned_storage"));
        OwnedFiles::start(host, config)
    });
    scripted(started.unwrap())
}

fn code<T>(result: Result<T, ProviderError>) -> String {
    result.err().map(|error| error.code.into_owned()).unwrap_or_default()
}

fn delete(node: &Harness, caller: &str, blob: &str, manifest: &Value) -> Result<bool, ProviderError> {
    let message = with(json!({"type": "DELETE_OWNED_FILE", "blob": blob}), manifest);
    let answer = node.message(message).caller(Caller::Member(caller)).call();
    answer.map(|answer| answer["deleted"].as_bool().unwrap())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn holder(node: &Harness, member: &str) -> Value {
    node.status()["holder"][member].clone()
}

#[test]
fn a_replica_comes_block_by_block_and_only_its_owner_reads_it() {
    let node = node_with(json!({}));
    let version = Owner::new(1).version(1, 1, 2 * BLOCK + 5);
    let offered = version.offer(&node).unwrap();
    assert_eq!((&offered["missing"], &offered["complete"]), (&json!([[0, 3]]), &json!(false)));
    assert_eq!(version.send(&node, 1).unwrap()["size"], BLOCK);
    assert_eq!(version.offer(&node).unwrap()["missing"], json!([[0, 1], [2, 3]]));
    assert!(version.path(&node, ".part").exists());
    assert_eq!(version.get_as_owner(&node, 0), Err("not_found".to_owned()));
    assert_eq!(version.send(&node, 0).unwrap()["complete"], false);
    assert_eq!(version.send(&node, 2).unwrap()["complete"], true);
    assert_eq!(std::fs::read(version.path(&node, "")).unwrap(), version.bytes);
    assert!(!version.path(&node, ".part").exists());
    for number in 0..3 {
        assert_eq!(version.get_as_owner(&node, number).unwrap(), version.block(number));
    }
    assert_eq!(version.get_as_owner(&node, 3), Err("not_found".to_owned()));
    let unknown = Owner::new(1).version(7, 7, 5);
    for caller in [Caller::Member(OTHER), Caller::Local, Caller::Plugin("cpu")] {
        let refused = version.get(&node, 0, caller).unwrap_err();
        assert_eq!(refused.code, "forbidden");
        assert_eq!(refused, unknown.get(&node, 0, caller).unwrap_err());
    }
}

#[test]
fn the_nodes_own_files_can_be_kept_by_itself() {
    // The fake node's key.
    let own = Owner::new(0x11);
    let node = node_with(json!({}));
    let version = own.version(1, 1, 10);
    version.store(&node);
    assert_eq!(version.get(&node, 0, Caller::Local).unwrap().attachment, version.bytes);
}

#[test]
fn what_the_owner_has_not_signed_is_not_taken() {
    let node = node_with(json!({}));
    let (mut version, other) = (Owner::new(1).version(1, 1, 3 * BLOCK), Owner::new(2).version(1, 2, 3 * BLOCK));
    let mut forged = Owner::new(1).version(1, 1, 3 * BLOCK);
    forged.manifest["signature"] = other.manifest["signature"].clone();
    assert_eq!(code(forged.offer(&node)), "invalid_manifest");
    let hashes = std::mem::replace(&mut version.hashes, other.hashes.clone());
    assert_eq!(code(version.offer(&node)), "hash_mismatch");
    version.hashes = hashes;
    assert_eq!(code(version.send(&node, 0)), "not_found");
    version.offer(&node).unwrap();
    let message = json!({"type": "UPLOAD_TO_PEER", "blob": version.blob, "block": 0});
    for wrong in [other.block(0), &version.block(0)[1..], &[]] {
        assert_eq!(code(node.message(&message).attachment(wrong).call()), "hash_mismatch");
    }
    let message = json!({"type": "UPLOAD_TO_PEER", "blob": version.blob, "block": u64::MAX});
    assert_eq!(code(node.message(&message).attachment(version.block(0)).call()), "hash_mismatch");
    assert_eq!(version.offer(&node).unwrap()["missing"], json!([[0, 3]]));
    for blob in ["", "../../x", "AA112233445566778899aabbccddeeff"] {
        let message = json!({"type": "UPLOAD_TO_PEER", "blob": blob, "block": 0});
        assert_eq!(code(node.message(message).call()), "invalid_message", "{blob}");
    }
}

#[test]
fn an_old_version_stays_until_its_owner_says_that_the_new_one_counts_and_never_comes_again() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let (first, second) = (owner.version(1, 1, 2 * BLOCK), owner.version(1, 2, 2 * BLOCK));
    first.store(&node);
    second.offer(&node).unwrap();
    second.send(&node, 0).unwrap();
    assert_eq!(first.get_as_owner(&node, 1).unwrap(), first.block(1));
    assert_eq!(code(owner.version(1, 1, 9).offer(&node)), "superseded");
    assert_eq!(code(first.offer(&node)), "superseded");
    second.send(&node, 1).unwrap();
    assert_eq!(first.get_as_owner(&node, 1).unwrap(), first.block(1));
    let node = reopened(&node, json!({}));
    assert_eq!(holder(&node, "replica_count"), 2);
    let mut twin = owner.version(1, 2, 9);
    twin.manifest = owner.sign(
        1,
        2,
        json!({"id": to_hex(&[9; 16]), "size": 9, "block_bytes": BLOCK,
        "root": to_hex(&BlockHashes::from_bytes(9, &twin.hashes).unwrap().root())}),
    );
    assert_eq!(code(twin.offer(&node)), "conflict");
    assert_eq!(delete(&node, &owner.id(), &first.blob, &second.manifest), Ok(true));
    assert_eq!(first.get_as_owner(&node, 1), Err("forbidden".to_owned()));
    assert_eq!(second.get_as_owner(&node, 1).unwrap(), second.block(1));
    for suffix in ["", ".manifest", ".part"] {
        assert!(!first.path(&node, suffix).exists());
    }
    // A later manifest of the same blob needs no bytes.
    let blob: Value = serde_json::from_str(second.manifest["manifest"].as_str().unwrap()).unwrap();
    let same = Version { manifest: owner.sign(1, 3, blob["blob"].clone()), ..second };
    assert_eq!(same.offer(&node).unwrap()["complete"], true);
    assert_eq!(same.get_as_owner(&node, 1).unwrap(), same.block(1));
    assert_eq!(holder(&node, "replica_count"), 1);
}

#[test]
fn nothing_is_deleted_without_a_later_manifest_and_nothing_comes_back() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let version = owner.version(1, 5, BLOCK + 1);
    version.store(&node);
    let message = json!({"type": "DELETE_OWNED_FILE", "blob": version.blob});
    assert_eq!(code(node.message(message).caller(Caller::Member(&owner.id())).call()), "invalid_message");
    for manifest in [&version.manifest, &owner.sign(1, 4, Value::Null), &owner.sign(2, 9, Value::Null)] {
        assert_eq!(delete(&node, &owner.id(), &version.blob, manifest), Ok(false));
        assert_eq!(code(delete(&node, OTHER, &version.blob, manifest)), "forbidden");
    }
    let stranger = Owner::new(2);
    assert_eq!(delete(&node, &stranger.id(), &version.blob, &stranger.sign(1, 9, Value::Null)), Ok(false));
    assert_eq!(version.get_as_owner(&node, 0).unwrap(), version.block(0));
    let deletion = owner.sign(1, 6, Value::Null);
    assert_eq!(delete(&node, OTHER, &version.blob, &deletion), Ok(true));
    assert_eq!(delete(&node, &owner.id(), &version.blob, &deletion), Ok(false));
    assert!(!version.path(&node, "").exists() && !version.path(&node, ".manifest").exists());
    assert_eq!(code(version.offer(&node)), "superseded");
    assert_eq!(holder(&node, "stored_bytes"), 0);
    let node = reopened(&node, json!({}));
    assert_eq!(code(version.offer(&node)), "superseded");
    assert_eq!(code(owner.version(1, 6, 10).offer(&node)), "superseded");
    let next = owner.version(1, 7, 10);
    next.store(&node);
    let message = with(json!({"type": "UPLOAD_TO_PEER"}), &owner.sign(1, 8, Value::Null));
    assert_eq!(node.call(message).unwrap()["complete"], true);
    assert_eq!(next.get_as_owner(&node, 0), Err("forbidden".to_owned()));
}

#[test]
fn after_a_crash_only_the_missing_blocks_are_asked_for() {
    let owner = Owner::new(1);
    let version = owner.version(1, 1, 4 * BLOCK + 1);
    let node = node_with(json!({}));
    version.offer(&node).unwrap();
    for number in [0, 1, 4] {
        version.send(&node, number).unwrap();
    }
    // Part of a block was written when it happened, and another file was never finished.
    flip(&version.path(&node, ".part"), 9);
    std::fs::write(version.path(&node, ".manifest.new"), "half").unwrap();
    let node = reopened(&node, json!({}));
    assert!(!version.path(&node, ".manifest.new").exists());
    assert_eq!(holder(&node, "stored_bytes"), version.bytes.len());
    assert_eq!(version.send(&node, 2).unwrap()["complete"], false);
    assert_eq!(version.offer(&node).unwrap()["missing"], json!([[0, 1], [3, 4]]));
    assert_eq!(version.send(&node, 3).unwrap()["complete"], false);
    assert_eq!(version.send(&node, 0).unwrap()["complete"], true);
    assert_eq!(std::fs::read(version.path(&node, "")).unwrap(), version.bytes);
    let node = reopened(&node, json!({}));
    assert_eq!(version.get_as_owner(&node, 4).unwrap(), version.block(4));
}

#[test]
fn what_nobody_has_finished_or_knows_is_removed_at_the_start() {
    let owner = Owner::new(1);
    let (part, whole) = (owner.version(1, 1, 2 * BLOCK), owner.version(2, 1, 5));
    let node = node_with(json!({}));
    part.offer(&node).unwrap();
    part.send(&node, 0).unwrap();
    whole.store(&node);
    std::fs::write(whole.path(&node, "").with_file_name("00112233445566778899aabbccddeeff"), "orphan").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(100_000);
    std::fs::File::options().write(true).open(part.path(&node, ".part")).unwrap().set_modified(old).unwrap();
    let from = part.path(&node, ".part");
    let folder = from.parent().unwrap().to_owned();
    let started = Harness::start_with_clock::<OwnedFiles>(json!({}), move |host, config, _| {
        let to = host.node().node_dir.join("owned_storage");
        copy(folder.parent().unwrap(), &to);
        let part = to.join(from.strip_prefix(folder.parent().unwrap()).unwrap());
        std::fs::File::options().write(true).open(part).unwrap().set_modified(old).unwrap();
        OwnedFiles::start(host, config)
    });
    let node = started.unwrap();
    let left = std::fs::read_dir(whole.path(&node, "").parent().unwrap()).unwrap().count();
    assert_eq!((left, holder(&node, "replica_count")), (2, json!(1)));
    assert_eq!(whole.get_as_owner(&node, 0).unwrap(), whole.bytes);
}

#[test]
fn a_flipped_byte_is_found_told_and_mended() {
    let node = node_with(json!({"scrub_seconds": 3600}));
    node.emit("tracker.session", json!({"peer_id": TRACKER}));
    let owner = Owner::new(1);
    let version = owner.version(1, 1, 2 * BLOCK);
    version.store(&node);
    flip(&version.path(&node, ""), BLOCK);
    assert_eq!(version.get_as_owner(&node, 0).unwrap(), version.block(0));
    assert_eq!(version.get_as_owner(&node, 1), Err("damaged".to_owned()));
    let told = |node: &Harness, damaged: bool| {
        node.sent().iter().any(|sent| {
            let message: Value = serde_json::from_str(&sent.json).unwrap();
            message["to"] == "tracker"
                && message["replicas"][0]["manifest"] == version.manifest["manifest"]
                && message["replicas"][0]["damaged"].as_bool().unwrap_or(false) == damaged
        })
    };
    node.wait_until("the tracker knows", || told(&node, true));
    assert!(node.events().iter().any(|event| event.topic == "file.replica" && event.body["state"] == "damaged"));
    assert_eq!(holder(&node, "damaged_count"), 1);
    let again = reopened(&node, json!({}));
    assert_eq!(holder(&again, "damaged_count"), 1);
    assert_eq!(version.get_as_owner(&node, 0).unwrap(), version.block(0));
    assert_eq!(version.offer(&node).unwrap()["missing"], json!([[1, 2]]));
    assert_eq!(version.send(&node, 1).unwrap()["complete"], true);
    assert_eq!(version.get_as_owner(&node, 1).unwrap(), version.block(1));
    assert_eq!(holder(&node, "damaged_count"), 0);
    node.wait_until("the tracker knows that too", || told(&node, false));
}

#[test]
fn a_scrub_finds_what_nobody_has_read() {
    let node = node_with(json!({"scrub_seconds": 3600}));
    let owner = Owner::new(1);
    let (flipped, gone, short, fine) =
        (owner.version(1, 1, BLOCK), owner.version(2, 1, 9), owner.version(3, 1, 9), owner.version(4, 1, 9));
    for version in [&flipped, &gone, &short, &fine] {
        version.store(&node);
    }
    flip(&flipped.path(&node, ""), BLOCK / 2);
    std::fs::remove_file(gone.path(&node, "")).unwrap();
    std::fs::write(short.path(&node, ""), "short").unwrap();
    assert_eq!(node.timers(), 1);
    node.advance(Duration::from_secs(3600));
    node.wait_until("all damage is found", || holder(&node, "damaged_count") == 3);
    node.wait_until("the next round is planned", || node.timers() == 1);
    assert_eq!(fine.get_as_owner(&node, 0).unwrap(), fine.bytes);
    for version in [&flipped, &gone, &short] {
        version.store(&node);
        assert_eq!(version.get_as_owner(&node, 0).unwrap(), version.bytes);
    }
    assert_eq!(holder(&node, "damaged_count"), 0);
}

#[test]
fn a_replica_whose_manifest_was_lost_is_taken_in_again() {
    let node = node_with(json!({}));
    let version = Owner::new(1).version(1, 1, 2 * BLOCK);
    version.store(&node);
    std::fs::write(version.path(&node, ".manifest"), "garbage").unwrap();
    let node = reopened(&node, json!({}));
    assert_eq!(version.get_as_owner(&node, 0), Err("forbidden".to_owned()));
    assert_eq!(version.offer(&node).unwrap()["complete"], true);
    assert_eq!(version.get_as_owner(&node, 1).unwrap(), version.block(1));
}

#[test]
fn quotas_hold_for_all_and_for_each_owner() {
    let config = json!({"capacity_bytes": 100, "owner_bytes_max": 60, "replicas_max": 3, "file_bytes_max": 80_000});
    let node = node_with(config.clone());
    let (one, two) = (Owner::new(1), Owner::new(2));
    one.version(1, 1, 50).offer(&node).unwrap();
    let refused = one.version(2, 1, 11).offer(&node).unwrap_err();
    assert!(refused.code == "limit_reached" && refused.message.contains("owner_bytes_max"), "{refused}");
    let refused = two.version(2, 1, 51).offer(&node).unwrap_err();
    assert!(refused.message.contains("capacity_bytes"), "{refused}");
    assert_eq!(code(two.version(2, 1, 200_000).offer(&node)), "file_too_large");
    two.version(2, 1, 49).store(&node);
    one.version(3, 1, 1).store(&node);
    assert!(one.version(4, 1, 0).offer(&node).unwrap_err().message.contains("replicas_max"));
    // What is not finished counts after a restart too, and what is deleted does not any more.
    let node = reopened(&node, config);
    assert_eq!((holder(&node, "stored_bytes"), holder(&node, "capacity_bytes")), (json!(100), json!(100)));
    let old = one.version(1, 1, 50);
    assert_eq!(delete(&node, &one.id(), &old.blob, &one.sign(1, 2, Value::Null)), Ok(true));
    one.version(4, 1, 50).store(&node);
}

#[test]
fn an_empty_blob_does_no_harm() {
    let node = node_with(json!({}));
    let version = Owner::new(1).version(1, 1, 0);
    version.store(&node);
    assert_eq!(version.get_as_owner(&node, 0), Err("not_found".to_owned()));
}

#[test]
fn the_tracker_audits_and_hears_of_everything_and_others_do_not() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let (version, deleted) = (owner.version(1, 1, BLOCK + 3), owner.version(2, 1, 9));
    version.store(&node);
    deleted.store(&node);
    let audit = |blob: &str, block: Value, caller: Caller<'_>| {
        let message = json!({"type": "AUDIT_OWNED_FILE", "blob": blob, "block": block});
        node.message(message).caller(caller).begin().wait_response()
    };
    assert_eq!(code(audit(&version.blob, json!(1), Caller::Member(TRACKER))), "forbidden");
    let later = owner.sign(2, 2, Value::Null);
    node.answer("REPORT_OWNED_FILES", move |_| {
        json!({"type": "STATUS", "status": "OK", "updated_count": 2, "superseded": [later.clone(), {"manifest": "{}",
            "signature": "00"}]})
    });
    node.emit("tracker.session", json!({"peer_id": TRACKER}));
    node.wait_until("the deletion has come", || holder(&node, "replica_count") == 1);
    let reports = node.sent();
    let report = reports.iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    let report = report.into_iter().find(|message| message["replicas"].is_array()).unwrap();
    assert_eq!((report["replicas"].as_array().unwrap().len(), &report["to"]), (2, &json!("tracker")));
    assert!(report["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(audit(&version.blob, json!(1), Caller::Member(TRACKER)).unwrap().attachment, version.block(1));
    assert_eq!(audit(&version.blob, Value::Null, Caller::Member(&owner.id())).unwrap().attachment, version.hashes);
    assert_eq!(code(audit(&version.blob, json!(1), Caller::Member(OTHER))), "forbidden");
    assert_eq!(code(audit(&version.blob, json!(1), Caller::Plugin("tracker"))), "forbidden");
    assert_eq!(code(audit(&deleted.blob, json!(0), Caller::Member(TRACKER))), "not_found");
}

#[test]
fn a_replica_is_brought_to_another_peer_when_the_tracker_says_so() {
    let node = node_with(json!({}));
    node.emit("tracker.session", json!({"peer_id": TRACKER}));
    let version = Owner::new(1).version(1, 1, 6 * BLOCK);
    version.store(&node);
    let (there, sent) = (Arc::new(node_with(json!({}))), Arc::new(std::sync::Mutex::new(Vec::<u64>::new())));
    // The script gets no attachments, so that the other node is asked with the bytes that must have been sent.
    let version = Arc::new(version);
    let (target, original, blocks) = (Arc::clone(&there), Arc::clone(&version), Arc::clone(&sent));
    node.answer("UPLOAD_TO_PEER", move |message| {
        assert_eq!(message["to"], OTHER);
        let answer = match message["block"].as_u64() {
            None => original.offer(&target),
            Some(number) => {
                blocks.lock().unwrap().push(number);
                original.send(&target, number as usize)
            }
        };
        answer.unwrap()
    });
    version.offer(&there).unwrap();
    version.send(&there, 2).unwrap();
    let replicate = |caller: Caller<'_>| {
        let message = json!({"type": "REPLICATE_OWNED_FILE", "blob": version.blob, "target": OTHER});
        node.message(message).caller(caller).call()
    };
    assert_eq!(code(replicate(Caller::Member(OTHER))), "forbidden");
    assert_eq!(replicate(Caller::Member(TRACKER)).unwrap()["complete"], true);
    assert_eq!(*sent.lock().unwrap(), [0, 1, 3, 4, 5]);
    for message in node.sent().iter().filter(|message| message.json.contains("\"block\"")) {
        let json: Value = serde_json::from_str(&message.json).unwrap();
        assert_eq!(message.attachment, version.block(json["block"].as_u64().unwrap() as usize));
    }
    assert_eq!(version.get_as_owner(&there, 5).unwrap(), version.block(5));
    // One that never has enough is given up, and one that fails is told as it failed.
    node.answer(
        "UPLOAD_TO_PEER",
        |_| json!({"type": "STATUS", "status": "OK", "size": 0, "missing": [[3, 1], [0, 99]]}),
    );
    assert_eq!(code(replicate(Caller::Member(TRACKER))), "internal");
    node.answer("UPLOAD_TO_PEER", |_| json!({"type": "ERROR", "code": "limit_reached", "error": "full"}));
    assert_eq!(code(replicate(Caller::Member(TRACKER))), "limit_reached");
    flip(&version.path(&node, ""), 3 * BLOCK);
    node.answer("UPLOAD_TO_PEER", |_| json!({"type": "STATUS", "status": "OK", "size": 0, "missing": [[0, 6]]}));
    assert_eq!(code(replicate(Caller::Member(TRACKER))), "damaged");
}

#[test]
fn the_originals_form_stores_for_the_proven_caller_under_no_readable_name() {
    let node = node_with(json!({"owner_bytes_max": 8}));
    let ask = |node: &Harness, kind: &str, caller: &str, data: Value| {
        let message = json!({"type": kind, "filename": "plans/secret plan.txt", "data": data, "requester_port": 9001,
            "owner_ip": "10.0.0.1", "owner_port": 9001, "requester_id": OTHER});
        node.message(message).caller(Caller::Member(caller)).call()
    };
    let stored = ask(&node, "UPLOAD_TO_PEER", TRACKER, json!("aGVsbG8=")).unwrap();
    assert_eq!((&stored["filename"], &stored["size"]), (&json!("plans/secret plan.txt"), &json!(5)));
    let node = reopened(&node, json!({"owner_bytes_max": 8}));
    let got = ask(&node, "GET_OWNED_FILE", TRACKER, Value::Null).unwrap();
    assert_eq!((&got["data"], &got["found"], &got["size"]), (&json!("aGVsbG8="), &json!(true), &json!(5)));
    let refused = ask(&node, "GET_OWNED_FILE", OTHER, Value::Null).unwrap_err();
    assert_eq!((refused.code.as_ref(), refused.message.as_str()), ("not_found", "File not found on this peer"));
    assert_eq!(code(ask(&node, "UPLOAD_TO_PEER", TRACKER, json!("aGVsbG8gd29ybGQ="))), "limit_reached");
    assert_eq!(code(ask(&node, "UPLOAD_TO_PEER", TRACKER, Value::Null)), "invalid_message");
    assert_eq!(code(ask(&node, "UPLOAD_TO_PEER", TRACKER, json!("!"))), "invalid_message");
    assert_eq!(ask(&node, "UPLOAD_TO_PEER", TRACKER, json!("Ynll")).unwrap()["size"], 3);
    let folder = node.data_dir().join("owned_storage").join(TRACKER);
    let names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 1 && !names[0].contains("secret"), "{names:?}");
    assert_eq!(code(ask(&node, "DELETE_OWNED_FILE", OTHER, Value::Null)), "not_found");
    assert_eq!(ask(&node, "DELETE_OWNED_FILE", TRACKER, Value::Null).unwrap()["deleted"], true);
    assert_eq!(holder(&node, "stored_bytes"), 0);
}

#[test]
fn what_an_interrupted_deletion_has_left_is_removed_at_the_start() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let (deleted, replaced) = (owner.version(1, 1, 9), owner.version(2, 1, 9));
    let names: Vec<PathBuf> = [&deleted, &replaced]
        .iter()
        .flat_map(|version| ["", ".manifest"].map(|suffix| version.path(&node, suffix)))
        .collect();
    deleted.store(&node);
    replaced.store(&node);
    let saved: Vec<Vec<u8>> = names.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(delete(&node, &owner.id(), &deleted.blob, &owner.sign(1, 2, Value::Null)), Ok(true));
    let next = owner.version(2, 2, 9);
    next.store(&node);
    assert_eq!(delete(&node, &owner.id(), &replaced.blob, &next.manifest), Ok(true));
    for (path, bytes) in names.iter().zip(saved) {
        std::fs::write(path, bytes).unwrap();
    }
    let node = reopened(&node, json!({}));
    assert_eq!((holder(&node, "replica_count"), holder(&node, "stored_bytes")), (json!(1), json!(9)));
    assert!([&deleted, &replaced].iter().all(|version| !version.path(&node, ".manifest").exists()));
    assert_eq!(next.get_as_owner(&node, 0).unwrap(), next.bytes);
}

#[test]
fn blocks_that_come_in_any_order_twice_and_at_once_make_a_whole() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let versions: Vec<Version> = (1..4).map(|tag| owner.version(tag, 1, 8 * BLOCK)).collect();
    for version in &versions {
        version.offer(&node).unwrap();
    }
    std::thread::scope(|scope| {
        for version in &versions {
            for start in [0, 3, 6] {
                let node = &node;
                scope.spawn(move || {
                    for step in 0..8 {
                        version.send(node, (start + step) % 8).unwrap();
                    }
                });
            }
        }
    });
    for version in &versions {
        assert_eq!(version.offer(&node).unwrap()["complete"], true);
        assert_eq!(std::fs::read(version.path(&node, "")).unwrap(), version.bytes);
    }
}

fn reports(node: &Harness) -> Vec<Value> {
    let sent = node.sent();
    let sent = sent.iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    sent.filter(|message| message["type"] == "REPORT_OWNED_FILES").collect()
}

#[test]
fn a_report_that_the_tracker_did_not_take_is_sent_again() {
    let node = node_with(json!({"scrub_seconds": 0}));
    let version = Owner::new(1).version(1, 1, 9);
    version.store(&node);
    node.answer("REPORT_OWNED_FILES", |_| json!({"type": "ERROR", "code": "busy", "error": "too much to do"}));
    node.emit("tracker.session", json!({"peer_id": TRACKER}));
    for (count, seconds) in [(1, 60), (2, 120)] {
        node.wait_until("it has failed", || reports(&node).len() == count && node.timers() == 1);
        node.advance(Duration::from_secs(seconds - 1));
        assert_eq!(node.timers(), 1);
        node.advance(Duration::from_secs(1));
    }
    node.wait_until("it has failed", || reports(&node).len() == 3 && node.timers() == 1);
    takes_reports(&node);
    node.advance(Duration::from_secs(240));
    node.wait_until("it is taken", || reports(&node).len() == 4);
    let all = reports(&node);
    assert!(all.iter().all(|report| report["replicas"][0]["manifest"] == version.manifest["manifest"]), "{all:?}");
    assert_eq!(node.timers(), 0);
    // What is found damaged meanwhile is told again as well.
    node.answer("REPORT_OWNED_FILES", |_| json!({"type": "ERROR", "code": "busy", "error": "too much to do"}));
    flip(&version.path(&node, ""), 1);
    assert_eq!(version.get_as_owner(&node, 0), Err("damaged".to_owned()));
    node.wait_until("that has failed", || reports(&node).len() == 5 && node.timers() == 1);
    takes_reports(&node);
    node.advance(Duration::from_secs(480));
    node.wait_until("that is taken", || reports(&node).len() == 6);
    assert_eq!(reports(&node)[5]["replicas"][0]["damaged"], true);
}

#[test]
fn a_member_cannot_reserve_the_room_for_parts_of_made_up_owners() {
    let node = node_with(json!({"capacity_bytes": 400, "owner_bytes_max": 200}));
    // One large part is what a repair may need.
    let large = Owner::new(1).version(1, 1, 150);
    large.offer_by(&node, OTHER).unwrap();
    assert_eq!(code(Owner::new(2).version(2, 1, 1).offer_by(&node, OTHER)), "limit_reached");
    // It may go on with that, and then begin as many small ones as it wants, up to a number.
    large.offer_by(&node, OTHER).unwrap();
    large.send(&node, 0).unwrap();
    for seed in 3..35 {
        Owner::new(seed).version(seed, 1, 1).offer_by(&node, OTHER).unwrap();
    }
    let one_more = Owner::new(99).version(99, 1, 1);
    assert_eq!(code(one_more.offer_by(&node, OTHER)), "limit_reached");
    // Others are not hindered, and an owner brings its own.
    one_more.offer(&node).unwrap();
    Owner::new(98).version(98, 1, 1).offer_by(&node, TRACKER).unwrap();
}

#[test]
fn a_deletion_that_the_disk_refuses_is_not_forgotten() {
    let node = node_with(json!({}));
    let owner = Owner::new(1);
    let version = owner.version(1, 1, 9);
    version.store(&node);
    let (path, later) = (version.path(&node, ""), owner.sign(1, 2, Value::Null));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let refused = delete(&node, OTHER, &version.blob, &later);
    assert_ne!(code(refused), "forbidden");
    assert_eq!(holder(&node, "stored_bytes"), 9);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(delete(&node, OTHER, &version.blob, &later), Ok(true));
    assert_eq!(holder(&node, "stored_bytes"), 0);
}

#[test]
fn an_owner_of_whom_nothing_is_left_leaves_no_folder() {
    let node = node_with(json!({"unfinished_seconds": 0}));
    let owner = Owner::new(1);
    let message = json!({"type": "UPLOAD_TO_PEER", "filename": "a", "data": "AAAA"});
    let own = owner.id();
    node.message(message).caller(Caller::Member(&own)).call().unwrap();
    let folder = node.data_dir().join("owned_storage").join(&own);
    assert!(folder.exists());
    let message = json!({"type": "DELETE_OWNED_FILE", "filename": "a", "requester_id": own});
    node.message(message).caller(Caller::Member(&own)).call().unwrap();
    assert!(!folder.exists());
    owner.version(1, 1, 9).store(&node);
    assert!(folder.exists());
}
