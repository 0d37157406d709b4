//! Running the command line.

use crate::dist;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// What a program that has ended left behind.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; 128 and the signal's number when a signal ended it, as shells count it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Output {
    /// The output of a program that succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn success(self) -> Output {
        assert_eq!(self.status, 0, "the command failed: {self:#?}");
        self
    }

    /// Standard output, which must be one JSON value.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("the output is not JSON: {error}: {self:#?}"))
    }

    /// Standard output, which must be one JSON value a line.
    ///
    /// # Panics
    /// When it is not.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Runs `potluck` with these arguments.
pub fn potluck<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    potluck_with_input(args, "")
}

/// Runs `potluck` with these arguments and this standard input.
pub fn potluck_with_input<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &str) -> Output {
    run(potluck_command().args(args), input)
}

/// `potluck`, to be started in other ways, without the variables that change what it does.
pub fn potluck_command() -> Command {
    let mut command = Command::new(dist().join("bin/potluck"));
    for name in
        ["POTLUCK_HOST", "POTLUCK_PORT", "POTLUCK_HOME", "PEER_PORT", "TRACKER_HOST", "TRACKER_PORT", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading, or write before it has read everything.
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    Output {
        status: code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
