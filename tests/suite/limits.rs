//! Tasks that mean harm, or go wrong on a grand scale: each is stopped at its limit, and the node serves on.

use potluck_tests::{Gate, TestNode, is_alive, resident_bytes, task, wait_for, with};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn assert_failed(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!(code)), "{}", shown(reply));
    assert!(reply["error"].as_str().unwrap().contains(words), "{}", shown(reply));
    assert_eq!(reply["result"], Value::Null);
}

/// A reply without the megabytes that it may have.
fn shown(reply: &Value) -> String {
    reply.to_string().chars().take(2000).collect()
}

/// A node whose owner trusts this machine's user: tasks may start programs.
fn trusting() -> TestNode {
    TestNode::peer().cpu("trusted = true").start()
}

/// Runs a task, expects it to fail so, and checks that the node serves on. Returns the reply.
#[track_caller]
fn stopped(node: &TestNode, program: &str, members: Value, code: &str, words: &str) -> Value {
    let reply = node.call(with(task(program, json!([])), members));
    assert_failed(&reply, code, words);
    node.check_serving();
    node.wait_until("the slots to be free", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
    reply
}

/// The number that a task printed before it went wrong.
fn printed_pid(reply: &Value) -> u32 {
    reply["stdout"].as_str().unwrap().lines().next().unwrap().parse().unwrap()
}

// Time.

#[test]
fn an_endless_loop_ends_with_its_time() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let program = "
import os
def main():
    print(os.getpid())
    while True:
        pass
";
    // The start of an interpreter is part of a task's time.
    node.check_serving();
    let reply = stopped(&node, program, json!({ "timeout": 1 }), "timeout", "Task execution timeout");
    assert_eq!(reply["attempts"], 1, "{reply:#}");
    let (execution, turnaround) =
        (reply["execution_time"].as_f64().unwrap(), reply["turnaround_time"].as_f64().unwrap());
    assert!(execution > 0.0 && turnaround >= 1.0 && execution <= turnaround, "{reply:#}");
    // What was printed before is not lost, and nothing burns the processor any more.
    let pid = printed_pid(&reply);
    wait_for("the process of the endless task to be gone", || !is_alive(pid));
    let status = node.wait_until("a spare worker", |status| status["executor"]["worker_processes"].as_u64() >= Some(2));
    assert_eq!(status["scheduler"]["stats"]["queue_size"], 0);
}

#[test]
fn no_task_can_refuse_to_be_stopped() {
    let node = TestNode::peer().start();
    for program in [
        "def main():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "import signal\ndef main():\n    for number in range(1, 32):\n        try: signal.signal(number, signal.SIG_IGN)\n        except OSError: pass\n    while True: pass",
        "import time\ndef main(): time.sleep(60)",
        "import re\ndef main(): return re.match('(a+)+$', 'a' * 60 + 'b') is None",
        "def main(): return 7 ** (10 ** 9) % 10",
        "import threading\ndef main(): threading.Event().wait()",
        "import os\ndef main(): os.kill(os.getpid(), 19)",
        "import atexit, threading\ndef main():\n    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()\n    while True: pass",
        "while True: pass",
        "class Main:\n    def __call__(self):\n        while True: pass\nmain = Main()",
    ] {
        stopped(&node, program, json!({ "timeout": 0.5 }), "timeout", "Task execution timeout");
    }
}

#[test]
fn time_in_the_queue_counts() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "gate" })));
    node.wait_for_tasks(1, 0);
    let reply = node.call(with(task("def main(): pass", json!([])), json!({ "timeout": 0.3 })));
    assert_failed(&reply, "timeout", "Task execution timeout");
    assert_eq!((&reply["attempts"], &reply["execution_time"]), (&json!(0), &json!(0.0)), "{reply:#}");
    gate.open();
    assert_eq!(wire.read()["id"], "gate");
    node.check_serving();
}

#[test]
fn many_tasks_over_their_time_at_once_are_all_stopped() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    for id in 0..20 {
        let endless = task("def main():\n    while True: pass", json!([]));
        wire.send(with(endless, json!({ "id": id, "timeout": 0.5 })));
    }
    for _ in 0..20 {
        assert_failed(&wire.read(), "timeout", "");
    }
    node.check_serving();
}

