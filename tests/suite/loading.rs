//! plugins.toml and the libraries that it names.

use potluck_tests::{
    NodeBuilder, TestNode, Wire, c_library, c_library_as, children, dist, fixture, potluck, run, task, wait_for,
    wait_for_some, workspace_root,
};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Where `e_machine` stands in an ELF file, and a machine that runs none of our tests.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
const RISC_V: u16 = 243;

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("potluck-loading-").tempdir().unwrap()
}

/// A table of plugins.toml.
fn plugin(id: &str, path: &Path, settings: &str) -> String {
    format!("[plugins.{id}]\npath = {}\n{settings}\n", json!(path.to_str().unwrap()))
}

fn panicker(settings: &str) -> NodeBuilder {
    let table = plugin("panicker", &fixture("libfixture_panicker.so"), settings);
    TestNode::peer().plugins(format!("[plugins.memory]\n[plugins.cpu]\ndrain_seconds = 0.2\n{table}"))
}

fn shipped_library(id: &str) -> PathBuf {
    dist().join("lib/plugins").join(format!("libprovider_{id}.so"))
}

/// What LIST_PLUGINS says of a plugin.
fn report(node: &TestNode, id: &str) -> Value {
    let list = node.call(json!({ "type": "LIST_PLUGINS" }));
    let plugins = list["plugins"].as_array().unwrap();
    plugins.iter().find(|plugin| plugin["id"] == id).unwrap_or_else(|| panic!("no {id} in {list:#}")).clone()
}

fn check_memory(node: &TestNode) {
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": [1, 2] }))["status"], "OK");
    assert_eq!(node.call(json!({ "type": "GET_MEM", "key": "k" }))["value"], json!([1, 2]));
}

fn assert_error(reply: &Value, code: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply:#}");
    assert!(reply["error"].as_str().is_some_and(|text| !text.is_empty()), "{reply:#}");
}

/// That a plugin is shown as failed everywhere, for a reason with these words, and that the log says so once.
fn assert_failed(node: &TestNode, id: &str, words: &[&str]) {
    let report = report(node, id);
    assert_eq!(report["state"], "failed", "{report:#}");
    let reason = report["reason"].as_str().unwrap();
    for word in words {
        assert!(reason.contains(word), "{word:?} is missing in the reason of {id}: {reason}");
    }
    assert!(!reason.contains('\n'), "the reason of {id} has several lines: {reason}");
    let log = node.log_text();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("could not be started")).collect();
    let own: Vec<&&str> = lines.iter().filter(|line| line.contains(&format!("\"{id}\""))).collect();
    assert_eq!(own.len(), 1, "one line of the log names {id}: {lines:#?}");
    assert!(own[0].contains("ERROR"), "{}", own[0]);
    // Texts in log lines are quoted.
    let logged = own[0].replace('\\', "");
    assert!(logged.contains(reason), "the log does not give the reason of {id}: {logged}");
    let shown = node.cli(["plugins"]).success().stdout;
    assert!(shown.contains(&format!("{id} is failed: {reason}")), "{shown}");
}

// Providers that misbehave while they run.

#[test]
fn a_provider_that_panics_is_degraded_and_the_node_serves_on() {
    let node = panicker("").start();
    let reply = node.call(json!({ "type": "PANIC", "id": 7 }));
    assert_error(&reply, "provider_panicked");
    assert_eq!(reply["id"], 7);
    let text = reply["error"].as_str().unwrap();
    assert!(text.contains("panicker") && text.contains("PANIC") && text.contains("the message asks for it"), "{text}");

    let report = report(&node, "panicker");
    let reason = report["reason"].as_str().unwrap();
    assert_eq!((&report["state"], &report["calls"], &report["errors"]), (&json!("degraded"), &json!(1), &json!(1)));
    assert!(reason.contains("PANIC") && reason.contains("the message asks for it"), "{reason}");
    let shown = node.cli(["plugins"]).success().stdout;
    assert!(shown.contains(&format!("panicker is degraded: {reason}")), "{shown}");
    assert_eq!(node.log_text().lines().filter(|line| line.contains("a provider is degraded")).count(), 1);

    assert_eq!(node.call(json!({ "type": "LATER" }))["type"], "LATE", "it still answers");
    for _ in 0..20 {
        assert_error(&node.call(json!({ "type": "PANIC" })), "provider_panicked");
    }
    node.check_serving();
}

