//! A node that runs for the checks alone: on a free port of this machine, with a data directory that is thrown away.
//!
//! It is a process of its own, so that a plugin that takes its process with it is found out and told.

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";
/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to stop, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What is shown of what it said before it ended.
const LAST_WORDS_BYTES: u64 = 4096;

/// A node that stops when this is dropped, which blocks until it has.
pub(super) struct PrivateNode {
    child: Child,
    port: u16,
    start_seconds: f64,
    /// Its data directory. Behind the process, so that nobody writes into it when it is removed.
    _data_dir: TempDir,
}

#[derive(Deserialize)]
struct Facts {
    port: u16,
}

impl PrivateNode {
    /// Starts a node with the plugins that a file names, and waits until it serves.
    pub(super) async fn start(plugins: &Path) -> anyhow::Result<PrivateNode> {
        let start = Instant::now();
        let data_dir = tempfile::Builder::new().prefix("potluck-doctor-").tempdir();
        let data_dir = data_dir.context("cannot create a temporary folder for the checks")?;
        let log = tempfile::tempfile().context("cannot create a temporary file for the checks")?;
        let program = std::env::current_exe().context("cannot find the program's own file")?;
        let mut command = Command::new(program);
        command.args(["peer", "--host", HOST, "--port", "0", "--no-tracker"]);
        command.arg("--data-dir").arg(data_dir.path()).arg("--plugins").arg(plugins);
        // Of the user's own choice of what to log only the level of a plain node makes sense here.
        command.env("POTLUCK_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.try_clone().context("cannot share a temporary file")?);
        let mut child = command.spawn().context("cannot start a node for the checks")?;
        let stdout = child.stdout.take();
        let facts_path = data_dir.path().join("node.json");
        // From here on it is stopped whatever happens.
        let mut node = PrivateNode { child, port: 0, start_seconds: 0.0, _data_dir: data_dir };
        let announced = tokio::task::spawn_blocking(move || wait_for_announcement(stdout));
        match tokio::time::timeout(START_LIMIT, announced).await {
            Ok(Ok(true)) => {}
            Ok(_) => bail!("a node for the checks cannot be started: {}", node.last_words(log)),
            Err(_) => bail!("a node for the checks has not started within {} s", START_LIMIT.as_secs()),
        }
        let facts = std::fs::read(facts_path).context("the node for the checks says nothing about itself")?;
        let facts: Facts = serde_json::from_slice(&facts).context("what the node for the checks says is no JSON")?;
        node.port = facts.port;
        node.start_seconds = start.elapsed().as_secs_f64();
        Ok(node)
    }

    pub(super) fn host(&self) -> &'static str {
        HOST
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How long it took to start.
    pub(super) fn start_seconds(&self) -> f64 {
        self.start_seconds
    }

    /// Why it has ended.
    fn last_words(&mut self, mut log: File) -> String {
        // It has closed its output, so it is gone or about to be.
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut text = Vec::new();
        let length = log.metadata().map_or(0, |metadata| metadata.len());
        let read = log.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)));
        let _ = read.and_then(|_| log.take(LAST_WORDS_BYTES).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match text.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => line.trim().trim_start_matches("Error: ").to_owned(),
            None => format!("it ended with {status}"),
        }
    }
}

/// Whether the node has said that it serves; it writes down who it is before that.
fn wait_for_announcement(stdout: Option<ChildStdout>) -> bool {
    let Some(stdout) = stdout else { return false };
    let mut lines = BufReader::new(stdout).lines();
    // The last line of the announcement; the pipe may be closed then, since nothing more is written.
    lines.any(|line| line.is_ok_and(|line| line.starts_with("Press Ctrl+C")))
}

impl Drop for PrivateNode {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // When this fails it is killed below.
            let _ = stop(&self.child);
        }
        // Its workers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks it to stop and waits until it has, or for as long as it may take.
fn stop(child: &Child) -> rustix::io::Result<()> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    kill_process(pid, Signal::TERM)?;
    let limit = Timespec { tv_sec: STOP_LIMIT.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit))?;
    Ok(())
}