#[test]
fn processor_time_has_a_limit_of_its_own() {
    let node = TestNode::peer().start();
    let endless = "def main():\n    while True: pass";
    stopped(&node, endless, json!({ "cpu_limit_seconds": 0.3 }), "cpu_limit", "0.3 seconds");
    let threads = "
import hashlib, threading
def burn():
    while True:
        hashlib.sha256(bytes(1 << 20)).digest()
def main():
    for _ in range(2):
        threading.Thread(target=burn).start()
    burn()
";
    stopped(&node, threads, json!({ "cpu_limit_seconds": 0.3 }), "cpu_limit", "processor time");
    // Sleeping costs none, and what ran before in the same process does not count.
    let sleeper = "import time\ndef main():\n    time.sleep(0.5)\n    return 'rested'";
    for _ in 0..3 {
        let reply = node.call(with(task(sleeper, json!([])), json!({ "cpu_limit_seconds": 0.3 })));
        assert_eq!(reply["result"], "rested", "{reply:#}");
    }
}

#[test]
fn processor_time_of_child_processes_counts() {
    let node = trusting();
    let program = "
import subprocess
def main():
    subprocess.run(['sh', '-c', 'while :; do :; done'])
";
    stopped(&node, program, json!({ "cpu_limit_seconds": 0.3, "timeout": 20 }), "cpu_limit", "processor time");
}

// Ways to end the process.

#[test]
fn leaving_the_interpreter_is_an_error_of_the_task() {
    let node = TestNode::peer().start();
    for (call, words) in [
        ("sys.exit()", "sys.exit()"),
        ("sys.exit(0)", "sys.exit(0)"),
        ("sys.exit('a reason')", "a reason"),
        ("exit(3)", "sys.exit(3)"),
    ] {
        let reply = stopped(&node, &format!("import sys\ndef main(): {call}"), json!({}), "task_failed", words);
        assert_eq!(reply["error_type"], "SystemExit", "{reply:#}");
    }
}

#[test]
fn ending_the_process_costs_the_task_alone() {
    let node = TestNode::peer().start();
    for (call, words) in [
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
        ("os.abort()", "signal 6"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("os.kill(os.getpid(), 15)", "signal 15"),
        ("ctypes.string_at(0)", "signal 11, segmentation fault"),
    ] {
        ends(&node, call, words);
    }
    let node = trusting();
    for (call, words) in [
        ("os.killpg(0, 9)", "signal 9"),
        ("os.execv('/bin/true', ['true'])", "worker process"),
        ("os.abort()", "signal 6"),
    ] {
        ends(&node, call, words);
    }
}

fn ends(node: &TestNode, call: &str, words: &str) {
    let program = format!("import ctypes, os\ndef main():\n    print('before', flush=True)\n    {call}");
    let reply = stopped(node, &program, json!({}), "worker_died", words);
    assert_eq!((&reply["stdout"], &reply["attempts"]), (&json!("before\n"), &json!(1)), "{call}: {reply:#}");
}

#[test]
fn tasks_beside_one_that_ends_its_process_are_not_harmed() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    for id in 0..300 {
        let program = "import os\ndef main(x):\n    if x % 10 == 3: os._exit(1)\n    return x";
        wire.send(with(task(program, json!([id])), json!({ "id": id })));
    }
    for _ in 0..300 {
        let reply = wire.read();
        let id = reply["id"].as_u64().unwrap();
        if id % 10 == 3 {
            assert_failed(&reply, "worker_died", "exit code 1");
        } else {
            assert_eq!((&reply["result"], &reply["attempts"]), (&json!(id), &json!(1)), "{reply:#}");
        }
    }
}

