//! Rounds of kill -9 of an owner, a holder or the tracker while owned files are uploaded, replaced, deleted and repaired:
//! what was acknowledged is there afterwards, what was deleted is not, and holders keep nothing that nobody owns.

use crate::storage_kills::random::{Content, Random, sha256};
use potluck_tests::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

/// Rounds when `POTLUCK_KILL_ROUNDS` does not say how many.
const ROUNDS: u64 = 6;
/// Few, so that files are often replaced and deleted.
const NAMES: u64 = 5;

/// What is known of one name.
#[derive(Default)]
struct Fate {
    /// What it held when that was last known for certain.
    known: Option<Content>,
    /// What was asked for since, without an answer: it may hold any of these.
    possible: Vec<Option<Content>>,
}

impl Fate {
    fn allows(&self, found: Option<&str>) -> bool {
        let is_it = |content: &Option<Content>| content.map(Content::sha256).as_deref() == found;
        is_it(&self.known) || self.possible.iter().any(is_it)
    }
}

/// Works on owned files until its node does not answer.
struct Client {
    random: Random,
    files: BTreeMap<String, Fate>,
    next_upload: u64,
}

impl Client {
    fn work(&mut self, address: &str, operations: u64) -> u64 {
        let mut wire = Wire::connect(address);
        (0..operations).take_while(|_| self.one_operation(&mut wire).is_some()).count() as u64
    }

    fn one_operation(&mut self, wire: &mut Wire) -> Option<()> {
        let name = format!("file {}", self.random.below(NAMES));
        let choice = self.random.below(10);
        let (message, bytes, after) = match choice {
            0 => return ask(wire, json!({"type": "REPAIR_OWNED_FILES", "filename": name}), &[]).map(|_| ()),
            1..3 => (json!({"type": "DELETE_OWNED_FILE", "filename": name}), Vec::new(), None),
            _ => {
                let length = 1 + self.random.below(3 << 20);
                let content = Content::new(self.random.next(), usize::try_from(length).unwrap());
                self.next_upload += 1;
                let message = json!({
                    "type": "UPLOAD_OWNED_FILE", "filename": name, "upload": format!("upload-{}", self.next_upload),
                    "final": true, "size": content.length, "sha256": content.sha256(),
                    "replicas": 1 + self.random.below(2),
                });
                (message, content.bytes(), Some(content))
            }
        };
        let fate = self.files.entry(name).or_default();
        fate.possible.push(after);
        let reply = ask(wire, message, &bytes)?;
        let is_done = reply["complete"] == true || reply["status"] == "OK" && after.is_none();
        if is_done {
            *fate = Fate { known: after, possible: Vec::new() };
        }
        Some(())
    }
}

/// Sends a message; nothing when the node is gone.
fn ask(wire: &mut Wire, message: Value, attachment: &[u8]) -> Option<Value> {
    let json = message.to_string();
    let mut frame = frame_bytes(&json);
    if !attachment.is_empty() {
        frame = frame_bytes(&with(message, json!({"attachment": attachment.len()})).to_string());
        frame.extend_from_slice(attachment);
    }
    wire.try_send_bytes(&frame).ok()?;
    read_reply(wire.stream())
}

fn read_reply(mut stream: &TcpStream) -> Option<Value> {
    use std::io::Read;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut json = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// All files that a node keeps for others, but the tombstones.
fn kept(node: &TestNode) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![node.data_dir().join("owned_storage")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                found.insert(name.to_owned());
            }
        }
    }
    found.into_iter().filter(|name| !name.ends_with(".deleted")).collect()
}

/// The whole of a file, as the owner's node decrypts it; nothing when there is none.
fn download(owner: &TestNode, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let message = json!({
            "type": "DOWNLOAD_OWNED_FILE", "filename": name, "offset": bytes.len(), "encoding": "raw",
        });
        let frame = owner.call_with(message, b"");
        let reply = frame.value();
        assert_ne!(reply["type"], "ERROR", "{name} at {}: {reply}", bytes.len());
        if reply["found"] != true {
            return None;
        }
        bytes.extend_from_slice(&frame.attachment);
        if frame.attachment.is_empty() || bytes.len() as u64 >= reply["size"].as_u64().unwrap() {
            return Some(bytes);
        }
    }
}

