//! The price of the whole: trivial tasks on a node with all the plugins that it has by default, beside one that has cpu
//! alone, and beside ProcessPoolExecutor.

use super::all_plugins;
use crate::Setup;
use crate::load;
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Report, Table, Unit};
use crate::samples::{in_turn, percentile, rounds};
use crate::script::{Latency, Script, Throughput};
use crate::trivial::{Trivial, WINDOW};
use anyhow::Result;
use std::time::Duration;

const P50_RATIO_MAX: f64 = 0.6;
const TASKS_PER_SECOND_MIN: f64 = 15_000.0;
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn run(setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
    let whole = Node::start(setup, &all_plugins(setup, "")?)?;
    let alone = Node::start(setup, &cpu_plugins(setup, ""))?;
    let mut pool = Script::pool(setup)?;
    let task = Trivial::python();
    let (mut whole_client, mut alone_client) = (whole.client()?, alone.client()?);
    for (node, client) in [(&whole, &mut whole_client), (&alone, &mut alone_client)] {
        task.latencies(client, WARM_UP, Duration::ZERO)?;
        load::run(node.port, task.windows(1, WINDOW), WARM_UP)?;
    }

    let (count, duration) = rounds(setup.seconds);
    let (mut beside_alone, mut beside_pool) = (Table::default(), Table::default());
    let (p50, p99) = ("one after the other, p50", "one after the other, p99");
    let (one, four) =
        (format!("{WINDOW} in flight over 1 connection"), format!("{WINDOW} in flight over 4 connections"));
    for round in 0..count {
        setup.interrupt.check()?;
        let (ours, theirs) = in_turn(
            round,
            || task.latencies(&mut whole_client, duration, Duration::ZERO),
            || task.latencies(&mut alone_client, duration, Duration::ZERO),
        )?;
        let of_pool: Latency = pool.measure("latency", duration, 0.0)?;
        for (name, share, of_pool) in [(p50, 0.50, of_pool.p50), (p99, 0.99, of_pool.p99)] {
            let ours = percentile(&ours, share);
            beside_alone.put(name, Unit::Microseconds, ours, percentile(&theirs, share));
            beside_pool.put(name, Unit::Microseconds, ours, of_pool);
        }
        let of_pool: Throughput = pool.measure("throughput", duration, 0.0)?;
        for (name, connections) in [(&one, 1), (&four, 4)] {
            let run = |node: &Node| load::run(node.port, task.windows(connections, WINDOW), duration);
            let (ours, theirs) = in_turn(round, || run(&whole), || run(&alone))?;
            beside_alone.put(name, Unit::PerSecond, ours.per_second, theirs.per_second);
            beside_pool.put(name, Unit::PerSecond, ours.per_second, of_pool.per_second);
        }
    }
    let report = |competitor: &str, figures| Report {
        name: "os, price",
        title: format!("x * x in Python with all plugins of a node: medians of {count} rounds in turn"),
        competitor: competitor.to_owned(),
        figures,
        notes: Vec::new(),
    };
    found(report("cpu alone", beside_alone.figures(&[])));
    found(report(
        "ProcessPoolExecutor",
        beside_pool.figures(&[
            (p50, Budget::RatioAtMost(P50_RATIO_MAX)),
            (&one, Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
            (&four, Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
        ]),
    ));
    Ok(())
}
