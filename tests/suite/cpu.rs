//! CPU_TASK, BATCH_TASK, CANCEL_TASK, SET_SCHEDULER, and what becomes of the worker processes.

use potluck_tests::{
    Gate, TestNode, Wire, children, is_alive, resident_bytes, run, task, wait_for, wait_for_some, with,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

fn one_worker() -> TestNode {
    TestNode::peer().cpu("workers = 1").start()
}

fn assert_failed(reply: &Value, code: &str, words: &str) {
    assert_eq!((&reply["type"], &reply["code"]), (&json!("CPU_RESULT"), &json!(code)), "{reply:#}");
    assert!(reply["error"].as_str().unwrap().contains(words), "{reply:#}");
    assert_eq!(reply["result"], Value::Null);
}

/// Each task's answer in the order in which they come, by `id`.
fn ids(wire: &mut Wire, count: usize) -> Vec<String> {
    let mut id = || {
        let reply = wire.read();
        assert_eq!(reply["error"], Value::Null, "{reply:#}");
        reply["id"].as_str().unwrap().to_owned()
    };
    (0..count).map(|_| id()).collect()
}

// Results and errors.

#[test]
fn a_result_tells_everything_about_its_task() {
    let node = TestNode::peer().start();
    let reply = node.call(with(task("def main(x): return x * x", json!([5])), json!({ "task_id": "square" })));
    let expected = json!({
        "type": "CPU_RESULT",
        "task_id": "square",
        "result": 25,
        "error": null,
        "executed_by": node.address(),
        "runtime": "python",
        "attempts": 1,
        "cached": false,
        "stdout": "",
        "stderr": "",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&reply[name], value, "{name} in {reply:#}");
    }
    let [waiting, execution, turnaround] =
        ["waiting_time", "execution_time", "turnaround_time"].map(|name| reply[name].as_f64().unwrap());
    assert!(waiting >= 0.0 && execution > 0.0, "{reply:#}");
    assert!((waiting + execution - turnaround).abs() < 1e-6, "{reply:#}");
    assert!(reply.get("code").is_none() && reply.get("traceback").is_none(), "{reply:#}");
}

#[test]
fn a_task_without_a_name_gets_one() {
    let node = TestNode::peer().start();
    let names: BTreeSet<String> = (0..3)
        .map(|_| node.call(task("def main(): pass", json!([])))["task_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|name| !name.is_empty() && name != "unknown"), "{names:?}");
}

#[test]
fn what_a_message_leaves_out_has_its_default() {
    let node = TestNode::peer().start();
    let reply = node.call(json!({ "type": "CPU_TASK", "program": "def main(*args): return len(args)" }));
    assert_eq!(reply["result"], 0, "{reply:#}");
    let program = "def other(*args): return args";
    let reply = node.call(with(task(program, json!([1, "two", [3], null])), json!({ "function": "other" })));
    assert_eq!(reply["result"], json!([1, "two", [3], null]), "tuples become arrays");
    for members in
        [json!({ "args": null }), json!({ "function": null }), json!({ "function": "" }), json!({ "timeout": null })]
    {
        let reply = node.call(with(task("def main(): return 'default'", json!([])), members));
        assert_eq!(reply["result"], "default", "{reply:#}");
    }
}

#[test]
fn numbers_of_any_size_pass_digit_for_digit() {
    let node = TestNode::peer().start();
    let digits = "7".repeat(300);
    let message = format!(r#"{{"type":"CPU_TASK","program":"def main(x): return [x, -x, x * 10]","args":[{digits}]}}"#);
    let reply = node.call_raw(message);
    assert!(reply.contains(&format!(r#""result":[{digits}, -{digits}, {digits}0]"#)), "{reply}");
    // Longer than what Python prints unless asked.
    let reply = node.call_raw(task("def main(n): return 10 ** n", json!([20_000])));
    assert!(reply.contains(&format!(r#""result":1{}"#, "0".repeat(20_000))), "the digits are missing");
    let values = json!([0.1, 1e308, 5e-324, true, null, "é🙂\u{0}\"\\", { "a": { "b": [] } }]);
    assert_eq!(node.run("def main(*args): return args", values.clone()), values);
}

#[test]
fn a_program_runs_as_main() {
    let node = TestNode::peer().start();
    let program = "
import sys
ran = __name__ == '__main__'
if __name__ == '__main__':
    ran_block = True
def main():
    return [__name__, ran, ran_block, sys.modules['__main__'].main is main, helper()]
def helper():
    global counter
    counter = globals().get('counter', 0) + 1
    return counter
";
    for _ in 0..2 {
        // The second time as well: nothing of the first run's names is left.
        assert_eq!(node.run(program, json!([])), json!(["__main__", true, true, true, 1]));
    }
}

#[test]
fn programs_may_use_classes_pickles_and_dataclasses() {
    let node = TestNode::peer().start();
    let program = "
import dataclasses, pickle, typing
@dataclasses.dataclass
class Point:
    x: int
    y: 'typing.Optional[int]' = None
def main():
    copy = pickle.loads(pickle.dumps(Point(1, 2)))
    return [dataclasses.asdict(copy), list(typing.get_type_hints(Point))]
";
    assert_eq!(node.run(program, json!([])), json!([{ "x": 1, "y": 2 }, ["x", "y"]]));
}

#[test]
fn what_a_task_prints_is_captured_however_it_prints() {
    let node = TestNode::peer().start();
    let program = "
import ctypes, os, subprocess, sys
def main():
    print('python')
    print('error', file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b'descriptor\\n')
    os.write(2, b'descriptor error\\n')
    libc = ctypes.CDLL(None)
    libc.puts(b'library')
    libc.fflush(None)
    subprocess.run(['sh', '-c', 'echo child; echo child error >&2'], check=True)
    print('no line end', end='')
";
    let reply = node.call(task(program, json!([])));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    assert_eq!(reply["stdout"], "python\ndescriptor\nlibrary\nchild\nno line end");
    assert_eq!(reply["stderr"], "error\ndescriptor error\nchild error\n");
    // The next task in the same interpreter begins with nothing.
    let reply = node.call(task("def main(): print('next')", json!([])));
    assert_eq!((&reply["stdout"], &reply["stderr"]), (&json!("next\n"), &json!("")));
    let reply = node.call(task("def main():\n    print('before')\n    return 1 / 0", json!([])));
    assert_eq!(reply["stdout"], "before\n", "{reply:#}");
}

#[test]
fn output_that_is_no_text_does_not_break_the_reply() {
    let node = TestNode::peer().start();
    let program = "
import os
def main():
    os.write(1, b'\\xff\\x00\\x1b[2J')
    print('\\ud800 half of a pair')
    return 1
";
    let reply = node.call(task(program, json!([])));
    assert_eq!(reply["result"], 1, "{reply:#}");
    let stdout = reply["stdout"].as_str().unwrap();
    assert!(stdout.contains("\u{1b}[2J") && stdout.contains("\\ud800 half"), "{stdout:?}");
}

#[test]
fn a_task_cannot_read_what_the_node_sends_to_its_worker() {
    let node = TestNode::peer().start();
    let program = "
import sys
def main():
    return sys.stdin.read()
";
    assert_eq!(node.run(program, json!([])), "");
}

#[test]
fn a_missing_function_is_named() {
    let node = TestNode::peer().start();
    let call = |function: &str| {
        node.call(with(task("main = 5\ndef other(): pass", json!([])), json!({ "function": function })))
    };
    assert_failed(&call("nothing"), "task_failed", "Function 'nothing' not found in program");
    assert_failed(&call("main"), "task_failed", "'main' is not callable");
}

#[test]
fn an_exception_is_reported_with_the_line_of_the_program() {
    let node = TestNode::peer().start();
    let program = "def divide(a, b):\n    return a / b  # here it happens\n\ndef main(a):\n    return divide(a, 0)\n";
    let reply = node.call(task(program, json!([1])));
    assert_failed(&reply, "task_failed", "division by zero");
    assert_eq!((&reply["error"], &reply["error_type"]), (&json!("division by zero"), &json!("ZeroDivisionError")));
    let traceback = reply["traceback"].as_str().unwrap();
    for words in [
        "Traceback (most recent call last)",
        "\"<string>\", line 5, in main",
        "\"<string>\", line 2, in divide",
        "return a / b  # here it happens",
        "ZeroDivisionError: division by zero",
    ] {
        assert!(traceback.contains(words), "{words:?} is missing in {traceback}");
    }
    assert!(!traceback.contains("potluck"), "the worker's own frames are nobody's business: {traceback}");
}

#[test]
fn exceptions_of_all_kinds_have_a_text() {
    let node = TestNode::peer().start();
    for (raise, error, error_type) in [
        ("raise ValueError('bad value')", "bad value", "ValueError"),
        ("raise ValueError", "ValueError", "ValueError"),
        ("raise KeyError('k')", "'k'", "KeyError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('leave')", "leave", "GeneratorExit"),
        ("assert False, 'must hold'", "must hold", "AssertionError"),
        ("raise type('Own', (Exception,), {'__str__': lambda self: 'own text'})()", "own text", "Own"),
        ("raise type('Bad', (Exception,), {'__str__': lambda self: 1 / 0})()", "Bad", "Bad"),
        ("raise BaseException('bottom')", "bottom", "BaseException"),
        ("import no_such_module", "No module named 'no_such_module'", "ModuleNotFoundError"),
        ("return no_such_name", "name 'no_such_name' is not defined", "NameError"),
    ] {
        let reply = node.call(task(&format!("def main():\n    {raise}"), json!([])));
        assert_eq!((&reply["error"], &reply["error_type"]), (&json!(error), &json!(error_type)), "{raise}: {reply:#}");
        assert!(reply["traceback"].as_str().unwrap().contains("line 2, in main"), "{raise}: {reply:#}");
    }
    node.check_serving();
}

#[test]
fn arguments_that_do_not_fit_are_an_error_of_the_task() {
    let node = TestNode::peer().start();
    let reply = node.call(task("def main(a, b): pass", json!([1])));
    assert_failed(&reply, "task_failed", "missing 1 required positional argument: 'b'");
    assert_eq!(reply["error_type"], "TypeError");
}

#[test]
fn a_syntax_error_names_the_line() {
    let node = TestNode::peer().start();
    let reply = node.call(task("def main():\n    return (1 +\n", json!([])));
    assert_failed(&reply, "task_failed", "(<string>, line 2)");
    assert_eq!(reply["error_type"], "SyntaxError", "{reply:#}");
    let reply = node.call(task("def main():\nreturn 1\n", json!([])));
    assert_failed(&reply, "task_failed", "(<string>, line 2)");
    assert_eq!(reply["error_type"], "IndentationError", "{reply:#}");
    assert_failed(&node.call(task("1 / 0\ndef main(): pass", json!([]))), "task_failed", "division by zero");
    assert_failed(&node.call(task("def main(): return '\0'", json!([]))), "task_failed", "null");
}

#[test]
fn a_result_that_json_cannot_carry_is_named() {
    let node = TestNode::peer().start();
    for (result, words) in [
        ("{1, 2}", "set"),
        ("object()", "object"),
        ("b'bytes'", "bytes"),
        ("main", "function"),
        ("1j", "complex"),
        ("[1, [2, {3}]]", "set"),
        ("{(1, 2): 3}", "keys"),
        ("float('nan')", "NaN"),
        ("[float('inf')]", "infinity"),
        ("circle()", "Circular"),
    ] {
        let program = format!("def circle():\n    a = []\n    a.append(a)\n    return a\ndef main(): return {result}");
        assert_failed(&node.call(task(&program, json!([]))), "result_unusable", words);
    }
    // Keys become texts, as in Python's own json.
    assert_eq!(
        node.run("def main(): return {1: 'a', None: 'b', True: 'c'}", json!([])),
        json!({ "1": "c", "null": "b" })
    );
    assert_eq!(node.run("def main(): return '\\ud800'.encode('utf8', 'surrogatepass').hex()", json!([])), "eda080");
}

#[test]
fn half_of_a_surrogate_pair_passes_as_json_writes_it() {
    let node = TestNode::peer().start();
    let reply = node.call_raw(task("def main(): return '\\ud800'", json!([])));
    assert!(reply.contains(r#""result":"\ud800""#), "{reply}");
    let reply = node.call_raw(
        r#"{"type":"CPU_TASK","program":"def main(x): return len(x) == 1 and ord(x) == 0xd800","args":["\ud800"]}"#,
    );
    assert!(reply.contains(r#""result":true"#), "{reply}");
}

#[test]
fn what_describes_no_task_is_refused_with_the_reason() {
    let node = TestNode::peer().start();
    let good = task("def main(): return 1", json!([]));
    for (members, words) in [
        (json!({ "program": null }), "No program code provided"),
        (json!({ "program": "" }), "No program code provided"),
        (json!({ "program": 5 }), "must be a text"),
        (json!({ "args": "abc" }), "must be an array"),
        (json!({ "args": { "x": 1 } }), "must be an array"),
        (json!({ "max_retries": -1 }), "max_retries"),
        (json!({ "timeout": 0 }), "timeout"),
        (json!({ "timeout": -1 }), "timeout"),
        (json!({ "timeout": 1e12 }), "timeout"),
        (json!({ "cpu_limit_seconds": -1 }), "cpu_limit_seconds"),
        (json!({ "memory_limit_bytes": 1_u64 << 60 }), "memory_limit_bytes"),
        (json!({ "output_limit_bytes": 1_u64 << 60 }), "output_limit_bytes"),
        (json!({ "task_id": "x".repeat(257) }), "task_id"),
    ] {
        let reply = node.call(with(good.clone(), members));
        assert_failed(&reply, "invalid_task", words);
        assert_eq!(reply["attempts"], 0, "{reply:#}");
    }
    let reply = node.call(with(good.clone(), json!({ "runtime": "perl" })));
    assert_failed(&reply, "runtime_unavailable", "perl");
    let reply = node.call(with(good, json!({ "priority": "high" })));
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("invalid_message")), "{reply:#}");
    node.check_serving();
}

// Order.

/// Fills the only worker, queues tasks with these names and priorities, changes something, and tells in which order the
/// tasks were run.
fn order(node: &TestNode, priorities: &[(&str, i64)], change: impl FnOnce()) -> Vec<String> {
    let gate = Gate::new(node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "gate", "priority": 100 })));
    node.wait_for_tasks(1, 0);
    for (id, priority) in priorities {
        let options = json!({ "id": id, "priority": priority, "source_peer": "127.0.0.1:9" });
        wire.send(with(task("def main(): pass", json!([])), options));
    }
    node.wait_for_tasks(1, priorities.len() as u64);
    change();
    gate.open();
    let mut order = ids(&mut wire, priorities.len() + 1);
    assert_eq!(order.remove(0), "gate");
    order
}

const PRIORITIES: [(&str, i64); 7] =
    [("a", 0), ("b", 5), ("c", 0), ("d", -3), ("e", 5), ("f", i64::MAX), ("g", i64::MIN)];

#[test]
fn a_higher_priority_runs_first_and_equals_in_the_order_of_arrival() {
    assert_eq!(order(&one_worker(), &PRIORITIES, || ()), ["f", "b", "e", "a", "c", "d", "g"]);
}

#[test]
fn first_come_is_first_served_with_fcfs() {
    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"FCFS\"").start();
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "FCFS");
    assert_eq!(order(&node, &PRIORITIES, || ()), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn another_algorithm_sorts_the_tasks_that_wait() {
    let node = one_worker();
    let to = |algorithm: &str| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    let fcfs = || {
        let reply = to("FCFS");
        assert_eq!((&reply["status"], &reply["algorithm"]), (&json!("OK"), &json!("FCFS")), "{reply}");
    };
    assert_eq!(order(&node, &PRIORITIES, fcfs), ["a", "b", "c", "d", "e", "f", "g"]);

    let node = TestNode::peer().cpu("workers = 1\nalgorithm = \"fcfs\"").start();
    let to = |algorithm: &str| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    let priority = || {
        to("PRIORITY");
        to("FCFS");
        to("priority");
    };
    assert_eq!(order(&node, &PRIORITIES, priority), ["f", "b", "e", "a", "c", "d", "g"]);
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "PRIORITY");
}

#[test]
fn an_unknown_algorithm_is_refused_with_those_there_are() {
    let node = TestNode::peer().start();
    let to = |algorithm: Value| node.call(json!({ "type": "SET_SCHEDULER", "algorithm": algorithm }));
    for algorithm in [Value::Null, json!("")] {
        assert_eq!(to(algorithm)["error"], "algorithm required");
    }
    let error = to(json!("LIFO"))["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("Unknown algorithm: LIFO. Available: "), "{error}");
    assert_eq!(node.status()["scheduler"]["stats"]["algorithm"], "PRIORITY");
}

#[test]
fn as_many_tasks_run_at_once_as_there_are_workers() {
    let node = TestNode::peer().cpu("workers = 3").start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    for id in 0..5 {
        wire.send(with(gate.task(), json!({ "id": id.to_string() })));
    }
    node.wait_for_tasks(3, 2);
    let stats = node.status()["scheduler"]["stats"].take();
    assert!((stats["current_load"].as_f64().unwrap() - 5.0 / 3.0).abs() < 1e-9, "{stats:#}");
    gate.open();
    ids(&mut wire, 5);
    let status = node.wait_until("the tasks to be over", |status| status["scheduler"]["stats"]["active_tasks"] == 0);
    let stats = &status["scheduler"]["stats"];
    assert_eq!((&stats["total_tasks"], &stats["completed_tasks"]), (&json!(5), &json!(5)), "{stats:#}");
    assert_eq!(status["executor"]["execution_count"], 5);
}

#[test]
fn a_full_queue_refuses_more() {
    let node = TestNode::peer().cpu("workers = 1\nqueue_tasks_max = 2").start();
    let gate = Gate::new(&node);
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "0" })));
    node.wait_for_tasks(1, 0);
    for id in ["1", "2"] {
        wire.send(with(gate.task(), json!({ "id": id })));
    }
    node.wait_for_tasks(1, 2);
    assert_failed(&node.call(task("def main(): pass", json!([]))), "queue_full", "queue_tasks_max");
    gate.open();
    ids(&mut wire, 3);
    node.check_serving();
}

#[test]
fn two_thousand_tasks_in_flight_on_one_connection_all_come_out_right() {
    const TASKS: u64 = 2000;
    let node = TestNode::peer().start();
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..TASKS {
                writer.send(with(task("def main(x): return x * x + 1", json!([id])), json!({ "id": id })));
            }
        });
        let mut seen = BTreeSet::new();
        for _ in 0..TASKS {
            let reply = reader.read();
            let id = reply["id"].as_u64().unwrap();
            assert_eq!(reply["result"], id * id + 1, "{reply:#}");
            assert!(seen.insert(id), "{id} was answered twice");
        }
    });
    assert_eq!(node.status()["executor"]["execution_count"], TASKS);
}

// Cancelling.

fn cancel(node: &TestNode, task_id: &str) -> Value {
    node.call(json!({ "type": "CANCEL_TASK", "task_id": task_id }))
}

/// Never ends; writes the id of its process to a file, if one is named.
const ENDLESS: &str = "
import os
def main(path=None):
    if path is not None:
        with open(path + '.new', 'w') as file:
            file.write(str(os.getpid()))
        os.rename(path + '.new', path)
    while True:
        pass
";

/// Waits until [`ENDLESS`] runs, and tells in which process.
fn wait_for_pid(path: &Path) -> u32 {
    wait_for_some("the task to run", || fs::read_to_string(path).ok()?.parse().ok())
}

#[test]
fn a_running_task_is_cancelled_and_its_slot_is_free() {
    let node = one_worker();
    let path = node.folder().join("pid");
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([path])), json!({ "task_id": "endless" })));
    let pid = wait_for_pid(&path);
    let cancelled = cancel(&node, "endless");
    assert_eq!((&cancelled["type"], &cancelled["status"]), (&json!("STATUS"), &json!("CANCELLED")), "{cancelled}");
    assert_eq!(cancelled["task_id"], "endless");
    let reply = wire.read();
    assert_failed(&reply, "cancelled", "Task cancelled");
    assert_eq!((&reply["task_id"], &reply["attempts"]), (&json!("endless"), &json!(1)), "{reply:#}");
    node.check_serving();
    let stats = node.status()["scheduler"]["stats"].take();
    assert_eq!((&stats["cancelled_tasks"], &stats["active_tasks"]), (&json!(1), &json!(0)), "{stats:#}");
    wait_for("the cancelled task's process to be gone", || !is_alive(pid));
}