#[test]
fn endless_recursion_costs_the_task_alone() {
    let node = TestNode::peer().start();
    let reply = stopped(&node, "def main(): return main()", json!({}), "task_failed", "recursion");
    assert_eq!(reply["error_type"], "RecursionError", "{}", shown(&reply));
    let program = "
import sys
def main():
    sys.setrecursionlimit(10 ** 9)
    return [main()].__repr__()
class Deep:
    def __repr__(self): return repr(self)
def crash():
    sys.setrecursionlimit(10 ** 9)
    return repr(Deep())
";
    let reply = node.call(with(task(program, json!([])), json!({ "function": "crash", "timeout": 30 })));
    let code = reply["code"].as_str().unwrap_or_default();
    assert!(["worker_died", "memory_limit"].contains(&code), "{}", shown(&reply));
    node.check_serving();
    for program in
        ["(".repeat(100_000), format!("x = {}1", "-".repeat(100_000)), format!("x = {}", "a.".repeat(100_000))]
    {
        let reply = node.call(task(&program, json!([])));
        assert!(!reply["error"].is_null(), "{}", shown(&reply));
        node.check_serving();
    }
    // A result that is nested too deep.
    let program = "def main():\n    deep = []\n    for _ in range(100000): deep = [deep]\n    return deep";
    stopped(&node, program, json!({}), "result_unusable", "recursion");
}

// Memory.

#[test]
fn memory_over_the_limit_is_refused_to_the_task() {
    let node = TestNode::peer().start();
    for program in [
        "def main(): return len(bytearray(4 << 30))",
        "def main(): return len([0] * (1 << 32))",
        "def main(): return len('x' * (4 << 30))",
    ] {
        let reply = stopped(&node, program, json!({}), "memory_limit", &(2048 * MIB).to_string());
        assert_eq!(reply["error_type"], "MemoryError", "{}", shown(&reply));
    }
    for more in ["bytearray(1 << 20)", "object()", "'x' * 100000", "list(range(1000))", "lambda: hoard"] {
        let program = format!("def main():\n    hoard = []\n    while True: hoard.append({more})");
        let limit = json!({ "memory_limit_bytes": 256 * MIB });
        stopped(&node, &program, limit, "memory_limit", &(256 * MIB).to_string());
    }
}

#[test]
fn a_task_may_have_a_memory_limit_of_its_own() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let program = "def main(mib): return len(bytearray(mib << 20)) >> 20";
    let run = |mib: u64, limit: u64| {
        node.call(with(task(program, json!([mib])), json!({ "memory_limit_bytes": limit * MIB })))
    };
    assert_eq!(run(100, 256)["result"], 100);
    assert_failed(&run(300, 256), "memory_limit", &(256 * MIB).to_string());
    // In the same interpreter: the limit is that of each task.
    assert_eq!(run(300, 512)["result"], 300);
    assert_failed(&run(200, 128), "memory_limit", &(128 * MIB).to_string());
    assert_eq!(node.run(program, json!([1000])), 1000);
}

#[test]
fn a_task_that_catches_the_want_of_memory_goes_on() {
    let node = TestNode::peer().start();
    let program = "
def main():
    try:
        bytearray(8 << 30)
    except MemoryError:
        return 'went on'
";
    assert_eq!(node.run(program, json!([])), "went on");
}

#[test]
fn a_task_cannot_lift_its_memory_limit() {
    let node = TestNode::peer().start();
    let program = "
import resource
def main():
    for limit in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        except (ValueError, OSError):
            pass
    return len(bytearray(1 << 30))
";
    stopped(&node, program, json!({ "memory_limit_bytes": 256 * MIB }), "memory_limit", "");
}

// Output and results.

#[test]
fn a_gigabyte_of_output_is_cut_off() {
    let node = TestNode::peer().start();
    let before = resident_bytes(node.pid());
    for program in [
        "def main():\n    for _ in range(1 << 10): print('x' * (1 << 20))",
        "import sys\ndef main():\n    for _ in range(1 << 10): print('x' * (1 << 20), file=sys.stderr)",
        "import os\ndef main():\n    block = bytes(1 << 20)\n    for _ in range(1 << 10): os.write(1, block)",
    ] {
        is_cut_off(&node, program);
    }
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 100 * MIB, "the node has grown by {} MiB", growth / MIB);
    let child = "import subprocess\ndef main(): subprocess.run(['head', '-c', '1G', '/dev/zero'], check=True)";
    is_cut_off(&trusting(), child);
}