fn wait_until_connected(node: &TestNode) {
    wait_for("a node to be in the tracker's table", || {
        let list = node.call(json!({"type": "LIST_PEERS"}));
        list["tracker_connected"] == true && list["peers"].as_array().is_some_and(|peers| peers.len() >= 3)
    });
}

fn check(pool: &Cluster, client: &mut Client) {
    pool.peers.iter().for_each(wait_until_connected);
    let owner = &pool.peers[0];
    for (name, fate) in &mut client.files {
        let mut seen = None;
        // An upload whose client is gone may be brought to its end meanwhile.
        wait_for("a file to be what was acknowledged", || {
            let found = download(owner, name);
            seen = found.as_deref().map(sha256);
            let allowed = fate.allows(seen.as_deref());
            if !allowed {
                println!("{name} is {seen:?}, and was {:?} or {:?}", fate.known, fate.possible);
            }
            allowed
        });
        let is_it = |content: &Option<Content>| content.map(Content::sha256) == seen;
        if let Some(content) = fate.possible.iter().copied().find(is_it) {
            fate.known = content;
        }
    }
}

/// What holders keep in the end is what the owner's files are.
fn check_leftovers(pool: &Cluster, client: &Client) {
    let owner = &pool.peers[0];
    wait_for("every upload to be at its end", || is_empty(&owner.data_dir().join("owned_outgoing")));
    for name in client.files.keys() {
        owner.call(json!({"type": "DELETE_OWNED_FILE", "filename": name}));
    }
    for holder in &pool.peers[1..] {
        wait_for("a holder to keep nothing", || {
            let left = kept(holder);
            if !left.is_empty() {
                println!("left: {left:?}");
            }
            left.is_empty()
        });
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn owned_files_outlive_kills_of_everybody_at_any_moment() {
    let rounds = number_from("POTLUCK_KILL_ROUNDS").unwrap_or(ROUNDS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number_from("POTLUCK_KILL_SEED").unwrap_or(now.as_nanos() as u64);
    println!("the seed is POTLUCK_KILL_SEED={seed}; when a node is killed depends on the machine too");
    let mut random = Random::new(seed);
    let tracker = TestNode::tracker().plugin("tracker", "").node("heartbeat_seconds = 0.5");
    // The client goes on with nothing, so what was not sent wholly is to be forgotten at the next start.
    let lines = |number| if number == 0 { "unfinished_seconds = 0" } else { "" };
    let peer =
        |number, builder: NodeBuilder| builder.plugin("owned-files", lines(number)).node("heartbeat_seconds = 0.5");
    let mut pool = Cluster::start_under(tracker, 3, peer);
    let mut client = Client { random: Random::new(random.next()), files: BTreeMap::new(), next_upload: 0 };
    let mut operations = 0;
    for round in 0..rounds {
        let (victim, moment) = (random.below(4), Duration::from_micros(random.below(400_000)));
        let address = pool.peers[0].address().to_owned();
        operations += thread::scope(|scope| {
            let worker = scope.spawn(|| client.work(&address, 12));
            // The moment of a kill is any; nothing is waited for.
            thread::sleep(moment);
            let node = if victim == 3 { &mut pool.tracker } else { &mut pool.peers[victim as usize] };
            node.kill9();
            node.restart();
            worker.join().unwrap()
        });
        println!("round {round}: killed {victim}");
        check(&pool, &mut client);
    }
    println!("{rounds} kills, {operations} operations");
    assert!(operations > 0);
    pool.peers[0].kill9();
    pool.peers[0].restart();
    check_leftovers(&pool, &client);
}
