//! What each kind of caller may do: this machine's user, members of the pool, running tasks, providers.

use potluck_tests::{
    Cluster, Gate, Stranger, TestNode, TlsWire, c_library_as, create_pool, refused, task, wait_for_some, with,
};
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Messages about the node or its pool, which are for this machine's user.
const ADMINISTRATION: [&str; 13] = [
    "LIST_PLUGINS",
    "WATCH_EVENTS",
    "IDENTITY",
    "POOL_CREATE",
    "POOL_TOKEN",
    "POOL_TOKENS",
    "POOL_CANCEL_TOKEN",
    "POOL_MEMBERS",
    "POOL_REVOKE",
    "POOL_READMIT",
    "POOL_JOIN",
    "POOL_LEAVE",
    "POOL_DISCOVER",
];
/// Sends messages to a node, one after the other, and returns the answers.
const SENDS: &str = "
import json, socket, struct
def main(address, messages):
    host, port = address.rsplit(':', 1)
    replies = []
    with socket.create_connection((host, int(port))) as node, node.makefile('rwb') as stream:
        for message in messages:
            data = json.dumps(message).encode()
            stream.write(struct.pack('>I', len(data)) + data)
            stream.flush()
            length, = struct.unpack('>I', stream.read(4))
            replies.append(json.loads(stream.read(length)))
    return replies
";

/// A tracker that offers memory and cpu too, and a token of its pool that many may use. `tables` stand first in its
/// plugins.toml, and `cpu` are settings of that provider.
pub(super) fn pool_of_one(tables: &str, cpu: &str) -> (TestNode, String) {
    let plugins = format!(
        "{tables}\n[plugins.tracker]\n[plugins.memory]\n[plugins.cpu]\nworkers = 2\ndrain_seconds = 0.2\n{cpu}\n"
    );
    let node = TestNode::tracker().plugins(plugins).start();
    let token = create_pool(&node);
    (node, token)
}

/// That a reply is a refusal whose text has these words.
pub(super) fn assert_forbidden(reply: &Value, words: &[&str]) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("forbidden")), "{reply:#}");
    let text = reply["error"].as_str().unwrap();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

fn member(node: &TestNode, token: &str) -> TlsWire {
    Stranger::new().member_at(node, node, token)
}

fn set_scheduler() -> Value {
    json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" })
}

fn algorithm(node: &TestNode) -> Value {
    node.status()["scheduler"]["stats"]["algorithm"].take()
}

/// A task that must run on the node that gets it.
fn own_task(program: &str, args: Value) -> Value {
    with(task(program, args), json!({ "confidential": true }))
}

#[test]
fn this_machines_user_may_change_the_node_over_loopback() {
    let node = TestNode::peer().start();
    assert_eq!(node.call(set_scheduler())["status"], "OK");
    assert_eq!(algorithm(&node), "FCFS");
    assert_eq!(node.call(json!({ "type": "LIST_PLUGINS" }))["type"], "PLUGIN_LIST");
    assert_eq!(node.call(json!({ "type": "IDENTITY" }))["peer_id"], node.peer_id());
}

#[test]
fn a_member_may_use_what_the_node_offers_to_its_pool() {
    let (node, token) = pool_of_one("", "");
    let mut wire = member(&node, &token);
    let reply = wire.call(task("def main(x): return x * x", json!([7])));
    assert_eq!(reply["result"], 49, "{reply:#}");
    let batch = json!({ "type": "BATCH_TASK", "tasks": [{ "program": "def main(): return 1" }] });
    assert_eq!(wire.call(batch)["results"][0]["result"], 1);
    assert_eq!(wire.call(json!({ "type": "SET_MEM", "key": "k", "value": 5 }))["status"], "OK");
    assert_eq!(wire.call(json!({ "type": "GET_MEM", "key": "k" }))["value"], 5);
    assert_eq!(wire.call(json!({ "type": "STATUS" }))["status"], "OK");
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    assert_eq!(wire.call(json!({ "type": "LIST_PEERS" }))["type"], "PEER_LIST");
}

