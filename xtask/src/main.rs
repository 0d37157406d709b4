//! The project's own tools, run as `cargo xtask <command>`.

mod artifacts;
mod bench;
mod demo;
mod dist;
mod fuzz;
mod guests;
mod header;
mod interrupt;
mod node;
mod prerequisites;
mod process;
mod python;
mod sandbox;
mod test;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use interrupt::Interrupted;
use rustix::fs::Mode;
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a small pool on this machine and lets it do real work
    Demo {
        /// Stop everything when the work is done, instead of waiting for Ctrl-C
        #[arg(long)]
        once: bool,
    },
    /// Runs every check: format, lints, tests, documentation and the demo
    Test {
        /// Passed on to cargo-nextest: `cargo xtask test -- -E 'test(semaphore)'`
        #[arg(last = true)]
        nextest: Vec<String>,
    },
    /// Measures the built node against the budgets of the design
    Bench(bench::Arguments),
    /// Feeds made-up input to everything that reads what others say, and looks whether it holds
    Fuzz(fuzz::Arguments),
    /// Builds the tree that is run, tested and shipped: target/dist
    Dist,
    /// Builds the WebAssembly guests of guest-examples from their source: target/guests
    Guests,
    /// Writes sdk/include/potluck.h from sdk/src/abi.rs
    Header {
        /// Only compare; fail when the file is out of date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    // The node loads no machine code that others than its user could have written.
    let others_write = Mode::WGRP | Mode::WOTH;
    let inherited = rustix::process::umask(others_write);
    rustix::process::umask(inherited | others_write);
    match run(Arguments::parse().command) {
        Ok(code) => code,
        // What the shell shows for a program that Ctrl-C ended.
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match command {
        Command::Demo { once } => demo::run(&workspace, once)?,
        Command::Test { nextest } => test::run(&workspace, &nextest)?,
        Command::Bench(arguments) => return bench::run(&workspace, &arguments),
        Command::Fuzz(arguments) => return fuzz::run(&workspace, &arguments),
        Command::Dist => println!("{}", dist::build(&workspace)?.root().display()),
        Command::Guests => println!("{}", guests::run(&workspace)?.display()),
        Command::Header { check } => header::run(&workspace, check)?,
    }
    Ok(ExitCode::SUCCESS)
}
