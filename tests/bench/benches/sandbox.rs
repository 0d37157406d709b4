//! Code that nobody has to trust, and what that costs: sandboxed tasks and guests beside native tasks, what Python
//! itself offers, and other sandboxes.
//!
//! All that is compared runs at the same time and is measured in turn; what is not measured is at rest.

mod fresh;
mod images;
mod others;
mod programs;
mod protections;

use crate::Setup;
use crate::client::Client;
use crate::machine::{children, processor_nanoseconds};
use crate::node::{Node, cpu_plugins};
use crate::report::{Report, Table};
use crate::trivial::Trivial;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The form of guests in which most will come.
const COMPONENT: &str = include_str!("../guests/component.wat");
/// The other form.
const COMMAND: &str = include_str!("../guests/command.wat");
/// Until workers, the code they keep and the node's picture of both are warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// Everything comes to rest sooner, also when an image has to be compiled first.
const REST_MAX: Duration = Duration::from_secs(60);
/// A worker that has used no processor time for so long has nothing to do.
const REST: Duration = Duration::from_millis(30);

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let mut bed = Bed::start(setup)?;
    found(fresh::run(&mut bed)?);
    found(others::run(&mut bed)?);
    found(protections::run(&mut bed)?);
    found(programs::run(&mut bed)?);
    found(images::run(&mut bed)?);
    Ok(())
}

/// The node that is measured, with all runtimes warm.
struct Bed<'a> {
    setup: &'a Setup,
    node: Node,
    client: Client,
    python: Trivial,
    sandbox: Trivial,
    component: Trivial,
    command: Trivial,
}

impl Bed<'_> {
    fn start(setup: &Setup) -> Result<Bed<'_>> {
        let node = Node::start(setup, &cpu_plugins(setup, ""))?;
        let mut client = node.client()?;
        let component = Trivial::guest(&bring(&mut client, COMPONENT)?);
        let command = Trivial::guest(&bring(&mut client, COMMAND)?);
        let mut bed =
            Bed { setup, node, client, python: Trivial::python(), sandbox: Trivial::sandbox(), component, command };
        for task in [&bed.python, &bed.sandbox, &bed.component, &bed.command] {
            task.latencies(&mut bed.client, WARM_UP, Duration::ZERO)?;
            // One worker alone is quick enough for tasks one after the other; this reaches all of them.
            task.burst(&mut bed.client, 64)?;
        }
        rest(&bed.node)?;
        Ok(bed)
    }
}

/// Sends a guest once, so that its tasks need not; returns its name.
fn bring(client: &mut Client, text: &str) -> Result<String> {
    let message = json!({ "type": "CPU_TASK", "runtime": "wasm", "args": [7], "cache": false });
    let answer = client.request_with(&message, &wat::parse_str(text)?)?;
    match (&answer["result"], &answer["module_sha256"]) {
        (Value::Number(number), Value::String(sha256)) if number.as_u64() == Some(49) => Ok(sha256.clone()),
        _ => bail!("a guest is answered with {answer}"),
    }
}

/// Waits until all workers of a node are at rest, with all the instances that they keep ready.
fn rest(node: &Node) -> Result<()> {
    let used = || children(node.id()).into_iter().map(processor_nanoseconds).sum::<f64>();
    let deadline = Instant::now() + REST_MAX;
    let mut before = used();
    loop {
        std::thread::sleep(REST);
        let now = used();
        if now == before {
            return Ok(());
        }
        before = now;
        if Instant::now() > deadline {
            bail!("the workers do not come to rest within {} s", REST_MAX.as_secs());
        }
    }
}
