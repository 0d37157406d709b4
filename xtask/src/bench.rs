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

/// What the node is compared with: the benchmark, the program by which it is found, and its Debian package.
const COMPARISONS: [(&str, &str, &str); 8] = [
    ("memory", "redis-server", "redis-server"),
    ("os", "redis-server", "redis-server"),
    ("storage", "nginx", "nginx-light"),
    ("storage", "curl", "curl"),
    ("storage", "sshd", "openssh-server"),
    ("storage", "scp", "openssh-client"),
    ("storage", "rsync", "rsync"),
    ("storage", "age", "age"),
];

/// What is to be measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this benchmark
    name: Option<String>,
    /// Fail when a budget is exceeded
    #[arg(long)]
    check: bool,
    /// Size of the large files of the benchmark of storage; it needs about ten times as much room [default: 1]
    #[arg(long, value_name = "N")]
    gigabytes: Option<f64>,
    /// Only this part of the benchmark of the operating system
    #[arg(long)]
    part: Option<String>,
}

/// Runs the benchmarks and returns their exit code.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let name = arguments.name.as_deref();
    let interpreter = prerequisites::python()?;
    let dist = dist::build(workspace)?;
    let artifacts = artifacts::build(workspace, &["-p", PACKAGE, "--bin", PROGRAM])?;
    let venv = python::virtual_environment(workspace, &interpreter)?;
    install_comparisons(name);
    let competitors = match name {
        // They are large, and only needed for the one.
        None | Some("sandbox") => python::competitors(workspace, &interpreter)
            .inspect_err(|error| eprintln!("{error:#}; going on without other sandboxes"))
            .ok(),
        Some(_) => None,
    };

    let mut bench = workspace.program(artifacts.program(PACKAGE, PROGRAM)?);
    bench.args(name).args(arguments.check.then_some("--check"));
    if let Some(gigabytes) = arguments.gigabytes {
        bench.arg("--gigabytes").arg(gigabytes.to_string());
    }
    if let Some(part) = &arguments.part {
        bench.arg("--part").arg(part);
    }
    bench.env("POTLUCK_DIST", dist.root()).env("POTLUCK_TEST_VENV", &venv);
    bench.env("POTLUCK_BENCH_PYTHON", python::python_of(&venv));
    if let Some(competitors) = competitors {
        bench.env("POTLUCK_BENCH_COMPETITORS", competitors);
    }
    let status = bench.status().context("cannot run potluck-bench")?;
    // Ended by a signal: there is no code to forward.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Installs what is missing of what the node is compared with.
fn install_comparisons(name: Option<&str>) {
    for (benchmark, program, package) in COMPARISONS {
        let is_measured = name.is_none_or(|name| name == benchmark);
        if is_measured && process::find_program(program).or_else(|| process::find_server(program)).is_none() {
            // One comparison less is no reason not to measure.
            if let Err(error) = prerequisites::install_or_explain(program, &[package]) {
                eprintln!("{error:#}; going on without that comparison");
            }
        }
    }
}
