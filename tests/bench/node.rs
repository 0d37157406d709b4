//! The node that is measured: the built one, with a data directory and a port of its own.

use crate::Setup;
use crate::client::Client;
use crate::machine::{children, command_line};
use crate::process::{Program, quiet};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A running node, killed when dropped.
pub(crate) struct Node {
    program: Program,
    pub(crate) port: u16,
    /// Behind the program, so that it is removed when that is gone.
    _folder: TempDir,
}

/// What a node writes down once it serves.
#[derive(Deserialize)]
struct Facts {
    port: u16,
}

impl Node {
    /// Starts a node with these plugins and waits until it serves.
    pub(crate) fn start(setup: &Setup, plugins: &str) -> Result<Node> {
        let folder = temporary_folder()?;
        let composition = folder.path().join("plugins.toml");
        std::fs::write(&composition, plugins).with_context(|| format!("cannot write {}", composition.display()))?;
        let data = folder.path().join("data");
        let mut command = command(setup, &data, 0);
        let mut program = Program::start("potluck", command.arg("--plugins").arg(&composition), folder.path())?;
        let facts = data.join("node.json");
        let read = || serde_json::from_slice::<Facts>(&std::fs::read(&facts).ok()?).ok();
        let Facts { port } = program.wait_for("it served", read)?;
        Ok(Node { program, port, _folder: folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// Its worker processes for a runtime of WebAssembly, `sandbox` or `wasm`.
    pub(crate) fn workers(&self, runtime: &str) -> Vec<u32> {
        let serves = |process: &u32| command_line(*process).windows(2).any(|words| words == ["serve", runtime]);
        children(self.id()).into_iter().filter(serves).collect()
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.port).with_context(|| self.program.last_words())
    }
}

/// The command that starts a node which knows no other.
pub(crate) fn command(setup: &Setup, data: &Path, port: u16) -> Command {
    let mut command = quiet(setup.dist.join("bin/potluck"));
    command.args(["peer", "--no-tracker", "--port", &port.to_string(), "--data-dir"]).arg(data);
    command
}

pub(crate) fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix("potluck-bench-").tempdir().context("cannot create a temporary folder")
}

/// `[plugins.cpu]` with the interpreter of the comparison and further keys. Connections stay open while something else
/// is measured, or being prepared.
pub(crate) fn cpu_plugins(setup: &Setup, keys: &str) -> String {
    // A TOML basic string is written like a JSON one.
    let python = serde_json::Value::from(setup.python.to_string_lossy());
    format!("[node]\nidle_seconds = 3600.0\n\n[plugins.cpu]\npython = {python}\n{keys}\n")
}
