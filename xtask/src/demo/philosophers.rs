//! Five philosophers deadlock; the node says who waits for whom, and ends one, so that the others eat.

use super::pool::Pool;
use super::progress;
use crate::dist::Dist;
use crate::process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The peer on which they sit: the first, which [`Pool::command`] talks to.
const PEER: usize = 0;
const SEATS: usize = 5;
/// They are seated within a second; a machine that is busy may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether they are stuck.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn run(pool: &mut Pool, dist: &Dist) -> Result<()> {
    println!("\nDining philosophers: five tasks, five semaphores");
    let program = dist.system_call_example("philosophers_naive.py");
    let mut command = pool.command();
    command.args(["--json", "cpu", "--confidential", "--args", r#"["demo"]"#, "--file"]).arg(&program);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut table = Table(command.spawn().context("cannot run potluck")?);

    let stuck = wait_until_stuck(pool, &mut table.0)?;
    for link in stuck["cycle"].as_array().context("the node names no circle")? {
        println!(
            "    {} waits for {}, which {} has",
            text(&link["pid"]),
            text(&link["waits_for"]),
            text(&link["held_by"])
        );
    }
    let resolved: Value = ask(pool, &["--json", "deadlock", "resolve"])?;
    progress("ended", &text(&resolved["ended"][0]["pid"]));

    if process::wait_for(&mut table.0, PATIENCE)?.is_none() {
        bail!("one of the philosophers was ended, and the others are still not done after {PATIENCE:?}");
    }
    let mut output = table.0.stdout.take().context("there is no result")?;
    let result: Value = serde_json::from_reader(&mut output).context("cannot read the result")?;
    let outcomes = result["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    let eaten = outcomes.iter().filter(|outcome| text(outcome).ends_with("has eaten")).count();
    if eaten != SEATS - 1 {
        bail!("{} of {SEATS} philosophers should have eaten: {result}", SEATS - 1);
    }
    progress("eaten", &format!("the other {eaten}"));
    pool.check()
}

/// The program with which the philosophers were seated; it does not outlive the demo.
struct Table(Child);

impl Drop for Table {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_stuck(pool: &mut Pool, table: &mut Child) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let check = ask(pool, &["--json", "send", "DEADLOCK_CHECK"])?;
        if check["deadlocked_processes"].as_array().is_some_and(|stuck| stuck.len() == SEATS) {
            return Ok(check);
        }
        pool.check()?;
        if table.try_wait()?.is_some() || Instant::now() >= deadline {
            bail!("the philosophers are not stuck, or the node does not see it: {check}");
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn ask(pool: &Pool, arguments: &[&str]) -> Result<Value> {
    serde_json::from_slice(&pool.say_at(PEER, arguments)?).context("cannot read what potluck says")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