#[test]
fn a_queued_task_is_cancelled_and_never_runs() {
    let node = one_worker();
    let gate = Gate::new(&node);
    let mark = node.folder().join("ran");
    let mut wire = node.wire();
    wire.send(with(gate.task(), json!({ "id": "gate" })));
    node.wait_for_tasks(1, 0);
    wire.send(with(
        task("def main(path): open(path, 'w')", json!([mark])),
        json!({ "id": "queued", "task_id": "queued" }),
    ));
    node.wait_for_tasks(1, 1);
    assert_eq!(cancel(&node, "queued")["status"], "CANCELLED");
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["attempts"]), (&json!("queued"), &json!(0)), "{reply:#}");
    assert_failed(&reply, "cancelled", "Task cancelled");
    gate.open();
    assert_eq!(wire.read()["id"], "gate");
    node.check_serving();
    assert!(!mark.exists(), "the cancelled task was run");
}

#[test]
fn a_cancelled_task_takes_its_children_with_it() {
    let node = one_worker();
    let pids = node.folder().join("pids");
    let program = "
import os, subprocess, time
def main(path):
    child = subprocess.Popen(['sleep', '1000'])
    forked = os.fork()
    if forked == 0:
        time.sleep(1000)
    with open(path + '.new', 'w') as file:
        file.write(f'{child.pid} {forked}')
    os.rename(path + '.new', path)
    child.wait()
";
    let mut wire = node.wire();
    wire.send(with(task(program, json!([pids])), json!({ "task_id": "parent" })));
    let text = wait_for_some("the task to start its children", || fs::read_to_string(&pids).ok());
    let pids: Vec<u32> = text.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    cancel(&node, "parent");
    assert_failed(&wire.read(), "cancelled", "");
    wait_for("the children of the cancelled task to be gone", || !pids.iter().any(|pid| is_alive(*pid)));
    node.check_serving();
}

