//! How long a slot stays taken by a task that nobody wants any more: from the cancellation, or from the deadline, until
//! the task that waited behind it has run.

use crate::Setup;
use crate::client::{Client, frame};
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{milliseconds, percentile};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const REPETITIONS: usize = 20;
const P99_BUDGET_MILLISECONDS: f64 = 50.0;
/// Long enough for the task to be running when its time is over.
const TIMEOUT: Duration = Duration::from_millis(150);
const TRIVIAL: &str = "def main():\n    return 25\n";
/// A guest that never ends, and one whose result is 25.
const ENDLESS_GUEST: &str =
    "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $again (br $again))))";
const TRIVIAL_GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\02\00\00\00")
  (data (i32.const 16) "25")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// What does not end by itself, and why that is hard to stop.
const ENDLESS: [(&str, &str, &str); 6] = [
    ("python", "a loop", "def main():\n    while True:\n        pass\n"),
    ("sandbox", "a loop", "def main():\n    while True:\n        pass\n"),
    ("sandbox", "a regular expression", "import re\ndef main():\n    re.match('(a+)+$', 'a' * 60 + 'b')\n"),
    ("sandbox", "a giant integer", "def main():\n    return 3 ** (3 ** 20)\n"),
    ("sandbox", "a sleep", "import time\ndef main():\n    time.sleep(60)\n"),
    (
        "sandbox",
        "a loop that catches everything",
        "def main():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n",
    ),
];

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let node = Node::start(setup, &cpu_plugins(setup, "workers = 1"))?;
    let mut control = node.client()?;
    let (endless_guest, trivial_guest) = (bring(&mut control, ENDLESS_GUEST)?, bring(&mut control, TRIVIAL_GUEST)?);
    let guest = |sha256: &str| json!({ "type": "CPU_TASK", "runtime": "wasm", "module_sha256": sha256 });
    let program = |runtime: &str, program: &str| json!({ "type": "CPU_TASK", "runtime": runtime, "program": program });
    let mut cases: Vec<(String, Value, Value)> = ENDLESS
        .iter()
        .map(|(runtime, what, text)| (format!("{runtime}, {what}"), program(runtime, text), program(runtime, TRIVIAL)))
        .collect();
    cases.push(("wasm, a loop".to_owned(), guest(&endless_guest), guest(&trivial_guest)));

    let mut figures = Vec::new();
    for (name, endless, trivial) in cases {
        let mut cell = Cell::new(&node, endless, trivial)?;
        let [mut cancel_answer, mut cancel_free, mut timeout_answer, mut timeout_free] = [const { Vec::new() }; 4];
        for repetition in 0..REPETITIONS {
            setup.interrupt.check()?;
            let freed = cell.cancel(repetition)?;
            cancel_answer.push(freed.answered);
            cancel_free.push(freed.free);
            let freed = cell.time_out()?;
            timeout_answer.push(freed.answered);
            timeout_free.push(freed.free);
        }
        for (what, samples, is_judged) in [
            ("cancellation to answer", &cancel_answer, false),
            ("cancellation to the next task's result", &cancel_free, true),
            ("deadline to answer", &timeout_answer, false),
            ("deadline to the next task's result", &timeout_free, true),
        ] {
            let figure = Figure::new(format!("{name}: {what}, p99"), Unit::Milliseconds, percentile(samples, 0.99));
            figures.push(if is_judged { figure.budget(Budget::ValueBelow(P99_BUDGET_MILLISECONDS)) } else { figure });
        }
    }
    Ok(Report {
        name: "cancel",
        title: format!("an endless task is stopped, another waits for the only slot: {REPETITIONS} times each"),
        competitor: String::new(),
        figures,
        notes: Vec::new(),
    })
}

/// Sends a guest to the node, and returns its name.
fn bring(client: &mut Client, text: &str) -> Result<String> {
    let guest = wat::parse_str(text)?;
    let message = json!({ "type": "CPU_TASK", "runtime": "wasm", "timeout": 1, "attachment": guest.len() }).to_string();
    let mut request = frame(&message);
    request.extend(guest);
    client.send(&request)?;
    let reply: Value = serde_json::from_str(&client.receive()?)?;
    reply["module_sha256"].as_str().map(str::to_owned).with_context(|| format!("the guest is answered with {reply}"))
}

