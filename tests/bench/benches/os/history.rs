//! What history costs those who run tasks: the same node with it and without it, with all other plugins and with cpu alone.

use super::all_plugins;
use crate::Setup;
use crate::load;
use crate::machine::processor_seconds;
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Report, Table, Unit};
use crate::samples::{in_turn, percentile, rounds};
use crate::trivial::{Trivial, WINDOW};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::{Duration, Instant};

/// Less than 5 % of the throughput.
const RATIO_MIN: f64 = 0.95;
const WARM_UP: Duration = Duration::from_millis(500);
/// More than elsewhere: the difference that is judged is smaller than what else happens on a machine.
const ROUNDS_FACTOR: f64 = 4.0;
/// None is removed before all are counted.
const RECORDS_MAX: u64 = 10_000_000;

const HEAD: &str = "\n[plugins.history]\n";

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let with = |text: &str| text.replace(HEAD, &format!("{HEAD}records_max = {RECORDS_MAX}\n"));
    let without = |text: &str| text.replace(HEAD, "\n");
    let all = all_plugins(setup, "")?;
    ensure!(all.contains(HEAD), "a node has no history by default");
    found(compare(setup, "all other plugins", &with(&all), &without(&all), true)?);
    let alone = format!("{}{HEAD}", cpu_plugins(setup, ""));
    found(compare(setup, "cpu alone", &with(&alone), &without(&alone), false)?);
    Ok(())
}

fn compare(setup: &Setup, beside: &str, with: &str, without: &str, is_judged: bool) -> Result<Report> {
    let (with, without) = (Node::start(setup, with)?, Node::start(setup, without)?);
    let task = Trivial::python();
    let (mut with_client, mut without_client) = (with.client()?, without.client()?);
    for (node, client) in [(&with, &mut with_client), (&without, &mut without_client)] {
        task.latencies(client, WARM_UP, Duration::ZERO)?;
        load::run(node.port, task.windows(1, WINDOW), WARM_UP)?;
    }

    let (count, duration) = rounds(setup.seconds * ROUNDS_FACTOR);
    let mut table = Table::default();
    let (one, four) =
        (format!("{WINDOW} in flight over 1 connection"), format!("{WINDOW} in flight over 4 connections"));
    let mut replies = 0;
    for round in 0..count {
        setup.interrupt.check()?;
        for (name, connections) in [(&one, 1), (&four, 4)] {
            let run = |node: &Node| {
                let before = processor_seconds(node.id());
                let replies = load::run(node.port, task.windows(connections, WINDOW), duration)?;
                Ok((replies.per_second, replies.total, (processor_seconds(node.id()) - before) / replies.total as f64))
            };
            let (ours, theirs) = in_turn(round, || run(&with), || run(&without))?;
            replies += ours.1;
            table.put(name, Unit::PerSecond, ours.0, theirs.0);
            let name = format!("  processor time of the host process, each, {connections}");
            table.put(name, Unit::Nanoseconds, ours.2 * 1e9, theirs.2 * 1e9);
        }
        let (ours, theirs) = in_turn(
            round,
            || task.latencies(&mut with_client, duration / 2, Duration::ZERO),
            || task.latencies(&mut without_client, duration / 2, Duration::ZERO),
        )?;
        let name = "one after the other, p50";
        table.put(name, Unit::Microseconds, percentile(&ours, 0.5), percentile(&theirs, 0.5));
    }

    // What is not written down cannot be fast.
    let begun = Instant::now();
    let recorded = loop {
        let status = with_client.request(&json!({ "type": "STATUS" }))?;
        let recorded = status["task_history"]["total_tasks"].as_u64().context("the node tells nothing of history")?;
        if recorded as usize >= replies || begun.elapsed() > Duration::from_secs(10) {
            break recorded as usize;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    ensure!(recorded >= replies, "only {recorded} of {replies} tasks are in the history");
    let budgets: &[(&str, Budget)] =
        &[(&one, Budget::RatioAtLeast(RATIO_MIN)), (&four, Budget::RatioAtLeast(RATIO_MIN))];
    Ok(Report {
        name: "os, history",
        title: format!("x * x in Python with history and without, beside {beside}: medians of {count} rounds in turn"),
        competitor: "without".to_owned(),
        figures: table.figures(if is_judged { budgets } else { &[] }),
        notes: vec![format!(
            "all {recorded} tasks are in the history, {:.1} s after the last",
            begun.elapsed().as_secs_f64()
        )],
    })
}
