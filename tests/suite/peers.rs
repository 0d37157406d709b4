//! Several nodes.

mod tracker;

use potluck_tests::{Cluster, NodeBuilder, TestNode, Wire, join_as, task, wait_for, with};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Ends only when it is stopped.
const ENDLESS: &str = "import time\ndef main():\n    while True:\n        time.sleep(0.01)\n";
/// Sleeps, and returns its second argument.
const SLEEP: &str = "import time\ndef main(seconds, value):\n    time.sleep(seconds)\n    return value\n";
/// Ends nowhere but on nodes that are not named. A worker's parent is its node.
const NOT_ON: &str = "\
import os, time

def main(pids):
    while os.getppid() in pids:
        time.sleep(0.01)
    return os.getppid()
";
/// Workers of each peer.
const WORKERS: u64 = 2;
/// Longer than any test: whatever the tracker hears then, it was told at once.
const NO_HEARTBEAT: &str = "heartbeat_seconds = 86400.0";

fn cluster(count: usize) -> Cluster {
    cluster_with(count, |_, builder| builder)
}

/// A pool in which everybody knows how many workers everybody has.
fn cluster_with(count: usize, configure: impl Fn(usize, NodeBuilder) -> NodeBuilder) -> Cluster {
    let cluster =
        Cluster::start_with(count, |number, builder| configure(number, builder.cpu(format!("workers = {WORKERS}"))));
    wait_for_workers(&cluster);
    cluster
}

/// A pool whose tracker has settings of its own.
fn cluster_of(tracker: NodeBuilder, peers: usize, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Cluster {
    let tracker = tracker.start();
    let builder = || TestNode::peer().tracker(tracker.address()).cpu(format!("workers = {WORKERS}"));
    let peers = (0..peers).map(|_| configure(builder()).start()).collect();
    let cluster = Cluster { tracker, peers };
    cluster.wait_until_complete();
    wait_for_workers(&cluster);
    cluster
}

fn wait_for_workers(cluster: &Cluster) {
    for peer in &cluster.peers {
        wait_for("every peer to know everybody's workers", || {
            let entries = entries(peer);
            cluster.peers.iter().all(|other| entry_of(&entries, other).is_some_and(|entry| entry["workers"] == WORKERS))
        });
    }
}

/// The peers that a node knows.
fn entries(node: &TestNode) -> Vec<Value> {
    node.call(json!({ "type": "LIST_PEERS" }))["peers"].as_array().unwrap().clone()
}

fn entry_of<'a>(entries: &'a [Value], node: &TestNode) -> Option<&'a Value> {
    entries.iter().find(|entry| entry["port"] == node.port())
}

/// The peers that a tracker has in its table.
fn registered(tracker: &TestNode) -> BTreeSet<String> {
    let status = tracker.status();
    let peers = status["peers"].as_array().unwrap();
    assert_eq!(status["peer_count"], peers.len());
    peers.iter().map(|peer| format!("{}:{}", peer["ip"].as_str().unwrap(), peer["port"])).collect()
}

fn addresses<'a>(nodes: impl IntoIterator<Item = &'a TestNode>) -> BTreeSet<String> {
    nodes.into_iter().map(|node| node.address().to_owned()).collect()
}

/// Gives each worker of a node a task that does not end. They end when what is returned is dropped.
fn occupy(node: &TestNode) -> Vec<Wire> {
    let occupied = (0..WORKERS).map(|_| {
        let mut wire = node.wire();
        // As if it had come from another peer: such a task stays. Nobody wants to wait behind it.
        let stays = json!({ "source_peer": "127.0.0.1:1", "timeout": 3600, "estimated_time": 3600 });
        wire.send(with(task(ENDLESS, json!([])), stays));
        wire
    });
    let occupied = occupied.collect();
    node.wait_for_tasks(WORKERS, 0);
    occupied
}

/// Waits until `observer` has heard that so many tasks run on `node`.
fn wait_until_heard(observer: &TestNode, node: &TestNode, running: u64) {
    wait_for(&format!("{} to hear that {} runs {running} tasks", observer.address(), node.address()), || {
        entry_of(&entries(observer), node).is_some_and(|entry| entry["running"] == running)
    });
}

