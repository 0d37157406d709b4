//! Queues: sending and receiving over TCP beside LPUSH and RPOP of redis-server, the same load, in turn.

use super::plugins;
use crate::Setup;
use crate::benches::memory::{Redis, command};
use crate::client::frame;
use crate::load::{self, Conversation, frame_length};
use crate::machine::processor_nanoseconds;
use crate::node::Node;
use crate::report::{Figure, Report, Table, Unit};
use crate::samples::{in_turn, rounds};
use anyhow::{Result, bail, ensure};
use serde_json::json;
use std::time::Duration;

const VALUE: &str = "xxxxxxxxxxxxxxxxxxxx";
const CONNECTIONS: usize = 50;
/// Half of them send, half of them receive.
const IN_FLIGHT: usize = 16;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let node = Node::start(setup, &plugins(&["ipc"]))?;
    // Larger than what can be under way: nobody waits.
    node.client()?.request(&json!({ "type": "CREATE_QUEUE", "queue_id": "bench", "max_size": 10_000 }))?;
    let send =
        json!({ "type": "SEND_MESSAGE", "queue_id": "bench", "sender": "bench", "receiver": "?", "data": VALUE });
    let receive = json!({ "type": "RECEIVE_MESSAGE", "queue_id": "bench", "receiver": "bench", "timeout": 0 });
    let batch: Vec<u8> = [frame(&send.to_string()), frame(&receive.to_string())].concat().repeat(IN_FLIGHT / 2);
    let ours = Side { kind: Kind::Potluck, port: node.port, process: node.id(), batch };
    let redis = Redis::start()?;
    let batch = [command(&["LPUSH", "bench", VALUE]), command(&["RPOP", "bench"])].concat().repeat(IN_FLIGHT / 2);
    let theirs = redis.as_ref().map(|redis| Side { kind: Kind::Redis, port: redis.port, process: redis.id(), batch });

    let (count, duration) = rounds(setup.seconds);
    let mut table = Table::default();
    for round in 0..count {
        setup.interrupt.check()?;
        let (ours, theirs) = in_turn(
            round,
            || ours.measure(duration),
            || theirs.as_ref().map_or(Ok(Measured::default()), |theirs| theirs.measure(duration)),
        )?;
        let name = format!("{CONNECTIONS} connections, {IN_FLIGHT} in flight on each");
        table.put(name, Unit::PerSecond, ours.per_second, theirs.per_second);
        table.put("  processor time of the server, each", Unit::Nanoseconds, ours.nanoseconds, theirs.nanoseconds);
    }
    let figures = table.figures(&[]);
    found(Report {
        name: "os, queues",
        title: format!("20 bytes sent and received, as one: medians of {count} rounds in turn"),
        figures: if redis.is_some() { figures } else { figures.into_iter().map(Figure::alone).collect() },
        notes: if redis.is_some() { Vec::new() } else { vec!["redis-server is not installed".to_owned()] },
        competitor: redis.map_or_else(String::new, |redis| redis.name),
    });
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Potluck,
    Redis,
}

struct Side {
    kind: Kind,
    port: u16,
    process: u32,
    batch: Vec<u8>,
}

#[derive(Default)]
struct Measured {
    /// A message that was sent and received.
    per_second: f64,
    nanoseconds: f64,
}

impl Side {
    fn measure(&self, duration: Duration) -> Result<Measured> {
        let conversations = (0..CONNECTIONS).map(|_| InBatches { side: self, missing: 0 });
        let before = processor_nanoseconds(self.process);
        let replies = load::run(self.port, conversations, duration)?;
        let nanoseconds = (processor_nanoseconds(self.process) - before) / (replies.total as f64 / 2.0);
        Ok(Measured { per_second: replies.per_second / 2.0, nanoseconds })
    }
}

/// Sends a batch of requests, waits for all replies, and sends the next.
struct InBatches<'a> {
    side: &'a Side,
    missing: usize,
}

impl Conversation for InBatches<'_> {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.side.batch);
        self.missing = IN_FLIGHT;
    }

    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        match self.side.kind {
            Kind::Potluck => Ok(frame_length(bytes)),
            Kind::Redis => resp_length(bytes),
        }
    }

    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()> {
        // They come in the order of the requests: the second, the fourth and so on is what was received.
        let is_received = !self.missing.is_multiple_of(2);
        let text = String::from_utf8_lossy(reply);
        ensure!(!is_received || text.contains(VALUE), "received is {text}");
        ensure!(
            is_received || text.starts_with(':') || text.contains(r#""status":"OK""#),
            "sending is answered with {text}"
        );
        self.missing -= 1;
        if self.missing == 0 {
            self.begin(out);
        }
        Ok(())
    }

    fn missing(&self) -> usize {
        self.missing
    }
}

/// Length of an integer (`:` digits CR LF) or a bulk string (`$` length CR LF, that many bytes, CR LF).
fn resp_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let length = match bytes[0] {
        b':' => end + 1,
        b'$' => {
            let length: usize = std::str::from_utf8(&bytes[1..end])?.trim().parse()?;
            end + 1 + length + 2
        }
        _ => bail!("redis-server answers {}", String::from_utf8_lossy(bytes)),
    };
    Ok((bytes.len() >= length).then_some(length))
}
