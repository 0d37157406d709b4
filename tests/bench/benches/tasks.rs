//! Trivial Python tasks, from the client to the result, beside ProcessPoolExecutor of the same interpreter.

use crate::Setup;
use crate::client::{Client, frame};
use crate::load::{self, Conversation, frame_length};
use crate::node::{Node, cpu_plugins, temporary_folder};
use crate::process::Program;
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{Pairs, microseconds, percentile, rounds};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = "def square(x):\n    return x * x\n";
/// Tasks in flight over all connections.
const WINDOW: usize = 256;
const TASKS_PER_SECOND_MIN: f64 = 15_000.0;
const P50_RATIO_MAX: f64 = 0.6;
/// Until the workers, the code they keep and the node's picture of both are warm.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let node = Node::start(setup, &cpu_plugins(setup, ""))?;
    let mut client = node.client()?;
    let mut pool = PythonPool::start(setup)?;
    one_after_the_other(&mut client, WARM_UP)?;
    load::run(node.port, windows(1), WARM_UP)?;

    let (count, duration) = rounds(setup.seconds);
    let [mut p50, mut p99, mut over_one, mut over_four] = [const { None }; 4].map(|_: Option<()>| Pairs::default());
    for _ in 0..count {
        setup.interrupt.check()?;
        let ours = one_after_the_other(&mut client, duration)?;
        let theirs: Latency = pool.measure("latency", duration)?;
        p50.push(percentile(&ours, 0.50), theirs.p50);
        p99.push(percentile(&ours, 0.99), theirs.p99);
        let one = load::run(node.port, windows(1), duration)?;
        let theirs: Throughput = pool.measure("throughput", duration)?;
        let four = load::run(node.port, windows(4), duration)?;
        over_one.push(one.per_second, theirs.per_second);
        over_four.push(four.per_second, theirs.per_second);
    }
    let figure =
        |name: &str, unit, pairs: &Pairs| Figure::new(name, unit, pairs.ours()).beside(pairs.theirs(), pairs.ratio());
    Ok(Report {
        name: "tasks",
        title: format!("x * x in Python, client to result, warm: medians of {count} rounds in turn"),
        competitor: "ProcessPoolExecutor".to_owned(),
        figures: vec![
            figure("one after the other, p50", Unit::Microseconds, &p50).budget(Budget::RatioAtMost(P50_RATIO_MAX)),
            figure("one after the other, p99", Unit::Microseconds, &p99),
            figure(&format!("{WINDOW} in flight over 1 connection"), Unit::PerSecond, &over_one)
                .budget(Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
            figure(&format!("{WINDOW} in flight over 4 connections"), Unit::PerSecond, &over_four)
                .budget(Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
        ],
        notes: Vec::new(),
    })
}

fn message(id: Option<usize>, argument: usize) -> String {
    let mut message = json!({ "type": "CPU_TASK", "program": PROGRAM, "function": "square", "args": [argument] });
    if let Some(id) = id {
        message["id"] = id.into();
    }
    message.to_string()
}

/// Microseconds from sending a task to its result.
fn one_after_the_other(client: &mut Client, duration: Duration) -> Result<Vec<f64>> {
    let request = frame(&message(None, 7));
    let mut samples = Vec::new();
    let end = Instant::now() + duration;
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(samples);
        }
        client.send(&request)?;
        let reply = client.receive()?;
        samples.push(microseconds(begun.elapsed()));
        ensure!(reply.contains(r#""result":49,"#), "the node answers {reply}");
    }
}

/// A window's worth of tasks, dealt out to some connections.
fn windows(connections: usize) -> impl Iterator<Item = Window> {
    let frames = move || (0..WINDOW / connections).map(|id| frame(&message(Some(id), id))).collect();
    (0..connections).map(move |_| Window { frames: frames() })
}

/// Keeps the same number of tasks in flight: each result is followed by the task of the same id.
struct Window {
    frames: Vec<Vec<u8>>,
}

impl Conversation for Window {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend(self.frames.iter().flatten());
    }

    fn reply_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        Ok(frame_length(bytes))
    }

    fn go_on(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let text = std::str::from_utf8(&reply[4..])?;
        let id = text.strip_prefix("{\"id\":").and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
        let Some((id, frame)) = id.and_then(|id| Some((id, self.frames.get(id)?))) else {
            bail!("the node answers {text}");
        };
        ensure!(text.contains(&format!("\"result\":{},", id * id)), "task {id} is answered with {text}");
        out.extend_from_slice(frame);
        Ok(())
    }

    fn missing(&self) -> usize {
        self.frames.len()
    }
}

/// `pool.py`, waiting for orders.
struct PythonPool {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    program: Program,
    /// Behind the program, so that it is removed when that is gone.
    _folder: TempDir,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

#[derive(Deserialize)]
struct Throughput {
    per_second: f64,
}

impl PythonPool {
    fn start(setup: &Setup) -> Result<PythonPool> {
        let folder = temporary_folder()?;
        // A file, since the workers of newer versions import it.
        let script = folder.path().join("pool.py");
        std::fs::write(&script, include_str!("../pool.py")).context("cannot write pool.py")?;
        let mut command = Command::new(&setup.python);
        command.arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Program::start("pool.py", &mut command, folder.path())?;
        let (orders, answers) = program.pipes()?;
        Ok(PythonPool { orders, answers: BufReader::new(answers), program, _folder: folder })
    }

    fn measure<T: DeserializeOwned>(&mut self, what: &str, duration: Duration) -> Result<T> {
        let mut answer = String::new();
        let asked = writeln!(self.orders, "{what} {}", duration.as_secs_f64())
            .and_then(|()| self.answers.read_line(&mut answer));
        asked.with_context(|| self.program.last_words())?;
        serde_json::from_str(&answer).with_context(|| self.program.last_words())
    }
}