#[test]
fn cancelling_what_is_not_there_is_an_error() {
    let node = TestNode::peer().start();
    let reply = cancel(&node, "nobody");
    assert_eq!((&reply["type"], &reply["code"]), (&json!("ERROR"), &json!("task_not_found")), "{reply}");
    assert!(reply["error"].as_str().unwrap().starts_with("Task nobody not found"), "{reply}");
    assert_eq!(cancel(&node, "")["error"], "task_id required");
    assert_eq!(node.call(json!({ "type": "CANCEL_TASK" }))["error"], "task_id required");
    node.call(with(task("def main(): pass", json!([])), json!({ "task_id": "over" })));
    assert_eq!(cancel(&node, "over")["code"], "task_not_found");
}

#[test]
fn cancelling_again_and_again_stops_each_task_once() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    for round in 0..20 {
        let name = format!("endless-{round}");
        wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": name })));
        // At once, so that it is met while it is queued, on its way, or running.
        wait_for("the task to be known", || cancel(&node, &name)["status"] == "CANCELLED");
        assert_failed(&wire.read(), "cancelled", "");
    }
    node.check_serving();
    assert_eq!(node.status()["scheduler"]["stats"]["cancelled_tasks"], 20);
}

#[test]
fn a_task_whose_client_has_gone_is_stopped() {
    let node = one_worker();
    let mut wire = node.wire();
    wire.send(task(ENDLESS, json!([])));
    wire.send(with(task(ENDLESS, json!([])), json!({ "id": "queued" })));
    node.wait_for_tasks(1, 1);
    drop(wire);
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_batch_whose_client_has_gone_is_stopped() {
    let node = one_worker();
    let mut wire = node.wire();
    let tasks = vec![json!({ "program": ENDLESS }); 3];
    wire.send(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    node.wait_for_tasks(1, 2);
    drop(wire);
    node.wait_for_tasks(0, 0);
    node.check_serving();
}

#[test]
fn a_task_at_another_peer_is_stopped_when_its_client_goes() {
    let (node, other) = (TestNode::peer().plugins("[plugins.memory]\n").start(), one_worker());
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "to": other.address(), "timeout": 600 })));
    other.wait_for_tasks(1, 0);
    drop(wire);
    other.wait_for_tasks(0, 0);
}

