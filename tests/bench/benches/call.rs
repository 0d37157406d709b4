//! A message to a provider in the host's process and back: the real router, loader and libraries, without a socket.

use crate::Setup;
use crate::node::temporary_folder;
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::median;
use anyhow::{Context, Result, ensure};
use potluck_host::call::{Dispatch, Incoming};
use potluck_host::lifecycle::{NodeOptions, Role, start_in_process};
use potluck_host::node::Node;
use potluck_host::router;
use potluck_sdk::Caller;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUDGET_NANOSECONDS: f64 = 1000.0;
/// Long enough for the clock not to count, short enough for the median to leave disturbances out.
const CALLS_PER_BATCH: u32 = 10_000;

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let folder = temporary_folder()?;
    let plugins = folder.path().join("plugins.toml");
    let library = setup.dist.join("lib/plugins/libprovider_memory.so");
    std::fs::write(&plugins, format!("[plugins.memory]\npath = {}\n", json!(library)))
        .context("cannot write plugins.toml")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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

    let value = "x".repeat(20);
    let stored = call(&node, &json!({ "type": "SET_MEM", "key": "bench", "value": value }).to_string())?;
    ensure!(stored.contains(r#""status":"OK""#), "SET_MEM is answered with {stored}");
    let get = json!({ "type": "GET_MEM", "key": "bench" }).to_string();
    let ping = json!({ "type": "PING" }).to_string();
    for (message, expected) in [(&get, &*value), (&ping, "PONG")] {
        let reply = call(&node, message)?;
        ensure!(reply.contains(expected), "{message} is answered with {reply}");
    }

    let mut batches = [Vec::new(), Vec::new()];
    let end = Instant::now() + Duration::from_secs_f64(setup.seconds);
    while Instant::now() < end {
        setup.interrupt.check()?;
        for (message, batches) in [&get, &ping].into_iter().zip(&mut batches) {
            batches.push(nanoseconds_per_call(&node, message)?);
        }
    }
    let [get, ping] = batches;
    Ok(Report {
        name: "call",
        title: format!("a message to a provider and back, inside the host: median of {} batches", get.len()),
        competitor: String::new(),
        figures: vec![
            Figure::new("GET_MEM of 20 bytes, answered by memory", Unit::Nanoseconds, median(&get))
                .budget(Budget::ValueBelow(BUDGET_NANOSECONDS)),
            Figure::new("PING, answered by the host itself", Unit::Nanoseconds, median(&ping)),
        ],
        notes: Vec::new(),
    })
}

fn nanoseconds_per_call(node: &Arc<Node>, message: &str) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..CALLS_PER_BATCH {
        ensure!(matches!(dispatch(node, message), Dispatch::Ready(_)), "{message} was deferred");
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(CALLS_PER_BATCH))
}

fn call(node: &Arc<Node>, message: &str) -> Result<String> {
    let response = dispatch(node, message).into_ready().with_context(|| format!("{message} was deferred"))?;
    Ok(response.json.to_text())
}

fn dispatch(node: &Arc<Node>, message: &str) -> Dispatch {
    let incoming =
        Incoming { json: message, attachment: b"", caller: Caller::Local, process: "", source_ip: "", spooled: None };
    router::dispatch(node, incoming, &mut || Box::new(drop))
}
