//! How long a slot stays taken by a task that nobody wants any more: from the cancellation, or from the deadline, until
//! the task that waited behind it has run.

use crate::Setup;
use crate::client::{Client, frame};
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{milliseconds, percentile};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const REPETITIONS: usize = 30;
const P99_BUDGET_MILLISECONDS: f64 = 50.0;
/// Long enough for the task to be running when its time is over.
const TIMEOUT: Duration = Duration::from_millis(150);
const ENDLESS: &str = "def main():\n    while True:\n        pass\n";
const TRIVIAL: &str = "def main():\n    return 25\n";

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let node = Node::start(setup, &cpu_plugins(setup, "workers = 1"))?;
    let mut cell = Cell { victim: node.client()?, waiting: node.client()?, control: node.client()? };
    // The submitter's own worker, beside the spare.
    cell.waiting.request(&json!({ "type": "CPU_TASK", "program": TRIVIAL }))?;

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
    let mut figures = Vec::new();
    for (what, samples) in [
        ("cancellation to answer", &cancel_answer),
        ("cancellation to the next task's result", &cancel_free),
        ("deadline to answer", &timeout_answer),
        ("deadline to the next task's result", &timeout_free),
    ] {
        for (word, share) in [("p50", 0.50), ("p99", 0.99)] {
            let figure = Figure::new(format!("{what}, {word}"), Unit::Milliseconds, percentile(samples, share));
            let is_judged = word == "p99" && what.ends_with("result");
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

/// Connections to a node with one slot.
struct Cell {
    victim: Client,
    waiting: Client,
    control: Client,
}

/// In milliseconds, from the moment when the task should have stopped.
struct Freed {
    answered: f64,
    free: f64,
}

impl Cell {
    fn cancel(&mut self, repetition: usize) -> Result<Freed> {
        self.rest()?;
        let task_id = format!("endless-{repetition}");
        self.victim.send(&frame(&json!({ "type": "CPU_TASK", "task_id": task_id, "program": ENDLESS }).to_string()))?;
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
        let message = json!({ "type": "CPU_TASK", "program": ENDLESS, "timeout": TIMEOUT.as_secs_f64() });
        let deadline = Instant::now() + TIMEOUT;
        self.victim.send(&frame(&message.to_string()))?;
        self.queue_another()?;
        self.freed(deadline, "timeout")
    }

    /// Waits until the endless task runs, and lets another one wait behind it.
    fn queue_another(&mut self) -> Result<()> {
        self.until("the endless task runs", |status| status["scheduler"]["stats"]["active_tasks"] == 1)?;
        self.waiting.send(&frame(&json!({ "type": "CPU_TASK", "program": TRIVIAL }).to_string()))?;
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

    /// Waits until a worker and a spare are up again: one stop is measured, not the pace of many.
    fn rest(&mut self) -> Result<()> {
        self.until("a worker and a spare are ready", |status| {
            status["executor"]["worker_processes"] == 2 && status["scheduler"]["stats"]["active_tasks"] == 0
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
