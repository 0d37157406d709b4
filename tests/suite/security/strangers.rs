//! Other accounts of this machine, plain frames from elsewhere, and the files that only the node's user may read.

use super::callers::{assert_forbidden, outer_address, pool_of_one};
use potluck_tests::{Cluster, Stranger, TestNode, Wire, task, wait_for};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

/// An account without rights, on most systems called `nobody`.
const OTHER_USER: u32 = 65534;

/// Runs code as another account of this machine, as far as its sockets go; nothing where only root could.
fn as_another_user<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can connect as another user");
        return None;
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let other = Uid::from_raw(OTHER_USER);
            // Of this thread alone, and for good.
            set_thread_res_uid(other, other, other).unwrap();
            work()
        });
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn access_token(node: &TestNode) -> String {
    fs::read_to_string(node.data_dir().join("access.token")).unwrap().trim().to_owned()
}

fn authenticate(token: &str) -> Value {
    json!({ "type": "AUTHENTICATE", "token": token })
}

/// What anybody might want of a node.
fn wishes() -> Vec<Value> {
    vec![
        json!({ "type": "STATUS" }),
        json!({ "type": "PING" }),
        json!({ "type": "LIST_PEERS" }),
        task("def main(): pass", json!([])),
        json!({ "type": "SET_MEM", "key": "k", "value": 1 }),
        json!({ "type": "GET_MEM", "key": "k" }),
        json!({ "type": "GET_MEM", "key": "k", "behalf": "task" }),
        json!({ "type": "PING", "to": "127.0.0.1:1" }),
        json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }),
        json!({ "type": "WATCH_EVENTS", "after": 0 }),
        json!({ "type": "POOL_CREATE" }),
        json!({ "type": "NOBODY_KNOWS_THIS" }),
    ]
}

/// Sends bytes, and returns all that comes back until the node closes the connection.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(potluck_tests::LIMIT)).unwrap();
    // It may be closed before all is sent, or with bytes unread.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it was not closed: {error}"),
        _ => answer,
    }
}

fn assert_private(path: &Path, mode: u32) {
    let found = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode();
    assert_eq!(found & 0o777, mode, "{}: {found:o}", path.display());
}

#[test]
fn another_account_of_this_machine_is_refused_everything() {
    let node = TestNode::peer().start();
    let replies = as_another_user(|| {
        let mut wire = node.wire();
        wishes().iter().map(|message| wire.call(message)).collect::<Vec<Value>>()
    });
    let Some(replies) = replies else { return };
    for reply in replies {
        assert_forbidden(&reply, &["another account", &OTHER_USER.to_string(), "AUTHENTICATE"]);
    }
    assert_eq!(node.call(json!({ "type": "LIST_MEM" }))["key_count"], 0);
    assert_eq!(node.call(json!({ "type": "IDENTITY" }))["pool"], Value::Null);
    node.check_serving();
}

#[test]
fn another_account_that_shows_the_nodes_token_is_served() {
    let node = TestNode::peer().start();
    let token = access_token(&node);
    let done = as_another_user(|| {
        for wrong in ["", "x", &token[1..], &format!("{token}x"), &token.to_lowercase(), &format!(" {token}")] {
            assert_forbidden(&node.call(authenticate(wrong)), &["not the node's token"]);
        }
        let mut wire = node.wire();
        assert_forbidden(&wire.call(authenticate("x")), &["not the node's token"]);
        assert_forbidden(&wire.call(json!({ "type": "STATUS" })), &["AUTHENTICATE"]);
        assert_eq!(wire.call(authenticate(&token))["status"], "AUTHENTICATED");
        assert_eq!(wire.call(json!({ "type": "STATUS" }))["status"], "OK");
        assert_eq!(wire.call(json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }))["status"], "OK");
        assert_eq!(wire.call(task("def main(): return 5", json!([])))["result"], 5);
        // It counts for the connection on which it was shown.
        assert_forbidden(&node.wire().call(json!({ "type": "STATUS" })), &["AUTHENTICATE"]);
    });
    if done.is_some() {
        assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "FCFS");
    }
}

#[test]
fn a_message_that_is_no_authentication_helps_nobody() {
    let node = TestNode::peer().start();
    let token = access_token(&node);
    as_another_user(|| {
        let mut wire = node.wire();
        for message in [json!({ "type": "AUTHENTICATE" }), json!({ "type": "AUTHENTICATE", "token": [token] })] {
            assert_eq!(wire.call(message)["code"], "invalid_message");
        }
        let reply = wire.call(json!({ "type": "STATUS", "token": token }));
        assert_forbidden(&reply, &["AUTHENTICATE"]);
        let hello = wire.call(json!({ "type": "HELLO", "pool_id": node.peer_id(), "membership": "" }));
        assert_forbidden(&hello, &["AUTHENTICATE"]);
        assert_forbidden(&wire.call(json!({ "type": "STATUS" })), &["AUTHENTICATE"]);
    });
}

