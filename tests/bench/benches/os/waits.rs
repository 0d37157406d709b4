//! What it costs the node that somebody waits: memory and threads for 100,000 blocked waits at a semaphore, and for 10,000
//! queues.

use super::plugins;
use crate::Setup;
use crate::client::{Client, frame};
use crate::machine::status_field;
use crate::node::Node;
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::microseconds;
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const WAITS: usize = 100_000;
/// Fewer than the requests that one connection may have open.
const PER_CONNECTION: usize = 4000;
const QUEUES: usize = 10_000;
/// No thread for a waiter: the pool of the host may have grown by a few for other reasons.
const THREADS_MORE_MAX: f64 = 4.0;
/// Of the waits of the first connection, which come first, these are ended one by one.
const SIGNALS: usize = 100;
const BYTES_PER_KIBIBYTE: f64 = 1024.0;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let node = Node::start(setup, &plugins(&["ipc"]))?;
    let mut control = node.client()?;
    control.request(&json!({ "type": "LIST_QUEUES" }))?;
    let empty = Usage::of(node.id());
    let begun = Instant::now();
    create_queues(&mut control)?;
    let created = begun.elapsed();
    let with_queues = Usage::of(node.id());

    let mut clients = Vec::new();
    for _ in 0..WAITS / PER_CONNECTION {
        let mut client = node.client()?;
        client.request(&json!({ "type": "PING" }))?;
        clients.push(client);
    }
    let before = Usage::of(node.id());
    let first = block_and_wake(setup, &node, &mut control, &mut clients)?;
    let second = block_and_wake(setup, &node, &mut control, &mut clients)?;

    let bytes = |more: &Usage, less: &Usage, count: usize| (more.bytes - less.bytes) / count as f64;
    let resident = |what: &str, usage: &Usage| Figure::new(what, Unit::Mebibytes, usage.bytes / f64::from(1 << 20));
    let rate = |what: &str, count: usize, took: Duration| {
        Figure::new(what, Unit::PerSecond, count as f64 / took.as_secs_f64())
    };
    found(Report {
        name: "os, waits",
        title: format!("{WAITS} blocked waits at a semaphore over {} connections", clients.len()),
        competitor: String::new(),
        figures: vec![
            Figure::new("bytes of the host process for each wait", Unit::Count, bytes(&first.waiting, &before, WAITS)),
            Figure::new("threads that came with them", Unit::Count, first.waiting.threads - before.threads)
                .budget(Budget::ValueAtMost(THREADS_MORE_MAX)),
            resident("host process before, resident", &before),
            resident("host process with all of them", &first.waiting),
            resident("host process with all of them, the second time", &second.waiting),
            rate("waits that begin", WAITS, first.blocked),
            Figure::new(
                "a signal, to the answer of the one that it wakes",
                Unit::Microseconds,
                microseconds(first.signal),
            ),
            rate("waits that are answered at once", WAITS - SIGNALS, first.woken),
            Figure::new(format!("bytes for each of {QUEUES} queues"), Unit::Count, bytes(&with_queues, &empty, QUEUES)),
            rate("queues that are created", QUEUES, created),
        ],
        notes: Vec::new(),
    });
    Ok(())
}

struct Round {
    waiting: Usage,
    /// Until all waited.
    blocked: Duration,
    /// A signal and the answer to the wait that it ended.
    signal: Duration,
    /// Until all others were answered.
    woken: Duration,
}

/// Lets all wait, wakes a few one by one, and then the rest.
fn block_and_wake(setup: &Setup, node: &Node, control: &mut Client, clients: &mut [Client]) -> Result<Round> {
    control.request(&json!({ "type": "CREATE_SEMAPHORE", "sem_id": "bench", "initial_value": 0 }))?;
    let begun = Instant::now();
    for (index, client) in clients.iter_mut().enumerate() {
        setup.interrupt.check()?;
        let waits = (0..PER_CONNECTION).flat_map(|number| {
            let process_id = format!("client-{}", index * PER_CONNECTION + number);
            let wait = json!({ "type": "SEMAPHORE_WAIT", "sem_id": "bench", "process_id": process_id, "id": number });
            frame(&wait.to_string())
        });
        client.send(&waits.collect::<Vec<u8>>())?;
        // Connections may overtake each other.
        let sent = (index + 1) * PER_CONNECTION;
        until(control, "those who were sent wait", |list| list["semaphores"][0]["waiting"] == sent)?;
    }
    let blocked = begun.elapsed();
    let waiting = Usage::of(node.id());

    // Who came first is served first.
    let begun = Instant::now();
    for number in 0..SIGNALS {
        control.request(&json!({ "type": "SEMAPHORE_SIGNAL", "sem_id": "bench", "process_id": "bench" }))?;
        let reply: Value = serde_json::from_str(&clients[0].receive()?)?;
        ensure!(reply["status"] == "OK" && reply["id"] == number, "a wait is answered with {reply}");
    }
    let signal = begun.elapsed() / SIGNALS as u32;
    let begun = Instant::now();
    control.send(&frame(&json!({ "type": "DELETE_SEMAPHORE", "sem_id": "bench" }).to_string()))?;
    for (index, client) in clients.iter_mut().enumerate() {
        for _ in if index == 0 { SIGNALS } else { 0 }..PER_CONNECTION {
            let reply = client.receive()?;
            ensure!(reply.contains(r#""code":"semaphore_deleted""#), "a wait is answered with {reply}");
        }
    }
    let woken = begun.elapsed();
    control.receive()?;
    Ok(Round { waiting, blocked, signal, woken })
}

struct Usage {
    bytes: f64,
    threads: f64,
}

impl Usage {
    fn of(process: u32) -> Usage {
        let field = |name| status_field(process, name).unwrap_or_default();
        Usage { bytes: field("VmRSS") * BYTES_PER_KIBIBYTE, threads: field("Threads") }
    }
}

fn create_queues(client: &mut Client) -> Result<()> {
    const AT_ONCE: usize = 500;
    for some in (0..QUEUES).collect::<Vec<_>>().chunks(AT_ONCE) {
        let create = |number: &usize| {
            frame(&json!({ "type": "CREATE_QUEUE", "queue_id": format!("queue-{number}") }).to_string())
        };
        client.send(&some.iter().flat_map(create).collect::<Vec<u8>>())?;
        for _ in some {
            let reply = client.receive()?;
            ensure!(reply.contains(r#""status":"OK""#), "CREATE_QUEUE is answered with {reply}");
        }
    }
    Ok(())
}

fn until(control: &mut Client, what: &str, condition: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let list = control.request(&json!({ "type": "LIST_SEMAPHORES" }))?;
        if condition(&list) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("it does not happen that {what}: {list}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
