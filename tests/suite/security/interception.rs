//! Whoever pretends to be somebody else, or is between two nodes, learns nothing and changes nothing.

#[path = "../../src/proxy.rs"]
mod proxy;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use potluck_host::key::KeyPair;
use potluck_host::net::client::Client;
use potluck_host::net::tls::Tls;
use potluck_host::pool::token::JoinToken;
use potluck_tests::{Cluster, Stranger, TestNode, frame_bytes, hello, task, wait_for, with};
use proxy::{Capture, Impostor, PlainServer, Relay, Way};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

fn any_port() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

/// The port of a node that has ended.
fn port_of(node: &TestNode) -> TcpListener {
    TcpListener::bind(node.address()).unwrap()
}

/// A server's side of TLS with a new key, and a certificate in which somebody else's id stands.
fn with_name_of(peer_id: &str) -> Arc<ServerConfig> {
    let folder = tempfile::tempdir().unwrap();
    let [pem, key, certificate] = ["key.pem", "key.der", "certificate.der"].map(|name| folder.path().join(name));
    let run = |command: &mut Command| {
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-outform", "DER", "-subj"])
        .arg(format!("/CN={peer_id}"))
        .arg("-addext")
        .arg("subjectAltName=IP:127.0.0.1")
        .arg("-keyout")
        .arg(&pem)
        .arg("-out")
        .arg(&certificate));
    run(Command::new("openssl").args(["pkey", "-outform", "DER", "-in"]).arg(&pem).arg("-out").arg(&key));
    let key = PrivateKeyDer::try_from(std::fs::read(key).unwrap()).unwrap();
    let certificate = CertificateDer::from(std::fs::read(certificate).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"potluck/1".to_vec()];
    Arc::new(config)
}

/// What somebody answers to each message.
type Answers = Box<dyn FnMut(&str) -> Option<String>>;

/// Answers to everything as a node would that has nothing to object.
fn agreeable(hello: Value) -> impl Fn() -> Answers + Send + Sync {
    move || {
        let hello = hello.clone();
        Box::new(move |json| {
            let request: Value = serde_json::from_str(json).ok()?;
            let answer =
                if request["type"] == "HELLO" { hello.clone() } else { json!({ "type": "STATUS", "status": "OK" }) };
            Some(with(answer, json!({ "id": request["id"] })).to_string())
        })
    }
}

/// Somebody between a node and those who connect to it: inside TLS on both sides, with a key of its own.
fn man_in_the_middle(address: &str) -> Impostor {
    let key = KeyPair::generate().unwrap();
    let config = Tls::new(&key).unwrap().server();
    let (stranger, address) = (Arc::new(Stranger::with_key(key)), address.to_owned());
    Impostor::start(any_port(), config, move || {
        let mut upstream = stranger.connect(&address);
        move |json: &str| {
            upstream.try_send(json).ok()?;
            upstream.read_frame().map(|frame| frame.json)
        }
    })
}

fn types(heard: &[String]) -> Vec<String> {
    let type_of = |json: &String| serde_json::from_str::<Value>(json).unwrap()["type"].as_str().unwrap().to_owned();
    heard.iter().map(type_of).collect()
}

/// A link may be tried more than once.
#[track_caller]
fn heard_greetings_only(impostor: &Impostor) {
    let types = types(&impostor.heard());
    assert!(!types.is_empty() && types.iter().all(|of| of == "HELLO"), "{types:?}");
}

#[track_caller]
fn is_error(reply: &Value, codes: &[&str]) -> String {
    assert_eq!(reply["type"], "ERROR", "{reply:#}");
    assert!(codes.iter().any(|code| reply["code"] == *code), "{reply:#}");
    reply["error"].as_str().unwrap().to_owned()
}

/// Something that nobody else is to hear.
fn secret_message(to: &str) -> Value {
    json!({ "type": "SET_MEM", "key": "private", "value": "not for strangers", "to": to })
}

fn state_of(pool: &Cluster, token: &str) -> Value {
    let id = token.parse::<JoinToken>().unwrap().token_id_text();
    let list = pool.tracker.call(json!({ "type": "POOL_TOKENS" }));
    list["tokens"].as_array().unwrap().iter().find(|entry| entry["token_id"] == id).unwrap()["state"].clone()
}

// Pretending.

