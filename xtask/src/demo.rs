//! `cargo xtask demo`: a pool on one machine that does real work through the front door, the command line.
//!
//! It is the first thing that somebody new runs, and a test: every result is checked against one that was computed
//! here.

mod batch;
mod corpus;
mod count;
mod files;
mod guest;
mod hints;
mod monte_carlo;
mod philosophers;
mod pool;
mod sandbox;
mod share;
mod word_count;

use crate::dist::{self, Dist};
use crate::interrupt::{Interrupt, Interrupted};
use crate::prerequisites;
use crate::python::Interpreter;
use crate::workspace::Workspace;
use anyhow::Result;
use pool::Pool;

/// Everything, from what must be installed to the end.
pub(crate) fn run(workspace: &Workspace, once: bool) -> Result<()> {
    let interrupt = Interrupt::catch()?;
    let prepared = || -> Result<(Interpreter, Dist)> {
        println!("Potluck demo: a tracker and three peers on this machine.\n");
        prerequisites::c_compiler()?;
        let interpreter = prerequisites::python()?;
        progress("found", &format!("python3 {}, cc", interpreter.version()));
        let dist = dist::build(workspace)?;
        progress("built", &hints::shown(dist.root()));
        Ok((interpreter, dist))
    };
    // Ctrl-C reaches cargo as well, which then fails: that is no failure of the build.
    let (interpreter, dist) =
        prepared().map_err(|error| if interrupt.requested() { Interrupted.into() } else { error })?;
    with_tree(workspace, &dist, &interpreter, &interrupt, once)
}

/// The demo with a tree that is already built.
pub(crate) fn with_tree(
    workspace: &Workspace,
    dist: &Dist,
    interpreter: &Interpreter,
    interrupt: &Interrupt,
    once: bool,
) -> Result<()> {
    let mut pool = Pool::start(workspace, dist, interrupt)?;
    if let Err(error) = work(&mut pool, dist, interpreter) {
        if !interrupt.requested() {
            eprintln!("\n{}", pool.log_tails());
            return Err(error);
        }
        return Err(Interrupted.into());
    }
    if !once {
        hints::print(&pool, dist);
        pool.watch()?;
        println!("\nStopping.");
    }
    pool.stop()?;
    println!("\nThe pool has stopped cleanly.");
    Ok(())
}

fn work(pool: &mut Pool, dist: &Dist, interpreter: &Interpreter) -> Result<()> {
    pool.wait_until_complete()?;
    let mut share = word_count::run(pool, dist, interpreter)?;
    share.add_all(monte_carlo::run(pool, dist)?);
    share.add_all(sandbox::run(pool)?);
    share.add_all(guest::run(pool, dist)?);
    files::shared(pool)?;
    files::owned(pool)?;
    philosophers::run(pool, dist)?;
    println!("\nWho did the work");
    print!("{}", share.table(pool.peer_addresses()));
    pool.check()
}

/// One line about one step.
fn progress(what: &str, result: &str) {
    println!("  {what:<8} {result}");
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
