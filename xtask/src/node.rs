//! One node as a child process: started, watched, stopped.

use crate::interrupt::Interrupt;
use crate::process::{self, POLL};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a node may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a node may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A node that serves. Dropping it ends the process, whatever happened.
pub(crate) struct Node {
    name: String,
    address: String,
    port: u16,
    process: Process,
    log: PathBuf,
    /// Whether the user has been told that it ended by itself.
    is_lost: bool,
}

impl Node {
    /// Starts `command` with a data folder and a log file in `folder`, and waits until the node serves.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path, interrupt: &Interrupt) -> Result<Node> {
        let data = folder.join(name);
        let log = folder.join(format!("{name}.log"));
        fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.arg("--data-dir").arg(&data);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A group of its own: Ctrl-C at the terminal reaches this program alone, which stops the nodes in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {}", process::line(&command)))?;
        let mut process = Process { child, stop_deadline: None, ended: None };

        let ready = data.join("node.json");
        let deadline = Instant::now() + START_LIMIT;
        loop {
            interrupt.check()?;
            if let Some((address, port)) = read_address(&ready) {
                return Ok(Node { name: name.to_owned(), address, port, process, log, is_lost: false });
            }
            if let Some(status) = process.poll()? {
                bail!("{name} ended before it served ({status}); its log ends with:\n{}", process::log_tail(&log));
            }
            if Instant::now() >= deadline {
                let seconds = START_LIMIT.as_secs();
                bail!("{name} did not serve within {seconds} s; its log ends with:\n{}", process::log_tail(&log));
            }
            thread::sleep(POLL);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as in the results of tasks.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// An error when the node has ended although nobody stopped it.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.process.poll()? {
            None => Ok(()),
            Some(status) => bail!("{} has died ({status})", self.name),
        }
    }

    /// Why the node has ended, the first time that it is asked after that.
    pub(crate) fn newly_lost(&mut self) -> Option<String> {
        let error = self.check_alive().err().filter(|_| !self.is_lost)?;
        self.is_lost = true;
        Some(format!("{error}\n{}", self.log_tail()))
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The end of the node's log, under its name.
    pub(crate) fn log_tail(&self) -> String {
        format!("The log of {} ends with:\n{}", self.name, process::log_tail(&self.log))
    }

    /// Asks the node to stop, and does not wait.
    pub(crate) fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Waits until a node that was asked to stop has ended. Anything but exit code 0 is an error, unless the node was
    /// lost before and everybody knows.
    pub(crate) fn wait_until_stopped(&mut self) -> Result<()> {
        if self.is_lost {
            return Ok(());
        }
        match self.process.wait_until_stopped()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} ended with {status}\n{}", self.name, self.log_tail()),
            None => {
                self.process.kill();
                let seconds = STOP_LIMIT.as_secs();
                bail!("{} did not stop within {seconds} s and was killed\n{}", self.name, self.log_tail())
            }
        }
    }
}

/// The node writes this file, in one step, when it serves.
fn read_address(path: &Path) -> Option<(String, u16)> {
    let facts: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let port = u16::try_from(facts["port"].as_u64()?).ok()?;
    Some((format!("{}:{port}", facts["ip"].as_str()?), port))
}

/// A child process that leads a group, and never outlives this value.
struct Process {
    child: Child,
    /// Set when it was asked to stop, which happens once: a second signal could mean that it must not be orderly.
    stop_deadline: Option<Instant>,
    /// Set once the child was waited for: from then on its number may belong to somebody else.
    ended: Option<ExitStatus>,
}

impl Process {
    fn poll(&mut self) -> Result<Option<ExitStatus>> {
        self.wait(Duration::ZERO)
    }

    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = process::wait_for(&mut self.child, limit)?;
        }
        Ok(self.ended)
    }

    fn terminate(&mut self) {
        if self.ended.is_none() && self.stop_deadline.is_none() {
            self.stop_deadline = Some(Instant::now() + STOP_LIMIT);
            // It fails only when the process has just ended by itself.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }

    /// Waits as long as a process that was asked to stop may take, counted from then: several stop at the same time.
    fn wait_until_stopped(&mut self) -> Result<Option<ExitStatus>> {
        let deadline = self.stop_deadline.unwrap_or_else(Instant::now);
        self.wait(deadline.saturating_duration_since(Instant::now()))
    }

    fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
        if !matches!(self.wait_until_stopped(), Ok(Some(_))) {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        // The data folder arrives as `$2`: `$0` is the name, `$1` the option.
        command.args(["-c", script, "sh"]);
        command
    }

    const SERVE: &str = r#"echo '{"ip":"127.0.0.1","port":9000,"pid":1}' > "$2/new"; mv "$2/new" "$2/node.json"; "#;

    #[test]
    fn a_node_serves_when_its_file_is_there_and_stops_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("trap 'exit 0' TERM; {SERVE} while :; do sleep 0.05; done");
        let mut node = Node::start("peer", shell(&script), folder.path(), &Interrupt::never()).unwrap();
        assert_eq!((node.address(), node.port()), ("127.0.0.1:9000", 9000));
        node.check_alive().unwrap();
        node.terminate();
        node.wait_until_stopped().unwrap();
        assert!(node.check_alive().is_err());
        assert!(node.newly_lost().is_some() && node.newly_lost().is_none());
    }

    #[test]
    fn a_node_that_ends_too_early_is_an_error_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let Err(error) = Node::start("peer", shell("echo no such plugin; exit 3"), folder.path(), &Interrupt::never())
        else {
            panic!("a node that ended counts as started");
        };
        let text = error.to_string();
        assert!(text.contains("peer ended") && text.contains("no such plugin"), "{text}");
    }

    #[test]
    fn a_node_that_ends_with_a_failure_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("trap 'exit 4' TERM; {SERVE} while :; do sleep 0.05; done");
        let mut node = Node::start("peer", shell(&script), folder.path(), &Interrupt::never()).unwrap();
        node.terminate();
        assert!(node.wait_until_stopped().is_err());
    }
}
