//! Nodes on hosts of their own: what can be reached over a network, and how they find each other again.

use super::callers::assert_forbidden;
use potluck_tests::{
    Host, LIMIT, Network, NodeBuilder, Stranger, TestNode, create_pool, frame_bytes, join_as, run, task, wait_for,
    wait_for_some, with,
};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The first byte of what TLS says when it gives up.
const TLS_ALERT: u8 = 0x15;

/// A network, where this machine and this user can have one.
fn network(hosts: usize) -> Option<Network> {
    if !Host::can_be_entered() {
        println!("skipped: only root can run a part of a test on a host of its own");
        return None;
    }
    Network::new(hosts).map_err(|reason| println!("skipped: {reason}")).ok()
}

/// A node that listens where nodes do when nobody says anything.
fn by_default(builder: NodeBuilder) -> NodeBuilder {
    builder.node("# host = what it is by default\nheartbeat_seconds = 0.5")
}

fn peer() -> NodeBuilder {
    by_default(TestNode::peer())
}

/// Starts a node on a host.
fn start(host: &Host, builder: NodeBuilder) -> TestNode {
    host.inside(|| builder.start())
}

/// Asks a node as the user of its host.
fn call(host: &Host, node: &TestNode, message: Value) -> Value {
    host.inside(|| node.call(message))
}

/// Where the other hosts reach a node.
fn outer(host: &Host, node: &TestNode) -> SocketAddr {
    SocketAddr::new(host.address(), node.port())
}

fn can_connect(from: &Host, to: SocketAddr) -> bool {
    from.inside(|| match TcpStream::connect_timeout(&to, LIMIT) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("{to} does not even refuse: {error}"),
    })
}

/// A tracker on the first host with its pool, a token that many may use, and peers on the hosts after it.
fn pool_on(network: &Network, peers: usize) -> (TestNode, String, Vec<TestNode>) {
    let tracker = start(network.host(0), by_default(TestNode::tracker()));
    let token = network.host(0).inside(|| create_pool(&tracker));
    let peers: Vec<TestNode> = (1..=peers)
        .map(|number| {
            let node = start(network.host(number), peer());
            network.host(number).inside(|| join_as(&node, &token, &format!("peer-{number}")));
            node
        })
        .collect();
    for number in 1..=peers.len() {
        wait_until_known(network, &peers, number);
    }
    (tracker, token, peers)
}

/// Waits until the node on a host is connected and knows where all of these are.
fn wait_until_known(network: &Network, peers: &[TestNode], number: usize) {
    wait_for(&format!("the node on host {number} to know the others"), || {
        let list = call(network.host(number), &peers[number - 1], json!({ "type": "LIST_PEERS" }));
        let known = list["peers"].as_array().unwrap();
        list["tracker_connected"] == true
            && peers.iter().zip(&network.hosts()[1..]).all(|(peer, host)| {
                let address = json!(host.address());
                known.iter().any(|entry| entry["peer_id"] == peer.peer_id() && entry["ip"] == address)
            })
    });
}

fn wait_until_connected(host: &Host, node: &TestNode, expected: bool) {
    wait_for(&format!("tracker_connected to be {expected}"), || {
        call(host, node, json!({ "type": "LIST_PEERS" }))["tracker_connected"] == expected
    });
}

/// All that a node says to some bytes until it closes the connection.
fn answer_to(from: &Host, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    from.inside(|| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        // It may be closed before all is sent, or with bytes unread.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("it was not closed: {error}"),
            _ => answer,
        }
    })
}

#[test]
fn a_node_without_a_pool_cannot_be_reached_from_another_host() {
    let Some(network) = network(2) else { return };
    let [host, other] = network.hosts() else { unreachable!() };
    for builder in [
        by_default(TestNode::peer()),
        TestNode::peer().node("host = \"0.0.0.0\""),
        TestNode::peer().node("host = \"::\""),
        TestNode::peer().arg("--host").arg("0.0.0.0"),
        TestNode::peer().node(format!("host = \"{}\"", host.address())),
        by_default(TestNode::tracker()),
    ] {
        let node = start(host, builder);
        assert_eq!(call(host, &node, json!({ "type": "PING" }))["type"], "PONG");
        assert!(!can_connect(other, outer(host, &node)), "{}", node.log_text());
        assert!(!can_connect(host, outer(host, &node)), "nor over its own address");
    }
}

