//! The interpreter, and the worker processes.

use super::{ENDLESS, PID, assert_failed, kill, one_worker, wait_for_pid};
use potluck_tests::{TestNode, children, is_alive, run, task, wait_for, with};
use serde_json::json;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn packages_of_a_virtual_environment_can_be_imported() {
    let Some(folder) = env::var_os("POTLUCK_TEST_VENV").map(PathBuf::from) else {
        println!("skipped: POTLUCK_TEST_VENV names no virtual environment with numpy; `cargo xtask test` makes one");
        return;
    };
    let interpreter = if folder.is_dir() { folder.join("bin/python") } else { folder };
    let node = TestNode::peer().python(interpreter.to_str().unwrap()).start();
    let program = "
import numpy, sys
def main(n):
    matrix = numpy.arange(n * n, dtype=float).reshape(n, n)
    return [float(matrix.sum()), (matrix @ matrix).tolist(), sys.prefix]
";
    let result = node.run(program, json!([3]));
    assert_eq!(result[0], 36.0);
    assert_eq!(result[1], json!([[15.0, 18.0, 21.0], [42.0, 54.0, 66.0], [69.0, 90.0, 111.0]]));
    assert!(interpreter.starts_with(result[2].as_str().unwrap()), "{result} is not the environment of {interpreter:?}");
    let reply = node.call(task("import numpy\ndef main(): return numpy.float64(1) / numpy.int64(3)", json!([])));
    assert_eq!(reply["result"], 1.0 / 3.0, "{reply:#}");
    assert_failed(
        &node.call(task("import numpy\ndef main(): return numpy.arange(3)", json!([]))),
        "result_unusable",
        "ndarray",
    );
}

