//! Trivial tasks in each runtime, client to result, beside ProcessPoolExecutor. In `sandbox` and `wasm` each of them has
//! an instance of its own that was never used before.

use super::{Bed, Table, rest};
use crate::load;
use crate::report::{Budget, Report, Unit};
use crate::samples::{percentile, rounds};
use crate::script::{Latency, Script, Throughput};
use crate::trivial::{Trivial, WINDOW};
use anyhow::Result;
use std::time::Duration;

/// Between two tasks: a worker of the sandbox has long made a new instance in place of the used one.
const PAUSE: Duration = Duration::from_millis(5);
/// Tasks at once, many more than instances that wait for them.
const BURST: usize = 64;
/// What the design promises.
const BUDGETS: &[(&str, Budget)] = &[
    ("python, one after the other, p50", Budget::RatioAtMost(0.6)),
    ("sandbox, an instance is ready, p50", Budget::RatioAtMost(1.2)),
    ("sandbox, 256 in flight, per core", Budget::ValueAbove(600.0)),
    ("wasm component, one after the other, p50", Budget::RatioBelow(1.0)),
    ("wasm component, 256 in flight", Budget::ValueAbove(8_000.0)),
];

pub(super) fn run(bed: &mut Bed<'_>) -> Result<Report> {
    let mut pool = Script::pool(bed.setup)?;
    let mut table = Table::default();
    let (count, duration) = rounds(bed.setup.seconds);
    for _ in 0..count {
        bed.setup.interrupt.check()?;
        let latency: Latency = pool.measure("latency", duration, 0.0)?;
        let throughput: Throughput = pool.measure("throughput", duration, 0.0)?;
        let mut side = Side { table: &mut table, latency, throughput, duration };

        let python = bed.python.clone();
        side.one_after_the_other(bed, "python", &python)?;
        side.in_flight(bed, "python", &python)?;

        let sandbox = bed.sandbox.clone();
        let theirs: Latency = pool.measure("latency", duration, PAUSE.as_secs_f64())?;
        rest(&bed.node)?;
        let ours = sandbox.latencies(&mut bed.client, duration, PAUSE)?;
        side.percentiles("sandbox, an instance is ready", &ours, &theirs);
        side.one_after_the_other(bed, "sandbox", &sandbox)?;
        rest(&bed.node)?;
        let theirs: Latency = pool.measure("burst", duration, BURST as f64)?;
        let ours: Vec<f64> =
            sandbox.burst(&mut bed.client, BURST)?.iter().map(|milliseconds| milliseconds * 1e3).collect();
        side.percentiles(&format!("sandbox, {BURST} at once"), &ours, &theirs);
        side.in_flight(bed, "sandbox", &sandbox)?;

        for (name, guest) in [("wasm component", bed.component.clone()), ("wasm command", bed.command.clone())] {
            side.one_after_the_other(bed, name, &guest)?;
            side.in_flight(bed, name, &guest)?;
        }
    }
    Ok(Report {
        name: "sandbox",
        title: format!("x * x, client to result: medians of {count} rounds in turn"),
        competitor: "ProcessPoolExecutor".to_owned(),
        figures: table.figures(BUDGETS),
        notes: vec![
            format!("An instance is ready: a task every {} ms, there as well.", PAUSE.as_millis()),
            "One after the other: the next task comes at once, and may find that the instances are still being made."
                .to_owned(),
        ],
    })
}

/// A round, and what the other side did in it.
struct Side<'a> {
    table: &'a mut Table,
    latency: Latency,
    throughput: Throughput,
    duration: Duration,
}

impl Side<'_> {
    fn one_after_the_other(&mut self, bed: &mut Bed<'_>, name: &str, task: &Trivial) -> Result<()> {
        rest(&bed.node)?;
        let ours = task.latencies(&mut bed.client, self.duration, Duration::ZERO)?;
        let theirs = self.latency;
        self.percentiles(&format!("{name}, one after the other"), &ours, &theirs);
        Ok(())
    }

    fn percentiles(&mut self, name: &str, ours: &[f64], theirs: &Latency) {
        for (word, share, theirs) in [("p50", 0.50, theirs.p50), ("p99", 0.99, theirs.p99)] {
            self.table.put(format!("{name}, {word}"), Unit::Microseconds, percentile(ours, share), theirs);
        }
    }

    fn in_flight(&mut self, bed: &Bed<'_>, name: &str, task: &Trivial) -> Result<()> {
        let ours = load::run(bed.node.port, task.windows(1, WINDOW), self.duration)?.per_second;
        let theirs = self.throughput.per_second;
        // The default node has a worker for each core.
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.table.put(format!("{name}, {WINDOW} in flight"), Unit::PerSecond, ours, theirs);
        self.table.put(format!("{name}, {WINDOW} in flight, per core"), Unit::PerSecond, ours / cores, theirs / cores);
        Ok(())
    }
}
