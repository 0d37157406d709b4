//! What the protections of native workers cost: the same task in a node that does without them for its own user.

use super::{Bed, Table, WARM_UP, rest};
use crate::load;
use crate::node::{Node, cpu_plugins};
use crate::report::{Budget, Report, Unit};
use crate::samples::{percentile, rounds};
use crate::trivial::WINDOW;
use anyhow::Result;
use std::time::Duration;

const BUDGETS: &[(&str, Budget)] = &[("one after the other, p50", Budget::RatioAtMost(1.2))];

pub(super) fn run(bed: &mut Bed<'_>) -> Result<Report> {
    let trusting = Node::start(bed.setup, &cpu_plugins(bed.setup, "trusted = true"))?;
    let mut client = trusting.client()?;
    bed.python.latencies(&mut client, WARM_UP, Duration::ZERO)?;
    bed.python.burst(&mut client, WINDOW)?;
    rest(&trusting)?;
    let mut table = Table::default();
    let (count, duration) = rounds(bed.setup.seconds);
    for round in 0..count {
        bed.setup.interrupt.check()?;
        let mut measure = |is_trusting: bool| -> Result<(Vec<f64>, f64)> {
            let (client, port) =
                if is_trusting { (&mut client, trusting.port) } else { (&mut bed.client, bed.node.port) };
            let latencies = bed.python.latencies(client, duration, Duration::ZERO)?;
            Ok((latencies, load::run(port, bed.python.windows(1, WINDOW), duration)?.per_second))
        };
        // The sides are close to each other, so neither must always be the second one.
        let trusting_first = round % 2 == 1;
        let first = measure(trusting_first)?;
        let second = measure(!trusting_first)?;
        let (ours, theirs) = if trusting_first { (second, first) } else { (first, second) };
        for (word, share) in [("p50", 0.50), ("p99", 0.99)] {
            let name = format!("one after the other, {word}");
            table.put(name, Unit::Microseconds, percentile(&ours.0, share), percentile(&theirs.0, share));
        }
        table.put(format!("{WINDOW} in flight"), Unit::PerSecond, ours.1, theirs.1);
    }
    Ok(Report {
        name: "sandbox-protections",
        title: format!("x * x in native Python, with protections: medians of {count} rounds in turn"),
        competitor: "trusted = true".to_owned(),
        figures: table.figures(BUDGETS),
        notes: Vec::new(),
    })
}
