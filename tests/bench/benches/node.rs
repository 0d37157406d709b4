//! How fast a node serves, and what it costs while nobody wants anything from it.

use crate::Setup;
use crate::client::Client;
use crate::machine::{children, status_field, wake_ups};
use crate::node::{command, temporary_folder};
use crate::process::{Program, free_port};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{median, milliseconds};
use anyhow::{Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};

const STARTS: usize = 7;
const START_BUDGET_MILLISECONDS: f64 = 150.0;
const MEMORY_BUDGET_MEBIBYTES: f64 = 40.0;
/// Until everything has come to rest, once the workers are up.
const SETTLE: Duration = Duration::from_secs(1);
/// How long wake-ups are counted.
const WATCH: Duration = Duration::from_secs(5);

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let folder = temporary_folder()?;
    let mut starts = Vec::new();
    let (mut last, mut port) = (None, 0);
    for number in 0..STARTS {
        setup.interrupt.check()?;
        // The one before must not take the time of this one.
        drop(last.take());
        port = free_port()?;
        let mut command = command(setup, &folder.path().join(format!("data-{number}")), port);
        let begun = Instant::now();
        let program = Program::start("potluck", &mut command, folder.path())?;
        wait_for_status(&program, port)?;
        starts.push(milliseconds(begun.elapsed()));
        last = Some(program);
    }
    let Some(program) = last else { bail!("no node was started") };

    let host = program.id();
    wait_for_workers(host, port)?;
    setup.interrupt.sleep(SETTLE)?;
    let mebibytes = |process, field| status_field(process, field).unwrap_or_default() / 1024.0;
    let (resident, anonymous) = (mebibytes(host, "VmRSS"), mebibytes(host, "RssAnon"));
    let workers = children(host);
    let workers_resident: f64 = workers.iter().map(|worker| mebibytes(*worker, "VmRSS")).sum();
    let before = wake_ups(host);
    setup.interrupt.sleep(WATCH)?;
    let awake = wake_ups(host) - before;
    Ok(Report {
        name: "node",
        title: "the default node, without a tracker".to_owned(),
        competitor: String::new(),
        figures: vec![
            Figure::new(format!("start to first STATUS, median of {STARTS}"), Unit::Milliseconds, median(&starts))
                .budget(Budget::ValueBelow(START_BUDGET_MILLISECONDS)),
            Figure::new("host process at rest, resident", Unit::Mebibytes, resident)
                .budget(Budget::ValueBelow(MEMORY_BUDGET_MEBIBYTES)),
            Figure::new("  of which its own (not files)", Unit::Mebibytes, anonymous),
            Figure::new(
                format!("{} worker processes at rest, resident", workers.len()),
                Unit::Mebibytes,
                workers_resident,
            ),
            Figure::new(format!("wake-ups of the host in {} s at rest", WATCH.as_secs()), Unit::Count, awake)
                .budget(Budget::ValueAtMost(0.0)),
        ],
        notes: Vec::new(),
    })
}

/// Waits until all worker processes that the node has started take tasks; not for ever, since there may be no Python.
fn wait_for_workers(host: u32, port: u16) -> Result<()> {
    let mut client = Client::connect(port)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let status = client.request(&json!({ "type": "STATUS" }))?;
        let ready = status["executor"]["worker_processes"].as_u64().unwrap_or(0);
        if ready > 0 && ready == children(host).len() as u64 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Connects again and again until somebody answers.
fn wait_for_status(program: &Program, port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Ok(mut client) = Client::connect(port) {
            client.request(&json!({ "type": "STATUS" }))?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("the node does not answer: {}", program.last_words())
}
