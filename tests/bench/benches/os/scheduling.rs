//! Scheduling on one slot: what a short task waits beside endless ones under Round Robin, how soon an urgent one begins,
//! and what the switching costs those who are switched.

use crate::Setup;
use crate::client::{Client, frame};
use crate::machine::{children, processor_nanoseconds};
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{Pairs, median, milliseconds, percentile};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const RUNTIMES: [&str; 2] = ["python", "sandbox"];
const LOOPS: usize = 3;
/// The short task beside them, and what it may take under Round Robin.
const SHORT_SECONDS: f64 = 0.2;
const TURNAROUND_BUDGET_MILLISECONDS: f64 = 1000.0;
const TURNAROUNDS: usize = 5;
const START_BUDGET_MILLISECONDS: f64 = 50.0;
const STARTS: usize = 20;
/// Processor time of each of two tasks that are switched.
const SWITCHED_SECONDS: f64 = 1.0;
const QUANTA_MS: [u64; 3] = [5, 10, 50];
const SWITCHED_ROUNDS: usize = 5;

const ENDLESS: &str = "def main():\n    while True:\n        pass\n";
/// Work, and when it began, in milliseconds since 1970.
const WORK: &str = "\
import time
def main(rounds):
    begun = time.time()
    total = 0
    for number in range(rounds):
        total += number & 3
    return begun * 1e3
";

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let node = Node::start(setup, &cpu_plugins(setup, "workers = 1\nforward = false"))?;
    let mut figures = Vec::new();
    let mut notes = Vec::new();
    for runtime in RUNTIMES {
        let mut slot = Slot::new(setup, &node, runtime)?;
        slot.turnaround(&mut figures)?;
        slot.starts(&mut figures)?;
    }
    found(Report {
        name: "os, scheduling",
        title: "one slot, endless tasks on it".to_owned(),
        competitor: String::new(),
        figures,
        notes: Vec::new(),
    });

    let mut figures = Vec::new();
    for runtime in RUNTIMES {
        Slot::new(setup, &node, runtime)?.switches(&mut figures, &mut notes)?;
    }
    found(Report {
        name: "os, switching",
        title: format!(
            "two tasks of {SWITCHED_SECONDS} s each under Round Robin: medians of {SWITCHED_ROUNDS} rounds in turn"
        ),
        competitor: "one after the other".to_owned(),
        figures,
        notes,
    });
    Ok(())
}

struct Two {
    /// Until both are done.
    took: Duration,
    /// How often one was stopped for the other.
    switches: f64,
    /// Processor time, in milliseconds.
    used: f64,
}

/// A node with one slot, for one runtime.
struct Slot<'a> {
    setup: &'a Setup,
    runtime: &'static str,
    /// The process of the node.
    host: u32,
    control: Client,
    /// Of the tasks that are measured.
    client: Client,
    /// Of the endless ones.
    loops: Client,
    rounds_per_second: f64,
    number: usize,
}

