//! The registry of owned files through the provider's real table, with owners and holders whose keys the test has.
#![allow(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use potluck_sdk::files::{BlockHashes, to_hex};
use potluck_sdk::message::owned_files::{Blob, MANIFEST_LABEL, MANIFEST_VERSION, Manifest};
use potluck_sdk::testing::Harness;
use potluck_sdk::{Caller, PeerId, ProviderError, signature};
use provider_tracker::Tracker;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

#[path = "registry/audits.rs"]
mod audits;
#[path = "registry/plain.rs"]
mod plain;

/// A member of the pool.
struct Member {
    key: Ed25519KeyPair,
    id: PeerId,
    text: String,
}

fn member(seed: u8) -> Member {
    let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let id = signature::peer_id(key.public_key().as_ref().try_into().unwrap());
    Member { key, id, text: id.to_string() }
}

/// One version of a file.
struct Version {
    signed: Value,
    content: Vec<u8>,
    hashes: Vec<u8>,
    blob: String,
}

impl Member {
    fn sign(&self, manifest: &Manifest) -> Value {
        let text = serde_json::to_string(manifest).unwrap();
        let signed = signature::signed_bytes(MANIFEST_LABEL, text.as_bytes());
        json!({"manifest": text, "signature": to_hex(self.key.sign(&signed).as_ref())})
    }

    fn manifest(&self, tag: u8, revision: u64, blob: Option<Blob>, replicas: u32) -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            owner_key: to_hex(self.key.public_key().as_ref()),
            name_tag: name_tag(tag),
            revision,
            blob,
            replicas,
            sealed: "sealed".to_owned(),
        }
    }

    fn version(&self, tag: u8, revision: u64) -> Version {
        self.version_with(tag, revision, 1, 2 << 20)
    }

    fn version_with(&self, tag: u8, revision: u64, replicas: u32, size: usize) -> Version {
        let content: Vec<u8> = (0..size).map(|at| (at / 7) as u8 ^ tag ^ revision as u8).collect();
        let hashes = BlockHashes::read(content.len() as u64, &content[..]).unwrap();
        let id =
            to_hex(&[tag, revision as u8, self.id.to_string().as_bytes()[0], 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        let blob = Blob {
            id: id.clone(),
            size: content.len() as u64,
            block_bytes: hashes.block_bytes(),
            root: to_hex(&hashes.root()),
        };
        let signed = self.sign(&self.manifest(tag, revision, Some(blob), replicas));
        Version { signed, content, hashes: hashes.to_bytes(), blob: id }
    }

    fn tombstone(&self, tag: u8, revision: u64) -> Value {
        self.sign(&self.manifest(tag, revision, None, 1))
    }

    fn ask(&self, node: &Harness, message: Value) -> Result<Value, ProviderError> {
        node.message(message).caller(Caller::Member(&self.text)).begin().wait()
    }

    /// Registers with the directory.
    fn comes(&self, node: &Harness, ip: &str, port: u16) {
        let message = json!({"type": "REGISTER", "ip": ip, "port": port, "peer_id": self.text});
        self.ask(node, message).unwrap();
    }

    fn registers(&self, node: &Harness, version: &Version, holders: &[&Member]) -> Result<Value, ProviderError> {
        let holders: Vec<&str> = holders.iter().map(|holder| holder.text.as_str()).collect();
        let message = with(&version.signed, json!({"type": "REGISTER_OWNED_FILE", "holders": holders}));
        node.message(message).attachment(&version.hashes).caller(Caller::Member(&self.text)).begin().wait()
    }

    fn finds(&self, node: &Harness, tag: u8) -> Value {
        self.ask(node, json!({"type": "FIND_OWNED_FILE", "name_tag": name_tag(tag)})).unwrap()
    }

    fn deletes(&self, node: &Harness, tag: u8, revision: u64) -> Result<Value, ProviderError> {
        let message = json!({"type": "DELETE_OWNED_FILE", "owner_id": self.text});
        self.ask(node, with(&self.tombstone(tag, revision), message))
    }

    fn lists(&self, node: &Harness, after: &str, limit: u64) -> Value {
        let message = json!({"type": "LIST_OWNED_FILES", "requester_id": self.text, "after": after, "limit": limit});
        self.ask(node, message).unwrap()
    }

    fn reports(&self, node: &Harness, replicas: &[Value], files: &[Value]) -> Value {
        let message =
            json!({"type": "REPORT_OWNED_FILES", "replicas": replicas, "files": files, "free_bytes": 1u64 << 30});
        self.ask(node, message).unwrap()
    }
}

fn name_tag(tag: u8) -> String {
    to_hex(&[tag; 32])
}

/// A message with the members of a signed manifest.
fn with(signed: &Value, message: Value) -> Value {
    let mut all: Map<String, Value> = signed.as_object().unwrap().clone();
    all.extend(message.as_object().unwrap().clone());
    Value::Object(all)
}

fn tracker() -> Harness {
    tracker_with(json!({}))
}

fn tracker_with(config: Value) -> Harness {
    Harness::start_with_clock(config, |host, config, clock| {
        Tracker::start_with_clock(host, config, move || clock.now())
    })
    .unwrap()
}

/// Starts a tracker whose folder is not empty.
fn tracker_in(prepare: impl FnOnce(&Path) + 'static) -> Harness {
    Harness::start_with_clock(json!({}), move |host, config, clock| {
        let folder = host.node().node_dir.join("tracker_state");
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        Tracker::start_with_clock(host, config, move || clock.now())
    })
    .unwrap()
}

/// Starts a tracker on what another one has left behind in its folder, as it is at this moment.
fn tracker_on(folder: &Path) -> Harness {
    let old = folder.join("tracker_state");
    tracker_in(move |new| {
        for entry in std::fs::read_dir(&old).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), new.join(entry.file_name())).unwrap();
        }
    })
}

