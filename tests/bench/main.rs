//! `potluck-bench`: the built node against the budgets of the design, beside what one would use without it.
//!
//! `cargo xtask bench` builds what is measured, prepares what it is compared with, and runs this program:
//!
//! | variable | names | when missing |
//! |---|---|---|
//! | `POTLUCK_DIST` | the tree of the node | `dist` beside the folder of this program |
//! | `POTLUCK_BENCH_PYTHON` | the interpreter of the node's tasks and of what they are compared with | `python3` |
//! | `POTLUCK_BENCH_COMPETITORS` | a virtual environment with other sandboxes | nothing is compared with them |
//!
//! Reading order: [`benches`] (what is measured), [`report`] (how it is judged), then the tools: [`node`], [`script`]
//! and [`process`] start what is measured, [`client`], [`trivial`] and [`load`] talk to it, [`machine`] and [`samples`]
//! read and sum up.

mod benches;

mod report;

mod node;
mod process;
mod script;

mod client;
mod load;
mod trivial;

mod machine;
mod samples;

use anyhow::{Context, Result, bail};
use benches::Bench;
use clap::{Parser, ValueEnum};
use process::Interrupt;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the built node against the budgets of the design.
#[derive(Parser)]
struct Arguments {
    /// Only this one
    name: Option<Bench>,
    /// End with exit code 1 when a budget is missed
    #[arg(long)]
    check: bool,
    /// How long each side of a comparison is measured
    #[arg(long, value_name = "N", default_value_t = 2.5)]
    seconds: f64,
    /// Size of the large files of the benchmark of storage; it needs about ten times as much room
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    gigabytes: f64,
    /// Only this part of the benchmark of the operating system
    #[arg(long)]
    part: Option<String>,
}

/// What all benchmarks need to know.
struct Setup {
    /// The tree of the node.
    dist: PathBuf,
    /// The interpreter.
    python: PathBuf,
    /// A virtual environment with other sandboxes.
    competitors: Option<PathBuf>,
    /// How long each side of a comparison is measured, over all its rounds.
    seconds: f64,
    /// Bytes of large files.
    large_bytes: u64,
    /// The only part of the benchmark of the operating system.
    part: Option<String>,
    interrupt: Interrupt,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let setup = Setup::new(arguments)?;
    println!("{}\n", machine::facts(&setup));
    let chosen = arguments.name.map_or_else(|| Bench::value_variants().to_vec(), |name| vec![name]);
    let mut missed = Vec::new();
    let mut failed = false;
    for bench in chosen {
        let mut found = |report: Report| {
            println!("{report}\n");
            missed.extend(report.missed());
        };
        if let Err(error) = bench.run(&setup, &mut found) {
            setup.interrupt.check()?;
            eprintln!("{}: not measured: {error:#}\n", bench.name());
            failed = true;
        }
    }
    if arguments.check {
        for line in &missed {
            eprintln!("missed: {line}");
        }
        failed |= !missed.is_empty();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Setup {
    fn new(arguments: &Arguments) -> Result<Setup> {
        if !(0.1..=600.0).contains(&arguments.seconds) {
            bail!("--seconds: expected from 0.1 to 600, found {}", arguments.seconds);
        }
        if !(0.001..=1000.0).contains(&arguments.gigabytes) {
            bail!("--gigabytes: expected from 0.001 to 1000, found {}", arguments.gigabytes);
        }
        let dist = match std::env::var_os("POTLUCK_DIST") {
            Some(path) => PathBuf::from(path),
            None => {
                let program = std::env::current_exe().context("cannot find this program's own file")?;
                program
                    .parent()
                    .and_then(|folder| folder.parent())
                    .context("this program stands in no folder")?
                    .join("dist")
            }
        };
        let dist = dist.canonicalize().with_context(|| {
            format!(
                "there is no node in {}; build one with `cargo xtask dist`, or name its tree in POTLUCK_DIST",
                dist.display()
            )
        })?;
        let python = std::env::var_os("POTLUCK_BENCH_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
        let competitors = std::env::var_os("POTLUCK_BENCH_COMPETITORS").map(PathBuf::from);
        Ok(Setup {
            dist,
            python,
            competitors,
            seconds: arguments.seconds,
            large_bytes: (arguments.gigabytes * 1e9) as u64,
            part: arguments.part.clone(),
            interrupt: Interrupt::catch()?,
        })
    }
}