fn is_cut_off(node: &TestNode, program: &str) {
    let reply = stopped(node, program, json!({}), "output_limit", &(16 * MIB).to_string());
    // What was printed first comes back, but not all of it.
    let printed = reply["stdout"].as_str().unwrap().len() + reply["stderr"].as_str().unwrap().len();
    assert!(printed > 1000 && printed < 2 << 20, "{printed} bytes");
}

#[test]
fn a_task_may_have_an_output_limit_of_its_own() {
    let node = TestNode::peer().start();
    let program = "def main(n): print('x' * n, end='')";
    let run = |n: u64| node.call(with(task(program, json!([n])), json!({ "output_limit_bytes": 5000 })));
    assert_eq!(run(5000)["stdout"].as_str().unwrap().len(), 5000);
    assert_failed(&run(5001), "output_limit", "limit of 5000");
    let endless = "def main():\n    while True: print('and another thing')";
    stopped(&node, endless, json!({ "output_limit_bytes": 100_000 }), "output_limit", "limit of 100000");
}

#[test]
fn long_output_within_the_limit_is_shortened_in_the_reply() {
    let node = TestNode::peer().start();
    let reply = node.call(task("def main():\n    print('x' * (1 << 20))\n    return 'done'", json!([])));
    assert_eq!(reply["result"], "done", "{}", shown(&reply));
    let stdout = reply["stdout"].as_str().unwrap();
    assert!(stdout.len() < 1 << 20 && stdout.contains("more bytes]"), "{} bytes", stdout.len());
}

#[test]
fn a_huge_result_is_refused_and_a_large_one_passes() {
    let node = TestNode::peer().start();
    let program = "def main(mib): return 'x' * (mib << 20)";
    assert_eq!(node.run(program, json!([11])).as_str().unwrap().len(), 11 << 20);
    let reply = node.call(task(program, json!([13])));
    assert_failed(&reply, "result_unusable", "over the limit");
    node.check_serving();
    // The worst case: everything that can be long is, and all of it is escaped.
    let program = "
import sys
def main():
    sys.stdout.write('\\x01' * (1 << 20))
    sys.stderr.write('\\x02' * (1 << 20))
    return 'x' * ((12 << 20) - 2)
";
    let reply = node.call(task(program, json!([])));
    assert_eq!(reply["result"].as_str().unwrap().len(), (12 << 20) - 2, "{}", shown(&reply));
    node.check_serving();
}

#[test]
fn a_huge_error_is_shortened() {
    let node = TestNode::peer().start();
    let program = "def main(): raise ValueError('x' * (64 << 20))";
    let reply = stopped(&node, program, json!({}), "task_failed", "xxx");
    assert!(shown(&reply).len() < 3000 && reply.to_string().len() < 1 << 20, "{} bytes", reply.to_string().len());
}

#[test]
fn large_arguments_and_programs_pass() {
    let node = TestNode::peer().start();
    let text = "x".repeat(15 << 20);
    assert_eq!(node.run("def main(text): return len(text)", json!([text])), 15 << 20);
    let program = format!("data = '{}'\ndef main(): return len(data)", "y".repeat(15 << 20));
    assert_eq!(node.run(&program, json!([])), 15 << 20);
    node.check_serving();
}

#[test]
fn a_message_over_the_frame_limit_is_refused_with_the_reason() {
    let node = TestNode::peer().start();
    let program = format!("data = '{}'\ndef main(): pass", "x".repeat(20 << 20));
    let mut wire = node.wire();
    // The node does not read all of it.
    let message = potluck_tests::frame_bytes(&task(&program, json!([])).to_string());
    let _ = wire.try_send_bytes(&message);
    let reply = wire.read();
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("frame_too_large")), "{reply}");
    wire.expect_end();
    // The same through the command line.
    let path = node.folder().join("large.py");
    std::fs::write(&path, program).unwrap();
    let output = node.cli(["cpu", "--file", path.to_str().unwrap()]);
    assert_eq!(output.status, 1);
    assert!(output.stderr.contains("over the limit of 16777216"), "{output:?}");
    node.check_serving();
}