fn holders(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = answer["storage_peers"].as_array().cloned().unwrap_or_default();
    all.iter().map(|peer| (text(&peer["peer_id"]), text(&peer["state"]))).collect()
}

#[track_caller]
fn refused(result: Result<Value, ProviderError>, code: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
}

/// The messages of a type that the tracker has sent.
fn sent(node: &Harness, message_type: &str) -> Vec<Value> {
    let all = node.sent();
    let all = all.iter().map(|sent| serde_json::from_str::<Value>(&sent.json).unwrap());
    all.filter(|sent| sent["type"] == message_type).collect()
}

#[test]
fn a_file_is_registered_found_listed_and_deleted_by_its_owner() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    holder.comes(&node, "10.0.0.2", 9002);
    let version = owner.version(7, 1);
    let answer = owner.registers(&node, &version, &[&holder]).unwrap();
    assert_eq!(answer, json!({"type": "STATUS", "status": "OK", "filename": ""}));

    let found = owner.finds(&node, 7);
    assert_eq!(found["found"], true);
    assert_eq!(found["manifest"], version.signed["manifest"]);
    assert_eq!(found["revision"], 1);
    assert_eq!(found["storage_peers"][0]["ip"], "10.0.0.2");
    assert_eq!(holders(&found), [(holder.text.clone(), "unchecked".to_owned())]);

    let list = owner.lists(&node, "", 10);
    assert_eq!(list["owned_files"].as_array().unwrap().len(), 1);
    assert_eq!(list["owned_files"][0]["signature"], version.signed["signature"]);
    assert_eq!(list["next"], Value::Null);

    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK", "deleted": true}));
    let deleted = owner.deletes(&node, 7, 2).unwrap();
    assert_eq!(deleted["deleted"], true);
    assert_eq!(holders(&deleted).len(), 1);
    assert_eq!(owner.finds(&node, 7)["found"], false);
    assert!(owner.lists(&node, "", 10)["owned_files"].as_array().unwrap().is_empty());
    node.wait_until("the holder is told", || sent(&node, "DELETE_OWNED_FILE").len() == 1);
    let told = &sent(&node, "DELETE_OWNED_FILE")[0];
    assert_eq!((&told["to"], &told["blob"]), (&json!(format!("{}@10.0.0.2:9002", holder.text)), &json!(version.blob)));
    assert_eq!(told["manifest"], owner.tombstone(7, 2)["manifest"]);
    // Whoever asks once more, since the answer was lost, gets the same.
    assert_eq!(owner.deletes(&node, 7, 2).unwrap()["deleted"], true);
    refused(owner.registers(&node, &version, &[&holder]), "superseded");
}