#[test]
fn a_name_that_two_tasks_share_cancels_both() {
    let node = TestNode::peer().cpu("workers = 2").start();
    let mut wire = node.wire();
    for id in ["one", "two"] {
        wire.send(with(task(ENDLESS, json!([])), json!({ "task_id": "same", "id": id })));
    }
    node.wait_for_tasks(2, 0);
    assert_eq!(cancel(&node, "same")["status"], "CANCELLED");
    for _ in 0..2 {
        assert_failed(&wire.read(), "cancelled", "");
    }
}

// Retries.

/// Counts its runs in a file; fails until the run that is named.
const FAILS_AT_FIRST: &str = "
def main(path, succeeds_at, end=''):
    with open(path, 'a') as file:
        file.write('x')
    with open(path) as file:
        run = len(file.read())
    if run < succeeds_at:
        exec(end)
        raise RuntimeError(f'run {run} fails')
    return run
";

fn runs(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().len()
}

#[test]
fn a_task_that_fails_is_run_again_as_often_as_it_may() {
    let node = TestNode::peer().start();
    let count = node.folder().join("count");
    let reply = node.call(with(task(FAILS_AT_FIRST, json!([count, 3])), json!({ "max_retries": 5 })));
    assert_eq!((&reply["result"], &reply["attempts"]), (&json!(3), &json!(3)), "{reply:#}");
    assert_eq!(reply["error"], Value::Null);

    let count = node.folder().join("count again");
    let reply = node.call(with(task(FAILS_AT_FIRST, json!([count, 9])), json!({ "max_retries": 2 })));
    assert_failed(&reply, "task_failed", "run 3 fails");
    assert_eq!((&reply["attempts"], runs(&count)), (&json!(3), 3), "{reply:#}");

    let count = node.folder().join("count once");
    let reply = node.call(task(FAILS_AT_FIRST, json!([count, 9])));
    assert_failed(&reply, "task_failed", "run 1 fails");
    assert_eq!((&reply["attempts"], runs(&count)), (&json!(1), 1), "{reply:#}");
}

