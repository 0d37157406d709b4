//! Searches in a history of a million tasks: the real plugin in a node inside this program, which may send the messages
//! that plugins alone may send. What the socket adds is not in the figures.

use crate::Setup;
use crate::node::temporary_folder;
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{median, milliseconds, percentile};
use anyhow::{Context, Result, ensure};
use potluck_host::call::{Dispatch, Incoming};
use potluck_host::lifecycle::{NodeOptions, Role, start_in_process};
use potluck_host::node::Node;
use potluck_host::router;
use potluck_sdk::Caller;
use potluck_sdk::message::history::{RECORDS_PER_BATCH_MAX, RecordTasks, TaskHistoryPage, TaskRecord};
use serde_json::{Value, json};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const RECORDS: usize = 1_000_000;
const BUDGET_MILLISECONDS: f64 = 50.0;
const REPETITIONS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);
/// One task a second: eleven days.
const STEP_MS: u64 = 1000;
/// The only task that failed like this, among the oldest.
const NEEDLE: usize = 1234;
const NEEDLE_TEXT: &str = "ZeroDivisionError: in the haystack";
/// A node that has run few tasks, all of them among the oldest.
const RARE_PEER: &str = "00000000-0000-8000-8000-00000000feed";

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let folder = temporary_folder()?;
    let plugins = folder.path().join("plugins.toml");
    let library = setup.dist.join("lib/plugins/libprovider_history.so");
    std::fs::write(&plugins, format!("[plugins.history]\npath = {}\n", json!(library)))
        .context("cannot write plugins.toml")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();
    let node = start_in_process(&NodeOptions {
        role: Role::Peer,
        host: None,
        port: Some(0),
        tracker: None,
        data_dir: Some(folder.path().join("data")),
        plugins: Some(plugins),
        no_tracker: true,
        join: None,
        name: None,
    })?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let first_ms = now - RECORDS as u64 * STEP_MS;
    let begun = Instant::now();
    for batch in 0..RECORDS / RECORDS_PER_BATCH_MAX {
        setup.interrupt.check()?;
        let records = (0..RECORDS_PER_BATCH_MAX).map(|index| record(batch * RECORDS_PER_BATCH_MAX + index, first_ms));
        let message = json!(RecordTasks {
            batch: format!("bench-{batch}"),
            defaults: None,
            records: records.collect::<Vec<_>>()
        });
        let reply = call(&node, &message, Caller::Plugin("cpu"))?;
        ensure!(reply.contains(r#""status":"OK""#), "RECORD_TASKS is answered with {reply}");
    }
    let written = RECORDS as f64 / begun.elapsed().as_secs_f64();

    let hour = |hours: u64| (first_ms / 1000 + 3600 * hours) as f64;
    let queries = [
        ("the newest 100", json!({})),
        ("the newest 100 that failed", json!({ "status": "FAILED" })),
        ("of one submitter of 20", json!({ "requested_by": submitter(7) })),
        ("of one submitter, those that failed", json!({ "requested_by": submitter(7), "status": "FAILED" })),
        ("of one function type", json!({ "task_type": "resize_7" })),
        ("by a peer that ran 100, long ago", json!({ "peer": RARE_PEER })),
        ("one hour, a week ago", json!({ "since": hour(100), "until": hour(101), "limit": 10_000 })),
        (
            "one hour of one submitter, a week ago",
            json!({ "since": hour(100), "until": hour(101), "requested_by": submitter(7) }),
        ),
        ("a text in the function of one of them all", json!({ "text": "eedl" })),
    ];
    let mut figures = Vec::new();
    let mut notes =
        vec![format!("RECORD_TASKS took {written:.0} records a second, in batches of {RECORDS_PER_BATCH_MAX}")];
    for (name, filter) in queries {
        let mut message = filter;
        message["type"] = "TASK_HISTORY".into();
        let mut samples = Vec::new();
        for _ in 0..REPETITIONS {
            setup.interrupt.check()?;
            let begun = Instant::now();
            let reply = call(&node, &message, Caller::Local)?;
            samples.push(milliseconds(begun.elapsed()));
            ensure!(reply.contains(r#""status":"OK""#), "TASK_HISTORY is answered with {reply}");
        }
        figures.push(Figure::new(format!("{name}, median"), Unit::Milliseconds, median(&samples)));
        let worst =
            Figure::new(format!("{name}, p99 of {REPETITIONS}"), Unit::Milliseconds, percentile(&samples, 0.99));
        figures.push(worst.budget(Budget::ValueBelow(BUDGET_MILLISECONDS)));
        notes.push(format!("{name}: {}", whole(&node, message)?));
    }
    let message = json!({ "type": "TASK_HISTORY", "task_id": task_id(NEEDLE) });
    let mut samples = Vec::new();
    for _ in 0..REPETITIONS {
        let begun = Instant::now();
        let reply = call(&node, &message, Caller::Local)?;
        samples.push(milliseconds(begun.elapsed()));
        ensure!(reply.contains(NEEDLE_TEXT), "TASK_HISTORY is answered with {reply}");
    }
    let one = Figure::new("one task by its id, median", Unit::Milliseconds, median(&samples));
    figures.push(one.budget(Budget::ValueBelow(BUDGET_MILLISECONDS)));
    found(Report {
        name: "os, records",
        title: format!("TASK_HISTORY over {RECORDS} records"),
        competitor: String::new(),
        figures,
        notes,
    });
    Ok(())
}

/// How many records a search finds on its first page, and on how many pages it goes on when that one is not full.
fn whole(node: &Arc<Node>, mut message: Value) -> Result<String> {
    let limit = message["limit"].as_u64().unwrap_or(100) as usize;
    let begun = Instant::now();
    let (mut pages, mut records) = (0, 0);
    loop {
        let reply = call(node, &message, Caller::Local)?;
        let page: TaskHistoryPage = serde_json::from_str(&reply)?;
        pages += 1;
        records += page.history.len();
        match page.next {
            Some(next) if records < limit => message["before"] = next.into(),
            _ => break,
        }
    }
    let time = milliseconds(begun.elapsed());
    Ok(match pages {
        1 => format!("{records} records"),
        _ => format!("{records} records, on {pages} pages that take {time:.0} ms together"),
    })
}

fn submitter(number: usize) -> String {
    format!("00000000-0000-8000-8000-{number:012}")
}

fn task_id(number: usize) -> String {
    format!("{:08x}-bench-{number}", (number as u32).wrapping_mul(2_654_435_761))
}

/// Record number so and so: each column has a pattern of its own.
fn record(number: usize, first_ms: u64) -> TaskRecord {
    let random = (number as u32).wrapping_mul(2_654_435_761) >> 8;
    let (status, error) = match random % 100 {
        _ if number == NEEDLE => ("FAILED", Some(NEEDLE_TEXT.to_owned())),
        0 => ("CANCELLED", None),
        1 | 2 => ("FAILED", Some(format!("ValueError: {} is no picture", number % 977))),
        _ => ("SUCCESS", None),
    };
    let peer = if (5000..5100).contains(&number) { RARE_PEER.to_owned() } else { submitter(100 + number % 30) };
    TaskRecord {
        task_id: task_id(number),
        task_type: format!("resize_{}", number % 50),
        status: status.to_owned(),
        finished_unix_ms: first_ms + number as u64 * STEP_MS,
        execution_time: Some(f64::from(random % 10_000) / 1000.0),
        requested_by: Some(if number.is_multiple_of(3) { "local".to_owned() } else { submitter(number % 20) }),
        role: Some("EXECUTOR".to_owned()),
        result: error.is_none().then(|| format!("[{number}, {}]", number * 7)),
        error,
        pid: Some(format!("P{number}")),
        function: Some(if number == NEEDLE { "needle".to_owned() } else { format!("resize_{}", number % 50) }),
        runtime: Some("python".to_owned()),
        peer_id: Some(peer),
        code: Some("ok".to_owned()),
        waiting_time: Some(f64::from(random % 100) / 1000.0),
        cpu_seconds: Some(f64::from(random % 9_000) / 1000.0),
        attempts: Some(1),
        ..TaskRecord::default()
    }
}

/// Sends a message to the provider and waits for the answer.
fn call(node: &Arc<Node>, message: &Value, caller: Caller<'_>) -> Result<String> {
    let text = message.to_string();
    let incoming = Incoming { json: &text, attachment: b"", caller, process: "", source_ip: "", spooled: None };
    let (sender, receiver) = mpsc::channel();
    let dispatched = router::dispatch(node, incoming, &mut || {
        let sender = sender.clone();
        Box::new(move |response| {
            // Nobody listens any more when it took too long.
            let _ = sender.send(response);
        })
    });
    let response = match dispatched {
        Dispatch::Ready(response) => response,
        Dispatch::Pending(_call) => receiver.recv_timeout(PATIENCE).context("history does not answer")?,
    };
    Ok(response.json.to_text())
}