#[test]
fn the_block_hashes_come_with_the_file_that_is_found() {
    let (node, owner) = (tracker(), member(1));
    let version = owner.version(1, 1);
    let mut wrong = version.hashes.clone();
    wrong[5] ^= 1;
    let message = with(&version.signed, json!({"type": "REGISTER_OWNED_FILE"}));
    let call = node.message(&message).attachment(&wrong).caller(Caller::Member(&owner.text)).begin();
    refused(call.wait(), "hash_mismatch");
    owner.registers(&node, &version, &[]).unwrap();
    let message = json!({"type": "FIND_OWNED_FILE", "name_tag": name_tag(1)});
    let response = node.message(message).caller(Caller::Member(&owner.text)).begin().wait_response().unwrap();
    assert_eq!(response.attachment, version.hashes);
}

#[test]
fn nobody_but_the_owner_registers_finds_or_deletes() {
    let (node, owner, thief) = (tracker(), member(1), member(3));
    owner.comes(&node, "10.0.0.1", 9001);
    thief.comes(&node, "10.0.0.3", 9003);
    let version = owner.version(7, 1);
    owner.registers(&node, &version, &[]).unwrap();
    // The owner's own messages, from another key.
    refused(thief.registers(&node, &owner.version(7, 2), &[]), "forbidden");
    refused(thief.registers(&node, &version, &[]), "forbidden");
    let tombstone = owner.tombstone(7, 2);
    for hint in [json!({"owner_id": owner.text}), json!({"owner_port": 9001}), json!({"owner_id": thief.text})] {
        let message = with(&tombstone, with(&hint, json!({"type": "DELETE_OWNED_FILE"})));
        refused(thief.ask(&node, message), "forbidden");
    }
    for hint in [json!({"requester_id": owner.text}), json!({"requester_port": 9001, "requester_ip": "10.0.0.1"})] {
        let message = with(&hint, json!({"type": "FIND_OWNED_FILE", "name_tag": name_tag(7)}));
        refused(thief.ask(&node, message), "forbidden");
    }
    let message = json!({"type": "LIST_OWNED_FILES", "requester_id": owner.text});
    refused(thief.ask(&node, message), "forbidden");
    // Who claims nothing learns nothing.
    assert_eq!(thief.finds(&node, 7)["found"], false);
    assert!(thief.lists(&node, "", 10)["owned_files"].as_array().unwrap().is_empty());
    // A file of its own under the same tag is another file.
    thief.registers(&node, &thief.version(7, 1), &[]).unwrap();
    assert_eq!(owner.finds(&node, 7)["manifest"], version.signed["manifest"]);
    // A manifest that somebody has changed has no signature.
    let mut forged = owner.version(7, 5);
    forged.signed["signature"] = version.signed["signature"].clone();
    refused(owner.registers(&node, &forged, &[]), "invalid_manifest");
    // A port says nothing of where one is: the owner has moved, and finds its file.
    owner.comes(&node, "10.0.0.9", 9009);
    let message = json!({"type": "FIND_OWNED_FILE", "name_tag": name_tag(7), "requester_port": 9009});
    assert_eq!(owner.ask(&node, message).unwrap()["found"], true);
}

#[test]
fn a_task_owns_nothing_and_the_nodes_own_user_is_the_node() {
    let (node, own) = (tracker(), member(0x11));
    let version = own.version(1, 1);
    let message = with(&version.signed, json!({"type": "REGISTER_OWNED_FILE"}));
    let task = node.message(&message).attachment(&version.hashes).caller(Caller::Task("t")).begin();
    assert!(task.wait().is_err());
    node.message(&message).attachment(&version.hashes).begin().wait().unwrap();
    assert_eq!(own.finds(&node, 1)["found"], true);
}

#[test]
fn an_older_version_does_not_come_back() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    let (first, second) = (owner.version(7, 1), owner.version(7, 2));
    owner.registers(&node, &first, &[&holder]).unwrap();
    owner.registers(&node, &second, &[]).unwrap();
    owner.registers(&node, &second, &[&holder]).unwrap();
    refused(owner.registers(&node, &first, &[&holder]), "superseded");
    // Another text with the same revision is not the same.
    refused(owner.registers(&node, &owner.version_with(7, 2, 2, 5), &[]), "superseded");
    refused(owner.deletes(&node, 7, 2), "superseded");
    assert_eq!(owner.finds(&node, 7)["revision"], 2);
    // A holder that reports the old one is told of the new one.
    let answer = holder.reports(&node, std::slice::from_ref(&first.signed), &[]);
    assert_eq!((&answer["updated_count"], &answer["superseded"][0]), (&json!(1), &second.signed));
}