#[test]
fn a_membership_is_worth_nothing_to_another_key() {
    let pool = Cluster::start(1);
    let token = pool.token(json!({ "reusable": true }));
    let (owner, thief, member) = (Stranger::new(), Stranger::new(), Stranger::new());
    let stolen = owner.join(pool.tracker.address(), &token);
    let own = member.join(pool.tracker.address(), &token);
    for node in [&pool.tracker, &pool.peers[0]] {
        for stranger in [&thief, &member] {
            let mut wire = stranger.connect(node.address());
            let text = is_error(&wire.call(hello(&token, &stolen)), &["forbidden"]);
            assert!(text.contains("another key"), "{text}");
            assert_eq!(wire.read_frame(), None);
        }
        // What was shown once cannot be exchanged later.
        let mut wire = member.enter(node.address(), &token, &own);
        is_error(&wire.call(hello(&token, &stolen)), &["forbidden"]);
    }
    // Nor do the nodes' own help.
    let mut wire = owner.connect(pool.peers[0].address());
    let shown = wire.call(hello(&token, &stolen))["membership"].as_str().unwrap().to_owned();
    let mut wire = thief.connect(pool.tracker.address());
    is_error(&wire.call(hello(&token, &shown)), &["forbidden"]);
}

#[test]
fn whoever_takes_the_place_of_a_peer_hears_nothing() {
    let mut pool = Cluster::start(3);
    let token = pool.token(json!({ "reusable": true }));
    let insider = Stranger::new();
    let membership = insider.join(pool.tracker.address(), &token);
    for number in [1, 2] {
        let near = &pool.peers[0];
        let asked = near.call(json!({ "type": "STATUS", "to": pool.peers[number].peer_id() }));
        assert_eq!(asked["peer_id"], pool.peers[number].peer_id());
        pool.peers[number].kill9();
        let (near, victim) = (&pool.peers[0], &pool.peers[number]);
        // One has the peer's name, the other is a member itself.
        let config = match number {
            1 => with_name_of(victim.peer_id()),
            _ => Tls::new(insider.key()).unwrap().server(),
        };
        let impostor = Impostor::start(port_of(victim), config, agreeable(hello(&token, &membership)));
        for to in [victim.peer_id(), victim.address()] {
            let before = impostor.connections();
            wait_for("the impostor to be reached", || {
                let text = is_error(&near.call(secret_message(to)), &["peer_unreachable", "peer_lost"]);
                assert!(text.contains(victim.address()), "{text}");
                impostor.connections() > before
            });
        }
        for count in 0..6 {
            assert_eq!(near.run("def main(x): return x", json!([count])), count);
        }
        assert_eq!(impostor.heard(), [""; 0]);
        drop(impostor);
        // The right one is talked to again.
        pool.peers[number].restart();
        pool.wait_until_complete();
        let asked = pool.peers[0].call(json!({ "type": "STATUS", "to": pool.peers[number].peer_id() }));
        assert_eq!(asked["peer_id"], pool.peers[number].peer_id(), "{asked:#}");
    }
}

#[test]
fn whoever_takes_the_place_of_the_tracker_hears_nothing() {
    let mut pool = Cluster::start(1);
    pool.tracker.kill9();
    let impostor = Impostor::start(
        port_of(&pool.tracker),
        with_name_of(pool.tracker.peer_id()),
        agreeable(json!({ "type": "HELLO", "pool_id": pool.tracker.peer_id(), "membership": "" })),
    );
    wait_for("the peer to look for its tracker", || impostor.connections() >= 3);
    let status = pool.peers[0].status();
    assert_eq!(status["tracker_connected"], false, "{status:#}");
    assert_eq!(impostor.heard(), [""; 0]);
    drop(impostor);
    pool.tracker.restart();
    pool.wait_until_complete();
}

#[test]
fn a_server_that_cannot_prove_its_membership_hears_a_greeting_and_no_more() {
    let pool = Cluster::start(2);
    let [near, far] = [&pool.peers[0], &pool.peers[1]];
    let token = pool.token(json!({}));
    let guest = Stranger::new();
    let membership = guest.join(pool.tracker.address(), &token);
    // What a member shows is no secret, so it can be shown by others.
    let stolen = guest.connect(far.address()).call(hello(&token, &membership));
    let answers = [stolen, hello(&token, &membership), hello(&token, ""), json!({ "type": "STATUS", "status": "OK" })];
    for answer in answers {
        let config = Tls::new(&KeyPair::generate().unwrap()).unwrap().server();
        let impostor = Impostor::start(any_port(), config, agreeable(answer.clone()));
        let text = is_error(&near.call(secret_message(impostor.address())), &["peer_unreachable"]);
        assert!(text.contains(impostor.address()) && text.contains("nothing was sent"), "{text}");
        heard_greetings_only(&impostor);
    }
    near.check_serving();
}

