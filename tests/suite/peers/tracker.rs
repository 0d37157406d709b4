//! The messages of the tracker, as any client may send them.

use super::registered;
use potluck_tests::{TestNode, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;

fn assert_error(reply: &Value, text: &str) {
    assert_eq!((&reply["type"], &reply["error"]), (&json!("ERROR"), &json!(text)), "{reply:#}");
}

fn register(port: u16, more: Value) -> Value {
    with(json!({ "type": "REGISTER", "port": port }), more)
}

#[test]
fn a_tracker_keeps_its_table_as_the_protocol_says() {
    let tracker = TestNode::tracker().start();
    let mut wire = tracker.wire();
    assert_error(&wire.call(json!({ "type": "REQUEST_CPU" })), "No peers available");
    assert_error(&wire.call(json!({ "type": "REGISTER" })), "Port required for registration");
    assert_error(&wire.call(json!({ "type": "UPDATE_LOAD" })), "Port required for load update");
    assert_error(&wire.call(json!({ "type": "UNREGISTER" })), "Port required for unregistration");
    assert_error(&wire.call(json!({ "type": "UNREGISTER", "port": 7001 })), "Peer not found");

    let id = "5f0c6b1e-0000-8000-8000-000000000001";
    let reply = wire.call(register(7001, json!({ "cpu_load": 0.5, "peer_id": id, "old_ip": null })));
    assert_eq!(reply, json!({ "type": "STATUS", "status": "REGISTERED", "peer_count": 1 }));
    // A peer that the tracker does not know is registered by its heartbeat.
    let reply = wire.call(json!({ "type": "UPDATE_LOAD", "port": 7002, "cpu_load": 0.25 }));
    assert_eq!(reply, json!({ "type": "STATUS", "status": "LOAD_UPDATED" }));
    assert_eq!(wire.call(register(7003, json!({ "ip": "10.1.2.3" })))["peer_count"], 3);
    assert_eq!(wire.call(register(7001, json!({ "cpu_load": 0.75, "peer_id": id })))["peer_count"], 3);

    let status = wire.call(json!({ "type": "STATUS" }));
    assert_eq!((&status["status"], &status["peer_count"]), (&json!("OK"), &json!(3)), "{status:#}");
    let peers: Vec<(&str, u64, f64)> = status["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| {
            for name in ["last_update", "registered_at"] {
                let time = peer[name].as_str().unwrap();
                assert_eq!((time.len(), &time[10..11], &time[19..20]), (26, "T", "."), "{time}");
            }
            (peer["ip"].as_str().unwrap(), peer["port"].as_u64().unwrap(), peer["cpu_load"].as_f64().unwrap())
        })
        .collect();
    assert_eq!(peers, [("127.0.0.1", 7001, 0.75), ("127.0.0.1", 7002, 0.25), ("10.1.2.3", 7003, 0.0)]);

    // A peer with a known id at another address has moved.
    assert_eq!(wire.call(register(7009, json!({ "peer_id": id })))["peer_count"], 3);
    let expected = ["127.0.0.1:7002", "10.1.2.3:7003", "127.0.0.1:7009"].map(str::to_owned);
    assert_eq!(registered(&tracker), BTreeSet::from(expected));

    let reply = wire.call(json!({ "type": "UNREGISTER", "port": 7003, "ip": "10.1.2.3" }));
    assert_eq!(reply, json!({ "type": "STATUS", "status": "UNREGISTERED" }));
    assert_error(&wire.call(json!({ "type": "UNREGISTER", "port": 7003, "ip": "10.1.2.3" })), "Peer not found");
    assert_eq!(tracker.status()["peer_count"], 2);
}

#[test]
fn a_tracker_names_the_idlest_peer_and_does_not_send_everybody_to_one() {
    let tracker = TestNode::tracker().start();
    let mut wire = tracker.wire();
    for (port, load) in [(7001, 0.9), (7002, 0.0), (7003, 0.0)] {
        wire.call(register(port, json!({ "cpu_load": load })));
    }
    let mut request = || wire.call(json!({ "type": "REQUEST_CPU" }));
    let first = request();
    assert_eq!(
        (&first["type"], &first["ip"], &first["cpu_load"]),
        (&json!("CPU_RESPONSE"), &json!("127.0.0.1"), &json!(0.0))
    );
    let chosen: BTreeSet<u64> = [first, request()].iter().map(|reply| reply["port"].as_u64().unwrap()).collect();
    assert_eq!(chosen, BTreeSet::from([7002, 7003]), "between two heartbeats the peers take turns");
    assert_eq!(request()["port"], 7001, "what was sent to the others counts until they report");
}

