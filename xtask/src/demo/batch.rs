//! `potluck batch`: many tasks in, one result a line out.

use super::pool::Pool;
use crate::process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may happen. Each task has a limit of its own, so this ends a program that hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(180);
/// Seconds until a task is given up, the time in the queue included.
const TASK_TIMEOUT: u32 = 120;
const CHECK: Duration = Duration::from_millis(100);

/// A task for `potluck batch`.
pub(super) fn task(id: &str, program: &str, function: &str, arguments: Value) -> Value {
    serde_json::json!({
        "task_id": id, "program": program, "function": function, "args": arguments, "timeout": TASK_TIMEOUT
    })
}

/// A task for a guest, which has still to be named.
pub(super) fn guest_task(id: &str, arguments: Value) -> Value {
    serde_json::json!({"task_id": id, "args": arguments, "timeout": TASK_TIMEOUT})
}

/// The task with one more field.
pub(super) fn with(mut task: Value, key: &str, value: Value) -> Value {
    task[key] = value;
    task
}

/// A task that has succeeded.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) result: Value,
    /// `host:port` of the peer that ran it.
    pub(super) executed_by: String,
    /// Seconds that it ran.
    pub(super) seconds: f64,
}

/// Runs the tasks on the pool; the results are in the order of the tasks. A task that fails ends the run.
pub(super) fn run(pool: &mut Pool, name: &str, tasks: &[Value]) -> Result<(Vec<Done>, Duration)> {
    let input = pool.folder().join(format!("{name}.jsonl"));
    let log = pool.folder().join(format!("{name}.log"));
    let lines: String = tasks.iter().map(|task| format!("{task}\n")).collect();
    fs::write(&input, lines).with_context(|| format!("cannot write {}", input.display()))?;

    let start = Instant::now();
    let mut command = pool.command();
    command.arg("batch").arg(&input).arg("--json");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    let mut batch = Running(command.spawn().context("cannot run potluck batch")?);
    let lines = read_lines(batch.0.stdout.take().context("potluck batch has no output")?);

    let outcome = collect(pool, tasks, &lines);
    let duration = start.elapsed();
    // A program that is stuck is killed when `batch` is dropped; one that has closed its output ends by itself.
    let results = outcome.with_context(|| format!("potluck batch{}", what_it_wrote(&log)))?;
    match process::wait_for(&mut batch.0, Duration::from_secs(10))? {
        Some(status) if status.success() => {}
        Some(status) => bail!("potluck batch: {status}{}", what_it_wrote(&log)),
        None => bail!("potluck batch did not end after its last result"),
    }
    for done in &results {
        if !pool.peer_addresses().any(|address| address == done.executed_by) {
            bail!("a task ran on {}, which is none of the peers", done.executed_by);
        }
    }
    Ok((results, duration))
}

fn collect(pool: &mut Pool, tasks: &[Value], lines: &Receiver<std::io::Result<String>>) -> Result<Vec<Done>> {
    let counter = Counter::new(tasks.len());
    let mut results = Vec::with_capacity(tasks.len());
    let mut last = Instant::now();
    loop {
        match lines.recv_timeout(CHECK) {
            Ok(line) => {
                let line = line.context("cannot read its output")?;
                let task = tasks.get(results.len()).context("there are more results than tasks")?;
                results.push(read_result(&line, task["task_id"].as_str().unwrap_or_default())?);
                counter.show(results.len());
                last = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if last.elapsed() > SILENCE_LIMIT => {
                bail!("there was no result for {} s", SILENCE_LIMIT.as_secs())
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if results.len() == tasks.len() => return Ok(results),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{} of {} results are missing", tasks.len() - results.len(), tasks.len())
            }
        }
        pool.check()?;
    }
}

fn read_result(line: &str, task_id: &str) -> Result<Done> {
    let mut result: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {}", shortened(line)))?;
    match &result["error"] {
        Value::Null => {}
        Value::String(error) => {
            bail!("task {task_id} failed on {}: {error}", result["executed_by"].as_str().unwrap_or("no peer"))
        }
        other => bail!("task {task_id} failed: {other}"),
    }
    if result["task_id"] != task_id {
        bail!("the result of {} stands in the place of {task_id}", result["task_id"]);
    }
    Ok(Done {
        executed_by: result["executed_by"].as_str().context("a result without `executed_by`")?.to_owned(),
        seconds: result["execution_time"].as_f64().context("a result without `execution_time`")?,
        result: result["result"].take(),
    })
}

/// What stands in an error behind the name of the program.
fn what_it_wrote(log: &Path) -> String {
    match fs::metadata(log) {
        Ok(metadata) if metadata.len() > 0 => format!(", which wrote:\n{}", process::log_tail(log)),
        _ => String::new(),
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(200).collect()
}

/// A thread of its own reads, so that waiting for a line can be given up.
fn read_lines(stdout: ChildStdout) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || BufReader::new(stdout).lines().try_for_each(|line| sender.send(line)));
    receiver
}

/// A child that does not outlive this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended, which is the usual case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `12 of 64`, on a terminal only.
struct Counter {
    total: usize,
    is_shown: bool,
}

impl Counter {
    fn new(total: usize) -> Counter {
        Counter { total, is_shown: std::io::stdout().is_terminal() }
    }

    fn show(&self, done: usize) {
        if self.is_shown {
            print!("\r  {done} of {}", self.total);
            // Nothing depends on whether it is seen.
            let _ = std::io::stdout().flush();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if self.is_shown {
            print!("\r{:20}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_with_who_computed_it() {
        let line = r#"{"type":"CPU_RESULT","task_id":"a","result":[1],"error":null,"executed_by":"127.0.0.1:9001","execution_time":0.5}"#;
        let done = read_result(line, "a").unwrap();
        assert_eq!(
            (done.result, done.executed_by.as_str(), done.seconds),
            (serde_json::json!([1]), "127.0.0.1:9001", 0.5)
        );
        assert!(read_result(line, "b").unwrap_err().to_string().contains("in the place of b"));
    }

    #[test]
    fn a_task_that_failed_is_an_error_with_its_reason() {
        let line = r#"{"task_id":"a","result":null,"error":"division by zero","executed_by":"127.0.0.1:9001"}"#;
        assert!(read_result(line, "a").unwrap_err().to_string().contains("division by zero"));
        assert!(read_result("progress", "a").is_err());
    }
}
