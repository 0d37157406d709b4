//! Adds up primes with a guest: C, compiled to WebAssembly. It is sent once; from then on its hash is enough.

use super::batch::{self, Done};
use super::grouped;
use super::pool::Pool;
use super::share::Share;
use crate::dist::Dist;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

const FILE: &str = "prime_sum.wasm";
const TASKS: u64 = 24;
/// Numbers that each task looks at.
const LENGTH: u64 = 500_000;

pub(super) fn run(pool: &mut Pool, dist: &Dist) -> Result<Share> {
    let path = dist.guest(FILE);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("\nPrimes by a WebAssembly guest in C: {TASKS} tasks of {} numbers", grouped(LENGTH));

    // The file goes with one task; the others say which one they mean.
    let first = vec![task(0, "module", json!(path))];
    let rest: Vec<Value> = (1..TASKS).map(|number| task(number, "module_sha256", json!(sha256))).collect();
    let (mut results, first_duration) = batch::run(pool, "guest-file", &first)?;
    let (more, rest_duration) = batch::run(pool, "guest-hash", &rest)?;
    results.extend(more);

    let sum = sum_of(&results)?;
    let expected = sum_of_primes(TASKS * LENGTH);
    if sum != expected {
        bail!("the primes below {} sum up to {expected}, not {sum}", grouped(TASKS * LENGTH));
    }
    let seconds = (first_duration + rest_duration).as_secs_f64();
    println!("  {seconds:.2} s; the primes below {} sum up to {}", grouped(TASKS * LENGTH), grouped(sum));
    let kilobytes = bytes.len().div_ceil(1000);
    println!("  its {kilobytes} kB went with the first task, its SHA-256 {}... with the others", &sha256[..8]);
    Ok(Share::of(&results))
}

/// A range of numbers, for the guest that `key` names.
fn task(number: u64, key: &str, guest: Value) -> Value {
    let range = json!([number * LENGTH, (number + 1) * LENGTH]);
    batch::with(batch::guest_task(&format!("primes-{number}"), range), key, guest)
}

fn sum_of(results: &[Done]) -> Result<u64> {
    let number = |done: &Done| done.result.as_u64().with_context(|| format!("{FILE} returned {}, no sum", done.result));
    results.iter().map(number).sum()
}

/// The same, computed here.
fn sum_of_primes(end: u64) -> u64 {
    let mut is_composite = vec![false; end as usize];
    let mut sum = 0;
    for number in 2..end as usize {
        if !is_composite[number] {
            sum += number as u64;
            (number * number..end as usize).step_by(number).for_each(|multiple| is_composite[multiple] = true);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_summed_up_without_the_end() {
        assert_eq!([0, 2, 3, 11, 12, 1_000_000].map(sum_of_primes), [0, 0, 2, 17, 28, 37_550_402_023]);
    }

    #[test]
    fn tasks_follow_on_each_other_and_name_their_guest() {
        let second = task(1, "module_sha256", json!("ab"));
        assert_eq!(second["args"], json!([LENGTH, 2 * LENGTH]));
        assert_eq!(second["module_sha256"], "ab");
        assert!(second["program"].is_null());
    }
}
