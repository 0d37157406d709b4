//! Shared files through the built node: put, get, list, delete, resumed transfers, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use potluck_tests::*;
use serde_json::{Value, json};
use std::fs;

/// A peer that keeps files.
fn node_with(lines: &str) -> TestNode {
    TestNode::peer().plugin("disk", lines).start()
}

/// Bytes that no compression and no block boundary makes special.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn put(node: &TestNode, name: &str, bytes: &[u8]) -> Value {
    node.call_with(json!({"type": "PUT_FILE", "filename": name}), bytes).value()
}

fn chunk(node: &TestNode, offset: usize, length: usize, name: &str) -> Vec<u8> {
    let message = json!({
        "type": "GET_FILE_CHUNK", "filename": name, "offset": offset, "length": length, "encoding": "raw",
    });
    node.call_with(message, b"").attachment
}

#[test]
fn a_file_survives_a_kill_with_its_name_in_any_script() {
    let mut node = node_with("");
    let names = ["plain.txt", "日本語/ファイル.txt", "اختبار", "हिन्दी.csv", "emoji 🎉.bin", "a/b/c/d"];
    for name in names {
        let reply = put(&node, name, name.as_bytes());
        assert_eq!(
            (reply["status"].as_str(), reply["size"].as_u64()),
            (Some("OK"), Some(name.len() as u64)),
            "{reply}"
        );
    }
    assert_eq!(put(&node, "empty", b"")["error"], "Data required for PUT_FILE");
    let empty = node.call(json!({"type": "PUT_FILE", "filename": "empty", "data": ""}));
    assert_eq!((empty["status"].as_str(), empty["size"].as_u64()), (Some("OK"), Some(0)), "{empty}");
    node.kill9();
    node.restart();
    for name in names {
        let reply = node.call(json!({"type": "GET_FILE", "filename": name, "encoding": "raw"}));
        assert_eq!(reply["found"], true, "{reply}");
        assert_eq!(chunk(&node, 0, 1 << 20, name), name.as_bytes());
    }
    let list = node.call(json!({"type": "LIST_FILES"}));
    assert_eq!(list["file_count"], names.len() + 1, "{list}");
    assert_eq!(node.call(json!({"type": "DELETE_FILE", "filename": "a/b/c/d"}))["deleted"], true);
    assert_eq!(node.call(json!({"type": "DELETE_FILE", "filename": "a/b/c/d"}))["deleted"], false);
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "a/b/c/d"}))["found"], false);
}

