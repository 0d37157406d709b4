//! Estimates pi on the pool by throwing random points at a square.

use super::batch;
use super::grouped;
use super::pool::Pool;
use super::share::Share;
use crate::dist::Dist;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::f64::consts::PI;

const TASKS: u64 = 24;
const SAMPLES: u64 = 500_000;
/// About twenty times what 12 million points miss on average: only a wrong program gets beyond it.
const ERROR_MAX: f64 = 0.01;

pub(super) fn run(pool: &mut Pool, dist: &Dist) -> Result<Share> {
    let program = dist.python_example("monte_carlo_pi.py")?;
    println!("\nPi from random points: {TASKS} tasks of {} points", grouped(SAMPLES));
    // A seed for each task: workers that start from the same state would all throw the same points.
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| batch::task(&format!("pi-{number}"), &program, "main", json!([SAMPLES, number])))
        .collect();
    let (results, duration) = batch::run(pool, "monte-carlo", &tasks)?;

    let mut hits = 0;
    for done in &results {
        hits +=
            done.result.as_u64().with_context(|| format!("monte_carlo_pi.py returned {}, no count", done.result))?;
    }
    let estimate = estimate(hits, TASKS * SAMPLES);
    let error = (estimate - PI).abs();
    if error > ERROR_MAX {
        bail!("pi is not {estimate:.5}");
    }
    println!("  {:.2} s; pi is about {estimate:.5}, which is {error:.5} off", duration.as_secs_f64());
    Ok(Share::of(&results))
}

/// A quarter of a circle covers pi / 4 of its square.
pub(super) fn estimate(hits: u64, samples: u64) -> f64 {
    4.0 * hits as f64 / samples as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_four_hits_are_pi_three() {
        assert_eq!(estimate(3, 4), 3.0);
    }
}
