//! `potluck scheduler` and `potluck schedule`: definitions.

use clap::{Args, Subcommand};
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub(super) const SCHEDULER_HELP: &str = "\
Examples:
  potluck scheduler
  potluck scheduler set RR --quantum 50ms
  potluck scheduler set PRIORITY --preemptive --ageing 10
  potluck events --topic scheduler.decision

Algorithms: FCFS, SJF, SRTF (SJF that preempts), PRIORITY, PRIORITY_PREEMPTIVE, RR. What waits is sorted anew; nothing is
lost. The plugins.toml says what is in force when the node starts.";

pub(super) const COMPARE_HELP: &str = "\
Examples:
  potluck schedule compare workload.json
  potluck schedule compare workload.json --algorithms FCFS,RR --quantum 20ms
  potluck schedule compare textbook.json --simulate-only

A workload is a JSON file:
  {\"slots\": 1, \"quantum_ms\": 50, \"processes\": [
    {\"name\": \"P1\", \"arrival_ms\": 0, \"burst_ms\": 240, \"priority\": 3},
    {\"name\": \"P2\", \"arrival_ms\": 30, \"burst_ms\": 60, \"program\": \"def main(n): ...\", \"args\": [5]}]}
A process without a program uses exactly its burst of processor time. `estimate_ms` is what SJF believes instead of the
burst; `smallest_is_highest` turns priorities around; `ageing_seconds` is for PRIORITY. Each algorithm is simulated
exactly, and run by real processes beside the node's own tasks, so do it on a machine that has nothing else to do.";

#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SchedulerCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulerCommand {
    /// Show the algorithm in force, and how each one has fared so far
    Show,
    /// Choose the order in which tasks run
    Set(SchedulerSetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SchedulerSetArgs {
    /// FCFS, SJF, SRTF, PRIORITY, PRIORITY_PREEMPTIVE or RR
    #[arg(value_name = "ALGORITHM")]
    pub(crate) algorithm: String,

    /// RR: how long a task may run while others wait, such as 50ms or 0.1s [default: 50ms]
    #[arg(long, value_name = "TIME", value_parser = quantum)]
    pub(crate) quantum: Option<f64>,

    /// SJF and PRIORITY: a more urgent task stops one that runs
    #[arg(long)]
    pub(crate) preemptive: bool,

    /// PRIORITY: the wait that counts as much as one step of priority
    #[arg(long, value_name = "SECONDS", value_parser = crate::commands::values::seconds)]
    pub(crate) ageing: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Run one workload through several algorithms, in exact simulation and with real processes
    #[command(after_help = COMPARE_HELP)]
    Compare(ScheduleCompareArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ScheduleCompareArgs {
    /// The workload; `-` is standard input
    #[arg(value_name = "WORKLOAD.json")]
    pub(crate) workload: PathBuf,

    /// The algorithms, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) algorithms: Vec<String>,

    /// Only simulate; no processes are run
    #[arg(long)]
    pub(crate) simulate_only: bool,

    /// The quantum of RR, such as 50ms [default: the workload's, else 50ms]
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub(crate) quantum: Option<f64>,
}

/// The quanta that processes can follow, in milliseconds. The node says the same, but of a number in milliseconds.
const QUANTUM_MS: RangeInclusive<f64> = 5.0..=60_000.0;

/// A quantum in milliseconds.
fn quantum(text: &str) -> Result<f64, String> {
    match milliseconds(text) {
        Ok(value) if QUANTUM_MS.contains(&value) => Ok(value),
        _ => Err("a quantum is 5 ms at least and 60 s at most, such as 50ms".to_owned()),
    }
}

/// The longest time in milliseconds that a node takes as it is.
const TIME_MS_MAX: f64 = 1e9;

/// A short time in milliseconds: `50ms`, `0.05s`, or a number of milliseconds.
fn milliseconds(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix("ms") {
        Some(number) => (number, 1.0),
        None => text.strip_suffix('s').map_or((text, 1.0), |number| (number, 1000.0)),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value * factor > TIME_MS_MAX => {
            Err("that is too long; write a time such as 50ms or 0.05s".to_owned())
        }
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value * factor),
        _ => Err("write a time such as 50ms or 0.05s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_have_units_and_without_one_are_milliseconds() {
        for (text, expected) in [("50ms", 50.0), ("0.05s", 50.0), ("20", 20.0), ("0.5 ms", 0.5)] {
            assert!((milliseconds(text).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        for text in ["", "ms", "-5ms", "0", "nan", "infs", "5m", "1000001s"] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quantum_is_one_that_processes_can_follow() {
        assert_eq!((quantum("5ms"), quantum("60s")), (Ok(5.0), Ok(60_000.0)));
        for text in ["4.9ms", "61s", "99999999s"] {
            assert!(quantum(text).is_err_and(|mistake| mistake.contains("5 ms") && mistake.contains("60 s")), "{text}");
        }
    }
}
