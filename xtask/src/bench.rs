//! `cargo xtask bench`: builds what is measured and what it is compared with, then hands over to `potluck-bench`.

use crate::artifacts;
use crate::dist;
use crate::prerequisites;
use crate::process;
use crate::python;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::process::ExitCode;

const PACKAGE: &str = "potluck-tests";
const PROGRAM: &str = "potluck-bench";

/// Runs the benchmarks and returns their exit code.
pub(crate) fn run(workspace: &Workspace, name: Option<&str>, check: bool) -> Result<ExitCode> {
    let interpreter = prerequisites::python()?;
    let dist = dist::build(workspace)?;
    let artifacts = artifacts::build(workspace, &["-p", PACKAGE, "--bin", PROGRAM])?;
    let venv = python::virtual_environment(workspace, &interpreter)?;
    if process::find_program("redis-server").is_none() {
        // One comparison less is no reason not to measure.
        if let Err(error) = prerequisites::install_or_explain("redis-server", &["redis-server"]) {
            eprintln!("{error:#}; going on without that comparison");
        }
    }
    let competitors = match name {
        // They are large, and only needed for the one.
        None | Some("sandbox") => python::competitors(workspace, &interpreter)
            .inspect_err(|error| eprintln!("{error:#}; going on without other sandboxes"))
            .ok(),
        Some(_) => None,
    };

    let mut bench = workspace.program(artifacts.program(PACKAGE, PROGRAM)?);
    bench.args(name).args(check.then_some("--check"));
    bench.env("POTLUCK_DIST", dist.root()).env("POTLUCK_TEST_VENV", &venv);
    bench.env("POTLUCK_BENCH_PYTHON", python::python_of(&venv));
    if let Some(competitors) = competitors {
        bench.env("POTLUCK_BENCH_COMPETITORS", competitors);
    }
    let status = bench.status().context("cannot run potluck-bench")?;
    // Ended by a signal: there is no code to forward.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