// Between.

#[test]
fn a_man_in_the_middle_of_a_join_is_noticed_by_the_joiner_and_by_the_tracker() {
    let pool = Cluster::start(0);
    let middle = man_in_the_middle(pool.tracker.address());
    let token = pool.token(json!({ "addresses": [middle.address()] }));
    let joiner = TestNode::peer().plugins("[node]\ndiscovery = false\n[plugins.memory]\n").start();
    let reply = joiner.call(json!({ "type": "POOL_JOIN", "token": token }));
    let text = is_error(&reply, &["peer_unreachable"]);
    assert!(text.contains("somebody is between"), "{text}");
    assert!(middle.connections() > 0 && middle.heard().is_empty(), "{:?}", middle.heard());

    // One that does not look at the key shows its proof, which is good for that connection only.
    let stranger = Stranger::new();
    let mut wire = stranger.connect(middle.address());
    assert_ne!(wire.peer_id(), pool.tracker.peer_id());
    let message = stranger.join_message(&wire, &token);
    is_error(&wire.call(message), &["proof_wrong"]);
    assert_eq!(types(&middle.heard()), ["JOIN"]);
    let secret = token.parse::<JoinToken>().unwrap().secret;
    assert!(!forms(&secret).iter().any(|form| contains(middle.heard()[0].as_bytes(), form)));
    assert_eq!(state_of(&pool, &token), "valid");
    // Without anybody between, the same token is good.
    let request = json!({ "type": "POOL_JOIN", "token": token, "address": pool.tracker.address() });
    assert_eq!(joiner.call(request)["status"], "JOINED");
}

#[test]
fn a_man_in_the_middle_of_two_members_is_noticed_by_both() {
    let pool = Cluster::start(2);
    let [near, far] = [&pool.peers[0], &pool.peers[1]];
    let middle = man_in_the_middle(far.address());
    // The one that is asked finds another key than that of the membership.
    let text = is_error(&near.call(secret_message(middle.address())), &["peer_unreachable"]);
    assert!(text.contains("another key"), "{text}");
    heard_greetings_only(&middle);
    let token = pool.token(json!({}));
    let stranger = Stranger::new();
    let membership = stranger.join(pool.tracker.address(), &token);
    let mut wire = stranger.connect(middle.address());
    is_error(&wire.call(hello(&token, &membership)), &["forbidden"]);
    // The one that asks finds another key than the one that it knows.
    let address = far.address().to_owned();
    let upstream = pool.tracker.address().to_owned();
    let mut pool = pool;
    pool.peers[1].kill9();
    let key = KeyPair::generate().unwrap();
    let config = Tls::new(&key).unwrap().server();
    let stranger = Arc::new(Stranger::with_key(key));
    let middle = Impostor::start(TcpListener::bind(&address).unwrap(), config, move || {
        let mut upstream = stranger.connect(&upstream);
        move |json: &str| {
            upstream.try_send(json).ok()?;
            upstream.read_frame().map(|frame| frame.json)
        }
    });
    wait_for("the man in the middle to be reached", || {
        is_error(&pool.peers[0].call(secret_message(&address)), &["peer_unreachable", "peer_lost"]);
        middle.connections() > 0
    });
    assert_eq!(middle.heard(), [""; 0]);
}