// What tasks leave behind.

#[test]
fn a_process_that_a_task_leaves_behind_is_stopped() {
    let node = trusting();
    let forked = "
import os, time
def main():
    pid = os.fork()
    if pid == 0:
        while True: time.sleep(1)
    return pid
";
    let spawned = "
import subprocess
def main(): return subprocess.Popen(['sleep', '1000']).pid
";
    for program in [forked, spawned] {
        let pid = u32::try_from(node.run(program, json!([])).as_u64().unwrap()).unwrap();
        node.check_serving();
        wait_for("the process that a task left behind to be gone", || !is_alive(pid));
    }
    node.check_serving();
}

#[test]
fn a_forked_child_that_returns_as_well_gives_one_answer() {
    let node = TestNode::peer().cpu("workers = 1\ntrusted = true").start();
    let mut wire = node.wire();
    for id in 0..200 {
        let program = "import os\ndef main(x):\n    os.fork()\n    return x";
        wire.send(with(task(program, json!([id])), json!({ "id": id })));
        let reply = wire.read();
        assert_eq!(reply["id"], id, "{reply:#}");
        let code = &reply["code"];
        assert!(reply["result"] == id || code == "worker_died", "{reply:#}");
    }
    node.check_serving();
    assert_eq!(wire.call(json!({ "type": "PING", "id": "end" }))["id"], "end");
}

#[test]
fn a_task_that_writes_to_every_descriptor_harms_itself_alone() {
    let node = TestNode::peer().start();
    for program in [
        "import os\ndef main():\n    for fd in range(3, 64):\n        try: os.write(fd, b'\\0\\0\\0\\x02{}' * 100)\n        except OSError: pass\n    return 1",
        "import os\ndef main():\n    for fd in range(3, 64):\n        try: os.write(fd, b'\\xff' * 1000)\n        except OSError: pass\n    return 1",
        "import os\ndef main():\n    os.closerange(3, 64)\n    return 1",
        "import os\ndef main():\n    for fd in range(3, 64):\n        try: os.ftruncate(fd, 0)\n        except OSError: pass\n    return 1",
    ] {
        let reply = node.call(with(task(program, json!([])), json!({ "timeout": 10 })));
        assert_eq!(reply["type"], "CPU_RESULT", "{reply:#}");
        node.check_serving();
    }
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    let node = trusting();
    // Bounded, so that a node which fails the test does not take the machine with it.
    let program = "
import os, time
def main():
    for _ in range(6):
        os.fork()
    while True: time.sleep(1)
";
    stopped(&node, program, json!({ "timeout": 2 }), "timeout", "Task execution timeout");
}

#[test]
fn each_of_a_long_line_of_villains_is_met_in_turn() {
    let node = TestNode::peer().start();
    let villains = [
        ("def main():\n    while True: pass", "cpu_limit"),
        ("import os\ndef main(): os._exit(3)", "worker_died"),
        ("def main(): return bytearray(1 << 40)", "memory_limit"),
        ("def main():\n    while True: print('x' * 1000)", "output_limit"),
        ("import ctypes\ndef main(): ctypes.string_at(0)", "worker_died"),
        ("def main(): return {1}", "result_unusable"),
        ("raise SystemExit", "task_failed"),
    ];
    let mut wire = node.wire();
    for id in 0..5 * villains.len() {
        let (program, _) = villains[id % villains.len()];
        wire.send(with(task(program, json!([])), json!({ "id": id, "cpu_limit_seconds": 0.2 })));
        wire.send(with(task("def main(x): return x", json!([id])), json!({ "id": id + 1000 })));
    }
    for _ in 0..10 * villains.len() {
        let reply = wire.read();
        let id = usize::try_from(reply["id"].as_u64().unwrap()).unwrap();
        match id.checked_sub(1000) {
            Some(honest) => assert_eq!(reply["result"], honest, "{}", shown(&reply)),
            None => assert_failed(&reply, villains[id % villains.len()].1, ""),
        }
    }
    node.check_serving();
}