/// What LIST_PLUGINS says of cpu: its state and the reason.
fn cpu_state(node: &TestNode) -> (String, String) {
    let list = node.call(json!({ "type": "LIST_PLUGINS" }));
    let cpu = list["plugins"].as_array().unwrap().iter().find(|plugin| plugin["id"] == "cpu").unwrap();
    (cpu["state"].as_str().unwrap().to_owned(), cpu["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_missing_interpreter_is_named_and_the_node_serves_on() {
    let node = TestNode::peer().python("/no/such/python3").start();
    let reply = node.call(task("def main(): pass", json!([])));
    assert_failed(&reply, "runtime_unavailable", "/no/such/python3");
    assert!(reply["error"].as_str().unwrap().contains("set `python` in [plugins.cpu]"), "{reply:#}");
    let (state, reason) = cpu_state(&node);
    assert!(state == "degraded" && reason.contains("/no/such/python3"), "{state}: {reason}");
    assert_eq!(node.call(json!({ "type": "SET_MEM", "key": "k", "value": 1 }))["status"], "OK");
    let batch = node.call(json!({ "type": "BATCH_TASK", "tasks": [{ "program": "def main(): pass" }] }));
    assert_eq!(batch["results"][0]["code"], "runtime_unavailable");
}

#[test]
fn a_program_that_is_no_interpreter_is_refused() {
    for (program, words) in [
        ("/bin/true", "not a Python interpreter"),
        ("/bin/false", "not a Python interpreter"),
        ("/dev/null", "cannot be started"),
    ] {
        let node = TestNode::peer().python(program).start();
        assert_failed(&node.call(task("def main(): pass", json!([]))), "runtime_unavailable", words);
    }
}

#[test]
fn an_interpreter_that_appears_later_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let interpreter = folder.path().join("python3");
    let node = TestNode::peer().python(interpreter.to_str().unwrap()).start();
    assert_failed(&node.call(task("def main(): pass", json!([]))), "runtime_unavailable", "python3");
    let script = "#!/bin/sh\nexec python3 \"$@\"\n";
    fs::write(&interpreter, script).unwrap();
    fs::set_permissions(&interpreter, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    wait_for("the node to find the interpreter", || node.call(task("def main(): pass", json!([])))["error"].is_null());
    assert_eq!(cpu_state(&node).0, "started");
    node.check_serving();
}

#[test]
fn a_worker_that_is_killed_is_replaced() {
    let node = one_worker();
    let pid = u32::try_from(node.run(PID, json!([])).as_u64().unwrap()).unwrap();
    kill(pid);
    wait_for("the killed worker to be gone", || !is_alive(pid));
    node.check_serving();

    // One that is at work costs its task.
    let mut wire = node.wire();
    wire.send(task(ENDLESS, json!(["pid"])));
    kill(wait_for_pid(&node, "pid"));
    assert_failed(&wire.read(), "worker_died", "signal 9");
    node.check_serving();
}

#[test]
fn status_counts_the_workers_that_died() {
    let node = one_worker();
    for _ in 0..2 {
        let reply = node.call(task("import os\ndef main(): os._exit(3)", json!([])));
        assert_failed(&reply, "worker_died", "exit code 3");
    }
    node.check_serving();
    let executor = node.status()["executor"].take();
    assert_eq!(executor["workers_died"], 2, "{executor:#}");
}

#[test]
fn an_interpreter_in_which_the_worker_does_not_start_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let ask = "import site; print(site.getusersitepackages())";
    let mut python = Command::new("python3");
    let site = run(python.args(["-c", ask]).env("PYTHONUSERBASE", folder.path()), "").success();
    // Run by every interpreter of this user; it ends those that are to become workers.
    let site = PathBuf::from(site.stdout.trim());
    fs::create_dir_all(&site).unwrap();
    let broken = "import os, sys\nif 'potluck_worker' in ' '.join(sys.orig_argv):\n    os.write(2, b'all broken\\n')\n    os._exit(7)\n";
    fs::write(site.join("usercustomize.py"), broken).unwrap();

    let node = TestNode::peer().env("PYTHONUSERBASE", folder.path()).start();
    let reply = node.call(with(task("def main(): pass", json!([])), json!({ "timeout": 30 })));
    assert_failed(&reply, "runtime_unavailable", "exit code 7");
    assert!(reply["error"].as_str().unwrap().contains("all broken"), "{reply:#}");
    assert_eq!(cpu_state(&node).0, "degraded");
    fs::remove_dir_all(&site).unwrap();
    wait_for("the node to try again", || node.call(task("def main(): pass", json!([])))["error"].is_null());
}

#[test]
fn all_idle_workers_may_be_killed_at_once() {
    let node = TestNode::peer().start();
    for _ in 0..3 {
        node.check_serving();
        let workers = children(node.pid());
        assert!(!workers.is_empty());
        for pid in &workers {
            kill(*pid);
        }
    }
    node.check_serving();
}

#[test]
fn the_number_of_worker_processes_is_bounded() {
    let node = TestNode::peer().cpu("workers = 2\nspare_workers = 1\nworker_processes_max = 4").start();
    for submitter in 0..20 {
        let members = json!({ "source_peer": format!("127.0.0.1:{}", 9100 + submitter) });
        let reply = node.call(with(task("def main(): return 1", json!([])), members));
        assert_eq!(reply["result"], 1, "{reply:#}");
        let processes = node.status()["executor"]["worker_processes"].as_u64().unwrap();
        assert!(processes <= 4, "{processes} worker processes");
    }
    wait_for("at most four worker processes", || children(node.pid()).len() <= 4);
}

#[test]
fn workers_end_with_their_node() {
    let mut node = TestNode::peer().start();
    node.check_serving();
    let workers = children(node.pid());
    assert!(node.stop().success(), "{}", node.log_tail());
    assert!(!workers.iter().any(|pid| is_alive(*pid)), "a worker has outlived its node");

    let mut node = TestNode::peer().start();
    let mut wire = node.wire();
    wire.send(task(ENDLESS, json!([])));
    node.wait_for_tasks(1, 0);
    let workers = children(node.pid());
    node.kill9();
    wait_for("the workers to end after their node was killed", || !workers.iter().any(|pid| is_alive(*pid)));
}