#[test]
fn lists_come_in_pages() {
    let (node, owner) = (tracker(), member(1));
    for tag in 0..5 {
        owner.registers(&node, &owner.version_with(tag, 1, 1, 10), &[]).unwrap();
    }
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = owner.lists(&node, &after, 2);
        let files = page["owned_files"].as_array().unwrap();
        assert!(files.len() <= 2);
        seen.extend(files.iter().map(|file| {
            let manifest: Manifest = serde_json::from_str(file["manifest"].as_str().unwrap()).unwrap();
            manifest.name_tag
        }));
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    assert_eq!(seen, (0..5).map(name_tag).collect::<Vec<_>>());
}

#[test]
fn a_lost_registry_is_rebuilt_from_reports() {
    let (node, owner, holder, other) = (tracker(), member(1), member(2), member(3));
    holder.comes(&node, "10.0.0.2", 9002);
    let (file, gone) = (owner.version(1, 4), owner.version(2, 1));
    let mut forged = file.signed.clone();
    forged["manifest"] = json!(forged["manifest"].as_str().unwrap().replace("sealed", "zealed"));
    let bad = [json!(5), json!({"manifest": "{}"}), forged, json!({"manifest": 1, "signature": null})];
    let replicas: Vec<Value> = bad.into_iter().chain([file.signed.clone(), gone.signed.clone()]).collect();
    let answer = holder.reports(&node, &replicas, &[]);
    assert_eq!(answer["updated_count"], 2, "{answer}");
    assert_eq!(owner.finds(&node, 1)["found"], true);
    assert_eq!(holders(&owner.finds(&node, 1))[0].0, holder.text);
    // The owner knows more: who else keeps it, and that another file is deleted.
    let files = [with(&file.signed, json!({"holders": [other.text]})), owner.tombstone(2, 2)];
    assert_eq!(owner.reports(&node, &[], &files)["updated_count"], 2);
    assert_eq!(holders(&owner.finds(&node, 1)).len(), 2);
    assert_eq!(holders(&owner.finds(&node, 1))[1], (other.text.clone(), "away".to_owned()));
    assert_eq!(owner.finds(&node, 2)["found"], false);
    // Nobody reports files of somebody else as its own.
    assert_eq!(other.reports(&node, &[], &[owner.tombstone(1, 9)])["updated_count"], 0);
    assert_eq!(owner.finds(&node, 1)["found"], true);
}

#[test]
fn what_only_a_holder_has_shown_deletes_nothing() {
    let (node, owner, old, new) = (tracker(), member(1), member(2), member(3));
    old.comes(&node, "10.0.0.2", 9002);
    let (first, second) = (owner.version(7, 1), owner.version(7, 2));
    owner.registers(&node, &first, &[&old]).unwrap();
    // An upload is under way: a holder has the next version, and its owner has not registered it.
    new.reports(&node, std::slice::from_ref(&second.signed), &[]);
    let answer = old.reports(&node, std::slice::from_ref(&first.signed), &[]);
    assert_eq!(answer.get("superseded"), None);
    assert!(sent(&node, "DELETE_OWNED_FILE").is_empty());
    // The owner says that it has given up.
    owner.reports(&node, &[], std::slice::from_ref(&first.signed));
    assert_eq!(owner.finds(&node, 7)["revision"], 1);
    assert_eq!(holders(&owner.finds(&node, 7)), [(old.text.clone(), "unchecked".to_owned())]);
    // Or it says that it is done: now the old one goes.
    owner.registers(&node, &second, &[&new]).unwrap();
    node.wait_until("the old holder is told", || !sent(&node, "DELETE_OWNED_FILE").is_empty());
    assert_eq!(sent(&node, "DELETE_OWNED_FILE")[0]["blob"], first.blob);
}

