//! `cargo xtask test`: everything that must hold before a change is handed in, the cheapest first.

mod summary;

use crate::artifacts;
use crate::demo;
use crate::dist::{self, Dist};
use crate::guests;
use crate::header;
use crate::interrupt::Interrupt;
use crate::prerequisites;
use crate::process;
use crate::python::{self, Interpreter};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use summary::Tally;

/// Runs all steps; the first that fails ends it. The last line says how many tests ran, for programs that read it.
pub(crate) fn run(workspace: &Workspace, nextest_arguments: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    let interpreter = steps.run("prerequisites", || {
        prerequisites::c_compiler()?;
        prerequisites::network_tools()?;
        prerequisites::python()
    })?;
    steps.run("format", || process::run(workspace.cargo().args(["fmt", "--all", "--check"])))?;
    steps.run("header", || header::run(workspace, true))?;
    steps.run("clippy", || {
        let mut command = workspace.cargo();
        process::run(command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    let dist = steps.run("dist", || dist::build(workspace))?;
    let fixtures = steps.run("fixtures", || build_fixtures(workspace))?;
    let venv = steps.run("python", || python::virtual_environment(workspace, &interpreter))?;
    let guests = steps.run("guests", || guests::build(workspace, &venv))?;
    let built = Built { dist: &dist, fixtures: &fixtures, venv: &venv, guests: &guests };
    let mut tally = steps.run("tests", || run_tests(workspace, &built, nextest_arguments))?;
    tally += steps
        .run("doc tests", || counted(workspace.cargo().args(["test", "--doc", "-p", "potluck-sdk"]), Stream::Output))?;
    steps.run("documentation", || {
        let mut command = workspace.cargo();
        process::run(command.args(["doc", "--no-deps", "-p", "potluck-sdk"]).env("RUSTDOCFLAGS", "-Dwarnings"))
    })?;
    steps.run("demo", || run_demo(workspace, &dist, &interpreter))?;
    steps.print();
    println!("{tally}");
    Ok(())
}

/// The libraries that only tests load, in one folder: the fixtures and the examples of the SDK.
fn build_fixtures(workspace: &Workspace) -> Result<PathBuf> {
    let fixtures: Vec<&str> = workspace.fixtures().map(|package| package.name.as_str()).collect();
    let examples: Vec<(&str, &str)> = workspace
        .packages
        .iter()
        .flat_map(|package| package.shared_examples.iter().map(|example| (package.name.as_str(), example.as_str())))
        .collect();
    let packages = fixtures.iter().copied().chain(examples.iter().map(|(package, _)| *package));
    let mut arguments: Vec<&str> = packages.flat_map(|package| ["-p", package]).collect();
    arguments.push("--lib");
    arguments.extend(examples.iter().flat_map(|(_, example)| ["--example", example]));
    let artifacts = artifacts::build(workspace, &arguments)?;

    let folder = workspace.target.join("fixtures");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let fixtures = fixtures.into_iter().map(|package| artifacts.library(package));
    for library in fixtures.chain(examples.into_iter().map(|(package, example)| artifacts.example(package, example))) {
        let library = library?;
        let name = library.file_name().context("a library without a name")?;
        // As for the tree: a node that a test left behind may have the old one mapped.
        dist::put(library, &folder.join(name)).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(folder)
}

/// What tests use.
struct Built<'a> {
    dist: &'a Dist,
    fixtures: &'a Path,
    venv: &'a Path,
    guests: &'a Path,
}

fn run_tests(workspace: &Workspace, built: &Built<'_>, arguments: &[String]) -> Result<Tally> {
    let has_nextest = process::output_if_ok(workspace.cargo().args(["nextest", "--version"])).is_some();
    let mut command = workspace.cargo();
    let stream = if has_nextest {
        command.args(["nextest", "run", "--workspace"]);
        if arguments.is_empty() {
            // One look at a run should show all that is wrong.
            command.arg("--no-fail-fast");
        }
        Stream::Errors
    } else {
        println!("  cargo-nextest is not there: using cargo test");
        // All that nextest would run; the doc tests are a step of their own.
        command.args(["test", "--workspace", "--tests", "--no-fail-fast"]);
        if !arguments.is_empty() {
            bail!("cargo-nextest is needed for its arguments; install it with: cargo install --locked cargo-nextest");
        }
        Stream::Output
    };
    command.args(arguments);
    command.env("POTLUCK_DIST", built.dist.root()).env("POTLUCK_FIXTURES", built.fixtures);
    command.env("POTLUCK_TEST_VENV", built.venv).env("POTLUCK_GUESTS", built.guests);
    // The science image takes minutes to make, so it is kept; a node with another version makes it anew.
    command.env("POTLUCK_IMAGES", workspace.target.join("images"));
    let tables = workspace.target.join("hostile");
    // Those of an earlier run say nothing of this one.
    let _ = fs::remove_dir_all(&tables);
    let tally = counted(&mut command, stream);
    show_hostile(&tables)?;
    tally
}

/// What became of the hostile programs. The tests keep their tables, since the runner shows what they print only when they
/// fail.
fn show_hostile(tables: &Path) -> Result<()> {
    // Not there when other tests were asked for.
    let Ok(entries) = fs::read_dir(tables) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        println!("{}", fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(())
}

/// Which stream of a test runner has its summary.
#[derive(Clone, Copy)]
enum Stream {
    Output,
    Errors,
}

/// Runs a test runner; what it says is shown as it comes, and its summary is read on the way.
fn counted(command: &mut Command, stream: Stream) -> Result<Tally> {
    let is_terminal = match stream {
        Stream::Output => std::io::stdout().is_terminal(),
        Stream::Errors => std::io::stderr().is_terminal(),
    };
    // It writes to a pipe, and could not tell by itself.
    if is_terminal && env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    match stream {
        Stream::Output => command.stdout(Stdio::piped()),
        Stream::Errors => command.stderr(Stdio::piped()),
    };
    let shown = process::line(command);
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run `{shown}`"))?;
    let tally = match (child.stdout.take(), child.stderr.take()) {
        (Some(pipe), _) => read_summary(pipe, std::io::stdout()),
        (_, Some(pipe)) => read_summary(pipe, std::io::stderr()),
        (None, None) => bail!("`{shown}` has no output"),
    };
    let status = child.wait().context("cannot wait for a test runner")?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    let tally = tally?;
    if tally.failed > 0 {
        bail!("`{shown}` says that tests failed, but ended as if none had");
    }
    Ok(tally)
}

/// Copies what a test runner says, and adds up its summaries.
fn read_summary(pipe: impl Read, mut copy: impl Write) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("cannot read from a test runner")? > 0 {
        copy.write_all(&line).context("cannot show what a test runner says")?;
        tally += summary::read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

fn run_demo(workspace: &Workspace, dist: &Dist, interpreter: &Interpreter) -> Result<()> {
    // Only here: until now Ctrl-C may end this program at once, since nothing runs that would stay behind.
    demo::with_tree(workspace, dist, interpreter, &Interrupt::catch()?, true)
}

/// What has been run, and how long it took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let start = Instant::now();
        let result = step().with_context(|| format!("step `{name}`"))?;
        let duration = start.elapsed();
        println!("    {name}: {:.1} s", duration.as_secs_f64());
        self.0.push((name, duration));
        Ok(result)
    }

    fn print(&self) {
        println!("==> all steps passed");
        for (name, duration) in &self.0 {
            println!("    {name:<14} {:>7.1} s", duration.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_all_test_programs_are_added_up_and_everything_is_shown() {
        let output =
            "running 5 tests\ntest result: ok. 5 passed; 0 failed\né\ntest result: FAILED. 2 passed; 1 failed\n";
        let mut shown = Vec::new();
        let tally = read_summary(output.as_bytes(), &mut shown).unwrap();
        assert_eq!(tally, Tally { passed: 7, failed: 1 });
        assert_eq!(shown, output.as_bytes());
    }
}
