//! Memberships that end and are renewed, and members that are revoked and readmitted.

use potluck_host::key::KeyPair;
use potluck_host::pool::{Pool, unix_seconds};
use potluck_sdk::message::pool::MembershipReply;
use potluck_tests::{Cluster, Stranger, TestNode, TlsWire, hello, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};

/// Ends nowhere but on nodes that are not named. A worker's parent is its node.
const NOT_ON: &str = "\
import os, time

def main(pids):
    while os.getppid() in pids:
        time.sleep(0.01)
    return os.getppid()
";
const WORKERS: u64 = 2;
/// Seconds for which a membership is good where connections are to survive its end: long enough for a node that is kept
/// from working by others to renew it in time.
const LIFETIME: u64 = 4;

/// A pool whose memberships last for so few seconds that they end while a test looks on.
fn short_lived(seconds: u64, count: usize) -> Cluster {
    let tracker = TestNode::tracker().node(format!("membership_seconds = {seconds}"));
    Cluster::start_under(tracker, count, |_, builder| builder.cpu(format!("workers = {WORKERS}")))
}

/// When the membership of a node ends.
fn expires(node: &TestNode) -> u64 {
    let identity = node.call(json!({ "type": "IDENTITY" }));
    identity["pool"]["expires_unix_seconds"].as_u64().unwrap_or_else(|| panic!("{identity:#}"))
}

fn is_connected(node: &TestNode) -> bool {
    node.status()["tracker_connected"] == true
}

fn revoke(pool: &Cluster, peer: &str) -> Value {
    let reply = pool.tracker.call(json!({ "type": "POOL_REVOKE", "peer": peer }));
    assert_eq!(reply["status"], "REVOKED", "{reply:#}");
    reply
}

fn readmit(pool: &Cluster, peer: &str) {
    let reply = pool.tracker.call(json!({ "type": "POOL_READMIT", "peer": peer }));
    assert_eq!(reply["status"], "READMITTED", "{reply:#}");
}

/// Whether a node knows a peer, and how busy that is.
fn entry(node: &TestNode, other: &TestNode) -> Option<Value> {
    let list = node.call(json!({ "type": "LIST_PEERS" }));
    list["peers"].as_array().unwrap().iter().find(|entry| entry["port"] == other.port()).cloned()
}

/// A stranger who has joined, with the token and the membership.
struct Guest {
    stranger: Stranger,
    token: String,
    membership: String,
}

impl Guest {
    fn join(pool: &Cluster) -> Guest {
        let (stranger, token) = (Stranger::new(), pool.token(json!({})));
        let membership = stranger.join(pool.tracker.address(), &token);
        Guest { stranger, token, membership }
    }

    fn enter(&self, node: &TestNode) -> TlsWire {
        let mut wire = self.stranger.enter(node.address(), &self.token, &self.membership);
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
        wire
    }

    /// What a node answers when the guest shows its membership.
    fn answer(&self, node: &TestNode) -> Value {
        self.stranger.connect(node.address()).call(hello(&self.token, &self.membership))
    }

    #[track_caller]
    fn is_refused(&self, node: &TestNode, words: &str) {
        let mut wire = self.stranger.connect(node.address());
        forbidden(&wire.call(hello(&self.token, &self.membership)), words);
        assert!(wire.read_frame().is_none(), "the connection is still open");
    }
}

#[track_caller]
fn forbidden(reply: &Value, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("forbidden")), "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply:#}");
}

/// Expects a node to say why it closes a connection, and to close it.
#[track_caller]
fn is_cut_off(wire: &mut TlsWire, words: &str) {
    let last = wire.read_frame().unwrap_or_else(|| panic!("closed without a word"));
    forbidden(&last.value(), words);
    assert!(wire.read_frame().is_none(), "the connection is still open");
}

fn occupy(node: &TestNode) -> Vec<potluck_tests::Wire> {
    let endless = "import time\ndef main():\n    while True:\n        time.sleep(0.01)\n";
    let occupied = (0..WORKERS).map(|_| {
        let mut wire = node.wire();
        let stays = json!({ "confidential": true, "timeout": 3600, "estimated_time": 3600 });
        wire.send(with(task(endless, json!([])), stays));
        wire
    });
    let occupied = occupied.collect();
    node.wait_for_tasks(WORKERS, 0);
    occupied
}

