//! What is measured.

mod call;
mod cancel;
mod memory;
mod node;
mod os;
mod sandbox;
mod security;
mod storage;
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
    /// Sandboxed tasks and guests, beside native tasks, ProcessPoolExecutor and other sandboxes
    Sandbox,
    /// From cancellation or time-out to a free slot
    Cancel,
    /// Start, and the host process at rest
    Node,
    /// TLS beside plain frames: handshake, messages, tasks of other nodes
    Security,
    /// Files put, read, uploaded encrypted and fetched, beside scp, rsync, nginx with curl, and age
    Storage,
    /// Schedulers, system calls, queues, semaphores, allocator and history
    Os,
}

impl Bench {
    /// As on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Measures, and hands on what was found as soon as it is known.
    pub(crate) fn run(self, setup: &Setup, found: &mut dyn FnMut(Report)) -> Result<()> {
        let report = match self {
            Bench::Call => call::run(setup),
            Bench::Memory => memory::run(setup),
            Bench::Tasks => tasks::run(setup),
            Bench::Sandbox => return sandbox::run(setup, found),
            Bench::Security => return security::run(setup, found),
            Bench::Storage => return storage::run(setup, found),
            Bench::Os => return os::run(setup, found),
            Bench::Cancel => cancel::run(setup),
            Bench::Node => node::run(setup),
        };
        found(report?);
        Ok(())
    }
}
