//! Trivial Python tasks, from the client to the result, beside ProcessPoolExecutor of the same interpreter.

use crate::Setup;
use crate::load;
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Figure, Report, Unit};
use crate::samples::{Pairs, percentile, rounds};
use crate::script::{Latency, Script, Throughput};
use crate::trivial::{Trivial, WINDOW};
use anyhow::Result;
use std::time::Duration;

const TASKS_PER_SECOND_MIN: f64 = 15_000.0;
const P50_RATIO_MAX: f64 = 0.6;
/// Until the workers, the code they keep and the node's picture of both are warm.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let node = Node::start(setup, &cpu_plugins(setup, ""))?;
    let mut client = node.client()?;
    let mut pool = Script::pool(setup)?;
    let task = Trivial::python();
    task.latencies(&mut client, WARM_UP, Duration::ZERO)?;
    load::run(node.port, task.windows(1, WINDOW), WARM_UP)?;

    let (count, duration) = rounds(setup.seconds);
    let [mut p50, mut p99, mut over_one, mut over_four] = [const { None }; 4].map(|_: Option<()>| Pairs::default());
    for _ in 0..count {
        setup.interrupt.check()?;
        let ours = task.latencies(&mut client, duration, Duration::ZERO)?;
        let theirs: Latency = pool.measure("latency", duration, 0.0)?;
        p50.push(percentile(&ours, 0.50), theirs.p50);
        p99.push(percentile(&ours, 0.99), theirs.p99);
        let one = load::run(node.port, task.windows(1, WINDOW), duration)?;
        let theirs: Throughput = pool.measure("throughput", duration, 0.0)?;
        let four = load::run(node.port, task.windows(4, WINDOW), duration)?;
        over_one.push(one.per_second, theirs.per_second);
        over_four.push(four.per_second, theirs.per_second);
    }
    let figure =
        |name: &str, unit, pairs: &Pairs| Figure::new(name, unit, pairs.ours()).beside(pairs.theirs(), pairs.ratio());
    Ok(Report {
        name: "tasks",
        title: format!("x * x in Python, client to result, warm: medians of {count} rounds in turn"),
        competitor: "ProcessPoolExecutor".to_owned(),
        figures: vec![
            figure("one after the other, p50", Unit::Microseconds, &p50).budget(Budget::RatioAtMost(P50_RATIO_MAX)),
            figure("one after the other, p99", Unit::Microseconds, &p99),
            figure(&format!("{WINDOW} in flight over 1 connection"), Unit::PerSecond, &over_one)
                .budget(Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
            figure(&format!("{WINDOW} in flight over 4 connections"), Unit::PerSecond, &over_four)
                .budget(Budget::ValueAbove(TASKS_PER_SECOND_MIN)),
        ],
        notes: Vec::new(),
    })
}
