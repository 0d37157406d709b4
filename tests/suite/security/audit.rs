//! What was refused and what was done to the pool, as the events and the file tell it.

use super::callers::{assert_forbidden, pool_of_one};
use potluck_tests::{Stranger, TestNode, frame_bytes, wait_for_some, with};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

/// What was done, and what was refused, which is kept apart so that it cannot drive out the other.
const FILES: [&str; 2] = ["audit.jsonl", "audit.refused.jsonl"];

/// All that is in the logs.
fn text(node: &TestNode) -> String {
    let whole = |name: &str| {
        let text = fs::read_to_string(node.data_dir().join(name)).unwrap();
        // The last line may still be on its way.
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        text[..end].to_owned()
    };
    FILES.map(whole).concat()
}

/// All lines of the logs, each of which must be a JSON object.
fn lines(node: &TestNode) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
    text(node).lines().map(parse).collect()
}

/// The line that a condition holds for, once it is there.
fn line(node: &TestNode, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let found = wait_for_some(what, || lines(node).into_iter().find(&condition));
    for member in ["unix_milliseconds", "topic", "action", "reason"] {
        assert!(!found[member].is_null(), "{member} is missing in {found:#}");
    }
    found
}

/// Everything that the node has told of its audit to those who watch events.
fn events(node: &TestNode) -> Vec<Value> {
    let reply = node.call(json!({ "type": "WATCH_EVENTS", "topics": ["audit.*"], "after": 0 }));
    assert_eq!(reply["type"], "EVENTS", "{reply}");
    reply["events"].as_array().unwrap().clone()
}

/// The body of the event that a condition holds for, once it is there.
fn event(node: &TestNode, topic: &str, condition: impl Fn(&Value) -> bool) -> Value {
    wait_for_some(&format!("an event on {topic}"), || {
        let found = events(node).into_iter().find(|event| event["topic"] == topic && condition(body(event)));
        found.map(|event| body(&event).clone())
    })
}

fn body(event: &Value) -> &Value {
    &event["body"]
}

#[test]
fn a_refused_message_is_noted_with_who_what_and_which_rule() {
    let stranger = Stranger::new();
    let id = stranger.peer_id();
    let (node, token) = pool_of_one(&format!("[access.peers.\"{id}\"]\ndeny = [\"GET_MEM\"]\n"), "");
    let mut wire = stranger.member_at(&node, &node, &token);
    for (message, rule) in [
        (json!({ "type": "SET_SCHEDULER", "algorithm": "FCFS" }), "`local`"),
        (json!({ "type": "GET_MEM", "key": "k" }), "[access.peers."),
        (json!({ "type": "STATUS", "to": "127.0.0.1:1" }), "through this node"),
        (json!({ "type": "AUTHENTICATE", "token": "x" }), "token"),
        // The last one: whoever shows a membership that is none has to come again.
        (json!({ "type": "HELLO", "pool_id": node.peer_id(), "membership": "nonsense" }), ""),
    ] {
        let message_type = message["type"].clone();
        assert_forbidden(&wire.call(message), &[]);
        let is_it = |line: &Value| line["message_type"] == message_type;
        let noted = line(&node, &format!("the refusal of {message_type}"), is_it);
        assert_eq!((&noted["topic"], &noted["action"]), (&json!("audit.refused"), &json!("refused")), "{noted:#}");
        assert_eq!((&noted["caller"], &noted["caller_id"]), (&json!("member"), &json!(id)), "{noted:#}");
        assert!(noted["reason"].as_str().unwrap().contains(rule), "{noted:#}");
        assert_eq!(event(&node, "audit.refused", is_it), noted);
    }
    // On behalf of a task it is the task of that peer.
    let mut wire = stranger.member_at(&node, &node, &token);
    let behalf = json!({ "type": "CANCEL_TASK", "task_id": "x", "behalf": "task" });
    assert_forbidden(&wire.call(behalf), &["CANCEL_TASK"]);
    let noted = line(&node, "the task's refusal", |line| line["message_type"] == "CANCEL_TASK");
    assert_eq!((&noted["caller"], &noted["caller_id"]), (&json!("task"), &json!(id)), "{noted:#}");
}