// Time.

#[test]
fn members_go_on_working_for_many_lifetimes_of_a_membership() {
    let pool = short_lived(LIFETIME, 2);
    let [near, far] = [&pool.peers[0], &pool.peers[1]];
    let _occupied = occupy(near);
    let nodes = [&pool.tracker, near, far];
    let (first, mut last) = (nodes.map(expires), nodes.map(expires));
    let mut renewals = [0; 3];
    // Without a pause, over the connections that are open.
    wait_for("every membership to be renewed for several lifetimes", || {
        let placed = near.call(task("def main(x): return x", json!([7])));
        assert_eq!((&placed["result"], &placed["executed_by"]), (&json!(7), &json!(far.address())), "{placed:#}");
        let asked = near.call(json!({ "type": "STATUS", "to": far.peer_id() }));
        assert_eq!(asked["peer_id"], far.peer_id(), "{asked:#}");
        let now = nodes.map(expires);
        for (number, renewals) in renewals.iter_mut().enumerate() {
            *renewals += u32::from(now[number] > last[number]);
        }
        last = now;
        last.iter().zip(first).all(|(last, first)| *last >= first + 3 * LIFETIME)
    });
    assert!(renewals.iter().all(|renewals| *renewals >= 3), "{renewals:?}");
    assert!(is_connected(near) && is_connected(far));
}

#[test]
fn a_task_that_takes_longer_than_a_membership_is_not_lost() {
    let pool = short_lived(LIFETIME, 2);
    let [near, far] = [&pool.peers[0], &pool.peers[1]];
    let occupied = occupy(near);
    let patient = "import os, time\ndef main(path):\n    while not os.path.exists(path):\n        time.sleep(0.01)\n    return 'done'\n";
    let mut wire = near.wire();
    wire.send(with(task(patient, json!(["go"])), json!({ "timeout": 3600 })));
    far.wait_for_tasks(1, 0);
    let first = expires(far);
    let last = first + 3 * LIFETIME;
    wait_for("several lifetimes", || expires(far) >= last && expires(near) >= last);
    let folder = wait_for_some("the worker's folder", || {
        let workers = std::fs::read_dir(far.provider_dir("cpu").join("scratch")).ok()?;
        Some(workers.flatten().map(|worker| worker.path()).collect::<Vec<_>>())
    });
    for worker in folder {
        std::fs::write(worker.join("go"), b"").unwrap();
    }
    let reply = wire.read();
    assert_eq!((&reply["result"], &reply["executed_by"]), (&json!("done"), &json!(far.address())), "{reply:#}");
    assert_eq!(reply["attempts"], 1, "{reply:#}");
    drop(occupied);
}

#[test]
fn whose_membership_has_ended_is_cut_off_and_refused() {
    let pool = short_lived(LIFETIME, 1);
    let guest = Guest::join(&pool);
    let nodes = [&pool.tracker, &pool.peers[0]];
    let mut wires = nodes.map(|node| guest.enter(node));
    for wire in &mut wires {
        is_cut_off(wire, "expired");
    }
    for node in nodes {
        guest.is_refused(node, "clock");
        guest.is_refused(node, "renew");
    }
    // The tracker renews it all the same, since it knows the key.
    let mut wire = guest.stranger.connect(pool.tracker.address());
    let renewed = wire.call(json!({ "type": "RENEW_MEMBERSHIP" }));
    assert_eq!(renewed["type"], "MEMBERSHIP", "{renewed:#}");
    let guest = Guest { membership: renewed["membership"].as_str().unwrap().to_owned(), ..guest };
    guest.enter(&pool.peers[0]);
    // Others do not.
    let mut wire = guest.stranger.connect(pool.peers[0].address());
    assert_eq!(wire.call(json!({ "type": "RENEW_MEMBERSHIP" }))["code"], "no_pool");
    let mut wire = Stranger::new().connect(pool.tracker.address());
    forbidden(&wire.call(json!({ "type": "RENEW_MEMBERSHIP" })), "registry");
}