#[test]
fn nobody_talks_a_member_out_of_encryption() {
    let pool = Cluster::start(1);
    let near = &pool.peers[0];
    let hello = json!({ "type": "HELLO", "pool_id": near.peer_id(), "membership": "" }).to_string();
    let error = json!({ "type": "ERROR", "code": "invalid_message", "error": "speak plainly" }).to_string();
    let alert = vec![0x15, 3, 3, 0, 2, 2, 70];
    for says in [frame_bytes(&hello), frame_bytes(&error), frame_bytes(r#"{"type":"PONG"}"#), alert] {
        let server = PlainServer::start(says);
        is_error(&near.call(secret_message(server.address())), &["peer_unreachable"]);
        let heard = server.heard();
        assert!(heard.is_empty() || heard[0] == 0x16, "{heard:?}");
        for word in ["SET_MEM", "HELLO", "private", "strangers", near.peer_id()] {
            assert!(!contains(&heard, word.as_bytes()), "{word}");
        }
        // Nor when it asks for an older version: nothing is sent again without encryption.
        is_error(&near.call(secret_message(server.address())), &["peer_unreachable"]);
        assert!(!contains(&server.heard(), b"SET_MEM"));
    }
}

#[test]
fn a_changed_byte_ends_the_connection_and_whoever_waits_is_told() {
    let pool = Cluster::start(2);
    let [near, far] = [&pool.peers[0], &pool.peers[1]];
    let relay = Relay::start(far.address());
    let to = relay.address();
    let is_well = || {
        wait_for("a connection that is whole", || {
            near.call(json!({ "type": "STATUS", "to": to }))["peer_id"] == far.peer_id()
        });
    };
    for way in [Way::ToServer, Way::ToClient] {
        let large = "x".repeat(1 << 20);
        let messages = [
            json!({ "type": "GET_MEM", "key": "nothing", "to": to }),
            json!({ "type": "SET_MEM", "key": "large", "value": large, "to": to }),
            with(task("def main(x): return x", json!(["x"])), json!({ "to": to })),
        ];
        for message in messages {
            is_well();
            relay.damage_next(way);
            let text = is_error(&near.call(&message), &["peer_lost"]);
            assert!(text.contains(to), "{text}");
            assert!(!relay.is_to_damage());
            if matches!(way, Way::ToServer) {
                assert_eq!(far.call(json!({ "type": "GET_MEM", "key": "large" }))["found"], false);
            }
        }
    }
    is_well();
    far.check_serving();
}

#[test]
fn a_member_finds_its_tracker_again_after_a_changed_byte() {
    let pool = Cluster::start(0);
    let relay = Relay::start(pool.tracker.address());
    let token = pool.token(json!({ "addresses": [relay.address()] }));
    let settings = "[node]\nheartbeat_seconds = 0.1\ndiscovery = false\n[plugins.memory]\n";
    let node = TestNode::peer().plugins(settings).start();
    assert_eq!(node.call(json!({ "type": "POOL_JOIN", "token": token }))["status"], "JOINED");
    for way in [Way::ToServer, Way::ToClient, Way::ToServer] {
        node.wait_until("the node to be registered", |status| status["tracker_connected"] == true);
        let before = relay.connections();
        relay.damage_next(way);
        wait_for("another connection", || relay.connections() > before);
    }
    node.wait_until("the node to be registered", |status| status["tracker_connected"] == true);
}

// Listening.

const PROGRAM_MARK: &str = "marker-in-the-program-5e1f";
const ARGUMENT_MARK: &str = "marker-of-the-argument-7c02";
const RESULT_MARK: &str = "MARKER-OF-THE-ARGUMENT-7C02";
const OUTPUT_MARK: &str = "marker-that-is-printed-913a";
const KEY_MARK: &str = "marker-of-the-key-44d8";
const VALUE_MARK: &str = "marker-of-the-value-b6a3";
const MARKS: [&str; 6] = [PROGRAM_MARK, ARGUMENT_MARK, RESULT_MARK, OUTPUT_MARK, KEY_MARK, VALUE_MARK];

/// What a node is asked so that it asks another one: `ask` sends a message to the first.
fn talk(ask: impl Fn(Value) -> Value, far: &str) {
    let set = json!({ "type": "SET_MEM", "key": KEY_MARK, "value": VALUE_MARK, "to": far });
    assert_eq!(ask(set)["status"], "OK");
    assert_eq!(ask(json!({ "type": "GET_MEM", "key": KEY_MARK, "to": far }))["value"], VALUE_MARK);
    let half = OUTPUT_MARK.split_at(8);
    let program =
        format!("# {PROGRAM_MARK}\ndef main(x):\n    print({:?} + {:?})\n    return x.upper()\n", half.0, half.1);
    let reply = ask(with(task(&program, json!([ARGUMENT_MARK])), json!({ "to": far })));
    assert_eq!(reply["result"], RESULT_MARK, "{reply:#}");
    assert_eq!(reply["stdout"], format!("{OUTPUT_MARK}\n"), "{reply:#}");
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// A word as it is, and as it looks within base64, wherever it begins there.
fn forms(word: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![word.to_vec()];
    for before in 0..3 {
        let padded = [&vec![0; before], word].concat();
        // Without the letters in which there is something of its neighbours.
        let letters = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            forms.push(text.as_bytes()[letters.clone()].to_vec());
        }
    }
    forms
}

/// Whether a word was to be seen in any form.
fn is_shown(streams: &[Vec<u8>], word: &[u8]) -> bool {
    let forms = forms(word);
    streams.iter().any(|stream| forms.iter().any(|form| contains(stream, form)))
}

#[test]
fn a_word_is_found_wherever_it_stands_in_base64() {
    for before in 0..7 {
        let text = format!("{}{VALUE_MARK} and more", &"abcdefg"[..before]);
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text), text.clone()] {
            assert!(is_shown(&[encoded.into_bytes()], VALUE_MARK.as_bytes()), "{before}");
        }
        assert!(!is_shown(&[STANDARD_NO_PAD.encode(&text).into_bytes()], KEY_MARK.as_bytes()));
    }
}

