//! `cargo build`, and which files came out of it.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::env::consts::DLL_SUFFIX;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The files of one build. Cargo names them itself: a configured target triple or profile moves them.
pub(crate) struct Artifacts(Vec<Artifact>);

struct Artifact {
    package: String,
    target: String,
    is_example: bool,
    files: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

/// Runs `cargo build` with these arguments. Compiler messages and progress go to the terminal.
pub(crate) fn build<S: AsRef<str>>(workspace: &Workspace, arguments: &[S]) -> Result<Artifacts> {
    let mut command = workspace.cargo();
    command.arg("build").args(arguments.iter().map(AsRef::as_ref));
    let shown = process::line(&command);
    command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = command.spawn().context("cannot run cargo")?;
    let mut artifacts = Vec::new();
    if let Some(stdout) = cargo.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read the messages of cargo")?;
            // Build scripts and macros may print to the same stream.
            if let Ok(message) = serde_json::from_str(&line) {
                artifacts.extend(artifact(workspace, &message));
            }
        }
    }
    let status = cargo.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(Artifacts(artifacts))
}

fn artifact(workspace: &Workspace, message: &Value) -> Option<Artifact> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let package = workspace.packages.iter().find(|package| message["package_id"] == *package.id)?;
    let target = &message["target"];
    Some(Artifact {
        package: package.name.clone(),
        target: target["name"].as_str()?.to_owned(),
        is_example: target["kind"].as_array()?.iter().any(|kind| kind == "example"),
        files: message["filenames"].as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from).collect(),
        executable: message["executable"].as_str().map(PathBuf::from),
    })
}

impl Artifacts {
    /// The program that a package builds.
    pub(crate) fn program(&self, package: &str, name: &str) -> Result<&Path> {
        self.0
            .iter()
            .find(|artifact| artifact.package == package && artifact.target == name && artifact.executable.is_some())
            .and_then(|artifact| artifact.executable.as_deref())
            .with_context(|| format!("cargo has built no program {name} in {package}"))
    }

    /// The shared library of a package.
    pub(crate) fn library(&self, package: &str) -> Result<&Path> {
        self.shared(|artifact| artifact.package == package && !artifact.is_example)
            .with_context(|| format!("cargo has built no shared library in {package}"))
    }

    /// An example that is a shared library.
    pub(crate) fn example(&self, package: &str, name: &str) -> Result<&Path> {
        self.shared(|artifact| artifact.package == package && artifact.is_example && artifact.target == name)
            .with_context(|| format!("cargo has built no example {name} in {package}"))
    }

    fn shared(&self, wanted: impl Fn(&Artifact) -> bool) -> Option<&Path> {
        self.0
            .iter()
            .filter(|artifact| wanted(artifact))
            .flat_map(|artifact| &artifact.files)
            .find(|file| file.to_string_lossy().ends_with(DLL_SUFFIX))
            .map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_are_taken_from_the_messages_of_cargo() {
        let workspace = crate::workspace::sample();
        let library = format!("/w/target/debug/libprovider_memory{DLL_SUFFIX}");
        let echo = format!("/w/target/debug/examples/libecho{DLL_SUFFIX}");
        let messages = [
            json!({"reason": "compiler-artifact", "package_id": "a", "executable": null,
                   "target": {"name": "provider_memory", "kind": ["cdylib", "rlib"]},
                   "filenames": ["/w/target/debug/libprovider_memory.rlib", library]}),
            json!({"reason": "compiler-artifact", "package_id": "c", "executable": null,
                   "target": {"name": "echo", "kind": ["example"]}, "filenames": [echo]}),
            json!({"reason": "compiler-artifact", "package_id": "elsewhere", "executable": null,
                   "target": {"name": "serde", "kind": ["lib"]}, "filenames": ["libserde.rlib"]}),
            json!({"reason": "build-finished", "success": true}),
        ];
        let artifacts = Artifacts(messages.iter().filter_map(|message| artifact(&workspace, message)).collect());
        assert_eq!(artifacts.library("provider-memory").unwrap(), Path::new(&library));
        assert_eq!(artifacts.example("potluck-sdk", "echo").unwrap(), Path::new(&echo));
        assert!(artifacts.library("potluck-sdk").is_err());
        assert!(artifacts.program("potluck-host", "potluck").is_err());
    }
}