#[test]
fn a_reply_that_is_dropped_is_answered_with_an_error() {
    let node = panicker("").start();
    for message_type in ["DROP", "LATER_DROP", "LATER_PANIC"] {
        let reply = node.call(json!({ "type": message_type }));
        assert_error(&reply, "provider_dropped");
        assert!(reply["error"].as_str().unwrap().contains("panicker"), "{reply:#}");
    }
    assert_eq!(report(&node, "panicker")["errors"], 3);
    node.check_serving();
}

#[test]
fn a_reply_may_come_from_another_thread_with_an_attachment() {
    let node = panicker("").start();
    let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let frame = node.call_with(json!({ "type": "LATER", "id": "x" }), &bytes);
    let reply = frame.value();
    assert_eq!((&reply["type"], &reply["other_thread"], &reply["id"]), (&json!("LATE"), &json!(true), &json!("x")));
    assert_eq!(frame.attachment, bytes);
}

#[test]
fn a_provider_that_takes_its_reply_along_and_panics_answers_once() {
    let node = panicker("").start();
    let mut wire = node.wire();
    // Without ids replies come in the order of the requests, so a second answer would stand before the PONG.
    wire.send(json!({ "type": "DEFER_PANIC" }));
    wire.send(json!({ "type": "PING" }));
    let reply = wire.read();
    let code = reply["code"].as_str().unwrap_or_default();
    assert!(["provider_panicked", "provider_dropped"].contains(&code), "{reply:#}");
    assert_eq!(wire.read(), json!({ "type": "PONG" }));
    let report = report(&node, "panicker");
    let reason = report["reason"].as_str().unwrap_or_default();
    assert_eq!(report["state"], "degraded", "{report:#}");
    assert!(reason.contains("DEFER_PANIC") && reason.contains("panicked"), "{reason}");

    wire.send(json!({ "type": "DEFER_PANIC", "keep": true }));
    wire.send(json!({ "type": "PING" }));
    assert_eq!(wire.read()["type"], "LATE", "whoever holds the reply still answers");
    assert_eq!(wire.read(), json!({ "type": "PONG" }));
    node.check_serving();
}

#[test]
fn a_panic_in_status_costs_only_the_members_of_that_provider() {
    let node = panicker("panic_in_status = true").start();
    let status = node.status();
    assert!(status["memory"].is_object() && status["scheduler"].is_object(), "{status:#}");
    assert_eq!(status.get("panicker"), None);
    assert_eq!(node.call(json!({ "type": "LATER" }))["type"], "LATE");
    // Any panic is shown, as the page of `Provider` says.
    let report = report(&node, "panicker");
    assert_eq!(report["state"], "degraded", "{report:#}");
    assert!(report["reason"].as_str().is_some_and(|reason| reason.contains("status")), "{report:#}");
    assert_eq!(panicker("").start().status()["panicker"], "calm");
}

// Libraries that a node cannot use: it starts without them.

#[test]
fn libraries_that_are_no_plugins_of_this_version_are_refused_with_their_reason() {
    let folder = folder();
    let refused = |id: &str| c_library(id, folder.path());
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let library = fs::read(shipped_library("memory")).unwrap();
    let mut foreign = library.clone();
    foreign[ELF_MACHINE].copy_from_slice(&RISC_V.to_le_bytes());
    let damaged = ["truncated or damaged"];
    let no_library = ["not a shared library"];
    let cases: Vec<(&str, PathBuf, &[&str])> = vec![
        ("bad-abi", refused("bad_abi"), &["version 999", "version 2", "build it with the SDK"]),
        ("bad-magic", refused("bad_magic"), &["not a plugin", "magic"]),
        ("no-symbol", refused("no_symbol"), &["not a plugin", "potluck_plugin"]),
        ("null-table", refused("null_table"), &["no table"]),
        ("small-table", refused("small_table"), &["bytes", "build it with the SDK"]),
        ("cut-quarter", file("quarter.so", &library[..library.len() / 4]), &damaged),
        ("cut-half", file("half.so", &library[..library.len() / 2]), &damaged),
        ("cut-last", file("last.so", &library[..library.len() - 1]), &damaged),
        ("cut-header", file("header.so", &library[..40]), &damaged),
        ("text", file("text.so", b"#!/bin/sh\necho hello\n"), &no_library),
        ("empty", file("empty.so", b""), &no_library),
        ("folder", folder.path().to_owned(), &["cannot be read"]),
        ("program", dist().join("bin/potluck"), &["executable"]),
        ("foreign", file("foreign.so", &foreign), &["another kind of machine"]),
        ("missing", folder.path().join("missing.so"), &["no such library", "`path`"]),
        ("mismatch", shipped_library("memory"), &["`memory`", "`mismatch`"]),
    ];
    let tables: String = cases.iter().map(|(id, path, _)| plugin(id, path, "")).collect();
    // What stands behind a plugin that failed is started all the same.
    let node = TestNode::peer().plugins(format!("{tables}\n[plugins.memory]\n")).start();
    check_memory(&node);
    for (id, _, words) in &cases {
        assert_failed(&node, id, words);
    }
    assert_eq!(report(&node, "memory")["state"], "started");
}

