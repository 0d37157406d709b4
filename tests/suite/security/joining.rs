//! Joining a pool: with good tokens and with bad ones, by real nodes and by strangers that say what a node would not.

use potluck_host::pool::token::JoinToken;
use potluck_host::pool::unix_seconds;
use potluck_tests::{Cluster, NodeBuilder, Stranger, TestNode, create_pool, wait_for, wait_for_some, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

/// A tracker and the pool that it has created, without other members.
fn pool() -> Cluster {
    Cluster::start(0)
}

/// A peer that is in no pool and does not listen for one.
fn joiner() -> NodeBuilder {
    TestNode::peer().plugins("[node]\ndiscovery = false\n[plugins.memory]\n")
}

fn pool_join(node: &TestNode, token: &str, name: &str) -> Value {
    node.call(json!({ "type": "POOL_JOIN", "token": token, "name": name }))
}

/// Joins, and waits until the tracker knows.
fn join_and_register(node: &TestNode, token: &str, name: &str) {
    let reply = pool_join(node, token, name);
    assert_eq!((&reply["status"], &reply["peer_id"]), (&json!("JOINED"), &json!(node.peer_id())), "{reply:#}");
    wait_until_registered(node);
}

fn wait_until_registered(node: &TestNode) {
    node.wait_until("the node to be registered", |status| status["tracker_connected"] == true);
}

/// What a node says of its pool; null when it is in none.
fn pool_of(node: &TestNode) -> Value {
    node.call(json!({ "type": "IDENTITY" }))["pool"].take()
}

fn token_id(token: &str) -> String {
    parsed(token).token_id_text()
}

fn parsed(token: &str) -> JoinToken {
    token.parse().unwrap()
}

/// What the tracker says of a token.
fn entry(pool: &Cluster, token: &str) -> Value {
    let list = pool.tracker.call(json!({ "type": "POOL_TOKENS" }));
    let id = token_id(token);
    let found = list["tokens"].as_array().unwrap().iter().find(|entry| entry["token_id"] == id);
    found.unwrap_or_else(|| panic!("no token {id} in {list:#}")).clone()
}

fn state_and_uses(pool: &Cluster, token: &str) -> (String, u64) {
    let entry = entry(pool, token);
    (entry["state"].as_str().unwrap().to_owned(), entry["uses"].as_u64().unwrap())
}

fn member(pool: &Cluster, peer_id: &str) -> Option<Value> {
    let list = pool.tracker.call(json!({ "type": "POOL_MEMBERS" }));
    list["members"].as_array().unwrap().iter().find(|member| member["peer_id"] == peer_id).cloned()
}

/// A token that ends in a second, and has ended.
fn expired_token(pool: &Cluster) -> String {
    let token = pool.token(json!({ "reusable": true, "valid_seconds": 1 }));
    wait_for("the token to expire", || entry(pool, &token)["state"] == "expired");
    token
}

/// What a node answers to the JOIN of a stranger.
fn answer_to_join(stranger: &Stranger, address: &str, token: &str) -> Value {
    let mut wire = stranger.connect(address);
    let message = stranger.join_message(&wire, token);
    wire.call(message)
}

/// Expects a refusal of a JOIN, after which nothing more can be said on that connection.
#[track_caller]
fn refused(stranger: &Stranger, address: &str, token: &str, code: &str) -> String {
    let mut wire = stranger.connect(address);
    let message = stranger.join_message(&wire, token);
    let reply = wire.call(message);
    let text = error_text(&reply, code);
    assert!(wire.read_frame().is_none(), "the connection is still open");
    text
}

#[track_caller]
fn error_text(reply: &Value, code: &str) -> String {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply:#}");
    reply["error"].as_str().unwrap().to_owned()
}

// Good tokens.

#[test]
fn a_token_for_one_lets_one_node_in_and_a_reusable_one_lets_in_many() {
    let pool = pool();
    let once = pool.token(json!({}));
    let many = pool.token(json!({ "reusable": true }));
    assert_eq!(state_and_uses(&pool, &once), ("valid".to_owned(), 0));

    let first = joiner().start();
    assert_eq!(pool_of(&first), Value::Null);
    join_and_register(&first, &once, "first");
    let facts = pool_of(&first);
    assert_eq!((&facts["name"], &facts["pool_name"]), (&json!("first"), &json!("tests")), "{facts:#}");
    assert_eq!((&facts["is_authority"], &facts["tracker_id"]), (&json!(false), &json!(pool.tracker.peer_id())));
    assert_eq!(state_and_uses(&pool, &once), ("used".to_owned(), 1));
    let entry = member(&pool, first.peer_id()).unwrap();
    assert_eq!((&entry["name"], &entry["token_id"]), (&json!("first"), &json!(token_id(&once))), "{entry:#}");
    assert_eq!((&entry["revoked_unix_seconds"], &entry["connected"]), (&Value::Null, &json!(true)), "{entry:#}");

    let others = [joiner().start(), joiner().start()];
    for other in &others {
        join_and_register(other, &many, "other");
    }
    assert_eq!(state_and_uses(&pool, &many), ("valid".to_owned(), 2));
    assert_eq!(member(&pool, others[1].peer_id()).unwrap()["token_id"], token_id(&many));
}

#[test]
fn whoever_has_joined_is_let_in_by_every_node_of_the_pool() {
    let pool = Cluster::start(1);
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let membership = stranger.join(pool.tracker.address(), &token);
    for node in [&pool.tracker, &pool.peers[0]] {
        let mut wire = stranger.enter(node.address(), &token, &membership);
        assert_eq!(wire.peer_id(), node.peer_id());
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    }
}

#[test]
fn a_node_may_join_and_show_its_membership_on_the_same_connection() {
    let pool = pool();
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let mut wire = stranger.connect(pool.tracker.address());
    let join = stranger.join_message(&wire, &token);
    let membership = wire.call(join)["membership"].as_str().unwrap().to_owned();
    assert_eq!(wire.call(potluck_tests::hello(&token, &membership))["type"], "HELLO");
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn a_peer_that_is_started_with_a_token_is_a_member() {
    let pool = pool();
    let token = pool.token(json!({}));
    let mut node = joiner().arg("--join").arg(&token).arg("--name").arg("by-flag").start();
    wait_until_registered(&node);
    assert_eq!(pool_of(&node)["pool_id"], parsed(&token).pool_id.to_string());
    assert_eq!(member(&pool, node.peer_id()).unwrap()["name"], "by-flag");
    // With the same words it starts again, although its token is used.
    assert!(node.stop().success());
    node.restart();
    wait_until_registered(&node);
    assert_eq!(state_and_uses(&pool, &token), ("used".to_owned(), 1));
}

#[test]
fn a_member_that_is_started_with_its_old_token_needs_neither_token_nor_tracker() {
    let mut pool = pool();
    let token = pool.token(json!({ "valid_seconds": 5 }));
    let mut node = joiner().arg("--join").arg(&token).start();
    wait_until_registered(&node);
    assert!(node.stop().success());
    wait_for("the token to end", || unix_seconds() > parsed(&token).expires_unix_seconds);
    node.restart();
    wait_until_registered(&node);
    node.kill9();
    pool.tracker.kill9();
    node.restart();
    assert_eq!(pool_of(&node)["pool_id"], parsed(&token).pool_id.to_string());
    pool.tracker.restart();
    wait_until_registered(&node);
}

#[test]
fn the_address_that_a_user_gives_comes_before_those_of_the_token() {
    let pool = pool();
    let mut gone = joiner().start();
    gone.stop();
    let token = pool.token(json!({ "reusable": true, "addresses": [gone.address()] }));
    let node = joiner().start();
    let text = error_text(&pool_join(&node, &token, "lost"), "peer_unreachable");
    assert!(text.contains(gone.address()), "{text}");
    assert_eq!(pool_of(&node), Value::Null);
    let request = json!({ "type": "POOL_JOIN", "token": token, "address": pool.tracker.address() });
    assert_eq!(node.call(request)["status"], "JOINED");
    wait_until_registered(&node);
}

// Tokens that are not good any more.

#[test]
fn an_expired_token_is_refused_by_the_joiner_and_by_the_tracker() {
    let pool = pool();
    let token = expired_token(&pool);
    let stranger = Stranger::new();
    let text = refused(&stranger, pool.tracker.address(), &token, "token_expired");
    assert!(text.contains("ask for a new one"), "{text}");
    let node = joiner().start();
    let text = error_text(&pool_join(&node, &token, "late"), "token_expired");
    assert!(text.contains("new one"), "{text}");
    assert_eq!(pool_of(&node), Value::Null);
    assert_eq!(state_and_uses(&pool, &token), ("expired".to_owned(), 0));
    assert!(member(&pool, &stranger.peer_id()).is_none());
}

#[test]
fn a_cancelled_token_is_refused_and_its_members_stay() {
    let pool = pool();
    let [by_id, by_text] = [(); 2].map(|()| pool.token(json!({ "reusable": true })));
    let member = Stranger::new();
    let membership = member.join(pool.tracker.address(), &by_id);
    for (token, words) in [(&by_id, token_id(&by_id)), (&by_text, by_text.clone())] {
        let cancel = json!({ "type": "POOL_CANCEL_TOKEN", "token_id": words });
        assert_eq!(pool.tracker.call(&cancel)["status"], "CANCELLED");
        let again = error_text(&pool.tracker.call(&cancel), "token_unknown");
        assert!(again.contains(&token_id(token)) && !again.contains(token.as_str()), "{again}");
        assert_eq!(entry(&pool, token)["state"], "cancelled");
        let text = refused(&Stranger::new(), pool.tracker.address(), token, "token_cancelled");
        assert!(text.contains("ask for a new one"), "{text}");
        let node = joiner().start();
        error_text(&pool_join(&node, token, "late"), "token_cancelled");
        assert_eq!(pool_of(&node), Value::Null);
    }
    let mut wire = member.enter(pool.tracker.address(), &by_id, &membership);
    assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    // It may even say again that it joins, since it has the secret and is a member.
    member.join(pool.tracker.address(), &by_id);
}

#[test]
fn a_token_for_one_is_the_first_keys_alone() {
    let pool = pool();
    let token = pool.token(json!({}));
    let (first, second) = (Stranger::new(), Stranger::new());
    first.join(pool.tracker.address(), &token);
    let text = refused(&second, pool.tracker.address(), &token, "token_used");
    assert!(text.contains("ask for a new one"), "{text}");
    let node = joiner().start();
    error_text(&pool_join(&node, &token, "third"), "token_used");
    assert_eq!(pool_of(&node), Value::Null);
    // The same key may repeat itself.
    first.join(pool.tracker.address(), &token);
    assert_eq!(state_and_uses(&pool, &token), ("used".to_owned(), 1));
    assert!(member(&pool, &second.peer_id()).is_none());
}

#[test]
fn of_many_that_use_a_token_for_one_at_the_same_time_one_gets_in() {
    let pool = pool();
    let token = pool.token(json!({}));
    let strangers: Vec<Stranger> = (0..8).map(|_| Stranger::new()).collect();
    let answers: Vec<Value> = thread::scope(|scope| {
        let (address, token) = (pool.tracker.address(), &token);
        let answer = |stranger| scope.spawn(move || answer_to_join(stranger, address, token));
        let running: Vec<_> = strangers.iter().map(answer).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let joined = answers.iter().filter(|answer| answer["type"] == "MEMBERSHIP").count();
    let used = answers.iter().filter(|answer| answer["code"] == "token_used").count();
    assert_eq!((joined, used), (1, 7), "{answers:#?}");
    assert_eq!(state_and_uses(&pool, &token), ("used".to_owned(), 1));
    assert_eq!(strangers.iter().filter(|stranger| member(&pool, &stranger.peer_id()).is_some()).count(), 1);
}

#[test]
fn a_revoked_key_does_not_come_back_with_a_good_token() {
    let pool = pool();
    let token = pool.token(json!({ "reusable": true }));
    let stranger = Stranger::new();
    stranger.join(pool.tracker.address(), &token);
    let revoked = pool.tracker.call(json!({ "type": "POOL_REVOKE", "peer": stranger.peer_id() }));
    assert_eq!(revoked["status"], "REVOKED");
    assert!(revoked["note"].as_str().unwrap().contains(&token_id(&token)), "a reusable token is still good: {revoked}");
    let text = refused(&stranger, pool.tracker.address(), &token, "member_revoked");
    assert!(text.contains("readmit"), "{text}");
    let fresh = pool.token(json!({}));
    refused(&stranger, pool.tracker.address(), &fresh, "member_revoked");
    assert_eq!(state_and_uses(&pool, &fresh), ("valid".to_owned(), 0));
    assert_eq!(
        pool.tracker.call(json!({ "type": "POOL_READMIT", "peer": stranger.peer_id() }))["status"],
        "READMITTED"
    );
    stranger.join(pool.tracker.address(), &fresh);
}

// Proofs that prove nothing.

#[test]
fn without_the_secret_nobody_learns_anything_about_a_token() {
    let pool = pool();
    let address = pool.tracker.address();
    let [valid, used, cancelled] = [(); 3].map(|()| pool.token(json!({})));
    Stranger::new().join(address, &used);
    pool.tracker.call(json!({ "type": "POOL_CANCEL_TOKEN", "token_id": cancelled }));
    let mut unknown = parsed(&valid);
    unknown.token_id = [0xab; 8];
    let tokens = [valid.clone(), used, cancelled, expired_token(&pool), unknown.to_string()];
    let answers: BTreeSet<String> = tokens
        .iter()
        .map(|token| {
            let mut forged = parsed(token);
            forged.secret[31] ^= 1;
            refused(&Stranger::new(), address, &forged.to_string(), "proof_wrong")
        })
        .collect();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    refused(&Stranger::new(), address, &unknown.to_string(), "proof_wrong");
    let node = joiner().start();
    let mut forged = parsed(&valid);
    forged.secret[0] ^= 0x80;
    let text = error_text(&pool_join(&node, &forged.to_string(), "guesser"), "proof_wrong");
    assert!(text.contains("copy the token again"), "{text}");
    assert_eq!(state_and_uses(&pool, &valid), ("valid".to_owned(), 0));
}

#[test]
fn a_join_that_was_recorded_is_worth_nothing_on_another_connection() {
    let pool = pool();
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let mut first = stranger.connect(pool.tracker.address());
    let recorded = stranger.join_message(&first, &token);
    let mut second = stranger.connect(pool.tracker.address());
    assert_ne!(first.binding, second.binding);
    error_text(&second.call(recorded.clone()), "proof_wrong");
    second.expect_end();
    assert_eq!(state_and_uses(&pool, &token), ("valid".to_owned(), 0));
    // It was good on the connection that it was made for.
    assert_eq!(first.call(recorded.clone())["type"], "MEMBERSHIP");
    let mut third = stranger.connect(pool.tracker.address());
    error_text(&third.call(recorded), "proof_wrong");
}

#[test]
fn a_proof_that_another_key_has_made_is_refused() {
    let pool = pool();
    let token = pool.token(json!({}));
    let (owner, thief) = (Stranger::new(), Stranger::new());
    let mut wire = thief.connect(pool.tracker.address());
    let message = owner.join_message(&wire, &token);
    error_text(&wire.call(message), "proof_wrong");
    for stranger in [&owner, &thief] {
        assert!(member(&pool, &stranger.peer_id()).is_none());
    }
    assert_eq!(state_and_uses(&pool, &token), ("valid".to_owned(), 0));
}

#[test]
fn a_proof_that_is_none_is_refused() {
    let pool = pool();
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let long = "A".repeat(8000);
    for proof in ["", "=", "AAAA", "\u{0}", "é", &long] {
        let mut wire = stranger.connect(pool.tracker.address());
        let message = with(stranger.join_message(&wire, &token), json!({ "proof": proof }));
        error_text(&wire.call(message), "proof_wrong");
    }
    for members in [json!({ "proof": 5 }), json!({ "pool_id": "x" }), json!({ "token_id": null })] {
        let mut wire = stranger.connect(pool.tracker.address());
        let message = with(stranger.join_message(&wire, &token), members);
        error_text(&wire.call(message), "invalid_message");
    }
    assert_eq!(state_and_uses(&pool, &token), ("valid".to_owned(), 0));
}

// The wrong place.

#[test]
fn a_tracker_refuses_the_token_of_another_pool() {
    let (pool, other) = (pool(), pool());
    let token = pool.token(json!({ "reusable": true }));
    let text = refused(&Stranger::new(), other.tracker.address(), &token, "no_pool");
    assert!(text.contains("another pool"), "{text}");
    // A node does not even speak to it: it has not the key that the token names. So it goes where the token says.
    let node = joiner().start();
    let request = json!({ "type": "POOL_JOIN", "token": token, "address": other.tracker.address() });
    assert_eq!(node.call(&request)["status"], "JOINED");
    assert_eq!(pool_of(&node)["tracker_id"], pool.tracker.peer_id());
    let Cluster { tracker, .. } = pool;
    drop(tracker);
    let late = joiner().start();
    let text = error_text(&late.call(&request), "peer_unreachable");
    assert!(text.contains(other.tracker.address()) && text.contains("not the node that was expected"), "{text}");
    assert_eq!(pool_of(&late), Value::Null);
}

#[test]
fn only_the_tracker_admits_anybody() {
    let pool = Cluster::start(1);
    let token = pool.token(json!({ "reusable": true }));
    let text = refused(&Stranger::new(), pool.peers[0].address(), &token, "no_pool");
    assert!(text.contains("tracker"), "{text}");
    let alone = joiner().start();
    refused(&Stranger::new(), alone.address(), &token, "no_pool");
    for message in ["POOL_TOKEN", "POOL_TOKENS", "POOL_MEMBERS"] {
        for node in [&pool.peers[0], &alone] {
            error_text(&node.call(json!({ "type": message })), "no_pool");
        }
    }
}

#[test]
fn a_node_is_in_one_pool_at_a_time() {
    let (first, second) = (pool(), pool());
    let node = joiner().start();
    join_and_register(&node, &first.token(json!({})), "first");
    let token = second.token(json!({}));
    let text = error_text(&pool_join(&node, &token, "second"), "already_in_pool");
    assert!(text.contains("tests") && text.contains("potluck pool leave"), "{text}");
    let text = error_text(&node.call(json!({ "type": "POOL_CREATE" })), "pool_failed");
    assert!(text.contains("potluck pool leave"), "{text}");
    assert_eq!(state_and_uses(&second, &token), ("valid".to_owned(), 0));
    assert_eq!(pool_of(&node)["tracker_id"], first.tracker.peer_id());

    assert_eq!(node.call(json!({ "type": "POOL_LEAVE" }))["status"], "LEFT");
    join_and_register(&node, &token, "second");
    assert_eq!(pool_of(&node)["tracker_id"], second.tracker.peer_id());
    // A tracker stays with its pool.
    let text = error_text(&second.tracker.call(json!({ "type": "POOL_LEAVE" })), "pool_failed");
    assert!(text.contains("tracker"), "{text}");
    let text = error_text(&pool_join(&first.tracker, &second.token(json!({})), "both"), "already_in_pool");
    assert!(text.contains("tests"), "{text}");
}

#[test]
fn a_node_can_leave_its_pool_and_join_it_again() {
    let mut pool = Cluster::start(2);
    let token = pool.token(json!({ "reusable": true }));
    let node = &pool.peers[0];
    for _ in 0..3 {
        assert_eq!(node.call(json!({ "type": "POOL_LEAVE" }))["status"], "LEFT");
        assert_eq!(pool_of(node), Value::Null);
        node.wait_until("the node to be alone", |status| status["tracker_connected"] == false);
        wait_for("its peers to be forgotten", || {
            let list = node.call(json!({ "type": "LIST_PEERS" }));
            list["peers"].as_array().unwrap().iter().all(|entry| entry["port"] != pool.peers[1].port())
        });
        let text = error_text(&node.call(json!({ "type": "POOL_LEAVE" })), "pool_failed");
        assert!(text.contains("no pool"), "{text}");
        // Nobody of the pool is served by it now.
        let mut wire = Stranger::with_key_of(pool.peers[1].data_dir()).connect(node.address());
        error_text(&wire.call(potluck_tests::hello(&token, "")), "no_pool");
        node.check_serving();
        // Its name is the one under which the tracker knows it.
        join_and_register(node, &token, "another name");
        assert_eq!(pool_of(node)["name"], "peer-0");
    }
    assert_eq!(state_and_uses(&pool, &token), ("valid".to_owned(), 0));
    pool.wait_until_complete();
    let node = &mut pool.peers[0];
    assert_eq!(node.call(json!({ "type": "POOL_LEAVE" }))["status"], "LEFT");
    node.kill9();
    node.restart();
    assert_eq!(pool_of(node), Value::Null);
}

#[test]
fn text_that_is_no_token_is_refused_with_a_sentence_that_helps() {
    let pool = pool();
    let token = pool.token(json!({ "reusable": true }));
    let node = joiner().start();
    let middle = token.len() / 2;
    let changed = |place: usize| {
        let other = if token.as_bytes()[place] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..place], &token[place + 1..])
    };
    let damaged = [
        token[..token.len() - 1].to_owned(),
        token[..middle].to_owned(),
        format!("{token}A"),
        format!("{}\n{}", &token[..middle], &token[middle..]),
        changed(middle),
        changed(token.len() - 3),
        format!("potluck-{}", "A".repeat(1 << 20)),
        "potluck-".to_owned(),
    ];
    for text in &damaged {
        let said = error_text(&pool_join(&node, text, "x"), "token_invalid");
        assert!(said.contains("damaged") && said.contains("copy all of it"), "{said}");
    }
    for text in ["", "hello", "127.0.0.1:8888", &token["potluck-".len()..], &token.to_uppercase()] {
        let said = error_text(&pool_join(&node, text, "x"), "token_invalid");
        assert!(said.contains("begins with potluck-") && said.contains("potluck pool token"), "{said}");
    }
    assert_eq!(pool_of(&node), Value::Null);
    join_and_register(&node, &format!("  {token}\n"), "whole");
}

#[test]
fn a_name_of_a_joining_node_steers_nobodys_terminal() {
    let pool = pool();
    let token = pool.token(json!({ "reusable": true }));
    let names = [("\u{1b}[31mred\u{202e}\r\n", "[31mred"), (&"x".repeat(5000), &"x".repeat(64)), (" ", "")];
    for (said, shown) in names {
        let stranger = Stranger::new();
        let mut wire = stranger.connect(pool.tracker.address());
        let message = with(stranger.join_message(&wire, &token), json!({ "name": said }));
        assert_eq!(wire.call(message)["type"], "MEMBERSHIP");
        let name = member(&pool, &stranger.peer_id()).unwrap()["name"].as_str().unwrap().to_owned();
        // One without a name is called by the beginning of its id.
        assert!(name == shown || (shown.is_empty() && stranger.peer_id().starts_with(&name)), "{name:?}");
    }
}

// Power losses.

#[test]
fn whoever_has_joined_is_a_member_although_the_tracker_dies_at_once() {
    let mut pool = pool();
    for _ in 0..4 {
        let token = pool.token(json!({}));
        let stranger = Stranger::new();
        let membership = stranger.join(pool.tracker.address(), &token);
        pool.tracker.kill9();
        pool.tracker.restart();
        let mut wire = stranger.enter(pool.tracker.address(), &token, &membership);
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
        assert_eq!(state_and_uses(&pool, &token), ("used".to_owned(), 1));
        refused(&Stranger::new(), pool.tracker.address(), &token, "token_used");
        stranger.join(pool.tracker.address(), &token);
    }
}

#[test]
fn a_joiner_that_has_lost_the_answer_asks_again() {
    let pool = pool();
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let mut wire = stranger.connect(pool.tracker.address());
    let message = stranger.join_message(&wire, &token);
    wire.send(message);
    drop(wire);
    wait_for("the token to be used", || state_and_uses(&pool, &token) == ("used".to_owned(), 1));
    let membership = stranger.join(pool.tracker.address(), &token);
    stranger.enter(pool.tracker.address(), &token, &membership);
    assert_eq!(state_and_uses(&pool, &token), ("used".to_owned(), 1));
}

#[test]
fn a_pool_and_its_tokens_survive_their_tracker() {
    let mut tracker = TestNode::tracker().start();
    let token = create_pool(&tracker);
    let identity = tracker.call(json!({ "type": "IDENTITY" }));
    tracker.kill9();
    tracker.restart();
    let after = tracker.call(json!({ "type": "IDENTITY" }));
    for member in ["pool_id", "pool_name", "name", "is_authority"] {
        assert_eq!(after["pool"][member], identity["pool"][member], "{member}");
    }
    let node = joiner().start();
    join_and_register(&node, &token, "late");
    let found = wait_for_some("the node to be in the tracker's list", || {
        let list = tracker.status()["peers"].take();
        list.as_array().unwrap().iter().find(|entry| entry["port"] == node.port()).cloned()
    });
    assert_eq!(found["peer_id"], node.peer_id());
}