#[test]
fn a_task_that_kills_its_worker_is_run_again() {
    let node = TestNode::peer().start();
    let count = node.folder().join("count");
    let args = json!([count, 3, "import os; os._exit(1)"]);
    let reply = node.call(with(task(FAILS_AT_FIRST, args), json!({ "max_retries": 2 })));
    assert_eq!((&reply["result"], &reply["attempts"]), (&json!(3), &json!(3)), "{reply:#}");
}

#[test]
fn a_limit_is_no_reason_to_run_a_task_again() {
    let node = TestNode::peer().start();
    for (program, members, code) in [
        (ENDLESS, json!({ "timeout": 0.3 }), "timeout"),
        (ENDLESS, json!({ "cpu_limit_seconds": 0.1 }), "cpu_limit"),
        ("def main(): return bytearray(1 << 40)", json!({}), "memory_limit"),
        ("def main(): return {1}", json!({}), "result_unusable"),
    ] {
        let reply = node.call(with(with(task(program, json!([])), json!({ "max_retries": 3 })), members));
        assert_failed(&reply, code, "");
        assert_eq!(reply["attempts"], 1, "{reply:#}");
    }
}

#[test]
fn a_task_that_waits_for_its_next_run_can_be_cancelled() {
    let node = TestNode::peer().start();
    let count = node.folder().join("count");
    let mut wire = node.wire();
    let options = json!({ "max_retries": 1000, "task_id": "stubborn", "timeout": 600 });
    wire.send(with(task(FAILS_AT_FIRST, json!([count, 1_000_000])), options));
    wait_for("the task to have run twice", || runs(&count) >= 2);
    assert_eq!(cancel(&node, "stubborn")["status"], "CANCELLED");
    assert_failed(&wire.read(), "cancelled", "");
    node.wait_for_tasks(0, 0);
    assert_eq!(cancel(&node, "stubborn")["code"], "task_not_found");
}

