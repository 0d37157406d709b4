//! For whom the protections are: for everybody, unless the node's owner trusts this machine's user.

use potluck_tests::{TestNode, outcomes, task, with};
use serde_json::{Value, json};
use std::fs;

/// What only a task without protections can do.
const DOES: &str = "
import os, socket, subprocess
got = [
    open('/etc/passwd').read() != '',
    subprocess.run(['echo', 'started'], capture_output=True, text=True, check=True).stdout,
    socket.create_connection(('127.0.0.1', PORT), 5).close(),
    open('FOLDER/made', 'w').close(),
    os.path.exists('FOLDER/made'),
]
";

fn does(node: &TestNode) -> String {
    super::fill_in(node, &[DOES]).remove(0)
}

#[test]
fn the_owner_may_trust_this_machines_user() {
    let node = TestNode::peer().cpu("trusted = true").start();
    let outcome = outcomes(&node, json!({}), &[does(&node)]);
    assert_eq!(outcome[0]["got"], r"[True, 'started\n', None, None, True]", "{outcome:?}");
    let python = node.status()["executor"]["runtimes"]["python"].take();
    assert_eq!(python["hardened"], false, "{python:#}");
    let protections = python["protections"].as_array().unwrap();
    assert!(protections.len() >= 7, "{python:#}");
    for protection in protections {
        assert_eq!(protection["state"], "off", "{protection:#}");
        assert!(protection["reason"].as_str().unwrap().contains("trusted"), "{protection:#}");
    }
}

#[test]
fn trust_does_not_reach_the_work_of_others() {
    let node = TestNode::peer().cpu("trusted = true").start();
    let made = node.folder().join("made");
    for others in [
        json!({ "source_peer": "127.0.0.1:9001" }),
        json!({ "source_peer": "127.0.0.1:9001", "confidential": true }),
        json!({ "source_peer": "127.0.0.1:9001", "isolated": true }),
        json!({ "source_peer": "127.0.0.1:9001", "runtime": "python" }),
    ] {
        // The owner's own tasks beside them change nothing.
        node.check_serving();
        potluck_tests::refused(
            &node,
            others,
            &[does(&node), super::fill_in(&node, &["got = open('FOLDER/made', 'w')"]).remove(0)],
        );
        assert!(!made.exists());
    }
}

#[test]
fn what_a_peer_forwards_is_the_work_of_others() {
    let cluster = potluck_tests::Cluster::start_with(2, |_, builder| builder.cpu("trusted = true"));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let program = "def main(path): return open(path).read()";
    let secret = far.folder().join("secret");
    fs::write(&secret, "secret").unwrap();
    assert_eq!(far.run(program, json!([secret])), "secret", "its own user is trusted");
    let forwarded = json!({ "to": far.address(), "source_peer": near.address() });
    let reply = near.call(with(task(program, json!([secret])), forwarded));
    assert_eq!(reply["executed_by"], far.address(), "{reply:#}");
    assert_eq!(reply["error_type"], "PermissionError", "{reply:#}");
}

#[test]
fn the_runtime_for_others_is_the_owners_choice() {
    let node = TestNode::peer().cpu("remote_runtime = \"sandbox\"").start();
    let program = "import sys\ndef main(): return sys.platform";
    let runtime = |members: Value| {
        let reply = node.call(with(task(program, json!([])), members));
        (reply["result"].clone(), reply["runtime"].clone())
    };
    let (native, sandboxed) = ((json!("linux"), json!("python")), (json!("wasi"), json!("sandbox")));
    assert_eq!(runtime(json!({})), native);
    assert_eq!(runtime(json!({ "runtime": "python" })), native);
    for others in [json!({}), json!({ "runtime": "python" }), json!({ "runtime": "" }), json!({ "runtime": "sandbox" })]
    {
        assert_eq!(runtime(with(others, json!({ "source_peer": "127.0.0.1:9" }))), sandboxed);
    }
    let batch = json!({ "type": "BATCH_TASK", "tasks": [{ "program": program, "source_peer": "127.0.0.1:9" }] });
    assert_eq!(node.call(batch)["results"][0]["result"], "wasi");
    let text = TestNode::peer().cpu("remote_runtime = \"wasm\"").try_start().err().unwrap().log;
    assert!(text.contains("remote_runtime"), "{text}");
}

#[test]
fn submitters_share_neither_interpreters_nor_files() {
    let node = TestNode::peer().start();
    let leave = "
import builtins, os
def main():
    builtins.left = 1
    with open('left', 'w') as file:
        file.write('left')
    return [os.getpid(), os.getcwd()]
";
    let look = "
import builtins, os
def main(): return [os.getpid(), os.getcwd(), hasattr(builtins, 'left'), os.listdir()]
";
    let submitters = [
        json!({}),
        json!({ "confidential": true }),
        json!({ "source_peer": "127.0.0.1:9001" }),
        json!({ "source_peer": "127.0.0.1:9002" }),
        json!({ "source_peer": "127.0.0.1:9002", "confidential": true }),
        json!({ "isolated": true }),
    ];
    for (number, submitter) in submitters.iter().enumerate() {
        let left = node.call(with(task(leave, json!([])), submitter.clone()));
        assert_eq!(left["error"], Value::Null, "{left:#}");
        for other in submitters.iter().enumerate().filter(|(other, _)| *other > number).map(|(_, other)| other) {
            let seen = node.call(with(task(look, json!([])), other.clone()))["result"].take();
            assert_ne!(seen[0], left["result"][0], "{other} after {submitter}");
            assert_ne!(seen[1], left["result"][1], "{other} after {submitter}");
            assert_eq!((&seen[2], &seen[3]), (&json!(false), &json!([])), "{other} after {submitter}");
        }
    }
}