impl<'a> Slot<'a> {
    fn new(setup: &'a Setup, node: &Node, runtime: &'static str) -> Result<Slot<'a>> {
        let (control, client, loops) = (node.client()?, node.client()?, node.client()?);
        let mut slot =
            Slot { setup, runtime, host: node.id(), control, client, loops, rounds_per_second: 1e6, number: 0 };
        slot.set(json!({ "algorithm": "FCFS" }))?;
        // Twice: the first time the worker is started, and its guess is bad.
        for _ in 0..2 {
            let rounds = (0.3 * slot.rounds_per_second) as u64;
            let mut seconds = Vec::new();
            for _ in 0..5 {
                let begun = Instant::now();
                slot.work_of(rounds, json!({}))?;
                slot.result()?;
                seconds.push(begun.elapsed().as_secs_f64());
            }
            slot.rounds_per_second = rounds as f64 / median(&seconds);
        }
        Ok(slot)
    }

    fn set(&mut self, options: Value) -> Result<()> {
        let mut message = options;
        message["type"] = "SET_SCHEDULER".into();
        self.control.request(&message).map(drop)
    }

    fn work(&mut self, seconds: f64, members: Value) -> Result<()> {
        self.work_of((seconds * self.rounds_per_second) as u64, members)
    }

    fn work_of(&mut self, rounds: u64, members: Value) -> Result<()> {
        let message = task(self.runtime, WORK, json!([rounds]), members);
        self.client.send(&frame(&message.to_string()))
    }

    /// When a task began, in milliseconds since 1970.
    fn result(&mut self) -> Result<f64> {
        let reply: Value = serde_json::from_str(&self.client.receive()?)?;
        reply["result"].as_f64().with_context(|| format!("the node answers {reply}"))
    }

    /// Runs `measure` beside endless tasks.
    fn beside_loops(&mut self, count: usize, mut measure: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut names = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let name = format!("endless-{}-{}", self.runtime, self.number);
            let message = task(self.runtime, ENDLESS, json!([]), json!({ "task_id": name, "id": name }));
            self.loops.send(&frame(&message.to_string()))?;
            names.push(name);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let scheduler = self.control.request(&json!({ "type": "GET_SCHEDULER" }))?;
            let there = ["running", "queued", "suspended"].map(|what| scheduler[what].as_u64().unwrap_or(0));
            if there.iter().sum::<u64>() >= count as u64 {
                break;
            }
            if Instant::now() > deadline {
                bail!("the endless tasks do not begin: {scheduler}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Each has had some turns.
        self.setup.interrupt.sleep(Duration::from_millis(500))?;
        let measured = measure(self);
        for name in &names {
            self.control.request(&json!({ "type": "CANCEL_TASK", "task_id": name }))?;
        }
        for _ in &names {
            let reply = self.loops.receive()?;
            ensure!(reply.contains(r#""code":"cancelled""#), "an endless task is answered with {reply}");
        }
        measured
    }

    fn turnaround(&mut self, figures: &mut Vec<Figure>) -> Result<()> {
        self.set(json!({ "algorithm": "RR", "quantum_ms": 50 }))?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..TURNAROUNDS {
            let begun = Instant::now();
            self.work(SHORT_SECONDS, json!({}))?;
            self.result()?;
            alone.push(milliseconds(begun.elapsed()));
        }
        self.beside_loops(LOOPS, |slot| {
            for _ in 0..TURNAROUNDS {
                slot.setup.interrupt.check()?;
                let begun = Instant::now();
                slot.work(SHORT_SECONDS, json!({}))?;
                slot.result()?;
                beside.push(milliseconds(begun.elapsed()));
            }
            Ok(())
        })?;
        let name = format!("{}: a task of {SHORT_SECONDS} s alone", self.runtime);
        figures.push(Figure::new(name, Unit::Milliseconds, median(&alone)));
        for (what, value) in [("median", median(&beside)), ("worst", percentile(&beside, 1.0))] {
            let name = format!("{}: beside {LOOPS} loops, Round Robin of 50 ms, {what} of {TURNAROUNDS}", self.runtime);
            let figure = Figure::new(name, Unit::Milliseconds, value);
            figures.push(figure.budget(Budget::ValueBelow(TURNAROUND_BUDGET_MILLISECONDS)));
        }
        Ok(())
    }

    fn starts(&mut self, figures: &mut Vec<Figure>) -> Result<()> {
        self.set(json!({ "algorithm": "PRIORITY", "preemptive": true }))?;
        let (mut starts, mut answers) = (Vec::new(), Vec::new());
        self.beside_loops(1, |slot| {
            for _ in 0..STARTS {
                slot.setup.interrupt.check()?;
                let (sent, begun) = (SystemTime::now().duration_since(UNIX_EPOCH)?, Instant::now());
                slot.work_of(1, json!({ "priority": 9 }))?;
                starts.push(slot.result()? - milliseconds(sent));
                answers.push(milliseconds(begun.elapsed()));
                // So that the one that was stopped runs again.
                std::thread::sleep(Duration::from_millis(60));
            }
            Ok(())
        })?;
        for (what, samples) in [("its first line", &starts), ("its result", &answers)] {
            for (name, share) in [("median", 0.5), ("p99", 0.99)] {
                let name = format!("{}: an urgent task to {what}, {name} of {STARTS}", self.runtime);
                let figure = Figure::new(name, Unit::Milliseconds, percentile(samples, share));
                figures.push(figure.budget(Budget::ValueBelow(START_BUDGET_MILLISECONDS)));
            }
        }
        Ok(())
    }

    fn switches(&mut self, figures: &mut Vec<Figure>, notes: &mut Vec<String>) -> Result<()> {
        let mut table = QUANTA_MS.map(|quantum| (quantum, Pairs::default(), Pairs::default(), Vec::new()));
        for _ in 0..SWITCHED_ROUNDS {
            for (quantum, took, used, switches) in &mut table {
                self.setup.interrupt.check()?;
                let theirs = self.two(json!({ "algorithm": "FCFS" }))?;
                let ours = self.two(json!({ "algorithm": "RR", "quantum_ms": *quantum }))?;
                took.push(milliseconds(ours.took), milliseconds(theirs.took));
                used.push(ours.used, theirs.used);
                switches.push(ours.switches);
            }
        }
        for (quantum, took, used, switches) in table {
            let figure = |name: String, pairs: &Pairs| {
                Figure::new(name, Unit::Milliseconds, pairs.ours()).beside(pairs.theirs(), pairs.ratio())
            };
            figures.push(figure(format!("{}, quantum {quantum} ms: until both are done", self.runtime), &took));
            figures.push(figure("  processor time of node and workers".to_owned(), &used));
            let switches = median(&switches);
            let each = 1000.0 * (used.ours() - used.theirs()) / switches.max(1.0);
            notes.push(format!(
                "{}, quantum {quantum} ms: {switches:.0} switches, {each:.0} us of processor time each",
                self.runtime
            ));
        }
        Ok(())
    }

    /// Two tasks at once.
    fn two(&mut self, scheduler: Value) -> Result<Two> {
        self.set(scheduler)?;
        let (before, used) = (self.preemptions()?, self.processor_time());
        let begun = Instant::now();
        for _ in 0..2 {
            self.work(SWITCHED_SECONDS, json!({ "id": 1 }))?;
        }
        for _ in 0..2 {
            self.result()?;
        }
        let took = begun.elapsed();
        // A worker that has ended takes what it used with it, and one that is new has used nothing before.
        let now = self.processor_time();
        let more = now.iter().map(|(id, now)| now - used.get(id).copied().unwrap_or_default());
        Ok(Two { took, switches: self.preemptions()? - before, used: more.sum::<f64>() / 1e6 })
    }

    /// Of the node and each of its workers, in nanoseconds.
    fn processor_time(&self) -> HashMap<u32, f64> {
        children(self.host).into_iter().chain([self.host]).map(|id| (id, processor_nanoseconds(id))).collect()
    }

    fn preemptions(&mut self) -> Result<f64> {
        let reply = self.control.request(&json!({ "type": "GET_SCHEDULER" }))?;
        let statistics = reply["statistics"].as_array().with_context(|| format!("GET_SCHEDULER: {reply}"))?;
        Ok(statistics.iter().filter_map(|statistics| statistics["preemptions"].as_f64()).sum())
    }
}

fn task(runtime: &str, program: &str, args: Value, members: Value) -> Value {
    let mut message = json!({
        "type": "CPU_TASK", "runtime": runtime, "program": program, "args": args, "cache": false, "timeout": 300,
    });
    if let (Some(message), Value::Object(members)) = (message.as_object_mut(), members) {
        message.extend(members);
    }
    message
}
