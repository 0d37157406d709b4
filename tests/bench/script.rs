//! Python scripts that measure what the node is compared with. Each reads orders, a line each, and answers with a line
//! of JSON.

use crate::Setup;
use crate::node::temporary_folder;
use crate::process::Program;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A script that waits for orders.
pub(crate) struct Script {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    program: Program,
    /// Behind the program, so that it is removed when that is gone.
    _folder: TempDir,
}

/// In microseconds.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) per_second: f64,
}

impl Script {
    /// ProcessPoolExecutor of the interpreter that the node's tasks have.
    pub(crate) fn pool(setup: &Setup) -> Result<Script> {
        Script::start(&setup.python, "pool.py", include_str!("pool.py"), &[])
    }

    pub(crate) fn start(python: &Path, name: &str, text: &str, arguments: &[&OsStr]) -> Result<Script> {
        let folder = temporary_folder()?;
        // A file, since the workers of newer versions import it.
        let script = folder.path().join(name);
        std::fs::write(&script, text).with_context(|| format!("cannot write {name}"))?;
        let mut command = Command::new(python);
        command.arg(&script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Program::start(name, &mut command, folder.path())?;
        let (orders, answers) = program.pipes()?;
        Ok(Script { orders, answers: BufReader::new(answers), program, _folder: folder })
    }

    /// What the order's `what` measures, for so long, with a parameter of its own.
    pub(crate) fn measure<T: DeserializeOwned>(&mut self, what: &str, duration: Duration, parameter: f64) -> Result<T> {
        writeln!(self.orders, "{what} {} {parameter}", duration.as_secs_f64())
            .with_context(|| self.program.last_words())?;
        self.answer()
    }

    /// The next line that it prints.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).with_context(|| self.program.last_words())?;
        serde_json::from_str(&answer).with_context(|| self.program.last_words())
    }
}