#[test]
fn a_library_that_may_not_be_read_is_refused() {
    let folder = folder();
    let path = folder.path().join("secret.so");
    fs::copy(shipped_library("memory"), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    // The administrator may read everything.
    if fs::read(&path).is_err() {
        let node = TestNode::peer().plugins(plugin("memory", &path, "")).start();
        assert_failed(&node, "memory", &["cannot be read"]);
    }
}

#[test]
fn a_provider_that_panics_while_it_starts_leaves_the_node_without_it() {
    let node = panicker("panic_at_start = true").start();
    assert_failed(&node, "panicker", &["panicked while starting", "the configuration asks for it"]);
    assert_error(&node.call(json!({ "type": "LATER" })), "no_provider");
    node.check_serving();
}

#[test]
fn of_two_plugins_that_answer_a_message_the_first_has_it() {
    let folder = folder();
    let first = c_library("echo", folder.path());
    let second = c_library_as("echo", "other", folder.path(), &["-DPLUGIN_ID=\"other\""]);
    let tables = |first: (&str, &Path), second: (&str, &Path)| {
        format!("{}{}[plugins.memory]\n", plugin(first.0, first.1, ""), plugin(second.0, second.1, ""))
    };
    for (winner, loser, text) in [
        ("c-echo", "other", tables(("c-echo", &first), ("other", &second))),
        ("other", "c-echo", tables(("other", &second), ("c-echo", &first))),
    ] {
        let node = TestNode::peer().plugins(text).start();
        assert_failed(&node, loser, &["C_ECHO", winner, "already"]);
        assert_eq!(node.call(json!({ "type": "C_ECHO" }))["type"], "C_ECHOED");
        assert_eq!(report(&node, winner)["state"], "started");
        let status = node.status();
        assert_eq!(status[winner]["answered"], 1, "{status:#}");
        assert_eq!(status.get(loser), None, "a plugin that failed adds nothing to STATUS");
        check_memory(&node);
    }
}

#[test]
fn no_plugin_answers_in_place_of_the_host() {
    for message_type in ["STATUS", "PING", "LIST_PLUGINS"] {
        let folder = folder();
        let extra = format!("-DEXTRA_MESSAGE=\"{message_type}\"");
        let library = c_library_as("echo", "greedy", folder.path(), &[&extra]);
        let node = TestNode::peer().plugins(format!("{}[plugins.memory]\n", plugin("c-echo", &library, ""))).start();
        assert_failed(&node, "c-echo", &[message_type, "host"]);
        assert_eq!(node.status()["peer_id"], node.peer_id());
        assert_eq!(node.call(json!({ "type": "PING" })), json!({ "type": "PONG" }));
        // None of its messages is routed to it, also those that nobody else answers.
        assert_error(&node.call(json!({ "type": "C_ECHO" })), "no_provider");
    }
}

// A plugins.toml that is wrong: the node does not start.

/// That no node starts with this text, and that it says why in words that lead to the place.
fn assert_refused(text: &str, words: &[&str]) {
    let failure = TestNode::peer().plugins(text).try_start().err().unwrap_or_else(|| panic!("a node runs with {text}"));
    assert!(failure.status.is_some_and(|code| (1..=2).contains(&code)), "{failure:#?}");
    for word in ["plugins.toml"].iter().chain(words) {
        assert!(failure.log.contains(word), "{word:?} is missing: {}", failure.log);
    }
    assert!(failure.log.contains("Error: ") && !failure.log.contains("panicked at"), "{}", failure.log);
}

#[test]
fn misspelt_keys_and_tables_are_refused_by_name() {
    assert_refused(
        "[plugins.memory]\nentries_maximum = 5\n",
        &["[plugins.memory]", "`entries_maximum`", "`entries_max`"],
    );
    assert_refused("[plugins.memory]\n[plugins.cpu]\nworker = 2\n", &["[plugins.cpu]", "`worker`", "`workers`"]);
    assert_refused("[plugins.tracker]\ndead_after = 3\n", &["[plugins.tracker]", "`dead_after`", "dead_after_seconds"]);
    assert_refused("[node]\nidle_secs = 3\n[plugins.memory]\n", &["[node]", "`idle_secs`", "`idle_seconds`"]);
    assert_refused("[nodes]\n", &["`nodes`", "[node]"]);
    assert_refused("[plugin.memory]\n", &["`plugin`", "[plugins."]);
    assert_refused("[plugins.Memory]\n", &["[plugins.Memory]", "small letters"]);
}

#[test]
fn values_of_the_wrong_kind_are_refused_by_name() {
    assert_refused("[plugins.memory]\nentries_max = \"many\"\n", &["[plugins.memory]", "`entries_max`", "many"]);
    assert_refused("[plugins.memory]\nentries_max = -1\n", &["[plugins.memory]", "`entries_max`", "-1"]);
    assert_refused("[plugins.memory]\nentries_max = 0\n", &["[plugins.memory]", "`entries_max`", "at least 1"]);
    assert_refused("[plugins.memory]\npath = 5\n", &["[plugins.memory]", "`path`", "integer"]);
    assert_refused("[plugins.cpu]\nworkers = \"two\"\n", &["[plugins.cpu]", "`workers`", "two"]);
    assert_refused("[plugins.cpu]\ntimeout_seconds = -1.0\n", &["[plugins.cpu]", "`timeout_seconds`", "-1"]);
    assert_refused("[plugins.cpu]\nalgorithm = \"FASTEST\"\n", &["[plugins.cpu]", "`algorithm`", "FASTEST"]);
    assert_refused("[node]\nidle_seconds = \"3\"\n", &["[node]", "idle_seconds", "string"]);
    assert_refused("[node]\nheartbeat_seconds = 0\n", &["[node]", "`heartbeat_seconds`"]);
    assert_refused("[plugins]\nmemory = 3\n", &["[plugins.memory]", "table"]);
    assert_refused("[plugins.memory\n", &["line 1"]);
}

#[test]
fn a_plugin_in_c_refuses_its_table_in_the_same_way() {
    let folder = folder();
    let library = c_library("echo", folder.path());
    assert_refused(
        &plugin("c-echo", &library, "greetings = \"hi\""),
        &["[plugins.c-echo]", "`greetings`", "`greeting`"],
    );
    assert_refused(&plugin("c-echo", &library, "greeting = 5"), &["[plugins.c-echo]", "`greeting`", "a text"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = potluck(["peer", "--port", "0", "--no-tracker", "--plugins", "/no/such/folder/my.toml"]);
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains("/no/such/folder/my.toml") && output.stderr.contains("--plugins"), "{output:#?}");
}

#[test]
fn every_key_that_plugins_toml_explains_is_there_and_its_default_works() {
    let text = fs::read_to_string(workspace_root().join("plugins.toml")).unwrap();
    let mut enabled = String::new();
    let mut is_foreign = false;
    for line in text.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        is_foreign = bare.starts_with("[plugins.echo]") || (is_foreign && !bare.starts_with('['));
        let is_setting =
            bare.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        if !is_foreign && (bare.starts_with('[') || is_setting) {
            enabled += &format!("{bare}\n");
        }
    }
    assert!(enabled.contains("\nheartbeat_seconds = ") && enabled.contains("[plugins.tracker]"), "{enabled}");
    let node = TestNode::peer().plugins(enabled).start();
    node.check_serving();
    assert_eq!(node.status()["peer_count"], 0);
}

// Plugins that others would write.

#[test]
fn a_plugin_in_c_answers_like_any_other() {
    let folder = folder();
    let library = c_library("echo", folder.path());
    let text = format!("[plugins.memory]\n{}", plugin("c-echo", &library, "greeting = \"good day\""));
    let mut node = TestNode::peer().plugins(text).start();
    assert!(node.log_text().contains("the plugin in C has started"), "{}", node.log_text());

    let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    for message_type in ["C_ECHO", "C_ECHO_LATER"] {
        let message = json!({ "type": message_type, "id": 5, "text": "é \u{1f372}", "number": 12 });
        let reply = node.call(&message);
        assert_eq!((&reply["type"], &reply["id"]), (&json!("C_ECHOED"), &json!(5)), "{reply:#}");
        assert_eq!((&reply["greeting"], &reply["caller"]), (&json!("good day"), &json!(0)), "{reply:#}");
        assert_eq!(reply["message"]["text"], message["text"], "{reply:#}");
        let frame = node.call_with(json!({ "type": message_type }), &bytes);
        assert_eq!(frame.value()["type"], "C_ECHOED");
        assert!(frame.attachment == bytes, "{message_type}: the attachment came back changed");
    }
    assert_error(&node.call(json!({ "type": "C_ECHO_ERROR" })), "c_echo_error");

    let report = report(&node, "c-echo");
    assert_eq!((&report["state"], &report["version"], &report["calls"]), (&json!("started"), &json!("1.0"), &json!(5)));
    assert_eq!(node.status()["c-echo"]["answered"], 4);
    assert_eq!(node.stop().code(), Some(0));
    assert!(node.log_text().contains("the plugin in C stops"), "{}", node.log_text());
}

#[test]
fn many_deferred_answers_of_a_plugin_in_c_find_their_requests() {
    let folder = folder();
    let library = c_library("echo", folder.path());
    let node = TestNode::peer().plugins(plugin("c-echo", &library, "")).start();
    let mut wire = node.wire();
    for number in 0..500 {
        wire.send(json!({ "type": "C_ECHO_LATER", "id": number, "number": number }));
    }
    let mut seen: Vec<u64> = (0..500)
        .map(|_| {
            let reply = wire.read();
            assert_eq!(reply["id"], reply["message"]["number"], "{reply:#}");
            reply["id"].as_u64().unwrap()
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..500));
}

#[test]
fn a_plugin_in_c_hears_that_its_caller_has_gone() {
    let folder = folder();
    let library = c_library("echo", folder.path());
    let node = TestNode::peer().plugins(plugin("c-echo", &library, "")).start();
    let mut gone: Vec<Wire> = (0..3).map(|_| node.wire()).collect();
    for wire in &mut gone {
        // Somebody who is gone before the node has looked who it is, is nobody.
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
        wire.send(json!({ "type": "C_WAIT" }));
    }
    drop(gone);
    node.wait_until("the plugin to hear of it", |status| status["c-echo"]["cancelled"] == 3);
    assert_eq!(node.call(json!({ "type": "C_ECHO" }))["type"], "C_ECHOED");
}

#[test]
fn an_answer_that_is_no_message_becomes_an_error_that_says_so() {
    let folder = folder();
    let library = c_library("echo", folder.path());
    let node = TestNode::peer().plugins(plugin("c-echo", &library, "")).start();
    let reply = node.call(json!({ "type": "C_NONSENSE", "id": 1 }));
    assert_eq!((&reply["type"], &reply["id"]), (&json!("ERROR"), &json!(1)), "{reply:#}");
    let text = reply["error"].as_str().unwrap();
    assert!(!text.contains("limit"), "nothing was too large: {text}");
}

#[test]
fn the_example_of_the_sdk_loads_and_answers() {
    let node = TestNode::peer().plugins(plugin("echo", &fixture("libecho.so"), "")).start();
    let reply = node.call(json!({ "type": "ECHO", "text": "shared" }));
    assert_eq!(reply, json!({ "type": "ECHOED", "text": "shared" }));
    let reply = node.call(json!({ "type": "ECHO" }));
    assert_error(&reply, "invalid_message");
    assert!(reply["error"].as_str().unwrap().contains("text"), "{reply:#}");
    let sent = node.cli(["send", "ECHO", "text=by hand"]).success().json();
    assert_eq!(sent["text"], "by hand");
}

// What a node is made of.

#[test]
fn a_table_that_is_removed_removes_the_feature_and_not_the_node() {
    let node = TestNode::peer().plugins("[plugins.memory]\n").start();
    let reply = node.call(task("def main(): return 1", json!([])));
    assert_error(&reply, "no_provider");
    assert!(reply["error"].as_str().unwrap().contains("CPU_TASK"), "{reply:#}");
    check_memory(&node);
    assert_eq!(node.status().get("scheduler"), None);
    let output = node.cli(["selftest"]).success();
    assert!(output.stdout.contains("ok   memory") && output.stdout.contains("skip task"), "{output:#?}");
}

#[test]
fn a_node_without_plugins_still_answers_for_itself() {
    let node = TestNode::peer().plugins("").start();
    assert_eq!(node.status()["peer_port"], node.port());
    assert_error(&node.call(json!({ "type": "GET_MEM", "key": 1 })), "no_provider");
    assert!(node.cli(["plugins"]).success().stdout.contains("No plugins"));
}

#[test]
fn a_second_node_on_a_data_directory_is_refused() {
    let node = TestNode::peer().start();
    let failure = TestNode::peer().data_dir(node.data_dir()).try_start().err().expect("the folder is in use");
    assert_eq!(failure.status, Some(1), "{failure:#?}");
    let folder = node.data_dir().canonicalize().unwrap();
    for word in [folder.to_str().unwrap(), "another node", "--data-dir"] {
        assert!(failure.log.contains(word), "{word:?} is missing: {}", failure.log);
    }
    node.check_serving();
}

#[test]
fn a_port_that_is_in_use_is_refused() {
    let node = TestNode::peer().start();
    let failure = TestNode::peer().port(node.port()).try_start().err().expect("the port is in use");
    assert_eq!(failure.status, Some(1), "{failure:#?}");
    for word in [node.address(), "--port"] {
        assert!(failure.log.contains(word), "{word:?} is missing: {}", failure.log);
    }
    node.check_serving();
}

#[test]
fn an_identity_is_private_and_survives_stopping_and_killing() {
    let mut node = TestNode::peer().plugins("[plugins.memory]\n").start();
    let peer_id = node.peer_id().to_owned();
    let mode = |name: &str| fs::metadata(node.data_dir().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("identity.key"), mode("peer_id.txt"), mode("")), (0o600, 0o600, 0o700));
    let written = fs::read_to_string(node.data_dir().join("peer_id.txt")).unwrap();
    assert_eq!((written.trim(), node.status()["peer_id"].as_str().unwrap()), (peer_id.as_str(), peer_id.as_str()));

    assert_eq!(node.stop().code(), Some(0));
    assert!(!node.data_dir().join("node.json").exists(), "a node that has stopped does not look as if it served");
    node.restart();
    assert_eq!(node.peer_id(), peer_id);
    node.kill9();
    node.restart();
    assert_eq!(node.status()["peer_id"], peer_id);
    assert_ne!(TestNode::peer().plugins("").start().peer_id(), peer_id);
}

