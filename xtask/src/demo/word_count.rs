//! Counts the words of Python's standard library on the pool, and checks the count against one made here.

use super::batch;
use super::corpus;
use super::count::{self, Count};
use super::grouped;
use super::pool::Pool;
use super::share::Share;
use crate::dist::Dist;
use crate::python::Interpreter;
use anyhow::{Context, Result, bail};
use serde_json::json;

const TASKS: usize = 64;
const TOP: usize = 10;

pub(super) fn run(pool: &mut Pool, dist: &Dist, interpreter: &Interpreter) -> Result<Share> {
    let program = dist.python_example("word_count.py")?;
    let corpus = corpus::read(&interpreter.standard_library()?)?;
    let parts = corpus::parts(&corpus.text, TASKS);
    let megabytes = corpus.text.len() as f64 / 1e6;
    println!(
        "\nWords of the Python standard library: {} files, {megabytes:.1} MB, {} tasks",
        corpus.file_count,
        parts.len()
    );
    let tasks: Vec<_> = (0..)
        .zip(&parts)
        .map(|(number, part)| batch::task(&format!("words-{number}"), &program, "count", json!([part])))
        .collect();
    let (results, duration) = batch::run(pool, "word-count", &tasks)?;

    let mut count = Count::default();
    for done in &results {
        count.add_result(&done.result).context("a task of word_count.py returned something else than expected")?;
    }
    count.check_against(&Count::of(&corpus.text))?;
    let seconds = duration.as_secs_f64();
    println!("  {seconds:.2} s, {:.1} MB/s; equal to a count made without the pool", megabytes / seconds);
    print!("{}", table(&count));

    let share = Share::of(&results);
    if share.peer_count() < 2 {
        bail!("one peer ran all tasks: the work was not spread over the pool");
    }
    Ok(share)
}

/// The most frequent words and identifiers, side by side.
fn table(count: &Count) -> String {
    let mut text = format!("\n  {:<14} {:>9}    {:<14} {:>9}\n", "word", "times", "identifier", "times");
    for ((word, times), (identifier, uses)) in
        count::top(&count.words, TOP).into_iter().zip(count::top(&count.identifiers, TOP))
    {
        text.push_str(&format!("  {word:<14} {:>9}    {identifier:<14} {:>9}\n", grouped(times), grouped(uses)));
    }
    text
}