fn scheduler(node: &TestNode, name: &str) -> u64 {
    node.status()["scheduler"]["stats"][name].as_u64().unwrap()
}

/// Sends messages at once over one connection, and returns the replies in the order of the messages.
fn call_all(node: &TestNode, messages: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut wire = node.wire();
    let count = send_all(&mut wire, messages);
    read_all(&mut wire, count)
}

fn send_all(wire: &mut Wire, messages: impl IntoIterator<Item = Value>) -> usize {
    let mut count = 0;
    for message in messages {
        wire.send(with(message, json!({ "id": count })));
        count += 1;
    }
    count
}

fn read_all(wire: &mut Wire, count: usize) -> Vec<Value> {
    let replies: BTreeMap<u64, Value> = (0..count)
        .map(|_| {
            let reply = wire.read();
            (reply["id"].as_u64().unwrap(), reply)
        })
        .collect();
    assert_eq!(replies.len(), count);
    replies.into_values().collect()
}

fn executed_by(reply: &Value) -> String {
    reply["executed_by"].as_str().unwrap_or_else(|| panic!("{reply:#}")).to_owned()
}

/// How many of these ran where.
fn spread<'a>(replies: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for reply in replies {
        assert_eq!(reply["error"], Value::Null, "{reply:#}");
        *counts.entry(executed_by(reply)).or_default() += 1;
    }
    counts
}

// Placement.

#[test]
fn a_burst_is_spread_over_the_pool_by_its_workers() {
    let cluster = cluster(3);
    let entrance = &cluster.peers[0];
    let replies = call_all(entrance, (0..30).map(|number| task(SLEEP, json!([1, number]))));
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!((&reply["type"], &reply["result"]), (&json!("CPU_RESULT"), &json!(number)), "{reply:#}");
        assert_eq!(reply["attempts"], 1, "{reply:#}");
    }
    let counts = spread(&replies);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), addresses(&cluster.peers));
    assert!(counts.values().all(|count| (7..=13).contains(count)), "{counts:?}");
    // Nobody sent on what had been sent to it.
    let elsewhere = 30 - counts[entrance.address()];
    let forwarded: Vec<u64> = cluster.peers.iter().map(|peer| scheduler(peer, "forwarded_tasks")).collect();
    assert_eq!(forwarded, [elsewhere as u64, 0, 0]);
}

#[test]
fn a_batch_is_spread_over_the_pool_and_keeps_its_order() {
    let cluster = cluster(3);
    let tasks: Vec<Value> = (0..18)
        .map(|number| json!({ "task_id": format!("b{number}"), "program": SLEEP, "args": [0.5, [number, "é"]] }))
        .collect();
    let reply = cluster.peers[1].call(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    let results = reply["results"].as_array().unwrap_or_else(|| panic!("{reply:#}"));
    assert_eq!(results.len(), 18);
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["result"], json!([number, "é"]), "{result:#}");
        assert_eq!(result["task_id"], format!("b{number}"), "{result:#}");
    }
    let counts = spread(results);
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), addresses(&cluster.peers), "{counts:?}");
    assert!(counts.values().all(|count| (3..=9).contains(count)), "{counts:?}");
}

