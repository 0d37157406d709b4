//! Rounds of kill -9 at random moments while clients store, upload and delete: what was acknowledged is there afterwards
//! with the right bytes, nothing half is ever visible, nothing is left over, and what is counted is what is stored.

pub(crate) mod client;
pub(crate) mod random;

use client::{Client, Expected, is_disk_error, read};
use potluck_tests::{NodeBuilder, TestNode, Wire};
use random::{Content, Random};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 4;
/// Rounds when `POTLUCK_KILL_ROUNDS` does not say how many.
const ROUNDS: u64 = 8;
pub(crate) const CAPACITY_BYTES: usize = 1 << 30;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// When a node is killed.
#[derive(Debug)]
enum Moment {
    Replies(u64),
    Time(Duration),
}

impl Moment {
    fn choose(random: &mut Random) -> Moment {
        match random.below(3) {
            0 => Moment::Replies(1 + random.below(40)),
            1 => Moment::Replies(1 + random.below(600)),
            _ => Moment::Time(Duration::from_micros(random.below(150_000))),
        }
    }

    fn wait(&self, replies: &AtomicU64, disturb: &mut impl FnMut()) {
        let begin = Instant::now();
        let is_over = || match self {
            Moment::Replies(count) => replies.load(Ordering::Relaxed) >= *count,
            Moment::Time(time) => begin.elapsed() >= *time,
        };
        while !is_over() {
            assert!(begin.elapsed() < potluck_tests::LIMIT, "the clients do not get on: {self:?}");
            disturb();
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Reads files that are written meanwhile: each is whole, and has the hash that the node tells.
fn watch(mut wire: Wire, mut random: Random, may_fail: bool, is_over: &AtomicBool) -> u64 {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let name = Client::any_name(&mut random, CLIENTS);
        let message = json!({ "type": "GET_FILE", "filename": name, "encoding": "raw" });
        if wire.try_send_bytes(&potluck_tests::frame_bytes(&message.to_string())).is_err() {
            return count;
        }
        let Ok((reply, bytes)) = read(&wire) else { return count };
        if reply["code"] == "file_too_large" || may_fail && is_disk_error(&reply) {
            continue;
        }
        assert_eq!(reply["error"], Value::Null, "{reply}");
        if reply["found"] == true {
            assert!(Content::is_whole(&bytes), "{name} has {} bytes and is not whole: {reply}", bytes.len());
            assert_eq!(reply["sha256"], random::sha256(&bytes), "{name}: {reply}");
            count += 1;
        }
    }
    count
}

/// Lets the clients work until the node is killed at its moment. `disturb` is called again and again meanwhile.
fn work_and_kill(
    node: &mut TestNode,
    clients: &mut [Client],
    random: &mut Random,
    may_fail: bool,
    mut disturb: impl FnMut(),
) -> (u64, u64) {
    let moment = Moment::choose(random);
    let (replies, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (replies, is_over) = (&replies, &is_over);
    let watched = thread::scope(|scope| {
        for client in clients {
            let wire = node.wire();
            scope.spawn(move || client.work(wire, replies));
        }
        let (wire, watcher_random) = (node.wire(), Random::new(random.next()));
        let watcher = scope.spawn(move || watch(wire, watcher_random, may_fail, is_over));
        // Whatever happens the node must end, else the clients would work for ever.
        let waited = catch_unwind(AssertUnwindSafe(|| moment.wait(replies, &mut disturb)));
        node.kill9();
        is_over.store(true, Ordering::Relaxed);
        let watched = watcher.join();
        waited.and(watched).unwrap_or_else(|panic| resume_unwind(panic))
    });
    (replies.load(Ordering::Relaxed), watched)
}

/// All that LIST_FILES tells: sizes and hashes by names, and the two sums.
pub(crate) fn listed(node: &TestNode) -> (BTreeMap<String, (usize, Value)>, usize, usize) {
    let (mut wire, mut files, mut after) = (node.wire(), BTreeMap::new(), Value::Null);
    loop {
        let page = wire.call(json!({ "type": "LIST_FILES", "limit": 10, "after": after }));
        for file in page["files"].as_array().unwrap() {
            let size = file["size"].as_u64().unwrap() as usize;
            files.insert(file["filename"].as_str().unwrap().to_owned(), (size, file["sha256"].clone()));
        }
        after = page["next"].clone();
        if after.is_null() {
            let number = |key: &str| page[key].as_u64().unwrap() as usize;
            return (files, number("file_count"), number("total_bytes"));
        }
    }
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks that the node has room for so many bytes more, and for not one more than that.
pub(crate) fn check_room(node: &TestNode, bytes: usize) {
    let mut wire = node.wire();
    let mut ask = |size: usize, abort: bool| {
        wire.call(json!({
            "type": "PUT_FILE_CHUNK", "filename": "room", "upload": "room", "size": size, "abort": abort,
        }))
    };
    assert_eq!(ask(bytes + 1, false)["code"], "limit_reached", "there is more room than {bytes} bytes");
    let reply = ask(bytes, false);
    assert_eq!(reply["stored"], true, "there is less room than {bytes} bytes: {reply}");
    assert_eq!(ask(0, true)["status"], "OK");
}

fn check(node: &TestNode, clients: &mut [Client]) {
    assert_eq!(names_in(&node.data_dir().join("spool")), Vec::<String>::new());
    let mut expected = Expected { files: BTreeMap::new(), parts: BTreeMap::new() };
    let before = names_in(&node.data_dir().join("peer_storage/.potluck-temporary"));
    assert!(before.iter().all(|name| name.starts_with("part-")), "these are left over: {before:?}");
    for client in clients {
        let of_client = client.check(node);
        expected.files.extend(of_client.files);
        expected.parts.extend(of_client.parts);
    }
    let (files, count, bytes) = listed(node);
    let told = files.iter().map(|(name, (size, sha256))| (name.clone(), *size, sha256.clone()));
    let right = expected.files.iter().map(|(name, content)| (name.clone(), content.length, content.sha256().into()));
    assert_eq!(told.collect::<Vec<_>>(), right.collect::<Vec<_>>());
    let stored: usize = expected.files.values().map(|content| content.length).sum();
    assert_eq!((count, bytes), (expected.files.len(), stored));
    let storage = &node.status()["storage"];
    assert_eq!((&storage["file_count"], &storage["total_size"]), (&json!(count), &json!(bytes)));
    let left = names_in(&node.data_dir().join("peer_storage/.potluck-temporary"));
    assert_eq!(left, expected.parts.keys().cloned().collect::<Vec<_>>());
    check_room(node, CAPACITY_BYTES - stored - expected.parts.values().sum::<usize>());
}

/// What happens to the disk of the node in the rounds.
pub(crate) trait Disturbance {
    fn prepare(&self, builder: NodeBuilder) -> NodeBuilder;
    fn may_fail(&self) -> bool;
    /// Called many times while the clients work.
    fn disturb(&self, random: &mut Random);
    /// The disk works again.
    fn end(&self);
}

struct Undisturbed;

impl Disturbance for Undisturbed {
    fn prepare(&self, builder: NodeBuilder) -> NodeBuilder {
        builder
    }

    fn may_fail(&self) -> bool {
        false
    }

    fn disturb(&self, _random: &mut Random) {}

    fn end(&self) {}
}

/// A node with shared files alone.
pub(crate) fn builder() -> NodeBuilder {
    let bytes_max = 2 * CAPACITY_BYTES;
    let plugins = format!("[plugins.disk]\ncapacity_bytes = {CAPACITY_BYTES}\nfile_bytes_max = {bytes_max}\n");
    TestNode::peer().plugins(plugins)
}

/// Rounds of work that end with a kill; after each all is checked.
pub(crate) fn rounds(disturbance: &impl Disturbance) {
    let rounds = number_from("POTLUCK_KILL_ROUNDS").unwrap_or(ROUNDS);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number_from("POTLUCK_KILL_SEED").unwrap_or(now.as_nanos() as u64);
    // Shown when the test fails.
    println!("the seed is POTLUCK_KILL_SEED={seed}; when a node is killed depends on the machine too");
    let mut random = Random::new(seed);
    let may_fail = disturbance.may_fail();
    let mut node = disturbance.prepare(builder()).start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, random.next(), may_fail)).collect();
    let mut disturbances = Random::new(random.next());
    let (mut replies, mut reads) = (0, 0);
    for round in 0..rounds {
        let disturb = || disturbance.disturb(&mut disturbances);
        let (more_replies, more_reads) = work_and_kill(&mut node, &mut clients, &mut random, may_fail, disturb);
        (replies, reads) = (replies + more_replies, reads + more_reads);
        disturbance.end();
        node.restart();
        let checked = catch_unwind(AssertUnwindSafe(|| check(&node, &mut clients)));
        if let Err(panic) = checked {
            eprintln!("round {round} of {rounds} failed; POTLUCK_KILL_SEED={seed}");
            resume_unwind(panic);
        }
    }
    println!("{rounds} kills, {replies} answers, {reads} files read meanwhile");
    assert!(replies > 0);
}

#[test]
fn what_was_acknowledged_outlives_kills_at_any_moment() {
    rounds(&Undisturbed);
}