#[test]
fn a_load_that_is_no_number_is_refused_and_harms_nobody() {
    let tracker = TestNode::tracker().start();
    let mut wire = tracker.wire();
    wire.call(register(7001, json!({ "cpu_load": 0.5 })));
    for load in [json!("high"), json!(-1), json!([1]), json!(null)] {
        for message_type in ["REGISTER", "UPDATE_LOAD"] {
            let reply = wire.call(json!({ "type": message_type, "port": 7001, "cpu_load": load }));
            assert_eq!(
                (&reply["type"], &reply["code"]),
                (&json!("ERROR"), &json!("invalid_message")),
                "{load}: {reply:#}"
            );
        }
    }
    for port in [json!(70_000), json!(-1), json!("7001"), json!(1.5)] {
        let reply = wire.call(json!({ "type": "REGISTER", "port": port }));
        assert_eq!(reply["type"], "ERROR", "{port}: {reply:#}");
    }
    assert_eq!(wire.call(json!({ "type": "REQUEST_CPU" }))["cpu_load"], 0.5);
    assert_eq!(tracker.status()["peer_count"], 1);
}

#[test]
fn whoever_watches_the_table_gets_all_of_it_and_then_the_changes() {
    let tracker = TestNode::tracker().start();
    let mut other = tracker.wire();
    other.call(register(7001, json!({ "workers": 2 })));
    let mut wire = tracker.wire();
    let table = wire.call(json!({ "type": "WATCH_PEERS" }));
    assert_eq!((&table["type"], &table["full"]), (&json!("PEER_TABLE"), &json!(true)), "{table:#}");
    assert_eq!((&table["peers"][0]["port"], &table["peers"][0]["workers"]), (&json!(7001), &json!(2)), "{table:#}");

    let watch = |known: &Value| {
        let (epoch, version) = (&known["epoch"], &known["version"]);
        json!({ "type": "WATCH_PEERS", "epoch": epoch, "version": version, "id": "w" })
    };
    wire.send(watch(&table));
    // It waits: another request on the same connection overtakes it.
    assert_eq!(wire.call(json!({ "type": "PING", "id": "p" }))["id"], "p");
    other.call(register(7002, json!({ "workers": 4, "running": 1 })));
    let change = wire.read();
    assert_eq!((&change["id"], &change["full"], &change["epoch"]), (&json!("w"), &json!(false), &table["epoch"]));
    assert!(change["version"].as_u64() > table["version"].as_u64(), "{change:#}");
    let ports = |table: &Value| -> Vec<u64> {
        table["peers"].as_array().unwrap().iter().map(|peer| peer["port"].as_u64().unwrap()).collect()
    };
    assert_eq!((ports(&change), &change["removed"]), (vec![7002], &json!([])), "{change:#}");
    assert_eq!((&change["peers"][0]["workers"], &change["peers"][0]["running"]), (&json!(4), &json!(1)), "{change:#}");

    other.call(json!({ "type": "UNREGISTER", "port": 7001 }));
    let change = wire.call(watch(&change));
    assert_eq!((ports(&change), &change["removed"]), (vec![], &json!(["127.0.0.1:7001"])), "{change:#}");

    // One who knows nothing, or another run of the tracker, gets all of it at once.
    for (epoch, version) in [(json!(0), json!(0)), (json!(12345), change["version"].clone())] {
        let table = wire.call(json!({ "type": "WATCH_PEERS", "epoch": epoch, "version": version }));
        assert_eq!((&table["full"], ports(&table)), (&json!(true), vec![7002]), "{table:#}");
    }
}

#[test]
fn a_peer_registers_with_its_number_of_workers() {
    // Without it nobody would send the peer a task before its next heartbeat.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tracker = listener.local_addr().unwrap().to_string();
    let _peer = TestNode::peer().cpu("workers = 3").tracker(tracker).start();
    let (mut stream, _) = listener.accept().unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&message["type"], &message["workers"]), (&json!("REGISTER"), &json!(3)), "{message:#}");
}
