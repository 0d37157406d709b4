//! System calls: what a task pays for one, and for handing over to another task, beside multiprocessing.

use super::all_plugins;
use crate::Setup;
use crate::client::{Client, frame};
use crate::node::Node;
use crate::report::{Report, Table, Unit};
use crate::samples::{in_turn, rounds};
use crate::script::Script;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const VALUE: &str = "xxxxxxxxxxxxxxxxxxxx";
/// Each returns microseconds of one call or hand-over, and takes some seconds. The clock is read now and then only.
const GET: &str = "\
import potluck, time
def main(seconds):
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        for _ in range(200):
            if potluck.get('bench') != 'xxxxxxxxxxxxxxxxxxxx':
                raise ValueError('a wrong value')
        count += 200
    return (time.perf_counter() - begun) / count * 1e6
";
const HAND_OVER: &str = "\
import potluck, time
def main(seconds, name):
    mine, other = potluck.semaphore(name + '-1', 0), potluck.semaphore(name + '-2', 0)
    other.release()
    mine.acquire()
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        for _ in range(50):
            other.release()
            mine.acquire()
        count += 100
    microseconds = (time.perf_counter() - begun) / count * 1e6
    potluck.set('stop', name)
    other.release()
    return microseconds
";
const PARTNER: &str = "\
import potluck
def main(name):
    mine, other = potluck.semaphore(name + '-2', 0), potluck.semaphore(name + '-1', 0)
    while True:
        mine.acquire()
        if potluck.get('stop') == name:
            return
        other.release()
";
/// The partner asks whether to stop: what that costs is a call more for every second hand-over.
const NOTE: &str = "a hand-over: one gives a semaphore that the other waits for, and waits itself. In potluck every second one \
                    has a potluck.get with it";

#[derive(Deserialize)]
struct Answer {
    microseconds: f64,
}

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let node = Node::start(setup, &all_plugins(setup, "workers = 2")?)?;
    let mut python = Script::start(&setup.python, "calls.py", include_str!("calls.py"), &[])?;
    let mut tasks = Tasks { first: node.client()?, second: node.client()?, number: 0 };
    tasks.first.request(&json!({ "type": "SET_MEM", "key": "bench", "value": VALUE }))?;

    let (count, duration) = rounds(setup.seconds);
    let mut table = Table::default();
    for runtime in ["python", "sandbox"] {
        tasks.get(runtime, duration / 10)?;
        tasks.hand_over(runtime, duration / 10)?;
    }
    for round in 0..count {
        for runtime in ["python", "sandbox"] {
            setup.interrupt.check()?;
            let mut other = |what: &str| Ok(python.measure::<Answer>(what, duration, 0.0)?.microseconds);
            let (ours, theirs) = in_turn(round, || tasks.get(runtime, duration), || other("get"))?;
            let name = format!("potluck.get, {runtime}; Manager().dict().get");
            table.put(name, Unit::Microseconds, ours, theirs);
            let (ours, theirs) = in_turn(round, || tasks.hand_over(runtime, duration), || other("manager_semaphore"))?;
            let name = format!("hand-over, {runtime}; Manager().Semaphore");
            table.put(name, Unit::Microseconds, ours, theirs);
            let name = format!("hand-over, {runtime}; multiprocessing.Semaphore");
            table.put(name, Unit::Microseconds, ours, other("semaphore")?);
        }
    }
    found(Report {
        name: "os, calls",
        title: format!("system calls of tasks: medians of {count} rounds in turn"),
        competitor: "multiprocessing".to_owned(),
        figures: table.figures(&[]),
        notes: vec![NOTE.to_owned()],
    });
    Ok(())
}

struct Tasks {
    first: Client,
    second: Client,
    /// Of the next pair of semaphores.
    number: usize,
}

impl Tasks {
    fn get(&mut self, runtime: &str, duration: Duration) -> Result<f64> {
        self.first.send(&task(runtime, GET, json!([duration.as_secs_f64()])))?;
        result(&mut self.first)?.as_f64().context("a task returns no number")
    }

    fn hand_over(&mut self, runtime: &str, duration: Duration) -> Result<f64> {
        self.number += 1;
        let name = format!("bench-{}", self.number);
        self.second.send(&task(runtime, PARTNER, json!([name])))?;
        self.first.send(&task(runtime, HAND_OVER, json!([duration.as_secs_f64(), name])))?;
        let microseconds = result(&mut self.first)?.as_f64().context("a task returns no number")?;
        result(&mut self.second)?;
        Ok(microseconds)
    }
}

fn task(runtime: &str, program: &str, args: Value) -> Vec<u8> {
    let message = json!({ "type": "CPU_TASK", "runtime": runtime, "program": program, "args": args, "cache": false });
    frame(&message.to_string())
}

fn result(client: &mut Client) -> Result<Value> {
    let mut reply: Value = serde_json::from_str(&client.receive()?)?;
    ensure!(reply["error"].is_null() && reply["type"] == "CPU_RESULT", "the node answers {reply}");
    Ok(reply["result"].take())
}
