//! Programs that keep a processor busy: the same text in the sandbox and natively.

use super::{Bed, Table, rest};
use crate::client::Client;
use crate::report::{Report, Unit};
use crate::samples::milliseconds;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Instant;

const TEXT: &str = include_str!("../../programs.py");
const ROUNDS: usize = 7;
/// Functions of the text, and how much each has to do.
const PROGRAMS: &[(&str, u64)] = &[("fib", 28), ("json_texts", 40), ("sort", 80_000), ("loops", 700_000)];

pub(super) fn run(bed: &mut Bed<'_>) -> Result<Report> {
    let mut table = Table::default();
    for (function, amount) in PROGRAMS {
        for _ in 0..ROUNDS {
            bed.setup.interrupt.check()?;
            rest(&bed.node)?;
            let (ours, result) = measure(&mut bed.client, "sandbox", function, *amount)?;
            rest(&bed.node)?;
            let (theirs, expected) = measure(&mut bed.client, "python", function, *amount)?;
            ensure!(result == expected, "{function}({amount}) is {result} in the sandbox, and {expected} natively");
            table.put(format!("{function}({amount})"), Unit::Milliseconds, ours, theirs);
        }
    }
    Ok(Report {
        name: "sandbox-programs",
        title: format!("programs that keep a processor busy, client to result: medians of {ROUNDS} rounds in turn"),
        competitor: "python".to_owned(),
        figures: table.figures(&[]),
        notes: Vec::new(),
    })
}

/// Milliseconds from sending a task to its result, and the result.
fn measure(client: &mut Client, runtime: &str, function: &str, amount: u64) -> Result<(f64, Value)> {
    let message = json!({ "type": "CPU_TASK", "runtime": runtime, "program": TEXT, "function": function, "args": [amount], "cache": false });
    let begun = Instant::now();
    let mut answer = client.request(&message)?;
    Ok((milliseconds(begun.elapsed()), answer["result"].take()))
}