#[test]
fn whoever_guesses_tokens_has_to_connect_again_and_again() {
    let node = TestNode::peer().start();
    let token = access_token(&node);
    as_another_user(|| {
        let mut wire = node.wire();
        let guesses = (0..1000).take_while(|number| {
            // It may be closed while the next guess is on its way.
            let sent = wire.try_send_bytes(&potluck_tests::frame_bytes(&authenticate(&number.to_string()).to_string()));
            let reply = wire.read_frame();
            if let Some(reply) = &reply {
                assert_forbidden(&reply.value(), &["not the node's token"]);
            }
            sent.is_ok() && reply.is_some()
        });
        assert!(guesses.count() <= 10, "one connection is good for a few guesses");
        assert_eq!(node.call(authenticate(&token))["status"], "AUTHENTICATED");
    });
    node.check_serving();
}

#[test]
fn a_renewed_token_is_the_only_one() {
    let node = TestNode::peer().start();
    let former = access_token(&node);
    let data_dir = node.data_dir().to_str().unwrap();
    let renewed = potluck_tests::potluck(["token", "renew", "--data-dir", data_dir]).success().stdout;
    let renewed = renewed.trim();
    assert_ne!(renewed, former);
    assert_eq!(renewed, access_token(&node));
    let shown = potluck_tests::potluck(["token", "show", "--data-dir", data_dir]).success().stdout;
    assert_eq!(shown.trim(), renewed);
    assert_private(&node.data_dir().join("access.token"), 0o600);
    as_another_user(|| {
        let mut wire = node.wire();
        assert_forbidden(&wire.call(authenticate(&former)), &["not the node's token"]);
        assert_eq!(wire.call(authenticate(renewed))["status"], "AUTHENTICATED");
        assert_eq!(wire.call(json!({ "type": "STATUS" }))["status"], "OK");
    });
}

#[test]
fn without_a_token_in_its_file_nobody_can_show_one() {
    let node = TestNode::peer().start();
    for content in [Some(""), Some("\n"), None] {
        let path = node.data_dir().join("access.token");
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        as_another_user(|| {
            for token in ["", "\n", " "] {
                assert_forbidden(&node.call(authenticate(token)), &["not the node's token"]);
            }
        });
    }
    node.check_serving();
}

#[test]
fn the_owner_may_take_all_accounts_for_the_nodes_user() {
    let node = TestNode::peer().node("local_users = \"all\"").start();
    as_another_user(|| {
        let mut wire = node.wire();
        assert_eq!(wire.call(json!({ "type": "STATUS" }))["status"], "OK");
        assert_eq!(wire.call(json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }))["status"], "OK");
    });
}

#[test]
fn the_command_line_of_another_account_shows_the_token_that_it_was_given() {
    let node = TestNode::peer().start();
    let given = node.folder().join("given");
    fs::write(&given, access_token(&node)).unwrap();
    // The command is the node's own user, to whom the token makes no difference.
    let port = node.port().to_string();
    let status = ["--port", &port, "--token-file", given.to_str().unwrap(), "status"];
    potluck_tests::potluck(status).success();
    fs::write(&given, "wrong").unwrap();
    let output = potluck_tests::potluck(status);
    assert_ne!(output.status, 0, "{output:?}");
    assert!(output.stderr.contains("token"), "{output:?}");
}

#[test]
fn what_a_node_keeps_is_for_its_user_alone() {
    let cluster = Cluster::start(1);
    let private = |node: &TestNode, files: &[&str], folders: &[&str]| {
        let data_dir = node.data_dir();
        assert_private(data_dir, 0o700);
        for name in files {
            assert_private(&data_dir.join(name), 0o600);
        }
        for name in folders {
            assert_private(&data_dir.join(name), 0o700);
        }
    };
    let common =
        ["access.token", "identity.key", "peer_id.txt", "audit.jsonl", "audit.refused.jsonl", "pool/pool.json"];
    private(&cluster.tracker, &common, &["pool"]);
    private(&cluster.tracker, &["pool/pool.key", "pool/pool.sqlite"], &[]);
    private(&cluster.peers[0], &common, &["pool", "providers", "providers/cpu", "providers/memory"]);
    // Whatever else is there, others can neither read nor change it.
    let mut left: Vec<_> = [cluster.tracker.data_dir(), cluster.peers[0].data_dir()].map(Path::to_owned).into();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            // What runs workers is hidden by the folder above it.
            if kind.is_dir() && entry.file_name() != "providers" {
                left.push(entry.path());
            } else if kind.is_file() && entry.file_name() != "node.json" {
                assert_private(&entry.path(), 0o600);
            }
        }
    }
}