#[test]
fn retries_end_with_the_time_of_the_task() {
    let node = TestNode::peer().start();
    let count = node.folder().join("count");
    let reply =
        node.call(with(task(FAILS_AT_FIRST, json!([count, 1_000_000])), json!({ "max_retries": 1000, "timeout": 1 })));
    assert!(["task_failed", "timeout"].contains(&reply["code"].as_str().unwrap()), "{reply:#}");
    assert_eq!(reply["attempts"], runs(&count), "{reply:#}");
}

// Batches.

#[test]
fn a_batch_answers_in_the_order_of_its_tasks() {
    let node = TestNode::peer().start();
    let gate = Gate::new(&node);
    let mut tasks: Vec<Value> =
        (0..200).map(|x| json!({ "program": "def main(x): return x * x", "args": [x] })).collect();
    tasks[0] = with(gate.task(), json!({ "task_id": "slow" }));
    let mut wire = node.wire();
    wire.send(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    node.wait_until("all tasks but the slow one to be over", |status| {
        status["scheduler"]["stats"]["completed_tasks"] == 199
    });
    gate.open();
    let reply = wire.read();
    assert_eq!(reply["type"], "BATCH_RESULT", "{reply}");
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 200);
    assert_eq!((&results[0]["task_id"], &results[0]["result"]), (&json!("slow"), &json!("through")));
    let names: BTreeSet<&str> = results.iter().map(|result| result["task_id"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 200, "every task has a name of its own");
    for (x, result) in results.iter().enumerate().skip(1) {
        assert_eq!((&result["result"], &result["type"]), (&json!(x * x), &json!("CPU_RESULT")), "{result:#}");
    }
}

#[test]
fn a_batch_tells_of_each_failure_in_its_place() {
    let node = TestNode::peer().start();
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": [
        { "task_id": "good", "program": "def main(): return 'good'" },
        { "task_id": "raises", "program": "def main(): return 1 / 0" },
        { "task_id": "slow", "program": "def main():\n    while True: pass", "timeout": 0.3 },
        { "task_id": "dies", "program": "import os\ndef main(): os._exit(3)" },
        { "task_id": "empty" },
        { "task_id": "wrong", "program": "def main(): pass", "priority": "high" },
        5,
        { "type": "CPU_TASK", "task_id": "last", "program": "def main(): return 'last'" },
    ] }));
    let expected = [
        ("good", None),
        ("raises", Some("task_failed")),
        ("slow", Some("timeout")),
        ("dies", Some("worker_died")),
        ("empty", Some("invalid_task")),
        ("unknown", Some("invalid_message")),
        ("unknown", Some("invalid_message")),
        ("last", None),
    ];
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), expected.len());
    for (result, (task_id, code)) in results.iter().zip(expected) {
        assert_eq!(result["code"].as_str(), code, "{result:#}");
        assert_eq!(result["task_id"], task_id, "{result:#}");
        assert_eq!(result["error"].is_null(), code.is_none(), "{result:#}");
    }
    node.check_serving();
}

#[test]
fn a_batch_without_tasks_is_refused() {
    let node = TestNode::peer().start();
    for message in [json!({ "type": "BATCH_TASK" }), json!({ "type": "BATCH_TASK", "tasks": [] })] {
        let reply = node.call(message);
        assert_eq!((&reply["type"], &reply["error"]), (&json!("ERROR"), &json!("No tasks provided")), "{reply}");
    }
    let tasks = vec![json!({ "program": "def main(): pass" }); 10_001];
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": tasks }));
    assert!(reply["error"].as_str().unwrap().contains("10000"), "{reply}");
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": "many" }));
    assert_eq!(reply["code"], "invalid_message", "{reply}");
}

#[test]
fn tasks_of_a_batch_can_be_cancelled_by_name() {
    let node = TestNode::peer().start();
    let mut wire = node.wire();
    wire.send(json!({ "type": "BATCH_TASK", "tasks": [
        { "task_id": "one", "program": "def main(): return 1" },
        { "task_id": "endless", "program": ENDLESS },
    ] }));
    wait_for("the task to be known", || cancel(&node, "endless")["status"] == "CANCELLED");
    let reply = wire.read();
    assert_eq!(reply["results"][0]["result"], 1);
    assert_eq!(reply["results"][1]["code"], "cancelled");
}

// Who shares an interpreter with whom.

const PID: &str = "import os\ndef main(): return os.getpid()";