#[test]
fn whoever_listens_to_a_pool_learns_nothing() {
    let settings = "plaintext = \"never\"\ndiscovery = false\nheartbeat_seconds = 0.2";
    let tracker = TestNode::tracker().node(settings).start();
    let [near, far] = [(); 2].map(|()| TestNode::peer().node(settings).cpu("workers = 1").start());
    let capture = match Capture::start(&[tracker.port(), near.port(), far.port()]) {
        Ok(capture) => capture,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Also its user speaks to a node inside TLS here.
    let ask = |node: &TestNode, message: Value| -> Value {
        let asked = runtime.block_on(async {
            let client = Client::connect_as(node.address(), node.data_dir()).await.unwrap();
            client.request(&message.to_string(), &[]).await
        });
        let response = asked.unwrap_or_else(|error| panic!("{}: {}", error.code, error.message));
        serde_json::from_str(&response.json).unwrap()
    };
    let names = ["marker-of-the-pool-2f90", "marker-of-the-tracker-8b17", "marker-of-a-peer-d35c"];
    let create = json!({ "type": "POOL_CREATE", "pool_name": names[0], "name": names[1], "reusable": true });
    let token = ask(&tracker, create)["token"].as_str().unwrap().to_owned();
    for node in [&near, &far] {
        let join = json!({ "type": "POOL_JOIN", "token": token, "name": names[2] });
        assert_eq!(ask(node, join)["status"], "JOINED");
    }
    wait_for("both to know each other", || {
        [&near, &far].iter().all(|node| {
            let list = ask(node, json!({ "type": "LIST_PEERS" }));
            list["peers"].as_array().unwrap().len() == 2
        })
    });
    talk(|message| ask(&near, message), far.peer_id());
    let members = ask(&tracker, json!({ "type": "POOL_MEMBERS" })).to_string();
    assert!(names[1..].iter().all(|name| members.contains(name)), "{members}");
    let streams = capture.finish();
    let bytes: usize = streams.iter().map(Vec::len).sum();
    assert!(streams.len() >= 6 && bytes > 10_000, "{} streams with {bytes} bytes were seen", streams.len());
    assert!(streams.iter().all(|stream| (0x14..=0x17).contains(&stream[0])), "not all of it was TLS");

    let parsed: JoinToken = token.parse().unwrap();
    let ids = [tracker.peer_id(), near.peer_id(), far.peer_id()];
    let pool_id = parsed.pool_id.to_string();
    let words = MARKS.into_iter().chain(names).chain(ids).chain([&*token, &*pool_id, "SET_MEM", "CPU_TASK", "HELLO"]);
    for word in words {
        assert!(!is_shown(&streams, word.as_bytes()), "{word} was to be seen");
    }
    assert!(!is_shown(&streams, &parsed.secret), "the token's secret was to be seen");
}

#[test]
fn without_a_pool_the_same_words_are_to_be_seen() {
    let cluster = Cluster::start_plain(2, |_, builder| builder.cpu("workers = 1"));
    let [near, far] = [&cluster.peers[0], &cluster.peers[1]];
    let ports = [cluster.tracker.port(), near.port(), far.port()];
    let capture = match Capture::start(&ports) {
        Ok(capture) => capture,
        Err(reason) => return println!("skipped: {reason}"),
    };
    talk(|message| near.call(message), far.peer_id());
    let streams = capture.finish();
    for word in MARKS {
        assert!(is_shown(&streams, word.as_bytes()), "{word} was not to be seen in {} streams", streams.len());
    }
}
