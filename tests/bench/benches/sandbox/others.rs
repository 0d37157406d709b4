//! The sandbox beside what else one would use: a new interpreter for each task, and another sandbox for Python.

use super::{Bed, Table, rest};
use crate::Setup;
use crate::load;
use crate::process::output_of;
use crate::report::{Figure, Report, Unit};
use crate::samples::{milliseconds, percentile, rounds};
use crate::script::{Latency, Script, Throughput};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::process::Command;
use std::time::{Duration, Instant};

const ONE_LINE: &str = "square = lambda x: x * x; print(square(7))";
/// Where the other sandbox's throughput is highest.
const IN_FLIGHT: usize = 4;

pub(super) fn run(bed: &mut Bed<'_>) -> Result<Report> {
    let mut capsule = Capsule::start(bed.setup);
    let mut table = Table::default();
    let (count, duration) = rounds(bed.setup.seconds);
    for _ in 0..count {
        bed.setup.interrupt.check()?;
        rest(&bed.node)?;
        let ours = bed.sandbox.latencies(&mut bed.client, duration, Duration::ZERO)?;
        let ours = |share| percentile(&ours, share) / 1e3;
        let theirs = interpreters(bed.setup, duration)?;
        for (word, share) in [("p50", 0.50), ("p99", 0.99)] {
            table.put(
                format!("python3 -c for each task, {word}"),
                Unit::Milliseconds,
                ours(share),
                percentile(&theirs, share),
            );
        }
        if let Ok(capsule) = &mut capsule {
            let theirs: Latency = capsule.script.measure("latency", duration, 0.0)?;
            for (word, share, theirs) in [("p50", 0.50, theirs.p50), ("p99", 0.99, theirs.p99)] {
                table.put(capsule.name(word), Unit::Milliseconds, ours(share), theirs / 1e3);
            }
            let ours = load::run(bed.node.port, bed.sandbox.windows(1, IN_FLIGHT), duration)?;
            let theirs: Throughput = capsule.script.measure("throughput", duration, IN_FLIGHT as f64)?;
            let name = capsule.name(&format!("{IN_FLIGHT} in flight"));
            table.put(name, Unit::PerSecond, ours.per_second, theirs.per_second);
        }
    }
    let mut figures = table.figures(&[]);
    if let Err(error) = &capsule {
        figures.push(Figure::missing("capsule-run, a new instance for each task", format!("not compared: {error:#}")));
    }
    Ok(Report {
        name: "sandbox-others",
        title: format!("x * x in the sandbox, one after the other: medians of {count} rounds in turn"),
        competitor: "the other".to_owned(),
        figures,
        notes: Vec::new(),
    })
}

/// Milliseconds from starting an interpreter to its end.
fn interpreters(setup: &Setup, duration: Duration) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    let end = Instant::now() + duration;
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(samples);
        }
        let printed = output_of(Command::new(&setup.python).args(["-c", ONE_LINE]));
        samples.push(milliseconds(begun.elapsed()));
        ensure!(printed.as_deref() == Some("49"), "{} -c prints {printed:?}", setup.python.display());
    }
}

/// `capsule_run.py`, ready.
struct Capsule {
    script: Script,
    version: String,
}

impl Capsule {
    fn start(setup: &Setup) -> Result<Capsule> {
        #[derive(Deserialize)]
        struct Begun {
            version: String,
        }
        let environment = setup.competitors.as_deref().context("it is not installed")?;
        // Beside the environment's own files, since building the task takes long and is the same each time.
        let folder = environment.join("capsule-task");
        let python = environment.join("bin/python3");
        let text = include_str!("../../capsule_run.py");
        let mut script = Script::start(&python, "capsule_run.py", text, &[folder.as_os_str()])?;
        let Begun { version } = script.answer().context("it does not run here")?;
        Ok(Capsule { script, version })
    }

    fn name(&self, what: &str) -> String {
        format!("capsule-run {}, {what}", self.version)
    }
}