#[test]
fn a_result_that_comes_from_a_peer_is_the_same_as_a_local_one() {
    let cluster = cluster(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let _occupied = occupy(near);
    let digits = "9".repeat(300);
    let program =
        "import sys\ndef main(n):\n    print('out')\n    print('err', file=sys.stderr)\n    return [n, None, 'é']\n";
    let text = format!(r#"{{"type":"CPU_TASK","task_id":"mine","program":{},"args":[{digits}]}}"#, json!(program));
    let raw = near.call_raw(&text);
    assert!(raw.contains(&format!("[{digits},")), "digit for digit: {raw}");
    let reply: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!((executed_by(&reply).as_str(), &reply["task_id"]), (far.address(), &json!("mine")), "{reply:#}");
    assert_eq!((&reply["stdout"], &reply["stderr"]), (&json!("out\n"), &json!("err\n")), "{reply:#}");
    assert!(reply["error"].is_null() && reply["attempts"] == 1 && reply["cached"] == false, "{reply:#}");

    let reply = near.call(task("def main(): raise ValueError('no é')", json!([])));
    assert_eq!(executed_by(&reply), far.address(), "{reply:#}");
    assert_eq!((&reply["error"], &reply["code"]), (&json!("no é"), &json!("task_failed")), "{reply:#}");
    assert_eq!(reply["error_type"], "ValueError", "{reply:#}");
    assert!(reply["traceback"].as_str().unwrap().contains("Traceback"), "{reply:#}");
}

#[test]
fn a_forwarded_task_is_not_forwarded_again() {
    let cluster = cluster(3);
    let busy = &cluster.peers[2];
    let occupied = occupy(busy);
    let mut wire = busy.wire();
    wire.send(with(task(SLEEP, json!([0, "here"])), json!({ "source_peer": cluster.peers[0].address() })));
    busy.wait_for_tasks(WORKERS, 1);
    // One of its own goes elsewhere at once, so there was somewhere to go.
    let own = busy.call(task(SLEEP, json!([0, "there"])));
    assert_ne!(executed_by(&own), busy.address());
    busy.wait_for_tasks(WORKERS, 1);
    drop(occupied);
    let reply = wire.read();
    assert_eq!((&reply["result"], executed_by(&reply).as_str()), (&json!("here"), busy.address()), "{reply:#}");
    assert_eq!(scheduler(busy, "forwarded_tasks"), 1);
}

#[test]
fn a_confidential_task_stays_and_the_tracker_hears_nothing() {
    let cluster = cluster_with(3, |_, builder| builder.node(NO_HEARTBEAT));
    let entrance = &cluster.peers[0];
    let counters = || cluster.tracker.status()["tracker"].clone();
    wait_for("the tracker to have told everybody everything", || {
        let at_tracker = cluster.tracker.status();
        let peers = at_tracker["peers"].as_array().unwrap();
        let is_known = |observer: &TestNode| {
            let known = entries(observer);
            let members = ["peer_id", "cpu_load", "workers", "running", "queued", "backlog_seconds"];
            peers.iter().all(|peer| {
                let entry = known.iter().find(|entry| entry["port"] == peer["port"]);
                entry.is_some_and(|entry| members.iter().all(|member| entry[member] == peer[member]))
            })
        };
        at_tracker["tracker"]["watchers"] == 3 && peers.len() == 3 && cluster.peers.iter().all(is_known)
    });
    let before = counters();

    let secret = |number: usize| with(task(SLEEP, json!([0.2, number])), json!({ "confidential": true }));
    let replies = call_all(entrance, (0..8).map(secret));
    assert_eq!(spread(&replies), BTreeMap::from([(entrance.address().to_owned(), 8)]));
    // One that is cancelled and one that fails leave no trace either.
    let occupied = entrance.wire().call(with(secret(0), json!({ "timeout": 0.05 })));
    assert_eq!(occupied["code"], "timeout", "{occupied:#}");
    let failed = entrance.call(with(task("def main(): return 1 / 0", json!([])), json!({ "confidential": true })));
    assert_eq!(failed["code"], "task_failed", "{failed:#}");
    let batch = json!({ "type": "BATCH_TASK", "tasks": [secret(1), secret(2), secret(3)] });
    assert_eq!(spread(entrance.call(batch)["results"].as_array().unwrap()).len(), 1);
    assert_eq!(scheduler(entrance, "forwarded_tasks"), 0);
    assert_eq!(counters(), before);

    // Ordinary ones are told at once, so the tracker would have heard of the others.
    let replies = call_all(entrance, (0..8).map(|number| task(SLEEP, json!([0.2, number]))));
    assert!(spread(&replies).len() > 1);
    wait_for("the tracker to hear of ordinary tasks", || counters()["heartbeats"] != before["heartbeats"]);
}

#[test]
fn what_waits_goes_to_a_peer_that_comes_later() {
    let cluster = cluster(1);
    let near = &cluster.peers[0];
    let _occupied = occupy(near);
    let mut wire = near.wire();
    let tasks = |count: usize, more: Value| {
        vec![with(task(NOT_ON, json!([[near.pid()]])), with(json!({ "timeout": 3600 }), more)); count]
    };
    // One that stays stands behind those that may go.
    let count = send_all(&mut wire, tasks(5, json!({})));
    let mut own = near.wire();
    send_all(&mut own, tasks(1, json!({ "confidential": true })));
    near.wait_for_tasks(WORKERS, 6);
    let far = TestNode::peer().cpu(format!("workers = {WORKERS}")).start();
    join_as(&far, &cluster.token(json!({})), "far");
    for reply in read_all(&mut wire, count) {
        assert_eq!((&reply["error"], &reply["attempts"]), (&Value::Null, &json!(1)), "{reply:#}");
        assert_eq!(executed_by(&reply), far.address(), "{reply:#}");
    }
    near.wait_for_tasks(WORKERS, 1);
    near.check_serving();
}

#[test]
fn a_node_that_must_not_forward_keeps_its_tasks() {
    let cluster = cluster_with(2, |_, builder| builder.cpu("forward = false"));
    let replies = call_all(&cluster.peers[0], (0..6).map(|number| task(SLEEP, json!([0.1, number]))));
    assert_eq!(spread(&replies), BTreeMap::from([(cluster.peers[0].address().to_owned(), 6)]));
}

#[test]
fn the_pool_hears_when_a_task_that_waited_begins() {
    // The second task of a burst has to wait until another interpreter has started.
    let cluster = cluster_with(2, |_, builder| builder.node(NO_HEARTBEAT).cpu("spare_workers = 1"));
    let occupied = occupy(&cluster.peers[1]);
    wait_until_heard(&cluster.peers[0], &cluster.peers[1], WORKERS);
    drop(occupied);
    wait_until_heard(&cluster.peers[0], &cluster.peers[1], 0);
}

#[test]
fn a_task_that_takes_longer_than_expected_weighs_more_with_every_heartbeat() {
    let cluster = cluster_with(2, |_, builder| builder.node("heartbeat_seconds = 0.2"));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let mut wire = far.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "estimated_time": 0.01, "timeout": 3600 })));
    wait_for("the backlog to grow", || {
        entry_of(&entries(near), far).and_then(|entry| entry["backlog_seconds"].as_f64()) > Some(1.0)
    });
}