#[test]
fn a_damaged_key_stops_the_start_and_stays_as_it_is() {
    let mut node = TestNode::peer().plugins("").start();
    node.stop();
    let key = node.data_dir().join("identity.key");
    fs::write(&key, "damaged").unwrap();
    let failure = TestNode::peer().plugins("").data_dir(node.data_dir()).try_start().err().expect("the key is damaged");
    assert!(failure.status == Some(1) && failure.log.contains("identity.key"), "{failure:#?}");
    assert_eq!(fs::read_to_string(key).unwrap(), "damaged");
}

// The tree as a whole.

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn the_tree_works_wherever_it_is_moved() {
    let folder = folder();
    let tree = folder.path().join("moved, with spaces é");
    copy_tree(&dist(), &tree);
    let program = tree.join("bin/potluck");
    let data = folder.path().join("data");
    let mut command = Command::new(&program);
    command.args(["peer", "--port", "0", "--no-tracker", "--data-dir"]).arg(&data).current_dir("/");
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()).stdout(Stdio::null());
    let node = Running(command.spawn().unwrap());
    let facts: Value = wait_for_some("the moved node to serve", || {
        serde_json::from_slice(&fs::read(data.join("node.json")).ok()?).ok()
    });
    let port = facts["port"].to_string();
    let selftest = run(Command::new(&program).args(["--port", &port, "selftest"]), "").success();
    assert!(selftest.stdout.contains("0 failed, 0 skipped"), "{selftest:#?}");

    let plugins = run(Command::new(&program).args(["--port", &port, "plugins", "--json"]), "").success().json();
    for plugin in plugins["plugins"].as_array().unwrap() {
        assert!(Path::new(plugin["path"].as_str().unwrap()).starts_with(&tree), "{plugin:#}");
    }
    let pid = node.0.id();
    wait_for("the moved node to have workers", || !children(pid).is_empty());
    let original = dist();
    for process in children(pid).into_iter().chain([pid]) {
        // A spare may have ended since.
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
        assert!(!maps.contains(original.to_str().unwrap()), "{process} uses the tree that was copied:\n{maps}");
    }
}
