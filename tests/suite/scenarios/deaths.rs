//! A task that holds a semaphore, memory and units, and whose worker process is killed: all is given back, and who waits for
//! it goes on.

use super::{begin, begin_task, complete, json, living, out, wait_for_state, wait_for_waiters};
use potluck_tests::{Output, TestNode, children, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::thread::JoinHandle;

/// Takes all that others will wait for, on the node with this id, and keeps it. What it holds elsewhere is in its own name.
pub(super) const HOLDER: &str = "
import os, potluck
def main(node):
    me = potluck.me()
    to = None if node == 'here' else node
    potluck.call('REGISTER_PROCESS', to=to, pid=me.pid, max_need={'PRINTER': 2})
    potluck.call('REQUEST_RESOURCE', to=to, pid=me.pid, resource_id='PRINTER', units=2)
    potluck.lock('door', to=to).acquire()
    potluck.call('ALLOCATE_MEMORY', to=to, pid=me.pid, size=1048000)
    potluck.set('holder', os.getpid(), to=to)
    while True:
        pass
";

/// Three that wait at the command line for what the holder has: a semaphore, memory, units.
pub(super) struct Waiters([JoinHandle<Output>; 3]);

impl Waiters {
    /// Prepares the node.
    pub(super) fn expect(node: &TestNode) {
        if !node.status()["deadlock_detector"]["resources"]["PRINTER"].is_object() {
            out(node, "resources register PRINTER=2");
        }
        out(node, "resources need carl PRINTER=1");
        out(node, "sem create door --binary");
    }

    /// Begins to wait, as soon as the holder has all.
    pub(super) fn begin(node: &TestNode) -> Waiters {
        wait_for("the holder to have all", || node.cli(["get-mem", "--key", "holder"]).status == 0);
        let status = node.status();
        assert_eq!(status["deadlock_detector"]["resources"]["PRINTER"]["available"], 0, "{status:#}");
        assert_eq!(status["memory_manager"]["allocated_processes"], 1, "{status:#}");
        let commands = ["sem wait door --as ann", "alloc bob 100K --wait", "resources request carl PRINTER --wait"];
        let waiters = Waiters(commands.map(|line| begin(node, &line.split(' ').collect::<Vec<_>>())));
        node.wait_until("three to wait", |status| {
            let waiting = |what: &str| status[what]["waiting"] == 1;
            status["ipc"]["semaphore_waits"] == 1 && waiting("memory_manager") && waiting("deadlock_detector")
        });
        waiters
    }

    /// Waits until each has what it waited for, and cleans up behind them.
    pub(super) fn get_all(self, node: &TestNode) {
        let texts = self.0.map(|waiter| waiter.join().unwrap().success().stdout);
        let expected =
            ["ann has door; its value is 0\n", "bob: 102400 bytes at address 0", "Granted; carl has 1 PRINTER"];
        assert!(texts.iter().zip(expected).all(|(text, expected)| text.starts_with(expected)), "{texts:?}");
        // Nothing is left in the name of the one that is gone.
        let status = node.status();
        assert_eq!(status["deadlock_detector"]["resources"]["PRINTER"]["available"], 1, "{status:#}");
        assert_eq!(status["memory_manager"]["allocated_processes"], 1, "{status:#}");
        assert_eq!(json(node, "sem list")["semaphores"][0]["holders"], json!(["ann"]));
        for line in ["sem delete door", "free bob", "resources forget carl", "del-mem --key holder"] {
            out(node, line);
        }
    }
}

/// kill -9.
pub(super) fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Kills the worker of the holder, which says which one that is, or else all.
fn kill_worker(node: &TestNode, runtime: &str) {
    if runtime == "python" {
        let pid: Value = json(node, "get-mem --key holder")["value"].take();
        kill(u32::try_from(pid.as_u64().unwrap()).unwrap());
    } else {
        children(node.pid()).into_iter().for_each(kill);
    }
}

#[test]
fn all_that_a_killed_worker_held_goes_to_who_waits() {
    let node = complete(TestNode::peer()).start();
    for runtime in ["python", "sandbox"] {
        Waiters::expect(&node);
        let holder = begin_task(&node, "holder", runtime, HOLDER, "here");
        let waiters = Waiters::begin(&node);
        kill_worker(&node, runtime);
        waiters.get_all(&node);
        let ended = holder.join().unwrap();
        assert!(ended.status == 1 && ended.stdout.contains("worker_died"), "{ended:?}");
        wait_for("no process to be left", || living(&node).is_empty());
    }
    node.check_serving();
}

#[test]
fn tasks_that_wait_for_a_killed_one_go_on_in_their_order() {
    let node = complete(TestNode::peer().cpu("workers = 1")).start();
    let waits = "import potluck
def main(me):
    with potluck.lock('door'):
        return potluck.update('order', lambda names: names + [me], [])
";
    for runtime in ["python", "sandbox"] {
        Waiters::expect(&node);
        let holder = begin_task(&node, "holder", runtime, HOLDER, "here");
        wait_for("the holder to have all", || node.cli(["get-mem", "--key", "holder"]).status == 0);
        // It has the slot, so the two that will wait have to get it first.
        let pid = wait_for_state(&node, "holder", "RUNNING", "");
        out(&node, &format!("pause {pid}"));
        let mut waiters = Vec::new();
        for (number, name) in ["first", "second"].into_iter().enumerate() {
            waiters.push(begin_task(&node, name, runtime, waits, name));
            wait_for_waiters(&node, "door", number + 1);
            wait_for_state(&node, name, "WAITING", "semaphore door");
        }
        // Also one that is paused is killed.
        kill_worker_of_holder(&node, runtime, &pid);
        let ended = holder.join().unwrap();
        assert_eq!(ended.status, 1, "{ended:?}");
        for waiter in waiters {
            waiter.join().unwrap().success();
        }
        assert_eq!(json(&node, "get-mem --key order")["value"], json!(["first", "second"]));
        for line in ["del-mem --key order", "del-mem --key holder", "sem delete door"] {
            out(&node, line);
        }
        node.wait_for_tasks(0, 0);
        wait_for("no process to be left", || living(&node).is_empty());
    }
}

/// In the sandbox other workers have tasks as well, so there the process is killed, and not its worker.
fn kill_worker_of_holder(node: &TestNode, runtime: &str, pid: &str) {
    if runtime == "python" {
        kill_worker(node, runtime);
    } else {
        out(node, &format!("kill {pid} --signal kill"));
    }
}