// `to`.

#[test]
fn a_message_reaches_the_peer_that_it_names() {
    let cluster = cluster(2);
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    for (number, to) in [far.peer_id(), far.address()].into_iter().enumerate() {
        let key = json!(format!("key {number}"));
        let stored = near.call(json!({ "type": "SET_MEM", "to": to, "key": key, "value": [number], "id": "s" }));
        assert_eq!((&stored["status"], &stored["id"]), (&json!("OK"), &json!("s")), "{stored:#}");
        let get = json!({ "type": "GET_MEM", "key": key });
        assert_eq!(far.call(&get)["value"], json!([number]));
        assert_eq!(near.call(&get)["found"], false, "it is not here");
        assert_eq!(near.call(with(get, json!({ "to": to })))["value"], json!([number]));
    }
    assert_eq!(near.call(json!({ "type": "STATUS", "to": far.peer_id() }))["peer_id"], far.peer_id());
    assert_eq!(near.call(json!({ "type": "STATUS", "to": near.peer_id() }))["peer_id"], near.peer_id());
    assert_eq!(near.call(json!({ "type": "STATUS", "to": cluster.tracker.address() }))["peer_count"], 2);
    let sent = near.cli(["send", "GET_MEM", "key=key 1", "--to", far.peer_id()]).success().json();
    assert_eq!(sent["value"], json!([1]));
}