/// Connections to a node with one slot.
struct Cell {
    victim: Client,
    waiting: Client,
    control: Client,
    endless: Value,
    trivial: Value,
    /// Worker processes that are there when all is at rest.
    processes: u64,
}

/// In milliseconds, from the moment when the task should have stopped.
struct Freed {
    answered: f64,
    free: f64,
}

impl Cell {
    fn new(node: &Node, endless: Value, trivial: Value) -> Result<Cell> {
        let (victim, waiting, control) = (node.client()?, node.client()?, node.client()?);
        let mut cell = Cell { victim, waiting, control, endless, trivial, processes: 0 };
        // The submitter's own worker, beside the spare.
        cell.waiting.request(&cell.trivial)?;
        // The number of processes stands still when the last one is ready.
        let mut seen = (0, 0);
        while seen.1 < 25 {
            let status = cell.control.request(&json!({ "type": "STATUS" }))?;
            let processes = status["executor"]["worker_processes"].as_u64().unwrap_or(0);
            seen = if processes == seen.0 { (processes, seen.1 + 1) } else { (processes, 0) };
            std::thread::sleep(Duration::from_millis(10));
        }
        cell.processes = seen.0;
        Ok(cell)
    }

    fn cancel(&mut self, repetition: usize) -> Result<Freed> {
        self.rest()?;
        let task_id = format!("endless-{repetition}");
        let mut message = self.endless.clone();
        message["task_id"] = task_id.as_str().into();
        self.victim.send(&frame(&message.to_string()))?;
        self.queue_another()?;
        let cancel = frame(&json!({ "type": "CANCEL_TASK", "task_id": task_id }).to_string());
        let begun = Instant::now();
        self.control.send(&cancel)?;
        let freed = self.freed(begun, "cancelled")?;
        let confirmed = self.control.receive()?;
        ensure!(confirmed.contains("CANCELLED"), "CANCEL_TASK is answered with {confirmed}");
        Ok(freed)
    }

    fn time_out(&mut self) -> Result<Freed> {
        self.rest()?;
        let mut message = self.endless.clone();
        message["timeout"] = TIMEOUT.as_secs_f64().into();
        let deadline = Instant::now() + TIMEOUT;
        self.victim.send(&frame(&message.to_string()))?;
        self.queue_another()?;
        self.freed(deadline, "timeout")
    }

    /// Waits until the endless task runs, and lets another one wait behind it.
    fn queue_another(&mut self) -> Result<()> {
        self.until("the endless task runs", |status| status["scheduler"]["stats"]["active_tasks"] == 1)?;
        self.waiting.send(&frame(&self.trivial.to_string()))?;
        self.until("another task waits", |status| status["scheduler"]["stats"]["queue_size"] == 1)?;
        // Behind the time in which the node still takes the endless task for a short one.
        std::thread::sleep(Duration::from_millis(30));
        Ok(())
    }

    fn freed(&mut self, begun: Instant, code: &str) -> Result<Freed> {
        let stopped = self.victim.receive()?;
        let answered = milliseconds(begun.elapsed());
        let result = self.waiting.receive()?;
        let free = milliseconds(begun.elapsed());
        ensure!(stopped.contains(&format!("\"code\":\"{code}\"")), "the endless task is answered with {stopped}");
        ensure!(result.contains(r#""result":25,"#), "the task that waited is answered with {result}");
        Ok(Freed { answered, free })
    }

    /// Waits until all workers are up again: one stop is measured, not the pace of many.
    fn rest(&mut self) -> Result<()> {
        let processes = self.processes;
        self.until("all workers are ready", |status| {
            status["executor"]["worker_processes"] == processes && status["scheduler"]["stats"]["active_tasks"] == 0
        })
    }

    fn until(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let status = self.control.request(&json!({ "type": "STATUS" }))?;
            if condition(&status) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("it does not happen that {what}: {status}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