#[test]
fn a_deletion_reaches_a_holder_that_returns_even_to_another_tracker() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    let version = owner.version(7, 1);
    owner.registers(&node, &version, &[&holder]).unwrap();
    owner.deletes(&node, 7, 2).unwrap();
    assert!(sent(&node, "DELETE_OWNED_FILE").is_empty());
    // The tracker is killed.
    let node = tracker_on(node.data_dir());
    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "ERROR", "code": "peer_lost", "error": "gone again"}));
    holder.comes(&node, "10.0.0.2", 9002);
    node.wait_until("it is told", || node.logs().iter().any(|(_, line)| line.contains("gone again")));
    // It went away before it had answered, and is not asked at once again.
    holder.comes(&node, "10.0.0.2", 9002);
    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK", "deleted": true}));
    node.wait_until("it is told again", || {
        node.advance(Duration::from_secs(20));
        holder.comes(&node, "10.0.0.2", 9002);
        sent(&node, "DELETE_OWNED_FILE").len() == 2
    });
    // Then it is done.
    node.wait_until("it is forgotten", || holders(&owner.deletes(&node, 7, 2).unwrap()).is_empty());
}

#[test]
fn a_holder_that_refuses_to_say_that_there_is_nothing_to_delete_has_deleted_it() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    holder.comes(&node, "10.0.0.2", 9002);
    owner.registers(&node, &owner.version(7, 1), &[&holder]).unwrap();
    // It does not know this tracker.
    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "ERROR", "code": "forbidden", "error": "Access denied"}));
    owner.deletes(&node, 7, 2).unwrap();
    node.wait_until("it is forgotten", || holders(&owner.deletes(&node, 7, 2).unwrap()).is_empty());
}

#[test]
fn storage_peers_have_room_and_are_not_the_caller() {
    let (node, owner) = (tracker(), member(1));
    let ask = |message: Value| owner.ask(&node, with(&message, json!({"type": "REQUEST_STORAGE_PEERS"})));
    refused(ask(json!({})), "no_peers");
    owner.comes(&node, "10.0.0.1", 9001);
    assert_eq!(ask(json!({})).unwrap_err().message, "No storage peers available");
    let others = [member(2), member(3), member(4)];
    for (number, other) in others.iter().enumerate() {
        other.comes(&node, ["10.0.0.2", "10.0.0.2", "10.0.0.4"][number], 9002 + number as u16);
        let message = json!({"type": "REPORT_OWNED_FILES", "free_bytes": 1000 * (3 - number)});
        other.ask(&node, message).unwrap();
    }
    let chosen = |message: Value| -> Vec<u64> {
        let answer = ask(message).unwrap();
        answer["peers"].as_array().unwrap().iter().map(|peer| peer["port"].as_u64().unwrap()).collect()
    };
    assert_eq!(chosen(json!({})), [9002]);
    assert_eq!(chosen(json!({"replication": 2, "owner_port": 9001})), [9002, 9004]);
    assert_eq!(chosen(json!({"replication": 9})), [9002, 9004, 9003]);
    assert_eq!(chosen(json!({"replication": -3, "exclude": [others[0].text]})), [9003]);
    assert_eq!(chosen(json!({"replication": 9, "size": 1500})), [9002, 9003]);
    refused(ask(json!({"size": 4000})), "no_peers");
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let (node, owner, holder) = (tracker(), member(1), member(2));
    let versions: Vec<Version> = (0..40).map(|tag| owner.version_with(tag, 1, 1, 1000)).collect();
    let calls: Vec<_> = versions
        .iter()
        .map(|version| {
            let message = with(&version.signed, json!({"type": "REGISTER_OWNED_FILE", "holders": [holder.text]}));
            node.message(message).attachment(&version.hashes).caller(Caller::Member(&owner.text)).begin()
        })
        .collect();
    for call in calls {
        call.wait().unwrap();
    }
    let again = tracker_on(node.data_dir());
    for tag in 0..40 {
        assert_eq!(holders(&owner.finds(&again, tag)).len(), 1);
    }
}

#[test]
fn the_registry_has_limits() {
    let node = tracker_with(json!({"owned_files_max": 3, "owner_files_max": 2}));
    let (one, other) = (member(1), member(2));
    one.registers(&node, &one.version_with(1, 1, 1, 1), &[]).unwrap();
    one.registers(&node, &one.version_with(2, 1, 1, 1), &[]).unwrap();
    refused(one.registers(&node, &one.version_with(3, 1, 1, 1), &[]), "limit_reached");
    other.registers(&node, &other.version_with(1, 1, 1, 1), &[]).unwrap();
    refused(other.registers(&node, &other.version_with(2, 1, 1, 1), &[]), "limit_reached");
    // New versions of what is there always fit.
    one.registers(&node, &one.version_with(1, 2, 1, 1), &[]).unwrap();
    assert_eq!(other.reports(&node, &vec![json!(1); 200], &[])["updated_count"], 0);
    let message = json!({"type": "REPORT_OWNED_FILES", "replicas": vec![json!(1); 201]});
    refused(other.ask(&node, message), "limit_reached");
}

