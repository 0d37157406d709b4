//! What comes back: results, errors, output.

use super::{assert_failed, trusting};
use potluck_tests::{TestNode, task, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
import ctypes, os, sys
def main():
    print('python')
    print('error', file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b'descriptor\\n')
    os.write(2, b'descriptor error\\n')
    libc = ctypes.CDLL(None)
    libc.puts(b'library')
    libc.fflush(None)
    print('no line end', end='')
";
    let reply = node.call(task(program, json!([])));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    assert_eq!(reply["stdout"], "python\ndescriptor\nlibrary\nno line end");
    assert_eq!(reply["stderr"], "error\ndescriptor error\n");
    // The next task in the same interpreter begins with nothing.
    let reply = node.call(task("def main(): print('next')", json!([])));
    assert_eq!((&reply["stdout"], &reply["stderr"]), (&json!("next\n"), &json!("")));
    let reply = node.call(task("def main():\n    print('before')\n    return 1 / 0", json!([])));
    assert_eq!(reply["stdout"], "before\n", "{reply:#}");
}

#[test]
fn what_a_program_prints_that_a_task_starts_is_captured() {
    let node = trusting();
    let program = "
import subprocess
def main():
    print('before', flush=True)
    subprocess.run(['sh', '-c', 'echo child; echo child error >&2'], check=True)
    print('after')
";
    let reply = node.call(task(program, json!([])));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    assert_eq!((&reply["stdout"], &reply["stderr"]), (&json!("before\nchild\nafter\n"), &json!("child error\n")));
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
