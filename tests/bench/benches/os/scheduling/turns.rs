//! Round Robin: what a short task takes beside three endless ones, and how equal the turns of these are.

use super::Slot;
use super::kind::Kind::{self, Guest, Python, Sandbox};
use crate::Setup;
use crate::machine::children;
use crate::node::Node;
use crate::report::{Budget, Figure, Unit};
use crate::samples::{median, milliseconds, percentile};
use anyhow::{Result, ensure};
use serde_json::json;
use std::time::Instant;

/// Three endless tasks and a short one, in each runtime and mixed.
const CROWDS: [(&str, [Kind; 3], Kind); 4] = [
    ("python", [Python; 3], Python),
    ("sandbox", [Sandbox; 3], Sandbox),
    ("guests", [Guest; 3], Guest),
    ("mixed", [Python, Sandbox, Guest], Sandbox),
];
const SHORT_SECONDS: f64 = 0.2;
/// How far what it needs may be from that. The speed of a machine changes while it is measured, by a third and more where
/// others use it too: work that has been measured out a second ago may need another turn now.
const SHORT_TOLERANCE: f64 = 0.05;
const TURNAROUND_BUDGET_MILLISECONDS: f64 = 1000.0;
/// What the loop with the most processor time may have more than the one with the least.
const SHARES_BUDGET_PERCENT: f64 = 10.0;
const TURNAROUNDS: usize = 8;
/// Short tasks that are tried for so many that need what they should.
const TRIES_MAX: usize = 6 * TURNAROUNDS;

pub(super) fn run(setup: &Setup, node: &Node) -> Result<(Vec<Figure>, Vec<String>)> {
    let (mut figures, mut notes) = (Vec::new(), Vec::new());
    for (name, loops, short) in CROWDS {
        let mut slot = Slot::new(setup, node, short)?;
        slot.set(json!({ "algorithm": "RR", "quantum_ms": 50 }))?;
        let (mut took, mut difference, mut left_out) = (Vec::new(), 0.0, 0);
        slot.beside_loops(&loops, |slot, loops| {
            // One that is not measured: it may need a worker.
            turnaround(slot, loops)?;
            let before = slot.processor_time();
            while took.len() < TURNAROUNDS {
                slot.setup.interrupt.check()?;
                ensure!(
                    took.len() + left_out < TRIES_MAX,
                    "the speed of the machine changes too much to measure turns"
                );
                let one = turnaround(slot, loops)?;
                let too_much = one.used_seconds / SHORT_SECONDS;
                slot.rounds_per_second /= too_much;
                if (too_much - 1.0).abs() <= SHORT_TOLERANCE {
                    took.push(one.took_milliseconds);
                } else {
                    left_out += 1;
                }
            }
            let used = slot.used_since(&before, loops);
            let (most, least) =
                (used.iter().copied().fold(1.0, f64::max), used.iter().copied().fold(f64::MAX, f64::min));
            difference = 100.0 * (most - least) / most;
            Ok(())
        })?;
        let figure = |what: &str, unit, value| Figure::new(format!("{name}: {what}"), unit, value);
        for (what, value) in [("median", median(&took)), ("worst", percentile(&took, 1.0))] {
            let what = format!("a task of {SHORT_SECONDS} s beside 3 loops, {what} of {TURNAROUNDS}");
            let figure = figure(&what, Unit::Milliseconds, value);
            figures.push(figure.budget(Budget::ValueBelow(TURNAROUND_BUDGET_MILLISECONDS)));
        }
        let figure = figure("by how much the loops' processor time differs", Unit::Percent, difference);
        figures.push(figure.budget(Budget::ValueBelow(SHARES_BUDGET_PERCENT)));
        if left_out > 0 {
            let tolerance = 100.0 * SHORT_TOLERANCE;
            notes.push(format!(
                "{name}: {left_out} more needed over {tolerance} % more or less than {SHORT_SECONDS} s of processor time"
            ));
        }
    }
    Ok((figures, notes))
}

/// What became of a short task.
struct Turnaround {
    took_milliseconds: f64,
    /// Its processor time.
    used_seconds: f64,
}

/// Runs a short task beside `loops`, the processes of the endless ones.
fn turnaround(slot: &mut Slot<'_>, loops: &[u32]) -> Result<Turnaround> {
    let (before, begun) = (slot.processor_time(), Instant::now());
    slot.work(SHORT_SECONDS, json!({}))?;
    slot.result()?;
    let took_milliseconds = milliseconds(begun.elapsed());
    let others: Vec<u32> = children(slot.host).into_iter().filter(|id| !loops.contains(id)).collect();
    // Its worker. Another one that is started meanwhile uses less.
    let used = slot.used_since(&before, &others).into_iter().fold(1.0, f64::max);
    Ok(Turnaround { took_milliseconds, used_seconds: used / 1e9 })
}