#[test]
fn a_message_to_nobody_is_an_error_that_names_whom() {
    let cluster = cluster(1);
    let near = &cluster.peers[0];
    let stranger = "5f0c6b1e-0000-8000-8000-000000000000";
    let mut gone = TestNode::peer().plugins("").start();
    gone.stop();
    for (to, code) in
        [(stranger, "peer_unreachable"), (gone.address(), "peer_unreachable"), ("nobody", "invalid_message")]
    {
        let reply = near.call(json!({ "type": "GET_MEM", "key": 1, "to": to }));
        assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!(code)), "{reply:#}");
        assert!(reply["error"].as_str().unwrap().contains(to), "{reply:#}");
    }
    near.check_serving();
}

// Tasks that are at a peer, and what can happen to them there.

/// Two peers: the first is occupied, so that its tasks go to the second.
fn near_and_far() -> (Cluster, Vec<Wire>) {
    let cluster = cluster(2);
    let occupied = occupy(&cluster.peers[0]);
    (cluster, occupied)
}

#[test]
fn a_forwarded_task_can_be_cancelled_where_it_was_sent() {
    let (cluster, _occupied) = near_and_far();
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let mut wire = near.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": "distant", "timeout": 3600 })));
    far.wait_for_tasks(1, 0);
    let reply = near.call(json!({ "type": "CANCEL_TASK", "task_id": "distant" }));
    assert_eq!((&reply["status"], &reply["task_id"]), (&json!("CANCELLED"), &json!("distant")), "{reply:#}");
    let result = wire.read();
    assert_eq!((&result["type"], &result["code"]), (&json!("CPU_RESULT"), &json!("cancelled")), "{result:#}");
    assert_eq!(result["task_id"], "distant", "{result:#}");
    far.wait_for_tasks(0, 0);
    assert_eq!(scheduler(far, "cancelled_tasks"), 1);
    far.check_serving();
}

#[test]
fn a_forwarded_task_ends_when_its_submitter_goes_away() {
    let (cluster, _occupied) = near_and_far();
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let mut wire = near.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "timeout": 3600 })));
    far.wait_for_tasks(1, 0);
    drop(wire);
    far.wait_for_tasks(0, 0);
    far.check_serving();
}

#[test]
fn a_forwarded_task_that_takes_too_long_is_stopped() {
    let (cluster, _occupied) = near_and_far();
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let reply = near.call(with(task(ENDLESS, json!([])), json!({ "timeout": 1 })));
    assert_eq!((&reply["code"], &reply["error"]), (&json!("timeout"), &json!("Task execution timeout")), "{reply:#}");
    assert_eq!(executed_by(&reply), far.address(), "{reply:#}");
    far.wait_for_tasks(0, 0);
    far.check_serving();
}

/// Three peers. The first and the third are occupied, and two tasks run on the second that end nowhere else but there
/// not. Returns what keeps the others occupied and the connection that waits for the two results.
fn two_tasks_on_the_second(cluster: &Cluster, more: &Value) -> (Vec<Wire>, Wire) {
    let [near, victim, other] = [&cluster.peers[0], &cluster.peers[1], &cluster.peers[2]];
    let mut occupied = occupy(other);
    occupied.extend(occupy(near));
    wait_until_heard(near, other, WORKERS);
    let mut wire = near.wire();
    let message = with(task(NOT_ON, json!([[victim.pid()]])), with(json!({ "timeout": 3600 }), more.clone()));
    send_all(&mut wire, vec![message; 2]);
    victim.wait_for_tasks(2, 0);
    (occupied, wire)
}

#[test]
fn a_task_with_retries_survives_the_loss_of_its_peer() {
    let mut cluster = cluster(3);
    let (occupied, mut wire) = two_tasks_on_the_second(&cluster, &json!({ "max_retries": 5 }));
    cluster.peers[1].kill9();
    drop(occupied);
    for reply in read_all(&mut wire, 2) {
        assert_eq!(reply["error"], Value::Null, "{reply:#}");
        assert_eq!(reply["attempts"], 2, "{reply:#}");
        let elsewhere = [&cluster.peers[0], &cluster.peers[2]];
        let executor = elsewhere.iter().find(|peer| peer.address() == executed_by(&reply));
        assert_eq!(reply["result"], executor.unwrap_or_else(|| panic!("{reply:#}")).pid());
    }
    cluster.peers[0].check_serving();
}

