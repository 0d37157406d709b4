//! What is measured.

mod call;
mod cancel;
mod memory;
mod node;
mod tasks;

use crate::Setup;
use crate::report::Report;
use anyhow::Result;
use clap::ValueEnum;

/// A benchmark.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Bench {
    /// A message to a provider and back, inside the host
    Call,
    /// GET_MEM over TCP, beside redis-server
    Memory,
    /// Trivial Python tasks, beside ProcessPoolExecutor
    Tasks,
    /// From cancellation or time-out to a free slot
    Cancel,
    /// Start, and the host process at rest
    Node,
}

impl Bench {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Measures.
    pub(crate) fn run(self, setup: &Setup) -> Result<Report> {
        match self {
            Bench::Call => call::run(setup),
            Bench::Memory => memory::run(setup),
            Bench::Tasks => tasks::run(setup),
            Bench::Cancel => cancel::run(setup),
            Bench::Node => node::run(setup),
        }
    }
}
