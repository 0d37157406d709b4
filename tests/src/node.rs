//! One node as a child process: started, asked, stopped.

use crate::output::{self, Output};
use crate::wire::{Frame, Wire};
use crate::{LIMIT, children, wait_for_some};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Lines of the log that are shown when something goes wrong.
const LOG_LINES: usize = 40;

/// How a node is to be started.
#[derive(Clone)]
pub struct NodeBuilder {
    role: &'static str,
    plugins: Option<String>,
    node_settings: String,
    cpu_settings: String,
    memory_settings: String,
    /// Tables of further plugins: id and lines.
    more_plugins: Vec<(String, String)>,
    tracker: Option<String>,
    port: u16,
    data_dir: Option<PathBuf>,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// A node that ended, or did not serve, when it was to start.
#[derive(Debug)]
pub struct NotStarted {
    /// Its exit code; none when it had to be killed.
    pub status: Option<i32>,
    /// All that it said.
    pub log: String,
}

impl NodeBuilder {
    fn new(role: &'static str) -> NodeBuilder {
        NodeBuilder {
            role,
            plugins: None,
            node_settings: String::new(),
            cpu_settings: String::new(),
            memory_settings: String::new(),
            more_plugins: Vec::new(),
            tracker: None,
            port: 0,
            data_dir: None,
            args: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The whole text of plugins.toml, instead of one with memory and cpu.
    pub fn plugins(mut self, text: impl Into<String>) -> NodeBuilder {
        self.plugins = Some(text.into());
        self
    }

    /// Lines for `[node]`.
    pub fn node(mut self, lines: impl Display) -> NodeBuilder {
        self.node_settings += &format!("{lines}\n");
        self
    }

    /// Lines for `[plugins.cpu]`.
    pub fn cpu(mut self, lines: impl Display) -> NodeBuilder {
        self.cpu_settings += &format!("{lines}\n");
        self
    }

    /// Lines for `[plugins.memory]`.
    pub fn memory(mut self, lines: impl Display) -> NodeBuilder {
        self.memory_settings += &format!("{lines}\n");
        self
    }

    /// One more plugin, beside memory and cpu (or tracker), and the lines of its table.
    pub fn plugin(mut self, id: &str, lines: impl Display) -> NodeBuilder {
        self.more_plugins.push((id.to_owned(), lines.to_string()));
        self
    }

    /// The interpreter of tasks: a name on PATH or an absolute path.
    pub fn python(self, interpreter: impl AsRef<str>) -> NodeBuilder {
        self.cpu(format!("python = {}", json!(interpreter.as_ref())))
    }

    /// `host:port` of the tracker; without this the node works alone.
    pub fn tracker(mut self, address: impl Into<String>) -> NodeBuilder {
        self.tracker = Some(address.into());
        self
    }

    /// The port; a free one without this.
    pub fn port(mut self, port: u16) -> NodeBuilder {
        self.port = port;
        self
    }

    /// A data directory that stays when the node is gone; one of its own without this.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> NodeBuilder {
        self.data_dir = Some(path.into());
        self
    }

    /// One more argument of the command line.
    pub fn arg(mut self, argument: impl Into<OsString>) -> NodeBuilder {
        self.args.push(argument.into());
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> NodeBuilder {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the node and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(self) -> TestNode {
        self.try_start().unwrap_or_else(|failure| {
            panic!("the node did not start (exit code {:?}); its log:\n{}", failure.status, failure.log)
        })
    }

    /// As [`NodeBuilder::start`], where that may fail.
    pub fn try_start(self) -> Result<TestNode, NotStarted> {
        let folder = tempfile::Builder::new().prefix("potluck-test-").tempdir().unwrap();
        self.try_start_in(folder)
    }

    fn try_start_in(self, folder: TempDir) -> Result<TestNode, NotStarted> {
        let data_dir = self.data_dir.clone().unwrap_or_else(|| folder.path().join("data"));
        let log = folder.path().join("node.log");
        let facts_path = data_dir.join("node.json");
        // One that was killed has left it there.
        let _ = fs::remove_file(&facts_path);
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = output::potluck_command();
        command.arg(self.role).arg("--port").arg(self.port.to_string()).arg("--data-dir").arg(&data_dir);
        // Also in a pool a test's node is for this machine alone, unless the test says otherwise.
        if !self.args.iter().any(|argument| argument == "--host") && !self.node_settings.contains("host =") {
            command.arg("--host").arg("127.0.0.1");
        }
        if let Some(text) = self.plugins_text() {
            let path = folder.path().join("plugins.toml");
            fs::write(&path, text).unwrap();
            command.arg("--plugins").arg(path);
        }
        match (&self.tracker, self.role) {
            (Some(tracker), _) => drop(command.arg("--tracker").arg(tracker)),
            (None, "peer") => drop(command.arg("--no-tracker")),
            _ => {}
        }
        command.args(&self.args).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        // A group of its own, so that it can be killed with all that it started in it.
        command.process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut node = TestNode {
            builder: self,
            folder,
            data_dir,
            log,
            child,
            ended: None,
            address: String::new(),
            facts: json!({}),
        };
        let deadline = Instant::now() + LIMIT;
        loop {
            // Written in one step, when the node serves.
            if let Some(facts) =
                fs::read(&facts_path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            {
                node.address = format!("{}:{}", facts["ip"].as_str().unwrap(), facts["port"]);
                node.facts = facts;
                return Ok(node);
            }
            let status = node.poll();
            if status.is_some() || Instant::now() >= deadline {
                node.kill9();
                return Err(NotStarted { status: status.map(output::code), log: node.log_text() });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// plugins.toml; none when the node's own default is wanted, which only a tracker has.
    fn plugins_text(&self) -> Option<String> {
        if let Some(text) = &self.plugins {
            return Some(text.clone());
        }
        let NodeBuilder { node_settings, cpu_settings, memory_settings, .. } = self;
        let mut more = String::new();
        for (id, lines) in &self.more_plugins {
            more += &format!("[plugins.{id}]\n{lines}\n");
        }
        if self.role == "tracker" {
            let needed = !node_settings.is_empty() || !more.is_empty();
            let own = if more.contains("[plugins.tracker]") { "" } else { "[plugins.tracker]\n" };
            return needed.then(|| format!("[node]\n{node_settings}\n{own}{more}"));
        }
        // As in the shipped file, cpu starts last: then those that it asks are there.
        // Tests stop many nodes, some of them with tasks that never end.
        let drain = if cpu_settings.contains("drain_seconds") { "" } else { "drain_seconds = 0.2\n" };
        Some(format!(
            "[node]\n{node_settings}\n[plugins.memory]\n{memory_settings}\n{more}\n[plugins.cpu]\n{drain}{cpu_settings}\n"
        ))
    }
}

/// A node that serves. Dropping it kills it.
pub struct TestNode {
    builder: NodeBuilder,
    folder: TempDir,
    data_dir: PathBuf,
    log: PathBuf,
    child: Child,
    /// Set once the child was waited for: from then on its number may belong to somebody else.
    ended: Option<ExitStatus>,
    address: String,
    facts: Value,
}

impl TestNode {
    /// A peer, with memory and cpu and without a tracker unless said otherwise.
    pub fn peer() -> NodeBuilder {
        NodeBuilder::new("peer")
    }

    /// A tracker.
    pub fn tracker() -> NodeBuilder {
        NodeBuilder::new("tracker")
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port.
    pub fn port(&self) -> u16 {
        u16::try_from(self.facts["port"].as_u64().unwrap()).unwrap()
    }

    /// The node's id.
    pub fn peer_id(&self) -> &str {
        self.facts["peer_id"].as_str().unwrap()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it keeps what must survive it.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What of that is a provider's.
    pub fn provider_dir(&self, id: &str) -> PathBuf {
        self.data_dir.join("providers").join(id)
    }

    /// A folder for whatever a test needs, which goes with the node. plugins.toml and the log are in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file with this name that a task has written in its worker's folder, where alone it may write.
    pub fn scratch_file(&self, name: &str) -> Option<PathBuf> {
        let workers = fs::read_dir(self.provider_dir("cpu").join("scratch")).ok()?;
        workers.flatten().map(|worker| worker.path().join(name)).find(|path| path.exists())
    }

    /// plugins.toml, when the node has one of its own.
    pub fn plugins_path(&self) -> PathBuf {
        self.folder.path().join("plugins.toml")
    }

    /// All that the node has said.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of that, for messages.
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// A connection to the node.
    pub fn wire(&self) -> Wire {
        Wire::connect(&self.address)
    }

    /// Sends a message over a connection of its own and returns the reply, an `ERROR` too.
    pub fn call(&self, message: impl ToString) -> Value {
        self.wire().call(message)
    }

    /// As [`TestNode::call`], with the reply as it came, digit for digit.
    pub fn call_raw(&self, json: impl ToString) -> String {
        let mut wire = self.wire();
        wire.send(json);
        wire.read_text()
    }

    /// As [`TestNode::call`], with attachments. `message` must not announce its own.
    pub fn call_with(&self, message: Value, attachment: &[u8]) -> Frame {
        let mut wire = self.wire();
        wire.send_with(crate::with(message, json!({ "attachment": attachment.len() })), attachment);
        wire.read_frame().expect("the node closed the connection instead of answering")
    }

    /// Runs `main` of a program and returns what it returned.
    ///
    /// # Panics
    /// When the task fails.
    pub fn run(&self, program: &str, args: Value) -> Value {
        let mut reply = self.call(crate::task(program, args));
        assert_eq!(reply["error"], Value::Null, "the task failed: {reply:#}");
        reply["result"].take()
    }

    /// Runs `potluck` with this node as the one to ask.
    pub fn cli<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.cli_with_input(args, "")
    }

    /// As [`TestNode::cli`], with a standard input.
    pub fn cli_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Output {
        let port = self.port().to_string();
        let mut words: Vec<OsString> = vec!["--port".into(), port.into()];
        words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        output::potluck_with_input(words, input)
    }

    /// The reply to STATUS.
    pub fn status(&self) -> Value {
        let status = self.call(json!({ "type": "STATUS" }));
        assert_eq!(status["status"], "OK", "{status:#}");
        status
    }

    /// Waits until STATUS is as it should be, and returns it.
    ///
    /// # Panics
    /// When it does not become so.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        wait_for_some(what, || Some(self.status()).filter(|status| condition(status)))
    }

    /// Tasks that run now.
    pub fn active_tasks(&self) -> u64 {
        self.status()["scheduler"]["stats"]["active_tasks"].as_u64().unwrap()
    }

    /// Waits until so many tasks run, and so many wait.
    pub fn wait_for_tasks(&self, running: u64, waiting: u64) {
        self.wait_until(&format!("{running} tasks to run and {waiting} to wait"), |status| {
            let stats = &status["scheduler"]["stats"];
            stats["active_tasks"] == running && stats["queue_size"] == waiting
        });
    }

    /// Checks that the node still serves: it runs a task and keeps a value.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_serving(&self) {
        assert_eq!(self.run("def main(x): return x * x", json!([12])), 144);
        let key = json!("check_serving");
        assert_eq!(self.call(json!({ "type": "SET_MEM", "key": key, "value": [1] }))["status"], "OK");
        assert_eq!(self.call(json!({ "type": "GET_MEM", "key": key }))["value"], json!([1]));
    }

    /// How the process has ended, if it has.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Asks the node to stop, and does not wait.
    pub fn terminate(&mut self) {
        if self.poll().is_none() {
            // It fails only when the process has just ended by itself.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }

    /// Waits until the node has ended by itself or as it was asked to.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.poll() {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not stop; its log ends with:\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the node as an operator would, with SIGTERM, and tells how it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait_for_exit()
    }

    /// Kills the node at once, as a power loss would.
    pub fn kill9(&mut self) {
        if self.poll().is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }

    /// Starts a node that has ended again: with the same data directory, port and options.
    ///
    /// # Panics
    /// When it has not ended, or does not start.
    pub fn restart(&mut self) {
        self.start_again(self.port());
    }

    /// As [`TestNode::restart`], on another port.
    pub fn restart_elsewhere(&mut self) {
        self.start_again(0);
    }

    fn start_again(&mut self, port: u16) {
        assert!(self.poll().is_some(), "stop the node before it is started again");
        let builder = self.builder.clone().port(port).data_dir(&self.data_dir);
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        match builder.try_start_in(folder) {
            Ok(node) => *self = node,
            Err(failure) => panic!("the node did not start again ({:?}); its log:\n{}", failure.status, failure.log),
        }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of the {} {} ends with:\n{}", self.builder.role, self.address, self.log_tail());
        }
        if self.poll().is_none() {
            // Workers lead groups of their own, and what their tasks have started would outlive them.
            for worker in children(self.pid()) {
                let worker = Pid::from_raw(i32::try_from(worker).unwrap_or(0));
                let _ = worker.map(|worker| kill_process_group(worker, Signal::KILL));
            }
        }
        self.kill9();
    }
}