#[test]
fn a_refused_connection_is_noted_with_its_address_and_reason() {
    let (node, _token) = pool_of_one("", "");
    let stranger = Stranger::new();
    let mut wire = stranger.connect(node.address());
    let reply = wire.call(json!({ "type": "HELLO", "pool_id": node.peer_id(), "membership": "nonsense" }));
    assert_eq!(reply["type"], "ERROR", "{reply}");
    let noted = line(&node, "the refused HELLO", |line| line["action"] == "admission");
    assert_eq!(noted["topic"], "audit.connection", "{noted:#}");
    assert!(noted["reason"].as_str().unwrap().contains(&stranger.peer_id()), "{noted:#}");
    assert!(noted["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{noted:#}");
    assert!(noted["caller"].is_null(), "nothing was proven: {noted:#}");
    assert_eq!(event(&node, "audit.connection", |event| event["action"] == "admission"), noted);

    // Something that begins like TLS and is none.
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.write_all(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let noted = line(&node, "the failed handshake", |line| line["action"] == "handshake");
    assert_eq!(noted["topic"], "audit.connection", "{noted:#}");
}

#[test]
fn plain_frames_where_none_are_taken_are_noted() {
    let node = TestNode::peer().node("plaintext = \"never\"").start();
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.write_all(&frame_bytes(r#"{"type":"PING"}"#)).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let noted = line(&node, "the plain frames", |line| line["action"] == "plaintext");
    assert_eq!(noted["topic"], "audit.connection", "{noted:#}");
}

#[test]
fn what_an_administrator_does_is_noted_before_it_is_answered() {
    let (node, token) = pool_of_one("", "");
    let stranger = Stranger::new();
    let id = stranger.peer_id();
    stranger.join(node.address(), &token);
    let token_id = node.call(json!({ "type": "POOL_TOKEN" }))["token_id"].as_str().unwrap().to_owned();
    let did = |message: Value| assert_ne!(node.call(&message)["type"], "ERROR", "{message}");
    did(json!({ "type": "POOL_CANCEL_TOKEN", "token_id": token_id }));
    did(json!({ "type": "POOL_REVOKE", "peer": id }));
    did(json!({ "type": "POOL_READMIT", "peer": id }));
    // No waiting: it is on the disk when the answer comes.
    let lines = lines(&node);
    for (action, message_type, word) in [
        ("pool_create", "POOL_CREATE", ""),
        ("pool_token", "POOL_TOKEN", "a token for one node"),
        ("pool_token", "POOL_TOKEN", "reusable"),
        ("pool_cancel_token", "POOL_CANCEL_TOKEN", token_id.as_str()),
        ("pool_revoke", "POOL_REVOKE", id.as_str()),
        ("pool_readmit", "POOL_READMIT", id.as_str()),
    ] {
        let noted = lines.iter().find(|line| {
            line["action"] == action && line["reason"].as_str().is_some_and(|reason| reason.contains(word))
        });
        let noted = noted.unwrap_or_else(|| panic!("{action} with {word:?} is missing in {lines:#?}"));
        assert_eq!(
            (&noted["topic"], &noted["message_type"]),
            (&json!("audit.pool"), &json!(message_type)),
            "{noted:#}"
        );
        assert_eq!(noted["caller"], "local", "{noted:#}");
        assert_eq!(&event(&node, "audit.pool", |event| event == noted), noted);
    }
    let joined = line(&node, "the member that joined", |line| line["action"] == "joined");
    assert!(joined["reason"].as_str().unwrap().contains(&id), "{joined:#}");
    // No secret is in it.
    assert!(!text(&node).contains(&token), "the token is in the log");
}

#[test]
fn joining_and_leaving_are_noted_by_the_node_that_does_it() {
    let (tracker, token) = pool_of_one("", "");
    let node = TestNode::peer().start();
    potluck_tests::join_as(&node, &token, "joiner");
    assert_eq!(node.call(json!({ "type": "POOL_LEAVE" }))["status"], "LEFT");
    let lines = lines(&node);
    for action in ["pool_join", "pool_leave"] {
        let noted = lines.iter().find(|line| line["action"] == action);
        assert_eq!(noted.unwrap_or_else(|| panic!("no {action} in {lines:#?}"))["topic"], "audit.pool");
    }
    drop(tracker);
}

#[test]
fn what_the_administrator_may_not_do_is_refused_and_noted_as_such() {
    let node = TestNode::peer().node("\n[access.messages]\nPOOL_CREATE = \"nobody\"").start();
    assert_forbidden(&node.call(json!({ "type": "POOL_CREATE" })), &["nobody"]);
    let noted = line(&node, "the refusal", |line| line["message_type"] == "POOL_CREATE");
    assert_eq!((&noted["topic"], &noted["caller"]), (&json!("audit.refused"), &json!("local")), "{noted:#}");
    assert!(!lines(&node).iter().any(|line| line["action"] == "pool_create"));
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_written() {
    const FLOOD: u64 = 5000;
    let (mut node, token) = pool_of_one("", "");
    let mut wire = Stranger::new().member_at(&node, &node, &token);
    let mut bytes = Vec::new();
    for number in 0..FLOOD {
        bytes.extend(frame_bytes(&format!(r#"{{"type":"SET_SCHEDULER","id":{number}}}"#)));
        // As many as a connection may have unanswered.
        if number % 100 == 99 {
            wire.send_bytes(&bytes).unwrap();
            bytes.clear();
            for _ in 0..100 {
                assert_eq!(wire.read()["code"], "forbidden");
            }
        }
    }
    // A flood of one kind hides nothing of another.
    let knocking = Stranger::new();
    assert_eq!(knocking.connect(node.address()).call(json!({ "type": "STATUS" }))["code"], "forbidden");
    let id = knocking.peer_id();
    line(&node, "the connection", |line| line["reason"].as_str().unwrap().contains(&id));
    assert_ne!(node.call(json!({ "type": "POOL_TOKEN" }))["type"], "ERROR");
    assert!(lines(&node).iter().any(|line| line["action"] == "pool_token"));
    // When the node has stopped, nothing more is to come.
    node.stop();
    let lines = lines(&node);
    let refused: Vec<&Value> = lines.iter().filter(|line| line["message_type"] == "SET_SCHEDULER").collect();
    let suppressed: u64 = lines.iter().map(|line| line["suppressed"].as_u64().unwrap_or(0)).sum();
    assert!(refused.len() >= 20, "{} lines", refused.len());
    assert!((refused.len() as u64) < FLOOD / 2, "{} lines", refused.len());
    assert_eq!(refused.len() as u64 + suppressed, FLOOD, "each refusal has a line or is counted");
}

#[test]
fn nothing_that_is_sent_can_forge_a_line_or_a_member_of_one() {
    let (node, token) = pool_of_one("", "");
    let forged =
        "x\",\"topic\":\"audit.pool\",\"action\":\"forged\"}\n{\"topic\":\"audit.pool\",\"action\":\"forged\"}\n";
    let behalf = json!({ "behalf": "task" });
    for message in [
        json!({ "type": "STATUS", "to": forged }),
        json!({ "type": "SET_SCHEDULER", "algorithm": forged }),
        json!({ "type": "HELLO", "pool_id": node.peer_id(), "membership": forged }),
        json!({ "type": "AUTHENTICATE", "token": forged }),
        with(json!({ "type": "CANCEL_TASK", "task_id": forged }), behalf),
        json!({ "type": "JOIN", "pool_id": node.peer_id(), "token_id": forged, "proof": forged, "name": forged }),
    ] {
        Stranger::new().member_at(&node, &node, &token).call(message);
    }
    for message in [
        json!({ "type": "POOL_CANCEL_TOKEN", "token_id": forged }),
        json!({ "type": "POOL_REVOKE", "peer": forged }),
        json!({ "type": "POOL_JOIN", "token": forged }),
    ] {
        assert_eq!(node.call(message)["type"], "ERROR");
    }
    // Each line of its own is whole JSON, and says what the node says.
    let mut stranger = Stranger::new().connect(node.address());
    stranger.call(json!({ "type": "JOIN", "pool_id": node.peer_id(), "token_id": forged, "proof": "", "name": "" }));
    line(&node, "the last refusal", |line| line["action"] == "admission");
    for line in lines(&node) {
        assert_ne!(line["action"], "forged", "{line:#}");
    }
    for event in events(&node) {
        assert_ne!(body(&event)["action"], "forged", "{event:#}");
    }
}

#[test]
fn the_log_goes_on_over_a_restart_and_notes_each_start() {
    let mut node = TestNode::peer().start();
    let starts = |node: &TestNode| lines(node).iter().filter(|line| line["topic"] == "audit.start").count();
    let first = starts(&node);
    assert_eq!(first, 1, "{:#?}", lines(&node));
    node.stop();
    node.restart();
    line(&node, "the second start", |line| line["topic"] == "audit.start");
    potluck_tests::wait_for("two starts in the log", || starts(&node) == 2);
}
