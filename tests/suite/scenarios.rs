//! The seven test scenarios and the workflows of the original system's documentation, through the command line and with real
//! nodes; and what becomes of all that a task holds when it is killed.

mod deaths;
mod families;
mod processes;
mod remote_deaths;
mod resources;
mod tasks;

use potluck_tests::{NodeBuilder, Output, TestNode, potluck, wait_for_some};
use serde_json::Value;
use std::thread::{self, JoinHandle};

/// Adds all of an operating system to a node. Its resources are those of the original.
pub(crate) fn complete(mut builder: NodeBuilder) -> NodeBuilder {
    for (plugin, lines) in [
        ("process", ""),
        ("ipc", ""),
        ("deadlock", "preset = \"classroom\""),
        ("memory-manager", "arena_bytes = 1048576"),
        ("history", ""),
    ] {
        builder = builder.plugin(plugin, lines);
    }
    builder
}

/// What a command line prints that succeeds; its words stand apart by blanks.
pub(crate) fn out(node: &TestNode, line: &str) -> String {
    node.cli(line.split(' ')).success().stdout
}

/// The complaint of a command line that fails.
fn refused(node: &TestNode, line: &str) -> String {
    let output = node.cli(line.split(' '));
    assert_eq!(output.status, 1, "{line}: {output:?}");
    output.stderr
}

/// What a command line that succeeds prints for programs.
pub(crate) fn json(node: &TestNode, line: &str) -> Value {
    node.cli(["--json"].into_iter().chain(line.split(' '))).success().json()
}

/// Begins a command that takes its time.
pub(crate) fn begin<S: AsRef<str>>(node: &TestNode, words: &[S]) -> JoinHandle<Output> {
    let own = ["--port".to_owned(), node.port().to_string()];
    let words: Vec<String> = own.into_iter().chain(words.iter().map(|word| word.as_ref().to_owned())).collect();
    thread::spawn(move || potluck(words))
}

/// Begins a task with this program, which gets one text.
fn begin_task(node: &TestNode, name: &str, runtime: &str, program: &str, argument: &str) -> JoinHandle<Output> {
    let words = ["--json", "cpu", "--task-id", name, "--runtime", runtime, "--timeout", "600", "--program", program];
    begin(node, &[&words[..], &["--retries", "0", "--args", argument]].concat())
}

/// All processes of a node that have not ended.
pub(crate) fn living(node: &TestNode) -> Vec<Value> {
    let all = json(node, "ps --flat")["processes"].as_array().unwrap().clone();
    all.into_iter().filter(|found| found["state"] != "TERMINATED" && found["state"] != "ZOMBIE").collect()
}

/// Waits until the process of a task is in a state, and returns its pid.
pub(crate) fn wait_for_state(node: &TestNode, task: &str, state: &str, reason: &str) -> String {
    wait_for_some(&format!("{task} to be {state} {reason}"), || {
        let found = living(node).into_iter().find(|found| found["task_id"] == task && found["state"] == state)?;
        (found["reason"].as_str().unwrap_or_default() == reason).then(|| found["pid"].as_str().unwrap().to_owned())
    })
}

/// Waits until so many wait for a semaphore.
pub(crate) fn wait_for_waiters(node: &TestNode, semaphore: &str, count: usize) {
    wait_for_some(&format!("{count} to wait for {semaphore}"), || {
        let list = json(node, "sem list");
        let found = list["semaphores"].as_array()?.iter().find(|one| one["sem_id"] == semaphore)?.clone();
        (found["waiting"] == count).then_some(())
    });
}