#[test]
fn a_task_without_retries_is_told_which_peer_was_lost() {
    let mut cluster = cluster(3);
    let (_occupied, mut wire) = two_tasks_on_the_second(&cluster, &json!({}));
    cluster.peers[1].kill9();
    let victim = cluster.peers[1].address();
    for reply in read_all(&mut wire, 2) {
        assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!("peer_lost")), "{reply:#}");
        assert!(reply["error"].as_str().unwrap().contains(victim), "{reply:#}");
        assert_eq!((&reply["attempts"], executed_by(&reply).as_str()), (&json!(1), victim), "{reply:#}");
    }
}

#[test]
fn a_task_with_retries_survives_that_its_peer_is_stopped() {
    let (mut cluster, occupied) = near_and_far();
    let mut wire = cluster.peers[0].wire();
    let message = task(NOT_ON, json!([[cluster.peers[1].pid()]]));
    wire.send(with(message, json!({ "timeout": 3600, "max_retries": 5 })));
    cluster.peers[1].wait_for_tasks(1, 0);
    assert_eq!(cluster.peers[1].stop().code(), Some(0));
    drop(occupied);
    let reply = wire.read();
    assert_eq!((&reply["error"], &reply["attempts"]), (&Value::Null, &json!(2)), "{reply:#}");
    assert_eq!(executed_by(&reply), cluster.peers[0].address(), "{reply:#}");
}

#[test]
fn a_task_that_waits_at_a_peer_needs_no_retry_when_that_is_stopped() {
    let (mut cluster, occupied) = near_and_far();
    let mut wire = cluster.peers[0].wire();
    send_all(&mut wire, vec![with(task(ENDLESS, json!([])), json!({ "timeout": 3600 })); 2]);
    cluster.peers[1].wait_for_tasks(2, 0);
    wire.send(with(task(SLEEP, json!([0, "late"])), json!({ "id": 2 })));
    cluster.peers[1].wait_for_tasks(2, 1);
    assert_eq!(cluster.peers[1].stop().code(), Some(0));
    drop(occupied);
    let replies = read_all(&mut wire, 3);
    for reply in &replies[..2] {
        assert_eq!(executed_by(reply), cluster.peers[1].address(), "{reply:#}");
        assert!(reply["code"] == "node_stopping" || reply["code"] == "peer_lost", "{reply:#}");
    }
    assert_eq!((&replies[2]["error"], &replies[2]["result"]), (&Value::Null, &json!("late")), "{:#}", replies[2]);
    assert_eq!((&replies[2]["attempts"], executed_by(&replies[2]).as_str()), (&json!(1), cluster.peers[0].address()));
}

// Trackers and peers that come and go.

#[test]
fn peers_go_on_without_their_tracker_and_are_back_when_it_is() {
    let mut cluster = cluster(3);
    cluster.tracker.kill9();
    let entrance = &cluster.peers[0];
    wait_for("everybody to miss the tracker", || {
        cluster.peers.iter().all(|peer| peer.status()["tracker_connected"] == false)
    });
    assert_eq!(entries(entrance).len(), 3);
    let shown = entrance.cli(["peers"]).success();
    assert!(cluster.peers.iter().all(|peer| shown.stdout.contains(peer.address())), "{shown:#?}");
    assert!(shown.stderr.contains("No tracker answers"), "{shown:#?}");
    let replies = call_all(entrance, (0..12).map(|number| task(SLEEP, json!([0.5, number]))));
    assert_eq!(spread(&replies).into_keys().collect::<BTreeSet<_>>(), addresses(&cluster.peers));

    cluster.tracker.restart();
    let all = addresses(&cluster.peers);
    wait_for("all peers to be back", || registered(&cluster.tracker) == all);
    let status = cluster.tracker.status();
    let ids: BTreeSet<&str> =
        status["peers"].as_array().unwrap().iter().filter_map(|peer| peer["peer_id"].as_str()).collect();
    assert_eq!(ids, cluster.peers.iter().map(TestNode::peer_id).collect());
    cluster.wait_until_complete();
    // Its versions count from the beginning again, and changes still arrive.
    let _occupied = occupy(&cluster.peers[2]);
    wait_until_heard(&cluster.peers[0], &cluster.peers[2], WORKERS);
}