#[test]
fn a_connection_lives_on_when_a_newer_membership_is_shown_on_it() {
    let pool = short_lived(LIFETIME, 1);
    let guest = Guest::join(&pool);
    let (peer, tracker) = (&pool.peers[0], &pool.tracker);
    let mut wire = guest.enter(peer);
    let mut at_tracker = guest.enter(tracker);
    let first = unix_seconds();
    let mut newest = String::new();
    // Longer than the first membership was good, the time that a late one is waited for included.
    wait_for("the first membership to be long over", || {
        let renewed = at_tracker.call(json!({ "type": "RENEW_MEMBERSHIP" }));
        assert_eq!(renewed["type"], "MEMBERSHIP", "{renewed:#}");
        newest = renewed["membership"].as_str().unwrap().to_owned();
        for wire in [&mut wire, &mut at_tracker] {
            assert_eq!(wire.call(hello(&guest.token, &newest))["type"], "HELLO");
            assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
        }
        unix_seconds() > first + LIFETIME + 6
    });
    // Somebody else's is not believed on it.
    let other = Guest::join(&pool);
    forbidden(&wire.call(hello(&other.token, &other.membership)), "another key");
    is_cut_off(&mut wire, "expired");
}

#[test]
fn a_member_that_was_away_for_longer_than_its_membership_comes_back_without_a_token() {
    let mut pool = short_lived(2, 1);
    pool.peers[0].stop();
    let file = pool.peers[0].data_dir().join("pool/pool.json");
    let standing: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let ends = payload(standing["membership"].as_str().unwrap())["expires"].as_u64().unwrap();
    wait_for("the membership to end", || unix_seconds() > ends);
    pool.peers[0].restart();
    wait_for("the member to be back", || is_connected(&pool.peers[0]));
    assert!(expires(&pool.peers[0]) > ends);
    pool.wait_until_complete();
}

#[test]
fn a_whole_pool_comes_back_after_all_its_memberships_have_ended() {
    let mut pool = short_lived(2, 2);
    for peer in &mut pool.peers {
        peer.kill9();
    }
    pool.tracker.kill9();
    let stopped = unix_seconds();
    wait_for("every membership to end", || unix_seconds() > stopped + 3);
    // The members first: their tracker is not there yet.
    for peer in &mut pool.peers {
        peer.restart();
    }
    pool.tracker.restart();
    pool.wait_until_complete();
    let asked = pool.peers[0].call(json!({ "type": "STATUS", "to": pool.peers[1].peer_id() }));
    assert_eq!(asked["peer_id"], pool.peers[1].peer_id(), "{asked:#}");
}