#[test]
fn made_up_owners_fill_half_of_the_registry_at_most() {
    let (node, holder) = (tracker_with(json!({"owned_files_max": 4})), member(2));
    let made_up: Vec<Value> = (10..15).map(|seed| member(seed).version_with(1, 1, 1, 9).signed).collect();
    assert_eq!(holder.reports(&node, &made_up, &[])["updated_count"], 2);
    // What is known can be reported at any time, and true owners find room.
    assert_eq!(holder.reports(&node, &made_up, &[])["updated_count"], 2);
    let owner = member(1);
    owner.registers(&node, &owner.version_with(1, 1, 1, 9), &[]).unwrap();
    // An owner that confirms its file makes room for another one.
    member(10).reports(&node, &[], &made_up[..1]);
    assert_eq!(holder.reports(&node, &made_up, &[])["updated_count"], 3);
}

#[test]
fn a_holder_that_is_away_for_many_versions_costs_one_row() {
    let (node, owner, away, now) = (tracker(), member(1), member(2), member(3));
    for revision in 1..=20 {
        owner.registers(&node, &owner.version_with(7, revision, 1, 9), &[&away, &now]).unwrap();
    }
    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK", "deleted": true}));
    away.comes(&node, "10.0.0.2", 9002);
    node.wait_until("it is told", || !sent(&node, "DELETE_OWNED_FILE").is_empty());
    assert_eq!(holders(&owner.deletes(&node, 7, 21).unwrap()).len(), 2);
    assert_eq!(sent(&node, "DELETE_OWNED_FILE")[0]["blob"], owner.version_with(7, 19, 1, 9).blob);
}

#[test]
fn nonsense_in_any_message_is_refused_and_harms_nobody() {
    let (node, owner) = (tracker(), member(1));
    owner.comes(&node, "10.0.0.1", 9001);
    owner.registers(&node, &owner.version(1, 1), &[]).unwrap();
    for message_type in [
        "REGISTER_OWNED_FILE",
        "FIND_OWNED_FILE",
        "LIST_OWNED_FILES",
        "DELETE_OWNED_FILE",
        "REPORT_OWNED_FILES",
        "REQUEST_STORAGE_PEERS",
        "REPAIR_OWNED_FILES",
    ] {
        for nonsense in [
            json!({"manifest": 5, "signature": []}),
            json!({"filename": {}}),
            json!({"name_tag": [1]}),
            json!({"replication": "many", "holders": 5, "replicas": 5, "after": 1}),
            json!({"requester_id": 7}),
            json!({"manifest": "{}", "signature": "00", "requester_id": owner.text}),
            json!({"name_tag": "é\u{0}"}),
            json!({"filename": "x".repeat(5000), "owner_ip": "a b", "owner_port": 1, "storage_port": 2}),
        ] {
            let _ = owner.ask(&node, with(&nonsense, json!({"type": message_type})));
        }
    }
    assert_eq!(owner.lists(&node, "", 10)["owned_files"].as_array().unwrap().len(), 1);
    assert_eq!(owner.lists(&node, "name/", 10)["owned_files"], json!([]));
}

#[test]
fn the_trackers_own_node_may_be_a_holder() {
    let (node, owner, own) = (tracker(), member(1), member(0x11));
    own.comes(&node, "10.0.0.1", 9000);
    owner.registers(&node, &owner.version(7, 1), &[&own]).unwrap();
    node.answer("DELETE_OWNED_FILE", |_| json!({"type": "STATUS", "status": "OK", "deleted": true}));
    owner.deletes(&node, 7, 2).unwrap();
    node.wait_until("it is told", || !sent(&node, "DELETE_OWNED_FILE").is_empty());
    // Within the node, where the provider of owned files answers it.
    let told = &sent(&node, "DELETE_OWNED_FILE")[0];
    assert_eq!((told.get("to"), told.get("owner_id"), &told["requester_id"]), (None, None, &json!(own.text)));
}
