//! GET_MEM over TCP beside GET of redis-server: the same load generator, the same discipline, in turn.

use crate::Setup;
use crate::client::frame;
use crate::load::{self, Conversation, Replies, frame_length};
use crate::machine::processor_nanoseconds;
use crate::node::{Node, temporary_folder};
use crate::process::{Program, free_port, output_of, quiet};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{Pairs, rounds};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const VALUE: &str = "xxxxxxxxxxxxxxxxxxxx";
/// Connections, and requests in flight on each.
const CASES: [(usize, usize); 4] = [(1, 1), (1, 16), (50, 1), JUDGED];
/// The case that has a budget.
const JUDGED: (usize, usize) = (50, 16);

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let node = Node::start(setup, "[plugins.memory]\n")?;
    node.client()?.request(&json!({ "type": "SET_MEM", "key": "bench", "value": VALUE }))?;
    let get = frame(&json!({ "type": "GET_MEM", "key": "bench" }).to_string());
    let potluck = Target::new(Server::Potluck, node.port, node.id(), &get)?;
    let redis = Redis::start()?;
    let redis_target = match &redis {
        Some(redis) => Some(redis.target()?),
        None => None,
    };

    let (count, duration) = rounds(setup.seconds);
    let mut figures = Vec::new();
    for (connections, pipeline) in CASES {
        let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
        for _ in 0..count {
            setup.interrupt.check()?;
            let ours = potluck.measure(connections, pipeline, duration)?;
            let theirs = match &redis_target {
                Some(target) => target.measure(connections, pipeline, duration)?,
                None => Round::default(),
            };
            rates.push(ours.per_second, theirs.per_second);
            costs.push(ours.nanoseconds, theirs.nanoseconds);
        }
        let figure = |name: &str, unit, pairs: &Pairs| {
            let figure = Figure::new(name, unit, pairs.ours());
            if redis_target.is_some() { figure.beside(pairs.theirs(), pairs.ratio()) } else { figure }
        };
        let plural = if connections == 1 { "" } else { "s" };
        let name = format!("{connections} connection{plural}, {pipeline} in flight on each");
        let rate = figure(&name, Unit::PerSecond, &rates);
        if (connections, pipeline) == JUDGED {
            figures.push(rate.budget(Budget::RatioAtLeast(1.0)));
            figures.push(figure("  processor time of the server, each", Unit::Nanoseconds, &costs));
        } else {
            figures.push(rate);
        }
    }
    let mut notes = Vec::new();
    if redis_target.is_none() {
        notes.push("redis-server is not installed, so nothing was compared".to_owned());
    }
    Ok(Report {
        name: "memory",
        title: format!("GET_MEM of 20 bytes over TCP: medians of {count} rounds in turn"),
        competitor: redis.map_or_else(String::new, |redis| redis.name),
        figures,
        notes,
    })
}

#[derive(Clone, Copy)]
enum Server {
    Potluck,
    Redis,
}

impl Server {
    fn reply_length(self, bytes: &[u8]) -> Result<Option<usize>> {
        match self {
            Server::Potluck => Ok(frame_length(bytes)),
            Server::Redis => bulk_length(bytes),
        }
    }
}

/// Length of a bulk string: `$` length CR LF, that many bytes, CR LF.
fn bulk_length(bytes: &[u8]) -> Result<Option<usize>> {
    match bytes.first() {
        None => return Ok(None),
        Some(b'$') => {}
        Some(_) => bail!("redis-server answers {}", String::from_utf8_lossy(bytes)),
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\r') else { return Ok(None) };
    let digits = bytes[1..end].iter();
    let body = digits.fold(0, |number, digit| 10 * number + usize::from(digit.wrapping_sub(b'0')));
    let length = end + 2 + body + 2;
    Ok((bytes.len() >= length).then_some(length))
}

/// A server that was asked once, so that it is known what it will answer.
struct Target {
    server: Server,
    port: u16,
    process: u32,
    request: Vec<u8>,
    reply_bytes: usize,
}

/// What a round found.
#[derive(Default)]
struct Round {
    per_second: f64,
    /// Processor time of the server for each request: it hardly depends on what else the machine does.
    nanoseconds: f64,
}

impl Target {
    fn new(server: Server, port: u16, process: u32, request: &[u8]) -> Result<Target> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(request)?;
        let mut reply = Vec::new();
        let reply_bytes = loop {
            if let Some(length) = server.reply_length(&reply)? {
                break length;
            }
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).context("a server does not answer")?;
            ensure!(count > 0, "a server closed the connection");
            reply.extend_from_slice(&bytes[..count]);
        };
        let text = String::from_utf8_lossy(&reply);
        ensure!(text.contains(VALUE), "the value is not in the reply {text}");
        Ok(Target { server, port, process, request: request.to_vec(), reply_bytes })
    }

    fn measure(&self, connections: usize, pipeline: usize, duration: Duration) -> Result<Round> {
        let batch = self.request.repeat(pipeline);
        let conversations = (0..connections).map(|_| InBatches {
            server: self.server,
            batch: &batch,
            size: pipeline,
            reply_bytes: self.reply_bytes,
            missing: 0,
        });
        let before = processor_nanoseconds(self.process);
        let Replies { per_second, total } = load::run(self.port, conversations, duration)?;
        let nanoseconds = (processor_nanoseconds(self.process) - before) / total as f64;
        Ok(Round { per_second, nanoseconds })
    }
}

/// Sends a batch of requests, waits for all replies, and sends the next, as redis-benchmark does.
struct InBatches<'a> {
    server: Server,
    batch: &'a [u8],
    size: usize,
    reply_bytes: usize,
    missing: usize,
}

impl Conversation for InBatches<'_> {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.batch);
        self.missing = self.size;
    }

    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        self.server.reply_length(bytes)
    }

    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()> {
        ensure!(reply.len() == self.reply_bytes, "another reply than before: {}", String::from_utf8_lossy(reply));
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

pub(super) struct Redis {
    pub(super) name: String,
    pub(super) port: u16,
    program: Program,
    /// Behind the program, so that it is removed when that is gone.
    _folder: TempDir,
}

impl Redis {
    /// Starts a redis-server that stores nothing; none where it is not installed.
    pub(super) fn start() -> Result<Option<Redis>> {
        let Some(version) = output_of(Command::new("redis-server").arg("--version")) else { return Ok(None) };
        let version = version.split(' ').find_map(|word| word.strip_prefix("v=")).unwrap_or_default();
        let folder = temporary_folder()?;
        let port = free_port()?;
        let mut command = quiet("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir"]);
        let mut program = Program::start("redis-server", command.arg(folder.path()), folder.path())?;
        program.wait_for("it served", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(Some(Redis { name: format!("redis {version}"), port, program, _folder: folder }))
    }

    pub(super) fn id(&self) -> u32 {
        self.program.id()
    }

    fn target(&self) -> Result<Target> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(&command(&["SET", "bench", VALUE]))?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        ensure!(&reply == b"+OK\r\n", "redis-server answers {}", String::from_utf8_lossy(&reply));
        Target::new(Server::Redis, self.port, self.program.id(), &command(&["GET", "bench"]))
    }
}

/// A command as redis-benchmark sends it: an array of bulk strings.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}