#[test]
fn a_member_may_not_administer_the_node_or_the_pool() {
    let (node, token) = pool_of_one("", "");
    let before = algorithm(&node);
    let mut wire = member(&node, &token);
    for message_type in ADMINISTRATION {
        // Well-formed or not: the caller is looked at first.
        let reply = wire.call(json!({ "type": message_type, "peer": node.peer_id(), "token": token, "token_id": "x" }));
        assert_forbidden(&reply, &[message_type, "`local`", "`member`"]);
    }
    for message in [set_scheduler(), json!({ "type": "SANDBOX_INSTALL", "image": "science" })] {
        assert_forbidden(&wire.call(message), &["`local`", "`member`"]);
    }
    assert_eq!(algorithm(&node), before);
    let members = node.call(json!({ "type": "POOL_MEMBERS" }))["members"].take();
    assert!(members.as_array().unwrap().iter().all(|member| member["revoked_unix_seconds"].is_null()), "{members:#}");
}

#[test]
fn a_member_may_not_send_messages_on_through_a_node() {
    let cluster = Cluster::start(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let token = cluster.token(json!({ "reusable": true }));
    let mut wire = Stranger::new().member_at(near, &cluster.tracker, &token);
    let (port, own_port) = (far.port(), near.port());
    for to in [
        far.peer_id().to_owned(),
        far.peer_id().to_uppercase(),
        far.address().to_owned(),
        format!("localhost:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("::ffff:127.0.0.1:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
        cluster.tracker.peer_id().to_owned(),
        cluster.tracker.address().to_owned(),
        // As soon as it would take a connection to find out that this is the node itself, it is another one.
        format!("localhost:{own_port}"),
        format!("127.0.0.2:{}", far.port()),
        "127.0.0.1:1".to_owned(),
        "nonsense".to_owned(),
    ] {
        for message in
            [json!({ "type": "SET_MEM", "key": "relayed", "value": 1 }), json!({ "type": "PING" }), set_scheduler()]
        {
            let reply = wire.call(with(message, json!({ "to": to })));
            assert_forbidden(&reply, &["through this node"]);
        }
    }
    assert_eq!(far.call(json!({ "type": "LIST_MEM" }))["key_count"], 0, "nothing has arrived");
    // This machine's user may.
    assert_eq!(near.call(json!({ "type": "PING", "to": far.peer_id() }))["type"], "PONG");
}

#[test]
fn a_message_of_a_member_to_the_node_itself_is_answered() {
    let (node, token) = pool_of_one("", "");
    let mut wire = member(&node, &token);
    let port = node.port();
    for to in [node.peer_id().to_owned(), node.address().to_owned(), format!("[::ffff:127.0.0.1]:{port}")] {
        assert_eq!(wire.call(json!({ "type": "PING", "to": to }))["type"], "PONG", "{to}");
        let reply = wire.call(with(set_scheduler(), json!({ "to": to })));
        assert_forbidden(&reply, &["SET_SCHEDULER", "`member`"]);
    }
}

#[test]
fn behind_a_message_on_behalf_of_a_task_there_are_a_tasks_rights_alone() {
    let cluster = Cluster::start(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let stranger = Stranger::new();
    let mut wire = stranger.member_at(near, &cluster.tracker, &cluster.token(json!({})));
    let behalf = |message: Value| with(message, json!({ "behalf": "task" }));
    assert_eq!(wire.call(behalf(json!({ "type": "SET_MEM", "key": "k", "value": 1 })))["status"], "OK");
    assert_eq!(wire.call(behalf(json!({ "type": "GET_MEM", "key": "k" })))["value"], 1);
    assert_eq!(wire.call(behalf(json!({ "type": "PING" })))["type"], "PONG");
    let reply = wire.call(behalf(task("def main(): pass", json!([]))));
    assert_forbidden(&reply, &["CPU_TASK", "`member`", "`task`", &stranger.peer_id()]);
    for message_type in ["BATCH_TASK", "CANCEL_TASK", "STATUS", "LIST_PEERS", "SET_SCHEDULER", "POOL_TOKEN"] {
        assert_forbidden(&wire.call(behalf(json!({ "type": message_type }))), &[message_type, "`task`"]);
    }
    let reply = wire.call(behalf(json!({ "type": "GET_MEM", "key": "k", "to": far.peer_id() })));
    assert_forbidden(&reply, &["through this node"]);
    // It is for one message, not for the connection.
    assert_eq!(wire.call(json!({ "type": "STATUS" }))["status"], "OK");
    // Nobody gains by another word, and this machine's user loses the same rights.
    for word in [json!("local"), json!("plugin"), json!(true)] {
        assert_eq!(wire.call(json!({ "type": "PING", "behalf": word }))["code"], "invalid_message");
    }
    assert_forbidden(&near.call(behalf(set_scheduler())), &["SET_SCHEDULER", "`task`"]);
}

#[test]
fn what_is_for_providers_only_is_refused_to_everybody_else() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = c_library_as("between", "keeper", folder.path(), &[]);
    let asker = c_library_as("between", "asker", folder.path(), &["-DASKS", r#"-DPLUGIN_ID="asker""#]);
    let table = |id: &str, path: &Path| format!("[plugins.{id}]\npath = {}\n", json!(path.to_str().unwrap()));
    // No rule of the node's owner opens such a message.
    let rule = "[access.messages]\nRECORD_TASK = \"task\"\n";
    let (node, token) =
        pool_of_one(rule, &format!("trusted = true\n{}{}", table("keeper", &keeper), table("asker", &asker)));
    let mut wire = member(&node, &token);
    for message_type in ["CACHE_PUT", "RECORD_TASK"] {
        let message = json!({ "type": message_type });
        assert_forbidden(&wire.call(message.clone()), &[message_type, "`plugin`", "`member`"]);
        let behalf = with(message.clone(), json!({ "behalf": "task" }));
        assert_forbidden(&wire.call(behalf), &[message_type, "`plugin`", "`task`"]);
        assert_forbidden(&node.call(&message), &[message_type, "`plugin`", "`local`"]);
        let from_task = node.run(SENDS, json!([node.address(), [message]]));
        assert_forbidden(&from_task[0], &[message_type, "`plugin`", "`task`"]);
        let asked = node.call(json!({ "type": format!("ASK_{message_type}") }));
        assert_eq!(asked["type"], "KEPT", "another provider may: {asked:#}");
    }
}

#[test]
fn a_running_task_is_not_this_machines_user() {
    let node = TestNode::peer().cpu("trusted = true").start();
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": "v" }))["status"], "OK");
    let before = algorithm(&node);
    let messages = [
        json!({ "type": "GET_MEM", "key": "k" }),
        set_scheduler(),
        task("def main(): pass", json!([])),
        json!({ "type": "STATUS" }),
        json!({ "type": "POOL_CREATE" }),
        json!({ "type": "WATCH_EVENTS" }),
    ];
    let replies = node.run(SENDS, json!([node.address(), messages]));
    assert_eq!(replies[0]["value"], "v", "{replies:#}");
    for (message, reply) in messages.iter().zip(replies.as_array().unwrap()).skip(1) {
        let message_type = message["type"].as_str().unwrap();
        assert_forbidden(reply, &[message_type, "`task`", node.peer_id()]);
    }
    // The same from a program that the task starts.
    let program = format!(
        "SENDS = {}\n{}",
        json!(SENDS),
        "
import json, subprocess, sys
def main(address, messages):
    code = SENDS + 'import sys\\nprint(json.dumps(main(*json.loads(sys.argv[1]))))'
    arguments = [sys.executable, '-c', code, json.dumps([address, messages])]
    return json.loads(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)
"
    );
    let replies = node.run(&program, json!([node.address(), messages]));
    assert_eq!(replies[0]["value"], "v", "{replies:#}");
    assert_forbidden(&replies[1], &["SET_SCHEDULER", "`task`"]);
    assert_eq!(algorithm(&node), before);
}

#[test]
fn a_running_task_has_a_tasks_rights_at_other_peers_too() {
    let cluster = Cluster::start_with(2, |_, builder| builder.cpu("trusted = true"));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    assert_eq!(far.call(json!({ "type": "SET_MEM", "key": "far", "value": "there" }))["status"], "OK");
    for to in [far.peer_id(), far.address()] {
        let messages = [
            json!({ "type": "GET_MEM", "key": "far", "to": to }),
            with(task("def main(): pass", json!([])), json!({ "to": to })),
            with(set_scheduler(), json!({ "to": to })),
            json!({ "type": "STATUS", "to": to }),
        ];
        let reply = near.call(own_task(SENDS, json!([near.address(), messages])));
        let replies = &reply["result"];
        assert_eq!(replies[0]["value"], "there", "{reply:#}");
        for (message, reply) in messages.iter().zip(replies.as_array().unwrap()).skip(1) {
            let message_type = message["type"].as_str().unwrap();
            assert_forbidden(reply, &[message_type, "`task`", near.peer_id()]);
        }
    }
    // The way back to the node itself is none to more rights.
    let to_itself = [format!("localhost:{}", near.port()), near.address().to_owned()];
    let messages: Vec<Value> = to_itself.iter().map(|to| with(set_scheduler(), json!({ "to": to }))).collect();
    let reply = near.call(own_task(SENDS, json!([near.address(), messages])));
    for reply in reply["result"].as_array().unwrap() {
        assert_forbidden(reply, &["SET_SCHEDULER", "`task`"]);
    }
}

#[test]
fn a_running_task_that_is_not_trusted_cannot_connect_to_its_node() {
    let node = TestNode::peer().start();
    let connect = format!("import socket\ngot = socket.create_connection(('127.0.0.1', {}), 5)", node.port());
    let errors = refused(&node, json!({}), &[connect]);
    assert!(errors[0].contains("PermissionError"), "{errors:?}");
}

#[test]
fn the_owners_trust_does_not_reach_what_members_send() {
    let (node, token) = pool_of_one("", "trusted = true");
    let secret = node.folder().join("secret");
    fs::write(&secret, "secret").unwrap();
    let program = "def main(path): return open(path).read()";
    assert_eq!(node.run(program, json!([secret])), "secret", "its own user is trusted");
    let mut wire = member(&node, &token);
    for claim in [json!({}), json!({ "source_peer": node.address() }), json!({ "source_peer": node.peer_id() })] {
        for runtime in [json!({}), json!({ "runtime": "python" }), json!({ "isolated": true })] {
            let message = with(task(program, json!([secret])), with(claim.clone(), runtime));
            let reply = wire.call(message.clone());
            assert_eq!(reply["error_type"], "PermissionError", "{message}: {reply:#}");
        }
    }
    let reply = wire.call(task(SENDS, json!([node.address(), [{ "type": "PING" }]])));
    assert_eq!(reply["error_type"], "PermissionError", "{reply:#}");
}

#[test]
fn the_runtime_for_others_is_a_members_with_and_without_a_claim() {
    let (node, token) = pool_of_one("", "remote_runtime = \"sandbox\"");
    let program = "import sys\ndef main(): return sys.platform";
    assert_eq!(node.run(program, json!([])), "linux");
    let mut wire = member(&node, &token);
    for members in [
        json!({}),
        json!({ "source_peer": "" }),
        json!({ "source_peer": null }),
        json!({ "source_peer": node.address() }),
        json!({ "runtime": "python" }),
        json!({ "confidential": true }),
    ] {
        let reply = wire.call(with(task(program, json!([])), members.clone()));
        assert_eq!(reply["result"], "wasi", "{members}: {reply:#}");
    }
}

#[test]
fn a_member_can_stop_its_own_tasks_and_nobody_elses() {
    let (node, token) = pool_of_one("", "");
    let [mut submitter, mut other] = [member(&node, &token), member(&node, &token)];
    let gate = Gate::new(&node);
    let named = |name: &str| with(gate.task(), json!({ "task_id": name, "id": name }));
    let cancel = |name: &str| json!({ "type": "CANCEL_TASK", "task_id": name });
    submitter.send(named("theirs"));
    let mut user = node.wire();
    user.send(named("the-users"));
    node.wait_for_tasks(2, 0);
    for name in ["theirs", "the-users"] {
        assert_eq!(other.call(cancel(name))["code"], "task_not_found", "{name}");
    }
    // A claim to be somebody else is none.
    let claim = with(cancel("theirs"), json!({ "source_peer": "127.0.0.1:9" }));
    assert_eq!(other.call(claim)["code"], "task_not_found");
    assert_eq!(submitter.call(cancel("the-users"))["code"], "task_not_found");
    assert_eq!(node.active_tasks(), 2);

    submitter.send(with(cancel("theirs"), json!({ "id": "cancel" })));
    let replies = [submitter.read(), submitter.read()];
    let of = |id: &str| replies.iter().find(|reply| reply["id"] == id).unwrap();
    assert_eq!(of("cancel")["status"], "CANCELLED", "{replies:#?}");
    assert_eq!(of("theirs")["error"], "Task cancelled", "{replies:#?}");
    gate.open();
    assert_eq!(user.read()["result"], "through");
}

#[test]
fn this_machines_user_can_stop_the_tasks_of_members() {
    let (node, token) = pool_of_one("", "");
    let mut submitter = member(&node, &token);
    let gate = Gate::new(&node);
    submitter.send(with(gate.task(), json!({ "task_id": "theirs" })));
    node.wait_for_tasks(1, 0);
    assert_eq!(node.call(json!({ "type": "CANCEL_TASK", "task_id": "theirs" }))["status"], "CANCELLED");
    assert_eq!(submitter.read()["error"], "Task cancelled");
}

#[test]
fn a_member_speaks_for_itself_alone_at_the_tracker() {
    let cluster = Cluster::start(1);
    let (tracker, peer) = (&cluster.tracker, &cluster.peers[0]);
    let stranger = Stranger::new();
    let mut wire = stranger.member_at(tracker, tracker, &cluster.token(json!({})));
    let theirs = json!({ "ip": "127.0.0.1", "port": peer.port() });
    let claim = with(theirs.clone(), json!({ "peer_id": peer.peer_id() }));
    for message_type in ["REGISTER", "UPDATE_LOAD"] {
        for claim in [claim.clone(), with(claim.clone(), json!({ "port": 9 }))] {
            let reply = wire.call(with(json!({ "type": message_type }), claim));
            assert_forbidden(&reply, &["speak for itself"]);
        }
    }
    assert_forbidden(&wire.call(with(json!({ "type": "UNREGISTER" }), theirs)), &["speak for itself"]);
    let status = tracker.status();
    let listed = status["peers"].as_array().unwrap();
    assert!(
        listed.iter().any(|entry| entry["peer_id"] == peer.peer_id() && entry["port"] == peer.port()),
        "{status:#}"
    );

    // For itself it may, with its id or without.
    for members in [json!({ "port": 9 }), json!({ "port": 9, "peer_id": stranger.peer_id() })] {
        assert_eq!(wire.call(with(json!({ "type": "REGISTER" }), members))["status"], "REGISTERED");
    }
    assert_eq!(wire.call(json!({ "type": "UNREGISTER", "port": 9 }))["status"], "UNREGISTERED");
}

#[test]
fn a_member_is_known_by_its_address_and_key_and_not_by_what_it_says() {
    let (node, token) = pool_of_one("", "");
    let stranger = Stranger::new();
    let mut wire = stranger.member_at(&node, &node, &token);
    // Members of a message that a host of another kind might believe.
    for claim in [
        json!({ "caller": "local" }),
        json!({ "caller": { "kind": 0 } }),
        json!({ "source_ip": "127.0.0.1" }),
        json!({ "peer_id": node.peer_id() }),
        json!({ "source_peer": node.peer_id() }),
    ] {
        assert_forbidden(&wire.call(with(set_scheduler(), claim)), &["`member`", &stranger.peer_id()]);
    }
    // Nor does the node's token help somebody who is known already.
    let token = fs::read_to_string(node.data_dir().join("access.token")).unwrap();
    assert_forbidden(&wire.call(json!({ "type": "AUTHENTICATE", "token": token.trim() })), &["token"]);
    assert_forbidden(&wire.call(set_scheduler()), &["`member`"]);
}

#[test]
fn a_provider_cannot_forge_what_the_host_notes() {
    let folder = tempfile::tempdir().unwrap();
    let asker = c_library_as("between", "asker", folder.path(), &["-DASKS", r#"-DPLUGIN_ID="asker""#]);
    let table = format!("[plugins.memory]\n[plugins.asker]\npath = {}\n", json!(asker.to_str().unwrap()));
    let node = TestNode::peer().plugins(table).start();
    let mut watching = node.wire();
    watching.send(json!({ "type": "WATCH_EVENTS", "topics": ["audit.*", "fixture.*"], "after": 0 }));
    let mut events = watching.read();
    assert_eq!(node.call(json!({ "type": "FORGE_AUDIT" }))["type"], "FORGED");
    // Its own event has the later number, so that whatever came before it is there.
    let seen = wait_for_some("the plugin's own event", || {
        let found = events["events"].as_array().unwrap().clone();
        let is_there = found.iter().any(|event| event["topic"] == "fixture.forged");
        if !is_there {
            events = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["audit.*", "fixture.*"], "after": 0 }));
        }
        is_there.then_some(found)
    });
    assert!(seen.iter().all(|event| event["topic"] != "audit.pool"), "{seen:#?}");
    let log = fs::read_to_string(node.data_dir().join("audit.jsonl")).unwrap();
    assert!(!log.contains("forged"), "{log}");
}

/// The address of this machine in some network, when it has one.
pub(super) fn outer_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this asks the routing table.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}