#[test]
fn tasks_of_one_submitter_share_a_warm_interpreter() {
    let node = one_worker();
    let pids: BTreeSet<u64> = (0..5).map(|_| node.run(PID, json!([])).as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[test]
fn submitters_never_share_an_interpreter() {
    let node = TestNode::peer().start();
    let pid = |members: Value| node.call(with(task(PID, json!([])), members))["result"].as_u64().unwrap();
    let submitters = [
        json!({}),
        json!({ "confidential": true }),
        json!({ "source_peer": "127.0.0.1:9001" }),
        json!({ "source_peer": "127.0.0.1:9002" }),
        json!({ "source_peer": "127.0.0.1:9001", "confidential": true }),
    ];
    let mut owners: Vec<(u64, usize)> = Vec::new();
    for _ in 0..3 {
        for (submitter, members) in submitters.iter().enumerate() {
            owners.push((pid(members.clone()), submitter));
        }
    }
    for (pid, submitter) in &owners {
        let others = owners.iter().filter(|(other, owner)| other == pid && owner != submitter);
        assert_eq!(others.count(), 0, "{owners:?}");
    }
}

#[test]
fn an_isolated_task_has_an_interpreter_of_its_own() {
    let node = TestNode::peer().start();
    let mut pids = BTreeSet::new();
    for _ in 0..3 {
        pids.insert(node.run(PID, json!([])).as_u64().unwrap());
        let isolated = node.call(with(task(PID, json!([])), json!({ "isolated": true })));
        let pid = u32::try_from(isolated["result"].as_u64().unwrap()).unwrap();
        assert!(pids.insert(pid.into()), "{pid} served before: {pids:?}");
        wait_for("the used interpreter to be gone", || !is_alive(pid));
    }
}

#[test]
fn what_a_task_leaves_behind_meets_nobody_else() {
    let node = TestNode::peer().start();
    let vandal = "
import builtins, json, sys, threading, time
def main():
    builtins.len = lambda things: 666
    json.dumps = json.loads = lambda *args, **kwargs: '666'
    json.JSONEncoder.encode = lambda *args: '666'
    sys.path.clear()
    builtins.left_behind = 'secret'
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return 'done'
";
    let look = "
import builtins, json
def main(text):
    return [len(text), json.dumps([text]), json.loads('[1]'), hasattr(builtins, 'left_behind')]
";
    let expected = json!([4, r#"["true"]"#, [1], false]);
    for vandal_is in [json!({}), json!({ "confidential": true }), json!({ "source_peer": "127.0.0.1:9001" })] {
        let reply = node.call(with(task(vandal, json!([])), vandal_is.clone()));
        assert!(reply["error"].is_null(), "{reply:#}");
        for other in [
            json!({ "source_peer": "127.0.0.1:9002" }),
            json!({ "source_peer": "127.0.0.1:9002", "confidential": true }),
        ] {
            let reply = node.call(with(task(look, json!(["true"])), other));
            assert_eq!(reply["result"], expected, "{reply:#}");
        }
        // The thread that was left behind ends the interpreter, so that not even its owner meets it again.
        let reply = node.call(with(task(look, json!(["true"])), vandal_is));
        assert_eq!(reply["result"], expected, "{reply:#}");
    }
}

#[test]
fn a_submitter_that_replaces_functions_still_gets_right_results() {
    let node = one_worker();
    let vandal = "
import builtins, json
def main():
    builtins.len = lambda things: 666
    builtins.exec = builtins.compile = None
    json.dumps = json.loads = lambda *args, **kwargs: '666'
    json.JSONEncoder = None
    return 'done'
";
    assert_eq!(node.run(vandal, json!([])), "done");
    assert_eq!(
        node.run("def main(x): return [x, 'text', {'a': 1.5}]", json!([[1]])),
        json!([[1], "text", { "a": 1.5 }])
    );
    assert_failed(&node.call(task("def main(): return 1 / 0", json!([]))), "task_failed", "division by zero");
}

#[test]
fn the_streams_that_a_task_replaces_or_closes_are_there_for_the_next() {
    let node = one_worker();
    for program in [
        "import io, sys\ndef main():\n    sys.stdout = sys.stderr = io.StringIO()\n    print('hidden')",
        "import sys\ndef main():\n    sys.stdout = sys.stderr = None",
        "import sys\ndef main():\n    sys.stdout.close()\n    sys.stderr.close()",
        "import sys\ndef main():\n    del sys.stdout",
        "import os\ndef main():\n    os.close(1)\n    os.close(2)",
        "import os\ndef main():\n    null = os.open('/dev/null', os.O_WRONLY)\n    os.dup2(null, 1)\n    os.dup2(null, 2)",
    ] {
        let reply = node.call(task(program, json!([])));
        assert!(reply["error"].is_null(), "{program}: {reply:#}");
        let next = "import sys\ndef main():\n    print('out')\n    print('err', file=sys.stderr)";
        let reply = node.call(task(next, json!([])));
        assert_eq!(
            (&reply["stdout"], &reply["stderr"]),
            (&json!("out\n"), &json!("err\n")),
            "after {program}: {reply:#}"
        );
    }
}

#[test]
fn a_task_works_in_a_folder_of_its_own() {
    let node = TestNode::peer().start();
    let program = "
import os, tempfile
def main():
    with open('left', 'w') as file:
        file.write('x')
    return [os.getcwd(), os.environ['HOME'], tempfile.gettempdir(), sorted(os.environ)]
";
    let result = node.run(program, json!([]));
    let folder = result[0].as_str().unwrap();
    assert!(Path::new(folder).starts_with(node.data_dir().canonicalize().unwrap()), "{result}");
    assert_eq!((&result[1], &result[2]), (&result[0], &result[0]), "{result}");
    assert!(!result[3].as_array().unwrap().iter().any(|name| name == "CARGO_MANIFEST_DIR"), "{result}");
}

// The interpreter and the worker processes.

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
    let path = node.folder().join("pid");
    let mut wire = node.wire();
    wire.send(task(ENDLESS, json!([path])));
    kill(wait_for_pid(&path));
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

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
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

// Storms.

/// Sends tasks that square their number over one connection, all at once, and checks every answer: each comes once, and
/// is right or is accepted as it is. `change` may change the message.
fn storm(
    node: &TestNode,
    count: u64,
    change: impl Fn(u64, Value) -> Value + Send,
    accept: impl Fn(u64, &Value) -> bool,
) {
    let mut reader = node.wire();
    let mut writer = reader.another();
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..count {
                let square = with(task("def main(x): return x * x", json!([id])), json!({ "id": id, "timeout": 600 }));
                writer.send(change(id, square));
            }
        });
        let mut seen = BTreeSet::new();
        for _ in 0..count {
            let reply = reader.read();
            let id = reply["id"].as_u64().unwrap();
            assert!(seen.insert(id), "{id} was answered twice: {reply:#}");
            let right = reply["error"].is_null() && reply["result"] == id * id;
            assert!(right || accept(id, &reply), "{reply:#}");
        }
    });
}

