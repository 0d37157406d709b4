//! `potluck id`: a node's identity moves to another machine, or in these tests to another folder.

use potluck_tests::{Cluster, Output, Stranger, TestNode, join_as, potluck_command, run, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse, größer";

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("potluck-identity-").tempdir().unwrap()
}

/// Runs `potluck id` for a data directory, with a passphrase in the environment.
fn id(data_dir: &Path, words: &[&str], passphrase: &str) -> Output {
    let mut command = potluck_command();
    command.args(["--json", "id", "--data-dir"]).arg(data_dir).args(words).env("POTLUCK_PASSPHRASE", passphrase);
    // Where a person would be asked, nobody is there.
    run(&mut command, "")
}

fn export(data_dir: &Path, file: &Path) -> Value {
    id(data_dir, &["export", file.to_str().unwrap()], PASSPHRASE).success().json()
}

fn import(data_dir: &Path, file: &Path) -> Output {
    id(data_dir, &["import", file.to_str().unwrap()], PASSPHRASE)
}

/// The data directory of a node that was started once, and the id that it got.
fn stopped_node() -> (TestNode, String) {
    let mut node = TestNode::peer().start();
    node.stop();
    let id = node.peer_id().to_owned();
    (node, id)
}

fn assert_refused(output: &Output, words: &[&str]) {
    assert_ne!(output.status, 0, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing in {output:?}");
    }
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

/// The id that is in a data directory, by the file that is for people.
fn stored_id(data_dir: &Path) -> Option<String> {
    fs::read_to_string(data_dir.join("peer_id.txt")).ok().map(|text| text.trim().to_owned())
}

#[test]
fn the_identity_is_shown_whether_the_node_runs_or_not() {
    let mut node = TestNode::peer().start();
    let data_dir = node.data_dir().to_owned();
    let running = id(&data_dir, &[], "").success().json();
    assert_eq!(running["peer_id"], node.peer_id());
    assert!(running["fingerprint"].as_str().unwrap().starts_with("SHA256:"), "{running}");
    assert_eq!(running["pool"], Value::Null);
    assert_eq!(running, node.cli(["--json", "id"]).success().json());
    node.stop();
    let stored = id(&data_dir, &[], "").success().json();
    assert_eq!((&stored["peer_id"], &stored["fingerprint"]), (&running["peer_id"], &running["fingerprint"]));
    assert_refused(&id(&folder().path().join("nothing"), &[], ""), &["no identity"]);
}

#[test]
fn a_moved_identity_is_the_same_member_of_its_pool() {
    let Cluster { tracker, mut peers } = Cluster::start(1);
    let mut former = peers.remove(0);
    let peer_id = former.peer_id().to_owned();
    let of_pool = |node: &TestNode| node.call(json!({ "type": "IDENTITY" }))["pool"].take();
    let pool = of_pool(&former);
    former.stop();
    let elsewhere = folder();
    let (file, data_dir) = (elsewhere.path().join("identity.pem"), elsewhere.path().join("data"));
    let exported = export(former.data_dir(), &file);
    assert_eq!((&exported["peer_id"], &exported["membership"]), (&json!(peer_id), &json!(true)), "{exported}");
    let imported = import(&data_dir, &file).success().json();
    assert_eq!((&imported["peer_id"], &imported["membership"]), (&json!(peer_id), &json!(true)), "{imported}");

    let node = TestNode::peer().data_dir(&data_dir).start();
    assert_eq!(node.peer_id(), peer_id);
    let now = of_pool(&node);
    for member in ["pool_id", "pool_name", "name", "tracker_id"] {
        assert_eq!(now[member], pool[member], "{member}");
    }
    wait_for("the tracker to know it at its new address", || {
        let status = tracker.status();
        let peers = status["peers"].as_array().unwrap();
        peers.iter().any(|peer| peer["peer_id"] == peer_id.as_str() && peer["port"] == node.port())
    });
    let members = tracker.call(json!({ "type": "POOL_MEMBERS" }))["members"].take();
    let same: Vec<&Value> =
        members.as_array().unwrap().iter().filter(|member| member["peer_id"] == peer_id.as_str()).collect();
    assert_eq!(same.len(), 1, "{members:#}");
    node.check_serving();
    assert_eq!(node.call(json!({ "type": "PING", "to": tracker.peer_id() }))["type"], "PONG");
}

#[test]
fn an_identity_without_a_pool_moves_too() {
    let (former, peer_id) = stopped_node();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    assert_eq!(export(former.data_dir(), &file)["membership"], false);
    let data_dir = elsewhere.path().join("data");
    assert_eq!(import(&data_dir, &file).success().json()["membership"], false);
    assert_eq!(TestNode::peer().data_dir(&data_dir).start().peer_id(), peer_id);
    // The same once more is no change.
    assert_eq!(import(&data_dir, &file).success().json()["peer_id"], peer_id);
}

#[test]
fn the_passphrase_may_come_from_a_file() {
    let (former, peer_id) = stopped_node();
    let elsewhere = folder();
    let [file, words] = ["identity.pem", "words"].map(|name| elsewhere.path().join(name));
    fs::write(&words, format!("{PASSPHRASE}\nnot this line\n")).unwrap();
    let with_file = |data_dir: &Path, action: &str| {
        let words = ["--passphrase-file", words.to_str().unwrap()];
        // The file comes before the environment.
        id(data_dir, &[&[action, file.to_str().unwrap()][..], &words].concat(), "something else entirely")
    };
    with_file(former.data_dir(), "export").success();
    let data_dir = elsewhere.path().join("data");
    with_file(&data_dir, "import").success();
    assert_eq!(stored_id(&data_dir), Some(peer_id));
}

#[test]
fn an_exported_file_is_its_owners_alone_and_holds_no_plain_key() {
    let (former, _) = stopped_node();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    export(former.data_dir(), &file);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{text}");
    assert!(!text.contains("-----BEGIN PRIVATE KEY-----"), "{text}");
    // The 32 bytes of the key are the last of the first part of the document.
    let plain = fs::read(former.data_dir().join("identity.key")).unwrap();
    let plain = String::from_utf8_lossy(&plain).into_owned();
    let body: Vec<&str> = plain.lines().filter(|line| !line.starts_with("-----") && line.len() >= 32).collect();
    assert!(body.iter().all(|line| !text.contains(line)), "{text}");

    // One that is there is replaced on request only.
    let again = id(former.data_dir(), &["export", file.to_str().unwrap()], PASSPHRASE);
    assert_refused(&again, &["is there already", "--force"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    id(former.data_dir(), &["export", file.to_str().unwrap(), "--force"], PASSPHRASE).success();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn openssl_reads_an_exported_key() {
    let (former, _) = stopped_node();
    let elsewhere = folder();
    let [file, words] = ["identity.pem", "words"].map(|name| elsewhere.path().join(name));
    export(former.data_dir(), &file);
    fs::write(&words, PASSPHRASE).unwrap();
    let openssl = |passphrase: &Path| {
        let mut command = Command::new("openssl");
        command.args(["pkey", "-pubout", "-in"]).arg(&file);
        command.arg("-passin").arg(format!("file:{}", passphrase.display()));
        run(&mut command, "")
    };
    let public = openssl(&words).success().stdout;
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
    fs::write(&words, "wrong passphrase").unwrap();
    assert_ne!(openssl(&words).status, 0);
}

#[test]
fn a_wrong_passphrase_and_a_short_one_are_refused() {
    let (former, _) = stopped_node();
    let elsewhere = folder();
    let (file, data_dir) = (elsewhere.path().join("identity.pem"), elsewhere.path().join("data"));
    let short = id(former.data_dir(), &["export", file.to_str().unwrap()], "short");
    assert_refused(&short, &["passphrase", "short"]);
    assert!(!file.exists());
    export(former.data_dir(), &file);
    let wrong = id(&data_dir, &["import", file.to_str().unwrap()], "another passphrase");
    assert_refused(&wrong, &["passphrase"]);
    assert!(!data_dir.join("identity.key").exists(), "nothing was imported");
    import(&data_dir, &file).success();
}

#[test]
fn a_damaged_file_and_a_wrong_one_are_refused() {
    let (former, _) = stopped_node();
    let elsewhere = folder();
    let (file, data_dir) = (elsewhere.path().join("identity.pem"), elsewhere.path().join("data"));
    export(former.data_dir(), &file);
    let text = fs::read_to_string(&file).unwrap();
    let refuse = |content: &[u8], words: &[&str]| {
        let damaged = elsewhere.path().join("damaged.pem");
        fs::write(&damaged, content).unwrap();
        assert_refused(&import(&data_dir, &damaged), words);
        assert!(!data_dir.join("identity.key").exists(), "nothing was imported");
    };
    let at = text.find("ENCRYPTED PRIVATE KEY-----\n").unwrap() + 60;
    let mut changed = text.clone().into_bytes();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    refuse(&changed, &["damaged"]);
    refuse(&text.as_bytes()[..text.len() / 2], &[]);
    refuse(b"", &["no identity"]);
    refuse(b"nonsense\0\xff", &["no identity"]);
    refuse(&fs::read(former.data_dir().join("identity.key")).unwrap(), &[]);
    refuse(&vec![b' '; (1 << 20) + 1], &["too large"]);
    assert_refused(&import(&data_dir, &elsewhere.path().join("missing.pem")), &["missing.pem"]);
}

#[test]
fn an_identity_that_is_there_is_replaced_on_request_only_and_kept() {
    let (former, peer_id) = stopped_node();
    let (other, other_id) = stopped_node();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    export(former.data_dir(), &file);
    assert_refused(&import(other.data_dir(), &file), &[&other_id, &peer_id, "--replace"]);
    assert_eq!(stored_id(other.data_dir()), Some(other_id.clone()));

    let key = fs::read(other.data_dir().join("identity.key")).unwrap();
    let replaced = id(other.data_dir(), &["import", file.to_str().unwrap(), "--replace"], PASSPHRASE).success().json();
    assert_eq!(replaced["peer_id"], peer_id);
    let kept: Vec<PathBuf> = serde_json::from_value(replaced["kept"].clone()).unwrap();
    assert!(kept.iter().any(|path| fs::read(path).is_ok_and(|bytes| bytes == key)), "{kept:?}");
    let mut node = other;
    node.restart();
    assert_eq!(node.peer_id(), peer_id);
}

#[test]
fn a_replaced_identity_does_not_keep_the_membership_of_the_former_one() {
    let mut cluster = Cluster::start(1);
    let mut member = cluster.peers.remove(0);
    member.stop();
    let (former, peer_id) = stopped_node();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    export(former.data_dir(), &file);
    id(member.data_dir(), &["import", file.to_str().unwrap(), "--replace"], PASSPHRASE).success();
    member.restart();
    let identity = member.call(json!({ "type": "IDENTITY" }));
    assert_eq!((&identity["peer_id"], &identity["pool"]), (&json!(peer_id), &Value::Null), "{identity:#}");
    // It can join with a token like any other.
    join_as(&member, &cluster.token(json!({})), "another");
}

#[test]
fn the_identity_of_a_running_node_is_not_changed() {
    let (former, _) = stopped_node();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    export(former.data_dir(), &file);
    let node = TestNode::peer().start();
    for words in [&["import", file.to_str().unwrap()][..], &["import", file.to_str().unwrap(), "--replace"]] {
        let refused = id(node.data_dir(), words, PASSPHRASE);
        assert_refused(&refused, &["nothing was imported", "runs on", node.data_dir().to_str().unwrap()]);
    }
    assert_eq!(stored_id(node.data_dir()).as_deref(), Some(node.peer_id()));
    assert_eq!(Stranger::with_key_of(node.data_dir()).peer_id(), node.peer_id());
    // To take a copy while it runs is no change.
    export(node.data_dir(), &elsewhere.path().join("copy.pem"));
}

#[test]
fn the_key_of_a_pool_does_not_leave_with_the_identity_of_its_tracker() {
    let mut tracker = TestNode::tracker().start();
    potluck_tests::create_pool(&tracker);
    tracker.stop();
    let elsewhere = folder();
    let file = elsewhere.path().join("identity.pem");
    let output = id(tracker.data_dir(), &["export", file.to_str().unwrap()], PASSPHRASE);
    assert!(output.stderr.contains("pool's key is not in the file"), "{output:?}");
    assert_eq!(fs::read_to_string(&file).unwrap().matches("PRIVATE KEY-----").count(), 2, "one block with a key");
}