#[test]
fn a_node_is_open_to_the_network_while_it_is_in_a_pool() {
    let Some(network) = network(2) else { return };
    let [host, other] = network.hosts() else { unreachable!() };
    let node = start(host, by_default(TestNode::tracker()));
    assert!(!can_connect(other, outer(host, &node)));
    let token = host.inside(|| create_pool(&node));
    wait_for("the tracker to listen on the network", || can_connect(other, outer(host, &node)));
    let member = start(other, peer());
    assert!(!can_connect(host, outer(other, &member)));
    other.inside(|| join_as(&member, &token, "member"));
    wait_for("the member to listen on the network", || can_connect(host, outer(other, &member)));
    assert_eq!(call(other, &member, json!({ "type": "POOL_LEAVE" }))["status"], "LEFT");
    wait_for("the node to listen on loopback alone", || !can_connect(host, outer(other, &member)));
    assert_eq!(call(other, &member, json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn whoever_probes_a_node_from_another_host_learns_nothing() {
    let Some(network) = network(2) else { return };
    let [host, other] = network.hosts() else { unreachable!() };
    let (tracker, _token, _) = pool_on(&network, 0);
    let address = outer(host, &tracker);
    wait_for("the tracker to listen on the network", || can_connect(other, address));
    for message_type in ["STATUS", "PING", "CPU_TASK", "HELLO", "JOIN", "AUTHENTICATE", "POOL_CREATE", "NONSENSE", ""] {
        let frame = frame_bytes(&json!({ "type": message_type, "token": "x", "id": 1 }).to_string());
        let answer = answer_to(other, address, &frame);
        assert!(answer.is_empty(), "{message_type} was answered with {:?}", String::from_utf8_lossy(&answer));
    }
    for probe in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"OPTIONS / RTSP/1.0\r\n\r\n",
        b"SSH-2.0-probe\r\n",
        b"\r\n\r\n",
        b"HELP\r\n",
        b"\0",
        b"\0\0\0\0",
        b"\0\0\0\x05hello",
        b"\xff\xff\xff\xff",
        b"\x80\x9e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ] {
        let answer = answer_to(other, address, probe);
        assert!(answer.is_empty(), "{probe:?} was answered with {:?}", String::from_utf8_lossy(&answer));
    }
    // What begins like TLS is told by TLS that it is none.
    for probe in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\xff\xff\xff\xff\0\0\0\0\0", b"\x16\x03\x01\x00\x04\x01\0\0\0"]
    {
        let answer = answer_to(other, address, probe);
        assert!(answer.len() < 16 && answer.first().is_none_or(|first| *first == TLS_ALERT), "{answer:?}");
    }
    assert_eq!(call(host, &tracker, json!({ "type": "PING" }))["type"], "PONG", "it serves on");
}

#[test]
fn whoever_speaks_tls_from_another_host_gets_one_refusal() {
    let Some(network) = network(2) else { return };
    let [host, other] = network.hosts() else { unreachable!() };
    let (tracker, _token, _) = pool_on(&network, 0);
    let address = outer(host, &tracker).to_string();
    wait_for("the tracker to listen on the network", || can_connect(other, outer(host, &tracker)));
    // Without a key of its own, and with older versions, the handshake ends in an alert.
    for version in ["-tls1_3", "-tls1_2"] {
        let mut openssl = other.command("openssl");
        openssl.args(["s_client", "-ign_eof", "-connect", &address, version]);
        let output = run(&mut openssl, "x");
        assert!(output.stderr.contains("alert"), "{output:#?}");
        let said = format!("{}{}", output.stdout, output.stderr);
        for word in ["ERROR", "forbidden", "potluck", "tests"] {
            assert!(!said.contains(word), "{word} is in {said}");
        }
    }
    // With a key that nobody knows there is one sentence, and the end.
    for message in
        [json!({ "type": "STATUS" }), json!({ "type": "POOL_CREATE" }), json!({ "type": "GET_MEM", "key": "k" })]
    {
        other.inside(|| {
            let mut wire = Stranger::new().connect(&address);
            assert_forbidden(&wire.call(message), &["HELLO or JOIN"]);
            assert!(wire.read_frame().is_none(), "more than one sentence");
        });
    }
}

#[test]
fn nodes_of_several_hosts_join_by_a_token_and_work_for_each_other() {
    let Some(network) = network(3) else { return };
    let (tracker, _token, peers) = pool_on(&network, 2);
    let [near, far] = &peers[..] else { unreachable!() };
    let address = outer(network.host(2), far).to_string();
    let both = format!("{}@{address}", far.peer_id());
    // Somebody else answers there, who learns nothing.
    let other =
        with(task("def main(x): return x", json!([9])), json!({ "to": format!("{}@{address}", tracker.peer_id()) }));
    assert_eq!(call(network.host(1), near, other)["code"], "peer_unreachable");
    for to in [far.peer_id().to_owned(), address, both] {
        let square = with(task("def main(x): return x * x", json!([9])), json!({ "to": to }));
        let reply = call(network.host(1), near, square);
        assert_eq!(
            (&reply["result"], &reply["executed_by"]),
            (&json!(81), &json!(outer(network.host(2), far).to_string()))
        );
    }
    // The pool shares what one node has too much of.
    let program = "import time\ndef main():\n    time.sleep(0.2)\n    return 1";
    let tasks: Vec<Value> = (0..40).map(|_| json!({ "program": program })).collect();
    let reply = call(network.host(1), near, json!({ "type": "BATCH_TASK", "tasks": tasks }));
    let results = reply["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["result"] == 1), "{reply:#}");
    let there = outer(network.host(2), far).to_string();
    assert!(results.iter().any(|result| result["executed_by"] == there.as_str()), "{reply:#}");
    // Its user is at home on its own host only.
    let reply = call(network.host(1), near, json!({ "type": "LIST_PLUGINS", "to": far.peer_id() }));
    assert_forbidden(&reply, &["`member`", near.peer_id()]);
    drop(tracker);
}

#[test]
fn a_revoked_node_is_cut_off_with_the_connections_that_it_has() {
    let Some(network) = network(3) else { return };
    let (tracker, token, peers) = pool_on(&network, 2);
    let [near, far] = &peers[..] else { unreachable!() };
    let stranger = Stranger::new();
    let (at_tracker, at_peer) =
        (outer(network.host(0), &tracker).to_string(), outer(network.host(1), near).to_string());
    let (mut at_tracker, mut at_peer) = network.host(2).inside(|| {
        let membership = stranger.join(&at_tracker, &token);
        (stranger.enter(&at_tracker, &token, &membership), stranger.enter(&at_peer, &token, &membership))
    });
    for wire in [&mut at_tracker, &mut at_peer] {
        assert_eq!(wire.call(json!({ "type": "PING" }))["type"], "PONG");
    }
    let reply = call(network.host(2), far, json!({ "type": "PING", "to": near.peer_id() }));
    assert_eq!(reply["type"], "PONG", "{reply:#}");

    let revoke = |peer: &str| call(network.host(0), &tracker, json!({ "type": "POOL_REVOKE", "peer": peer }));
    assert_eq!(revoke(&stranger.peer_id())["status"], "REVOKED");
    at_tracker.expect_end();
    at_peer.expect_end();
    assert_eq!(revoke(far.peer_id())["status"], "REVOKED");
    wait_until_connected(network.host(2), far, false);
    wait_for("the other peer to forget it", || {
        let list = call(network.host(1), near, json!({ "type": "LIST_PEERS" }));
        list["peers"].as_array().unwrap().iter().all(|entry| entry["peer_id"] != far.peer_id())
    });
    let reply = wait_for_some("its messages to be refused", || {
        let reply =
            call(network.host(2), far, json!({ "type": "PING", "to": outer(network.host(1), near).to_string() }));
        (reply["type"] == "ERROR").then_some(reply)
    });
    assert_ne!(reply["type"], "PONG", "{reply:#}");
    // Nor do others send it anything.
    let reply = call(network.host(1), near, json!({ "type": "PING", "to": outer(network.host(2), far).to_string() }));
    assert_eq!(reply["type"], "ERROR", "{reply:#}");
}

#[test]
fn a_tracker_is_heard_on_the_local_network_by_members_and_others() {
    let Some(network) = network(3) else { return };
    let (tracker, _token, peers) = pool_on(&network, 1);
    let outsider = start(network.host(2), by_default(TestNode::peer()));
    let pool_id = call(network.host(0), &tracker, json!({ "type": "IDENTITY" }))["pool"]["pool_id"].take();
    for (host, node, own_pool) in [(network.host(1), &peers[0], true), (network.host(2), &outsider, false)] {
        let found = wait_for_some("the tracker to be heard", || {
            let reply = call(host, node, json!({ "type": "POOL_DISCOVER" }));
            let trackers = reply["trackers"].as_array().unwrap_or_else(|| panic!("{reply:#}"));
            trackers.iter().find(|tracker| tracker["pool_id"] == pool_id).cloned()
        });
        assert_eq!(found["own_pool"], own_pool, "{found:#}");
        assert_eq!(found["addresses"], json!([outer(network.host(0), &tracker).to_string()]), "{found:#}");
    }
}

#[test]
fn a_tracker_that_has_another_address_is_found_again() {
    let Some(network) = network(3) else { return };
    let (mut tracker, token, peers) = pool_on(&network, 1);
    let (host, former) = (network.host(0), network.host(0).address());
    tracker.stop();
    // The new one first: with the last address of a device its routes go too.
    for change in [["add", "10.77.0.99/16"], ["del", &format!("{former}/24")]] {
        run(host.command("ip").arg("addr").args(change).args(["dev", "eth0"]), "").success();
    }
    host.inside(|| tracker.restart());
    let address = format!("10.77.0.99:{}", tracker.port());
    wait_for("the peer to find its tracker", || {
        let status = call(network.host(1), &peers[0], json!({ "type": "STATUS" }));
        status["tracker_connected"] == true && status["tracker_address"] == address.as_str()
    });
    // So does a node that joins with a token from before.
    let joining = start(network.host(2), peer());
    network.host(2).inside(|| join_as(&joining, &token, "late"));
    wait_until_connected(network.host(2), &joining, true);
}

#[test]
fn peers_are_back_when_their_cable_is() {
    let Some(network) = network(3) else { return };
    let (_tracker, _token, peers) = pool_on(&network, 2);
    let [near, far] = &peers[..] else { unreachable!() };
    let reply = call(network.host(1), near, json!({ "type": "PING", "to": far.peer_id() }));
    assert_eq!(reply["type"], "PONG", "{reply:#}");
    network.cut(2);
    wait_until_connected(network.host(2), far, false);
    // Each goes on with what it has.
    for (host, node) in [(network.host(1), near), (network.host(2), far)] {
        host.inside(|| node.check_serving());
    }
    network.mend(2);
    wait_until_known(&network, &peers, 1);
    wait_until_known(&network, &peers, 2);
    wait_for("a message to arrive at the peer", || {
        call(network.host(1), near, json!({ "type": "PING", "to": far.peer_id() }))["type"] == "PONG"
    });
    let square = with(task("def main(x): return x * x", json!([9])), json!({ "to": near.peer_id() }));
    assert_eq!(call(network.host(2), far, square)["result"], 81);
}