#[test]
fn tasks_of_many_submitters_at_once_all_get_their_turn() {
    let node = TestNode::peer().cpu("workers = 2\nspare_workers = 1\nworker_processes_max = 4").start();
    let submitter = |id: u64, message| with(message, json!({ "source_peer": format!("127.0.0.1:{}", 9100 + id % 12) }));
    storm(&node, 120, submitter, |_, _| false);
    node.wait_for_tasks(0, 0);
}

#[test]
fn workers_that_are_killed_at_work_cost_no_task_that_may_be_retried() {
    let node = TestNode::peer().start();
    // Once one has worked, every child of the node is a worker.
    node.check_serving();
    let patient = |_, message| with(message, json!({ "max_retries": 1000 }));
    let completed = || node.status()["scheduler"]["stats"]["completed_tasks"].as_u64().unwrap();
    thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&node, 6000, patient, |_, _| false));
        for _ in 0..25 {
            // The oldest one is at work, and not one that is still on its way.
            let Some(oldest) = children(node.pid()).into_iter().min() else { continue };
            let oldest = rustix::process::Pid::from_raw(i32::try_from(oldest).unwrap()).unwrap();
            // It may just have ended.
            let _ = rustix::process::kill_process(oldest, rustix::process::Signal::KILL);
            let before = completed();
            wait_for("some tasks to be done", || completed() > before + 20 || storm.is_finished());
            if storm.is_finished() {
                break;
            }
        }
        storm.join().unwrap();
    });
    node.check_serving();
}

#[test]
fn tasks_behind_one_that_leaves_a_thread_are_run_elsewhere() {
    let node = TestNode::peer().start();
    let leaves = "
import threading, time
def main(x):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return x * x
";
    let change = |id, message| if id % 20 == 7 { with(message, json!({ "program": leaves })) } else { message };
    storm(&node, 400, change, |_, _| false);
    node.check_serving();
}

#[test]
fn cancelling_in_a_storm_answers_each_task_once() {
    let node = TestNode::peer().start();
    let running = &node;
    thread::scope(|scope| {
        let named = |id: u64, message| with(message, json!({ "task_id": format!("task-{id}") }));
        let cancelled = |_, reply: &Value| reply["code"] == "cancelled";
        let storm = scope.spawn(move || storm(running, 2000, named, cancelled));
        let mut wire = node.wire();
        let mut hits = 0;
        for id in (0..2000).cycle().step_by(3) {
            if storm.is_finished() {
                break;
            }
            let reply = wire.call(json!({ "type": "CANCEL_TASK", "task_id": format!("task-{id}") }));
            hits += u64::from(reply["status"] == "CANCELLED");
        }
        storm.join().unwrap();
        assert_eq!(node.status()["scheduler"]["stats"]["cancelled_tasks"], hits);
    });
}

#[test]
fn thousands_of_tasks_leave_nothing_behind_in_the_node() {
    let node = TestNode::peer().start();
    let named = |id: u64, message| with(message, json!({ "task_id": format!("{id}-{}", "x".repeat(200)) }));
    storm(&node, 3000, named, |_, _| false);
    let before = resident_bytes(node.pid());
    storm(&node, 20_000, named, |_, _| false);
    let growth = resident_bytes(node.pid()).saturating_sub(before);
    assert!(growth < 32 << 20, "20,000 tasks have left {} KiB behind", growth >> 10);
}

// Stopping the node.

#[test]
fn a_node_that_stops_answers_every_task() {
    let mut node = TestNode::peer().cpu("workers = 1\ndrain_seconds = 0.2").start();
    let mut wire = node.wire();
    wire.send(with(task(ENDLESS, json!([])), json!({ "id": "running" })));
    node.wait_for_tasks(1, 0);
    for id in ["queued 1", "queued 2"] {
        wire.send(with(task("def main(): pass", json!([])), json!({ "id": id })));
    }
    node.wait_for_tasks(1, 2);
    node.terminate();
    let mut answers: Vec<Value> = (0..3).map(|_| wire.read()).collect();
    answers.sort_by_key(|answer| answer["id"].to_string());
    for (answer, id) in answers.iter().zip(["queued 1", "queued 2", "running"]) {
        assert_eq!(answer["id"], id);
        assert_failed(answer, "node_stopping", "the node is stopping");
    }
    wire.expect_end();
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
}

#[test]
fn a_running_task_may_end_while_the_node_stops() {
    let mut node = TestNode::peer().cpu("workers = 1\ndrain_seconds = 600").start();
    let gate = Gate::new(&node);
    let (mut wire, mut late) = (node.wire(), node.wire());
    wire.send(with(gate.task(), json!({ "id": "running" })));
    late.send(with(gate.task(), json!({ "id": "queued" })));
    node.wait_for_tasks(1, 1);
    node.terminate();
    assert_failed(&late.read(), "node_stopping", "");
    gate.open();
    let reply = wire.read();
    assert_eq!((&reply["id"], &reply["result"]), (&json!("running"), &json!("through")), "{reply:#}");
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
}