#[test]
fn files_that_others_could_read_are_private_after_the_next_start() {
    let mut node = TestNode::peer().start();
    node.stop();
    let log = node.data_dir().join("audit.jsonl");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
    node.restart();
    assert_private(&log, 0o600);
}

#[test]
fn a_node_that_takes_no_plain_frames_says_nothing_to_them() {
    let node = TestNode::peer().node("plaintext = \"never\"").start();
    let address = node.address().parse().unwrap();
    for message in wishes() {
        let answer = answer_to(address, &potluck_tests::frame_bytes(&message.to_string()));
        assert!(answer.is_empty(), "{message} was answered with {:?}", String::from_utf8_lossy(&answer));
    }
    // Its own user comes in by its key.
    let owner = Stranger::with_key_of(node.data_dir());
    let mut wire = owner.connect(node.address());
    let hello = wire.call(json!({ "type": "HELLO", "pool_id": owner.peer_id(), "membership": "" }));
    assert_eq!(hello["type"], "HELLO", "{hello}");
    assert_eq!(wire.call(json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }))["status"], "OK");
    let data_dir = node.data_dir().to_str().unwrap();
    node.cli(["--identity", data_dir, "status"]).success();
}

#[test]
fn the_nodes_own_key_opens_it_and_another_does_not() {
    let node = TestNode::peer().start();
    let stranger = Stranger::new();
    for pool_id in [node.peer_id().to_owned(), stranger.peer_id()] {
        let mut wire = stranger.connect(node.address());
        let reply = wire.call(json!({ "type": "HELLO", "pool_id": pool_id, "membership": "" }));
        assert_eq!(reply["code"], "no_pool", "{reply}");
        wire.expect_end();
    }
    for message in wishes() {
        let mut wire = stranger.connect(node.address());
        let reply = wire.call(message);
        assert_forbidden(&reply, &["HELLO or JOIN"]);
        wire.expect_end();
    }
}

#[test]
fn plain_frames_to_another_address_of_this_machine_get_no_byte() {
    let Some(outer) = outer_address() else { return println!("skipped: this machine is in no network") };
    let (node, token) = {
        let tables = "[node]\nhost = \"0.0.0.0\"\n[plugins.tracker]\n[plugins.memory]\n";
        let node = TestNode::tracker().plugins(tables).arg("--host").arg("0.0.0.0").start();
        let token = potluck_tests::create_pool(&node);
        (node, token)
    };
    let address = SocketAddr::new(outer, node.port());
    wait_for("the node to listen on the network", || TcpStream::connect(address).is_ok());
    for message in wishes() {
        let answer = answer_to(address, &potluck_tests::frame_bytes(&message.to_string()));
        assert!(answer.is_empty(), "{message} was answered with {:?}", String::from_utf8_lossy(&answer));
    }
    let token_file = access_token(&node);
    let answer = answer_to(address, &potluck_tests::frame_bytes(&authenticate(&token_file).to_string()));
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    // Inside TLS the same address serves members.
    let membership = Stranger::new();
    let text = membership.join(&address.to_string(), &token);
    let mut wire = membership.enter(&address.to_string(), &token, &text);
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    // Over loopback the same node takes them.
    let mut wire = Wire::connect(&format!("127.0.0.1:{}", node.port()));
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn where_plain_frames_are_taken_from_anywhere_the_token_must_come_first() {
    let Some(outer) = outer_address() else { return println!("skipped: this machine is in no network") };
    let tables = "[node]\nplaintext = \"anywhere\"\n[plugins.tracker]\n[plugins.memory]\n";
    let node = TestNode::tracker().plugins(tables).arg("--host").arg("0.0.0.0").start();
    let address = SocketAddr::new(outer, node.port());
    wait_for("the node to listen on the network", || TcpStream::connect(address).is_ok());
    let mut wire = Wire::connect(&address.to_string());
    for message in wishes() {
        assert_forbidden(&wire.call(message), &["prove nothing", "AUTHENTICATE"]);
    }
    assert_forbidden(&wire.call(authenticate("x")), &["not the node's token"]);
    assert_eq!(wire.call(authenticate(&access_token(&node)))["status"], "AUTHENTICATED");
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn a_member_over_loopback_is_a_member_although_it_is_the_same_user() {
    let (node, token) = pool_of_one("", "");
    let mut wire = Stranger::new().member_at(&node, &node, &token);
    assert_forbidden(&wire.call(json!({ "type": "POOL_TOKENS" })), &["`member`"]);
}
