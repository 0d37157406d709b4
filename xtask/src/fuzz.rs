//! `cargo xtask fuzz`: builds the targets of `fuzz/` as cargo-fuzz does, and runs them one after the other.
//!
//! cargo-fuzz asks for nightly Rust only because of its sanitizer. What is fuzzed here has no `unsafe` of its own, so the
//! compiler that builds everything else will do.

use crate::prerequisites;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// What the fuzzer needs to see which ways an input takes, as in cargo-fuzz.
const COVERAGE_FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
    // Instrumented functions are not inlined across units.
    "-Ccodegen-units=1",
];
/// Without a word about how long, this is a look whether everything works.
const EXECUTIONS: u64 = 100_000;
/// Beyond this an input is slow to run and says nothing new.
const INPUT_BYTES_MAX: u32 = 8192;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these targets
    targets: Vec<String>,
    /// Inputs to try for each target; 100000 when no time is given either
    #[arg(long)]
    executions: Option<u64>,
    /// Seconds for each target
    #[arg(long)]
    seconds: Option<u64>,
    /// Also look for wrong use of memory, which matters for code in C; some times slower
    #[arg(long)]
    address_sanitizer: bool,
}

/// Builds and runs targets. The exit code tells whether something was found.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let fuzz = workspace.root.join("fuzz");
    let targets = chosen(&fuzz, &arguments.targets)?;
    cpp_compiler()?;
    let programs = build(workspace, &fuzz, arguments.address_sanitizer)?;
    let mut rows = Vec::new();
    for target in &targets {
        println!("==> {target}");
        rows.push(Run { workspace, fuzz: &fuzz, target, arguments }.finish(&programs.join(target))?);
    }
    print(&rows);
    let is_clean = rows.iter().all(|row| row.finding.is_none());
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The targets that are asked for, or all.
fn chosen(fuzz: &Path, asked: &[String]) -> Result<Vec<String>> {
    let folder = fuzz.join("fuzz_targets");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            all.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    all.sort();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}; there are: {}", all.join(", "));
    }
    Ok(if asked.is_empty() { all } else { asked.to_vec() })
}

/// libFuzzer is written in C++ and compiled on the spot.
fn cpp_compiler() -> Result<()> {
    if env::var_os("CXX").is_none() && process::find_program("c++").is_none() {
        prerequisites::install_or_explain("a C++ compiler, for libFuzzer,", &["g++"])?;
    }
    Ok(())
}

/// Returns the folder of the programs.
fn build(workspace: &Workspace, fuzz: &Path, address_sanitizer: bool) -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let host = process::output_if_ok(Command::new(rustc).args(["--print", "host-tuple"]));
    let host = host.context("rustc does not say which machine this is")?;
    let mut flags: Vec<&str> = COVERAGE_FLAGS.into();
    if host.contains("-linux-") {
        flags.push("-Cllvm-args=-sanitizer-coverage-stack-depth");
    }
    let mut command = workspace.cargo();
    // Their flags make everything another program, so they have a build folder to themselves, one for each set.
    let mut target = workspace.target.join("fuzz");
    if address_sanitizer {
        flags.push("-Zsanitizer=address");
        // Makes a stable compiler take what only nightly has. Not without need: some crates ask for it and change.
        command.env("RUSTC_BOOTSTRAP", "1");
        target.push("address-sanitizer");
    }
    command.env("CARGO_TARGET_DIR", &target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command.args(["build", "--release", "--bins", "--manifest-path"]).arg(fuzz.join("Cargo.toml"));
    // With a target of its own, even the same one, the flags do not reach build scripts and macros.
    process::run(command.args(["--target", &host]))?;
    Ok(target.join(host).join("release"))
}

/// One target that is run.
struct Run<'a> {
    workspace: &'a Workspace,
    fuzz: &'a Path,
    target: &'a str,
    arguments: &'a Arguments,
}

/// What came of it.
struct Row {
    target: String,
    executions: Option<u64>,
    duration: Duration,
    corpus_files: usize,
    /// How it ended, if not well.
    finding: Option<String>,
}

impl Run<'_> {
    fn finish(&self, program: &Path) -> Result<Row> {
        let artifacts = self.fuzz.join("artifacts").join(self.target);
        // What is found on the way belongs to the build folder; the corpus in the repository stays small.
        let grown = self.workspace.target.join("fuzz/corpus").join(self.target);
        let log = self.workspace.target.join("fuzz/logs").join(format!("{}.log", self.target));
        for folder in [&artifacts, &grown, &log.with_file_name("")] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        println!("    log: {}", log.display());
        let mut command = self.workspace.program(program);
        command.args(self.limits()).args(["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=10"]);
        command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
        // The prefix of a path, so a folder must end as one.
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command
            .arg(format!("-dict={}", self.fuzz.join("dictionaries").join(format!("{}.dict", self.target)).display()));
        // The first folder is the one that it writes to.
        command.arg(&grown).arg(self.fuzz.join("corpus").join(self.target));
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let start = Instant::now();
        let status = command.stdout(file.try_clone()?).stderr(file).status();
        let status = status.with_context(|| format!("cannot run {}", program.display()))?;
        let duration = start.elapsed();
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() {
            println!("{}", process::log_tail(&log));
        }
        Ok(Row {
            target: self.target.to_owned(),
            executions: statistic(&text, "number_of_executed_units"),
            duration,
            corpus_files: fs::read_dir(&grown)?.count(),
            finding: (!status.success()).then(|| artifact(&text).unwrap_or_else(|| status.to_string())),
        })
    }

    fn limits(&self) -> Vec<String> {
        let executions = self.arguments.executions.or(self.arguments.seconds.is_none().then_some(EXECUTIONS));
        let executions = executions.map(|number| format!("-runs={number}"));
        executions.into_iter().chain(self.arguments.seconds.map(|number| format!("-max_total_time={number}"))).collect()
    }
}

/// A number that libFuzzer prints at the end.
fn statistic(log: &str, name: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
    line.trim_start_matches(':').trim().parse().ok()
}

/// Where libFuzzer has left the input that it stopped at.
fn artifact(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.to_owned())
}

fn print(rows: &[Row]) {
    println!("{:<16} {:>12} {:>9} {:>9} {:>8}  finding", "target", "executions", "seconds", "a second", "corpus");
    for Row { target, executions, duration, corpus_files, finding } in rows {
        let seconds = duration.as_secs_f64();
        let (count, speed) = match executions {
            Some(count) => (count.to_string(), format!("{:.0}", *count as f64 / seconds)),
            None => ("?".to_owned(), "?".to_owned()),
        };
        let finding = finding.as_deref().unwrap_or("none");
        println!("{target:<16} {count:>12} {seconds:>9.1} {speed:>9} {corpus_files:>8}  {finding}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_understood() {
        let log = "Done 100 runs\nstat::number_of_executed_units: 100\nstat::average_exec_per_sec:     50\n";
        assert_eq!(statistic(log, "number_of_executed_units"), Some(100));
        assert_eq!(statistic(log, "average_exec_per_sec"), Some(50));
        assert_eq!(statistic(log, "peak_rss_mb"), None);
        assert_eq!(artifact(log), None);
        let log = "artifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: AA==\n";
        assert_eq!(artifact(log).as_deref(), Some("/a/crash-1"));
    }
}
