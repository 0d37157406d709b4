//! The allocator over TCP: pairs of allocating and freeing while 100,000 blocks are in use. What its books alone can do is
//! measured by an ignored test of the provider.

use super::plugins;
use crate::Setup;
use crate::client::{Client, frame};
use crate::load::{self, Conversation, frame_length};
use crate::node::Node;
use crate::report::{Figure, Report, Unit};
use crate::samples::{median, rounds};
use anyhow::{Context, Result, bail, ensure};
use potluck_sdk::message::memory_manager::{AllocateMemory, DeallocateMemory};
use serde_json::{Value, json};

const LIVE: u32 = 100_000;
const ALGORITHMS: [&str; 4] = ["FIRST_FIT", "BEST_FIT", "WORST_FIT", "NEXT_FIT"];
const PROCESS: &str = "bench";
const CONNECTIONS: usize = 50;
const IN_FLIGHT: usize = 16;
/// Requests that are sent before their replies are read: far below what sockets hold.
const AT_ONCE: usize = 500;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let (count, duration) = rounds(setup.seconds);
    let node = Node::start(setup, &plugins(&["memory-manager"]))?;
    let mut client = node.client()?;
    fill(&mut client)?;
    let mut outside = [const { Vec::new() }; ALGORITHMS.len()];
    for _ in 0..count {
        for (index, algorithm) in ALGORITHMS.into_iter().enumerate() {
            setup.interrupt.check()?;
            client.request(&json!({ "type": "SET_ALLOCATOR", "algorithm": algorithm }))?;
            let replies = load::run(node.port, (0..CONNECTIONS).map(|_| Exchange::default()), duration)?;
            outside[index].push(replies.per_second / 2.0);
        }
    }
    let mut figures = Vec::new();
    for (algorithm, samples) in ALGORITHMS.iter().zip(&outside) {
        let name = format!("{algorithm}, over {CONNECTIONS} connections, {IN_FLIGHT} in flight on each");
        figures.push(Figure::new(name, Unit::PerSecond, median(samples)));
    }
    found(Report {
        name: "os, allocator",
        title: format!("allocating and freeing, {LIVE} blocks in use: medians of {count} rounds in turn"),
        competitor: String::new(),
        figures,
        notes: vec!["a pair is ALLOCATE_MEMORY and DEALLOCATE_MEMORY, two requests".to_owned()],
    });
    Ok(())
}

fn allocate(size: u32) -> Vec<u8> {
    let message =
        AllocateMemory { pid: Some(PROCESS.to_owned()), size: Some(size.into()), ..AllocateMemory::default() };
    frame(&json!(message).to_string())
}

fn free(address: u64) -> Vec<u8> {
    let message = DeallocateMemory { pid: Some(PROCESS.to_owned()), address: Some(address) };
    frame(&json!(message).to_string())
}

/// Leaves the arena with so many blocks, and holes between them.
fn fill(client: &mut Client) -> Result<()> {
    // Any sizes up to a kilobyte, in an order that does not repeat soon.
    let sizes = (0..LIVE).map(|number| 16 + number.wrapping_mul(2_654_435_761) % 1008);
    let requests: Vec<Vec<u8>> = sizes.map(allocate).collect();
    // Half as many again, so that every third one can go.
    let more = &requests[..(LIVE / 2) as usize];
    let mut addresses = Vec::new();
    for reply in ask(client, requests.iter().chain(more))? {
        addresses.push(address(&reply).with_context(|| format!("ALLOCATE_MEMORY is answered with {reply}"))?);
    }
    let holes: Vec<Vec<u8>> = addresses.iter().step_by(3).map(|address| free(*address)).collect();
    for reply in ask(client, holes.iter())? {
        ensure!(reply.contains(r#""status":"OK""#), "DEALLOCATE_MEMORY is answered with {reply}");
    }
    let status = client.request(&json!({ "type": "STATUS" }))?;
    let live = &status["memory_manager"]["allocated_blocks"];
    ensure!(*live == LIVE, "{live} blocks are in use instead of {LIVE}");
    Ok(())
}

/// Sends requests, some at once, and returns their replies.
fn ask<'a>(client: &mut Client, requests: impl Iterator<Item = &'a Vec<u8>>) -> Result<Vec<String>> {
    let requests: Vec<&Vec<u8>> = requests.collect();
    let mut replies = Vec::new();
    for some in requests.chunks(AT_ONCE) {
        client.send(&some.iter().flat_map(|request| request.iter().copied()).collect::<Vec<u8>>())?;
        for _ in some {
            replies.push(client.receive()?);
        }
    }
    Ok(replies)
}

fn address(reply: &str) -> Option<u64> {
    let digits = reply.split_once(r#""address":"#)?.1;
    digits[..digits.find(|character: char| !character.is_ascii_digit())?].parse().ok()
}

/// Frees each block as soon as it has it, and asks for another.
#[derive(Default)]
struct Exchange {
    random: u32,
}

impl Exchange {
    fn allocate(&mut self, out: &mut Vec<u8>) {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend(allocate(16 + (self.random >> 16) % 1008));
    }
}

impl Conversation for Exchange {
    fn begin(&mut self, out: &mut Vec<u8>) {
        for _ in 0..IN_FLIGHT {
            self.allocate(out);
        }
    }

    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        Ok(frame_length(bytes))
    }

    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let text = std::str::from_utf8(&reply[4..])?;
        if let Some(address) = address(text) {
            out.extend(free(address));
        } else if text.contains(r#""blocks":1"#) {
            self.allocate(out);
        } else {
            let reply: Value = serde_json::from_str(text)?;
            bail!("the node answers {reply}");
        }
        Ok(())
    }

    fn missing(&self) -> usize {
        IN_FLIGHT
    }
}