/// What a signed text says.
fn payload(text: &str) -> Value {
    use base64::Engine;
    let payload = text.split_once('.').unwrap().0;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

// Revocation.

#[test]
fn the_connections_of_a_revoked_member_end_everywhere() {
    let pool = Cluster::start(2);
    let nodes = [&pool.tracker, &pool.peers[0], &pool.peers[1]];
    let (guest, other) = (Guest::join(&pool), Guest::join(&pool));
    let mut wires: Vec<TlsWire> = nodes.into_iter().chain(nodes).map(|node| guest.enter(node)).collect();
    let mut others = nodes.map(|node| other.enter(node));
    let reply = revoke(&pool, &guest.stranger.peer_id());
    assert_eq!(reply["peer_id"], guest.stranger.peer_id(), "{reply:#}");
    for wire in &mut wires {
        is_cut_off(wire, "revoked");
    }
    for node in nodes {
        guest.is_refused(node, "revoked");
    }
    let mut wire = guest.stranger.connect(pool.tracker.address());
    forbidden(&wire.call(json!({ "type": "RENEW_MEMBERSHIP" })), "revoked");
    // Nobody else notices.
    for wire in &mut others {
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    }

    readmit(&pool, &guest.stranger.peer_id());
    for node in nodes {
        wait_for("the member to be let in again", || guest.answer(node)["type"] == "HELLO");
        guest.enter(node);
    }
}

#[test]
fn a_request_that_a_revoked_member_waits_for_is_not_answered() {
    let pool = Cluster::start(1);
    let guest = Guest::join(&pool);
    let mut wire = guest.enter(&pool.peers[0]);
    let endless = "import time\ndef main():\n    while True:\n        time.sleep(0.01)\n";
    wire.send(with(task(endless, json!([])), json!({ "timeout": 3600, "id": "waits" })));
    pool.peers[0].wait_for_tasks(1, 0);
    revoke(&pool, &guest.stranger.peer_id());
    is_cut_off(&mut wire, "revoked");
    // What it had started does not go on.
    pool.peers[0].wait_for_tasks(0, 0);
}

#[test]
fn a_revoked_node_is_out_of_its_pool_until_it_is_readmitted() {
    let pool = Cluster::start(3);
    let [near, victim, other] = [&pool.peers[0], &pool.peers[1], &pool.peers[2]];
    // Links in both directions are open.
    for (from, to) in [(near, victim), (victim, near)] {
        assert_eq!(from.call(json!({ "type": "STATUS", "to": to.peer_id() }))["peer_id"], to.peer_id());
    }
    // By its name.
    assert_eq!(revoke(&pool, "peer-1")["peer_id"], victim.peer_id());
    wait_for("the revoked node to have no tracker", || !is_connected(victim));
    for node in [near, other] {
        wait_for("the others to forget it", || entry(node, victim).is_none());
    }
    wait_for("the tracker to forget it", || pool.tracker.status()["peer_count"] == 2);
    for to in [victim.peer_id(), victim.address()] {
        wait_for("messages not to reach it any more", || {
            near.call(json!({ "type": "STATUS", "to": to }))["code"] == "peer_unreachable"
        });
    }
    for to in [near, other, &pool.tracker] {
        wait_for("messages from it to be refused", || {
            let reply = victim.call(json!({ "type": "STATUS", "to": to.address() }));
            reply["type"] == "ERROR" && reply["error"].as_str().unwrap().contains("revoked")
        });
    }
    let members = pool.tracker.call(json!({ "type": "POOL_MEMBERS" }));
    let listed = members["members"].as_array().unwrap().iter().find(|member| member["peer_id"] == victim.peer_id());
    let listed = listed.unwrap();
    assert!(listed["revoked_unix_seconds"].is_u64() && listed["connected"] == false, "{listed:#}");
    // Its user keeps it.
    victim.check_serving();

    readmit(&pool, victim.peer_id());
    pool.wait_until_complete();
    assert_eq!(near.call(json!({ "type": "STATUS", "to": victim.peer_id() }))["peer_id"], victim.peer_id());
    assert_eq!(victim.call(json!({ "type": "STATUS", "to": near.peer_id() }))["peer_id"], near.peer_id());
}

#[test]
fn tasks_at_a_revoked_node_go_elsewhere() {
    let pool = Cluster::start_with(2, |_, builder| builder.cpu(format!("workers = {WORKERS}")));
    let [near, victim] = [&pool.peers[0], &pool.peers[1]];
    let occupied = occupy(near);
    let message = task(NOT_ON, json!([[victim.pid()]]));
    let [mut retried, mut lost] = [5, 0].map(|retries| {
        let mut wire = near.wire();
        wire.send(with(message.clone(), json!({ "timeout": 3600, "max_retries": retries })));
        wire
    });
    victim.wait_for_tasks(2, 0);
    revoke(&pool, victim.peer_id());
    drop(occupied);
    let reply = retried.read();
    assert_eq!((&reply["result"], &reply["executed_by"]), (&json!(near.pid()), &json!(near.address())), "{reply:#}");
    assert_eq!(reply["attempts"], 2, "{reply:#}");
    let reply = lost.read();
    assert_eq!((&reply["code"], &reply["executed_by"]), (&json!("peer_lost"), &json!(victim.address())), "{reply:#}");
    victim.wait_for_tasks(0, 0);
}

#[test]
fn a_revocation_survives_the_tracker() {
    let mut pool = Cluster::start(0);
    let (guest, other) = (Guest::join(&pool), Guest::join(&pool));
    revoke(&pool, &guest.stranger.peer_id());
    pool.tracker.kill9();
    pool.tracker.restart();
    guest.is_refused(&pool.tracker, "revoked");
    other.enter(&pool.tracker);
    readmit(&pool, &guest.stranger.peer_id());
    pool.tracker.kill9();
    pool.tracker.restart();
    guest.enter(&pool.tracker);
}

#[test]
fn a_member_remembers_who_was_revoked_without_its_tracker() {
    let mut pool = Cluster::start(1);
    let (guest, other) = (Guest::join(&pool), Guest::join(&pool));
    let mut wire = guest.enter(&pool.peers[0]);
    revoke(&pool, &guest.stranger.peer_id());
    is_cut_off(&mut wire, "revoked");
    pool.tracker.kill9();
    pool.peers[0].kill9();
    pool.peers[0].restart();
    guest.is_refused(&pool.peers[0], "revoked");
    other.enter(&pool.peers[0]);
}

#[test]
fn a_member_that_was_down_learns_who_was_revoked() {
    let mut pool = Cluster::start(1);
    let guest = Guest::join(&pool);
    guest.enter(&pool.peers[0]);
    pool.peers[0].kill9();
    revoke(&pool, &guest.stranger.peer_id());
    pool.peers[0].restart();
    // It may be let in until the tracker was heard.
    let peer = &pool.peers[0];
    wait_for("the guest to be refused", || guest.answer(peer)["code"] == "forbidden");
    guest.is_refused(peer, "revoked");
}

#[test]
fn only_a_member_can_be_revoked_and_never_the_tracker() {
    let pool = Cluster::start(0);
    let guests = [(); 2].map(|()| Guest::join(&pool));
    let refused = |peer: &str| {
        let reply = pool.tracker.call(json!({ "type": "POOL_REVOKE", "peer": peer }));
        assert_eq!(reply["type"], "ERROR", "{reply:#}");
        reply
    };
    for peer in ["nobody", ""] {
        let reply = refused(peer);
        assert_eq!(reply["code"], "member_unknown", "{reply:#}");
    }
    // Both are called so.
    let reply = refused("stranger");
    assert!(
        guests.iter().all(|guest| reply["error"].as_str().unwrap().contains(&guest.stranger.peer_id())),
        "{reply:#}"
    );
    assert_eq!(refused(pool.tracker.peer_id())["code"], "invalid_message");
    // Nor does a member revoke another.
    let mut wire = guests[0].enter(&pool.tracker);
    let reply = wire.call(json!({ "type": "POOL_REVOKE", "peer": guests[1].stranger.peer_id() }));
    assert_eq!(reply["code"], "forbidden", "{reply:#}");
    // Twice is not an error, and says so.
    let peer_id = guests[1].stranger.peer_id();
    revoke(&pool, &peer_id);
    assert!(revoke(&pool, &peer_id)["note"].as_str().unwrap().contains("before"));
}

#[test]
fn an_older_list_of_revocations_does_not_bring_anybody_back() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let keys = [(); 2].map(|()| KeyPair::generate().unwrap());
    let [tracker, member] = [0, 1].map(|number| Pool::open(folders[number].path(), keys[number].public()).unwrap());
    let authority = tracker.create("pool", "tracker", 60).unwrap();
    let facts = || potluck_host::pool::TrackerFacts { key: keys[0].public(), addresses: Vec::new() };
    let reply = |revocations: &str| MembershipReply {
        membership: authority.issue(&keys[1].public(), "member", 60),
        pool_key: potluck_host::pool::membership::key_text(&authority.pool_key()),
        pool_name: authority.pool_name(),
        revocations: revocations.to_owned(),
    };
    let enemy = KeyPair::generate().unwrap().public();
    authority.registry.add_founder(enemy, "enemy", 1).unwrap();
    let old = authority.sign_revocations();
    authority.registry.revoke(&enemy.peer_id(), 2).unwrap();
    let new = authority.sign_revocations();
    member.joined(&reply(&new), &facts(), authority.pool_id()).unwrap();

    let is_revoked = |pool: &Pool| pool.standing().unwrap().is_revoked(&enemy.peer_id());
    member.update_revocations(&old).unwrap();
    assert!(is_revoked(&member));
    member.renewed(&reply(&old)).unwrap();
    assert!(is_revoked(&member));
    assert!(is_revoked(&Pool::open(folders[1].path(), keys[1].public()).unwrap()), "on the disk too");
    // Only the pool takes a revocation back.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Pool::open(elsewhere.path(), keys[1].public()).unwrap();
    let forged = other.create("other", "other", 60).unwrap().sign_revocations();
    assert!(member.update_revocations(&forged).is_err() && is_revoked(&member));
    authority.registry.readmit(&enemy.peer_id()).unwrap();
    member.update_revocations(&authority.sign_revocations()).unwrap();
    assert!(!is_revoked(&member));
}