#[test]
fn a_client_of_the_original_system_stores_and_reads_100_mb_in_one_message() {
    let node = node_with("");
    let bytes = content(100 << 20);
    let message = format!(r#"{{"type":"PUT_FILE","filename":"large","data":"{}"}}"#, STANDARD.encode(&bytes));
    let reply = node.call_raw(&message);
    assert!(reply.contains(r#""status":"OK""#) && reply.contains(r#""size":104857600"#), "{reply}");
    let reply = node.call(json!({"type": "GET_FILE", "filename": "large"}));
    assert!(STANDARD.decode(reply["data"].as_str().unwrap()).unwrap() == bytes);
    let peak = status_line(node.pid(), "VmHWM").trim_end_matches(" kB").parse::<u64>().unwrap();
    assert!(peak < 100 << 10, "the node held {peak} kB");
    let one_more = format!(
        r#"{{"type":"PUT_FILE","filename":"larger","data":"{}"}}"#,
        STANDARD.encode([&bytes[..], b"x"].concat())
    );
    let refused: Value = serde_json::from_str(&node.call_raw(&one_more)).unwrap();
    assert_eq!(refused["error"], "File too large (max 104857600 bytes)", "{refused}");
    assert_eq!(node.call(json!({"type": "LIST_FILES"}))["file_count"], 1);
}

#[test]
fn an_upload_goes_on_after_the_node_was_killed() {
    let mut node = node_with("");
    let bytes = content(3 << 20);
    let piece = |node: &TestNode, offset: usize, end: usize, is_final: bool| {
        let message = json!({
            "type": "PUT_FILE_CHUNK", "filename": "big", "upload": "u-1", "offset": offset, "size": bytes.len(),
            "final": is_final,
        });
        node.call_with(message, &bytes[offset..end]).value()
    };
    assert_eq!(piece(&node, 0, 1 << 20, false)["received_bytes"], 1 << 20);
    node.kill9();
    node.restart();
    assert_eq!(node.call(json!({"type": "GET_FILE", "filename": "big"}))["found"], false, "half a file is not there");
    let asked = piece(&node, 0, 0, false);
    assert_eq!(asked["received_bytes"], 1 << 20, "{asked}");
    assert_eq!(piece(&node, 1 << 20, 2 << 20, false)["received_bytes"], 2 << 20);
    let wrong = piece(&node, 0, 1 << 20, false);
    assert_eq!((&wrong["stored"], &wrong["received_bytes"]), (&json!(false), &json!(2 << 20)));
    let done = piece(&node, 2 << 20, 3 << 20, true);
    assert_eq!(done["complete"], true, "{done}");
    assert_eq!(chunk(&node, 0, 8 << 20, "big"), bytes);
    assert_eq!(chunk(&node, (3 << 20) - 5, 100, "big"), bytes[(3 << 20) - 5..]);
}

#[test]
fn names_that_would_leave_the_folder_or_look_like_others_are_refused() {
    let node = node_with("");
    put(&node, "Report.txt", b"1");
    put(&node, "paypal", b"1");
    let hostile = [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a\\b",
        "a\u{0}b",
        "CON",
        "nul.txt",
        "a/com1",
        "x.",
        "x ",
        "\u{202e}txt.exe",
        "report.TXT",
        "pаypаl",
        "ａ／b",
        "e\u{301}",
        "",
        &"x".repeat(300),
        &"x/".repeat(700),
    ];
    for name in hostile {
        for message_type in ["PUT_FILE", "GET_FILE", "DELETE_FILE", "STAT_FILE", "GET_FILE_CHUNK", "PUT_FILE_CHUNK"] {
            let reading = message_type != "PUT_FILE" && message_type != "PUT_FILE_CHUNK";
            if reading && ["report.TXT", "pаypаl"].contains(&name) {
                continue;
            }
            let reply = node.call(json!({
                "type": message_type, "filename": name, "data": "AA==", "upload": "u", "final": true,
            }));
            assert!(reply["error"].is_string(), "{message_type} {name:?}: {reply}");
        }
    }
    assert_eq!(node.call(json!({"type": "LIST_FILES"}))["file_count"], 2);
}

#[test]
fn links_that_somebody_plants_in_the_folder_lead_nowhere() {
    let node = node_with("");
    put(&node, "a/file", b"1");
    let storage = node.data_dir().join("peer_storage");
    let outside = node.folder().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(&outside, storage.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), storage.join("direct")).unwrap();
    for name in ["link/secret", "direct"] {
        let reply = node.call(json!({"type": "GET_FILE", "filename": name}));
        assert!(reply["error"].is_string() || reply["found"] == false, "{name}: {reply}");
    }
    let reply = node.call(json!({"type": "DELETE_FILE", "filename": "link/secret"}));
    assert!(reply["error"].is_string() || reply["deleted"] == false, "{reply}");
    let reply = put(&node, "link/new", b"2");
    assert!(reply["error"].is_string(), "{reply}");
    // The link itself may go, never what it leads to.
    node.call(json!({"type": "DELETE_FILE", "filename": "direct"}));
    let _ = put(&node, "direct", b"2");
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn quotas_count_what_is_stored() {
    let node = node_with("capacity_bytes = 1000\nfile_bytes_max = 900");
    assert_eq!(put(&node, "a", &content(901))["code"], "file_too_large");
    for _ in 0..5 {
        assert_eq!(put(&node, "a", &content(800))["status"], "OK", "what is replaced is not counted twice");
    }
    assert_eq!(put(&node, "b", &content(300))["code"], "limit_reached");
    node.call(json!({"type": "DELETE_FILE", "filename": "a"}));
    assert_eq!(put(&node, "b", &content(300))["status"], "OK");
}

#[test]
fn a_member_reads_the_files_of_others_and_deletes_only_its_own() {
    let cluster = Cluster::start_with(2, |_, builder| builder.plugin("disk", "peer_bytes_max = 1000"));
    let (first, second) = (&cluster.peers[0], &cluster.peers[1]);
    put(first, "mine", b"1");
    let to = first.peer_id();
    let ask = |members: Value| second.call(with(json!({"to": to}), members));
    assert_eq!(ask(json!({"type": "GET_FILE", "filename": "mine"}))["data"], "MQ==");
    for message in [
        json!({"type": "DELETE_FILE", "filename": "mine"}),
        json!({"type": "PUT_FILE", "filename": "mine", "data": "Mg=="}),
    ] {
        assert_eq!(ask(message.clone())["code"], "forbidden", "{message}");
    }
    assert_eq!(ask(json!({"type": "PUT_FILE", "filename": "theirs", "data": "Mg=="}))["status"], "OK");
    let too_much = second.call_with(json!({"type": "PUT_FILE", "filename": "more", "to": to}), &content(1000)).value();
    assert_eq!(too_much["code"], "limit_reached", "{too_much}");
    assert_eq!(ask(json!({"type": "DELETE_FILE", "filename": "theirs"}))["deleted"], true);
}