#[test]
fn a_peer_that_is_older_than_its_tracker_finds_it() {
    let mut tracker = TestNode::tracker().start();
    tracker.stop();
    let peer = TestNode::peer().tracker(tracker.address()).node(NO_HEARTBEAT).start();
    assert_eq!(peer.status()["tracker_connected"], false);
    peer.check_serving();
    tracker.restart();
    wait_for("the peer to register", || registered(&tracker) == addresses([&peer]));
    peer.wait_until("the peer to know", |status| status["tracker_connected"] == true);
}

#[test]
fn a_peer_that_stops_takes_its_leave() {
    let mut cluster = cluster_with(2, |_, builder| builder.node(NO_HEARTBEAT));
    assert_eq!(cluster.peers[1].stop().code(), Some(0));
    // By the time that it has ended the tracker knows.
    let stays = addresses([&cluster.peers[0]]);
    assert_eq!(registered(&cluster.tracker), stays);
    let counters = cluster.tracker.status()["tracker"].clone();
    assert_eq!((&counters["unregisters"], &counters["peers_lost"]), (&json!(1), &json!(0)), "{counters:#}");
    wait_for("the other peer to know", || {
        let entries = entries(&cluster.peers[0]);
        entries.len() == 1 && entries[0]["port"] == cluster.peers[0].port()
    });
    assert!(!cluster.peers[0].cli(["peers"]).success().stdout.contains(cluster.peers[1].address()));

    cluster.peers[1].restart();
    cluster.wait_until_complete();
    assert_eq!(cluster.tracker.status()["peer_count"], 2);
}

#[test]
fn a_peer_that_dies_is_forgotten_when_it_has_been_silent() {
    let tracker = TestNode::tracker().plugins("[plugins.tracker]\nheartbeat_seconds = 0.2\ndead_after_seconds = 2.0\n");
    let mut cluster = cluster_of(tracker, 3, |builder| builder.node("heartbeat_seconds = 0.2"));
    cluster.peers[1].kill9();
    let stay = addresses([&cluster.peers[0], &cluster.peers[2]]);
    wait_for("the tracker to miss it", || registered(&cluster.tracker) == stay);
    let counters = cluster.tracker.status()["tracker"].clone();
    assert!(counters["peers_lost"].as_u64() >= Some(1) && counters["unregisters"] == 0, "{counters:#}");
    for peer in [&cluster.peers[0], &cluster.peers[2]] {
        wait_for("the others to know", || entry_of(&entries(peer), &cluster.peers[1]).is_none());
    }
    for _ in 0..6 {
        let chosen = cluster.tracker.call(json!({ "type": "REQUEST_CPU" }));
        assert_ne!(chosen["port"], cluster.peers[1].port(), "{chosen:#}");
    }
    let replies = call_all(&cluster.peers[0], (0..8).map(|number| task(SLEEP, json!([0.5, number]))));
    assert!(spread(&replies).keys().all(|address| stay.contains(address)));
}

#[test]
fn a_tracker_lists_its_peers_on_the_command_line() {
    let cluster = cluster(2);
    let shown = cluster.tracker.cli(["peers"]).success().stdout;
    assert!(cluster.peers.iter().all(|peer| shown.contains(peer.address())), "{shown}");
    let listed = cluster.peers[0].cli(["peers", "--json"]).success().json();
    let ids: BTreeSet<&str> =
        listed["peers"].as_array().unwrap().iter().map(|p| p["peer_id"].as_str().unwrap()).collect();
    assert_eq!(ids, cluster.peers.iter().map(TestNode::peer_id).collect());
}
