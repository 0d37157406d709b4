//! Estimates pi in the sandbox, where every task has an instance of its own and each instance its own random numbers.

use super::batch::{self, Done};
use super::grouped;
use super::monte_carlo::estimate;
use super::pool::Pool;
use super::share::Share;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::f64::consts::PI;

const TASKS: u64 = 24;
const SAMPLES: u64 = 100_000;
/// About ten times what 2.4 million points miss on average.
const ERROR_MAX: f64 = 0.01;

/// The same text and the same arguments for all tasks: whatever differs between their results is the instances' doing.
/// Counts of hits may be equal by chance; two numbers of 64 bits are not.
const PROGRAM: &str = "
import random

def main(samples):
    first = random.getrandbits(64)
    hits = sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(samples))
    return [hits, first]
";

pub(super) fn run(pool: &mut Pool) -> Result<Share> {
    println!("\nPi again, in the sandbox: {TASKS} equal tasks of {} points", grouped(SAMPLES));
    let tasks: Vec<Value> = (0..TASKS)
        .map(|number| {
            let task = batch::task(&format!("sandbox-{number}"), PROGRAM, "main", json!([SAMPLES]));
            batch::with(task, "runtime", json!("sandbox"))
        })
        .collect();
    let (results, duration) = batch::run(pool, "sandbox", &tasks)?;

    let hits = check(&results)?;
    let estimate = estimate(hits, TASKS * SAMPLES);
    let error = (estimate - PI).abs();
    if error > ERROR_MAX {
        bail!("pi is not {estimate:.5}");
    }
    println!("  {:.2} s; pi is about {estimate:.5}, which is {error:.5} off", duration.as_secs_f64());
    let share = Share::of(&results);
    if share.peer_count() < 2 {
        bail!("one peer ran all tasks: the work was not spread over the pool");
    }
    println!("  on {} peers, and no two tasks had the same random numbers", share.peer_count());
    Ok(share)
}

/// The hits of all tasks, or an error when two of them have thrown the same points.
fn check(results: &[Done]) -> Result<u64> {
    let mut hits = 0;
    let mut firsts = BTreeSet::new();
    for done in results {
        let number =
            |index: usize| done.result[index].as_u64().with_context(|| format!("the task returned {}", done.result));
        hits += number(0)?;
        if !firsts.insert(number(1)?) {
            bail!("two sandboxed tasks had the same random numbers; one of them ran on {}", done.executed_by);
        }
    }
    Ok(hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_counts_are_chance_and_equal_random_numbers_are_an_error() {
        let done = |result: Value| Done { result, executed_by: "a:1".into(), seconds: 1.0 };
        assert_eq!(check(&[done(json!([7, 1])), done(json!([7, u64::MAX]))]).unwrap(), 14);
        assert!(check(&[done(json!([7, 1])), done(json!([8, 1]))]).unwrap_err().to_string().contains("a:1"));
        assert!(check(&[done(json!(7))]).is_err());
    }
}
