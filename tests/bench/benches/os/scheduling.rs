//! Scheduling on one slot: what a short task waits beside endless ones under Round Robin, how soon an urgent one begins,
//! and what the switching costs those who are switched.

mod kind;
mod turns;

use self::kind::Kind;
use crate::Setup;
use crate::client::Client;
use crate::machine::{children, processor_nanoseconds};
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{Pairs, median, milliseconds, percentile};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const KINDS: [Kind; 2] = [Kind::Python, Kind::Sandbox];
const START_BUDGET_MILLISECONDS: f64 = 50.0;
const STARTS: usize = 20;
/// Processor time of each of two tasks that are switched.
const SWITCHED_SECONDS: f64 = 1.0;
const QUANTA_MS: [u64; 3] = [5, 10, 50];
const SWITCHED_ROUNDS: usize = 5;

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let node = Node::start(setup, &cpu_plugins(setup, "workers = 1\nforward = false"))?;
    let (mut figures, notes) = turns::run(setup, &node)?;
    for kind in KINDS {
        Slot::new(setup, &node, kind)?.starts(&mut figures)?;
    }
    found(Report {
        name: "os, scheduling",
        title: "one slot, endless tasks on it; turns of 50 ms (Round Robin) or preemptive PRIORITY".to_owned(),
        competitor: String::new(),
        figures,
        notes,
    });

    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for kind in KINDS {
        Slot::new(setup, &node, kind)?.switches(&mut figures, &mut notes)?;
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

/// A node with one slot, and tasks of one kind that are measured on it.
struct Slot<'a> {
    setup: &'a Setup,
    kind: Kind,
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
    fn new(setup: &'a Setup, node: &Node, kind: Kind) -> Result<Slot<'a>> {
        let (control, client, loops) = (node.client()?, node.client()?, node.client()?);
        let mut slot = Slot { setup, kind, host: node.id(), control, client, loops, rounds_per_second: 1e6, number: 0 };
        slot.set(json!({ "algorithm": "FCFS" }))?;
        // Again and again: the first time the worker is started, and a guess from a short run is bad.
        for _ in 0..3 {
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
        self.client.send(&self.kind.work(rounds, members)?)
    }

    /// The number that the task has for a result: where there is a clock, when it began, in milliseconds since 1970.
    fn result(&mut self) -> Result<f64> {
        let reply: Value = serde_json::from_str(&self.client.receive()?)?;
        reply["result"].as_f64().with_context(|| format!("the node answers {reply}"))
    }

    /// Runs `measure` beside endless tasks; it gets their processes.
    fn beside_loops(&mut self, loops: &[Kind], mut measure: impl FnMut(&mut Self, &[u32]) -> Result<()>) -> Result<()> {
        let mut names = Vec::new();
        for kind in loops {
            self.number += 1;
            let name = format!("endless-{}-{}", kind.name(), self.number);
            self.loops.send(&kind.endless(json!({ "task_id": name, "id": name }))?)?;
            names.push(name);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let scheduler = self.control.request(&json!({ "type": "GET_SCHEDULER" }))?;
            let there = ["running", "queued", "suspended"].map(|what| scheduler[what].as_u64().unwrap_or(0));
            if there.iter().sum::<u64>() >= loops.len() as u64 {
                break;
            }
            if Instant::now() > deadline {
                bail!("the endless tasks do not begin: {scheduler}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = self.processor_time();
        // Each has some turns.
        self.setup.interrupt.sleep(Duration::from_millis(500))?;
        let workers = children(self.host);
        let mut used: Vec<(f64, u32)> = self.used_since(&before, &workers).into_iter().zip(workers).collect();
        used.sort_by(|a, b| b.0.total_cmp(&a.0));
        let busiest: Vec<u32> = used.into_iter().map(|(_, id)| id).take(loops.len()).collect();
        let measured = measure(self, &busiest);
        for name in &names {
            self.control.request(&json!({ "type": "CANCEL_TASK", "task_id": name }))?;
        }
        for _ in &names {
            let reply = self.loops.receive()?;
            ensure!(reply.contains(r#""code":"cancelled""#), "an endless task is answered with {reply}");
        }
        measured
    }

    fn starts(&mut self, figures: &mut Vec<Figure>) -> Result<()> {
        self.set(json!({ "algorithm": "PRIORITY", "preemptive": true }))?;
        let (mut starts, mut answers) = (Vec::new(), Vec::new());
        self.beside_loops(&[self.kind], |slot, _| {
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
                let name = format!("{}: an urgent task to {what}, {name} of {STARTS}", self.kind.name());
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
            figures.push(figure(format!("{}, quantum {quantum} ms: until both are done", self.kind.name()), &took));
            figures.push(figure("  processor time of node and workers".to_owned(), &used));
            let switches = median(&switches);
            let each = 1000.0 * (used.ours() - used.theirs()) / switches.max(1.0);
            notes.push(format!(
                "{}, quantum {quantum} ms: {switches:.0} switches, {each:.0} us of processor time each",
                self.kind.name()
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
        let processes: Vec<u32> = children(self.host).into_iter().chain([self.host]).collect();
        let used = self.used_since(&used, &processes).into_iter().sum::<f64>() / 1e6;
        Ok(Two { took, switches: self.preemptions()? - before, used })
    }

    /// Of the node and each of its workers, in nanoseconds.
    fn processor_time(&self) -> HashMap<u32, f64> {
        children(self.host).into_iter().chain([self.host]).map(|id| (id, processor_nanoseconds(id))).collect()
    }

    /// What processes have used since, in nanoseconds. A worker that has ended takes what it used with it, and one that is
    /// new has used nothing before.
    fn used_since(&self, before: &HashMap<u32, f64>, processes: &[u32]) -> Vec<f64> {
        let used = |id: &u32| processor_nanoseconds(*id) - before.get(id).copied().unwrap_or_default();
        processes.iter().map(used).collect()
    }

    fn preemptions(&mut self) -> Result<f64> {
        let reply = self.control.request(&json!({ "type": "GET_SCHEDULER" }))?;
        let statistics = reply["statistics"].as_array().with_context(|| format!("GET_SCHEDULER: {reply}"))?;
        Ok(statistics.iter().filter_map(|statistics| statistics["preemptions"].as_f64()).sum())
    }
}
