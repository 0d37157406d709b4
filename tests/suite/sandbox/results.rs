//! What comes back from the sandbox: the same as from native Python, in the same words.

use super::{assert_failed, check_serving, run, shown};
use potluck_tests::{TestNode, sandboxed, with};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

#[test]
fn a_result_tells_everything_about_its_task() {
    let node = TestNode::peer().start();
    let reply =
        node.call(with(sandboxed("def main(x): return x * x", json!([5])), json!({ "task_id": "square", "id": 7 })));
    let expected = json!({
        "type": "CPU_RESULT",
        "id": 7,
        "task_id": "square",
        "result": 25,
        "error": null,
        "executed_by": node.address(),
        "runtime": "sandbox",
        "attempts": 1,
        "cached": false,
        "stdout": "",
        "stderr": "",
        "deterministic": true,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&reply[name], value, "{name} in {reply:#}");
    }
    assert!(reply["execution_time"].as_f64() > Some(0.0), "{reply:#}");
    assert!(reply.get("code").is_none() && reply.get("traceback").is_none(), "{reply:#}");
}

#[test]
fn the_function_and_the_arguments_are_those_of_the_message() {
    let node = TestNode::peer().start();
    let program = "def other(*args): return args\ndef main(): return 'main'";
    let reply = node.call(with(sandboxed(program, json!([1, "two", [3], null])), json!({ "function": "other" })));
    assert_eq!(reply["result"], json!([1, "two", [3], null]), "tuples become arrays: {reply:#}");
    assert_eq!(run(&node, program, Value::Null), "main");
    let call = |function: &str| node.call(with(sandboxed("main = 5", json!([])), json!({ "function": function })));
    assert_failed(&call("nothing"), "task_failed", "Function 'nothing' not found in program");
    assert_failed(&call("main"), "task_failed", "'main' is not callable");
    let reply = node.call(sandboxed("def main(a, b): pass", json!([1])));
    assert_failed(&reply, "task_failed", "missing 1 required positional argument: 'b'");
    assert_failed(
        &node.call(with(sandboxed("p", json!([])), json!({ "image": "nowhere" }))),
        "runtime_unavailable",
        "nowhere",
    );
}

#[test]
fn numbers_of_any_size_pass_digit_for_digit() {
    let node = TestNode::peer().start();
    let digits = "7".repeat(300);
    let program = "def main(x): return [x, -x, x * 10]";
    let message = format!(r#"{{"type":"CPU_TASK","runtime":"sandbox","program":"{program}","args":[{digits}]}}"#);
    let reply = node.call_raw(message);
    assert!(reply.contains(&format!(r#""result":[{digits}, -{digits}, {digits}0]"#)), "{reply}");
    // Longer than what Python prints unless asked.
    let reply = node.call_raw(sandboxed("def main(n): return 10 ** n", json!([20_000])));
    assert!(reply.contains(&format!(r#""result":1{}"#, "0".repeat(20_000))), "the digits are missing");
    let values = json!([0.1, 1e308, 5e-324, true, null, -0.0, 9_007_199_254_740_993_u64]);
    assert_eq!(run(&node, "def main(*args): return args", values.clone()), values);
}

#[test]
fn text_of_all_kinds_passes() {
    let node = TestNode::peer().start();
    let values = json!(["é🙂\u{0}\"\\\u{7f}\u{2028}", { "ключ": { "b": [] } }, "日本語"]);
    assert_eq!(run(&node, "def main(*args): return args", values.clone()), values);
    let program = "été = 'naïve 🙂'\ndef main():\n    print(été)\n    return été";
    let reply = node.call(sandboxed(program, json!([])));
    assert_eq!((&reply["result"], &reply["stdout"]), (&json!("naïve 🙂"), &json!("naïve 🙂\n")), "{reply:#}");
    // Half of a pair is no character, but JSON can write it.
    let reply = node.call_raw(sandboxed("def main(): return '\\ud800'", json!([])));
    assert!(reply.contains(r#""result":"\ud800""#), "{reply}");
    let half =
        r#"{"type":"CPU_TASK","runtime":"sandbox","program":"def main(x): return ord(x) == 0xd800","args":["\ud800"]}"#;
    let reply = node.call_raw(half);
    assert!(reply.contains(r#""result":true"#), "{reply}");
    let reply = node.call(sandboxed("def main(): raise ValueError('half \\ud800')", json!([])));
    assert_failed(&reply, "task_failed", "half \\ud800");
}

#[test]
fn what_a_task_prints_comes_back() {
    let node = TestNode::peer().start();
    let program = "
import os, sys
def main():
    print('out')
    print('error', file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b'descriptor\\n')
    os.write(2, b'descriptor error\\n')
    sys.stdout.buffer.write(b'buffer\\n')
    sys.stdout.flush()
    print('\\ud800 half of a pair')
    os.write(1, b'\\xff\\n')
    print('no line end', end='')
";
    let reply = node.call(sandboxed(program, json!([])));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    assert_eq!(reply["stdout"], "out\ndescriptor\nbuffer\n\\ud800 half of a pair\n\u{fffd}\nno line end");
    assert_eq!(reply["stderr"], "error\ndescriptor error\n");
    // The next task begins with nothing, whatever became of the last one.
    let reply = node.call(sandboxed("def main(): print('next')", json!([])));
    assert_eq!((&reply["stdout"], &reply["stderr"]), (&json!("next\n"), &json!("")));
    let reply = node.call(sandboxed("def main():\n    print('before')\n    return 1 / 0", json!([])));
    assert_eq!(reply["stdout"], "before\n", "{reply:#}");
    let endless = "def main():\n    print('before', flush=True)\n    while True: pass";
    let reply = node.call(with(sandboxed(endless, json!([])), json!({ "timeout": 1 })));
    assert_eq!((&reply["stdout"], &reply["code"]), (&json!("before\n"), &json!("timeout")), "{reply:#}");
    let reply = node.call(sandboxed("def main(): print('after')", json!([])));
    assert_eq!(reply["stdout"], "after\n", "{reply:#}");
}

#[test]
fn an_exception_is_reported_with_the_lines_of_the_program() {
    let node = TestNode::peer().start();
    let program = "def divide(a, b):\n    return a / b  # here it happens\n\ndef main(a):\n    return divide(a, 0)\n";
    for program in [program, program.trim_end()] {
        let reply = node.call(sandboxed(program, json!([1])));
        assert_failed(&reply, "task_failed", "division by zero");
        assert_eq!(reply["error_type"], "ZeroDivisionError");
        let traceback = reply["traceback"].as_str().unwrap();
        for words in [
            "Traceback (most recent call last)",
            "\"<string>\", line 5, in main",
            "return divide(a, 0)",
            "\"<string>\", line 2, in divide",
            "return a / b  # here it happens",
            "ZeroDivisionError: division by zero",
        ] {
            assert!(traceback.contains(words), "{words:?} is missing in {traceback}");
        }
        for words in ["runner", "app.py", "_call", "wit_world"] {
            assert!(!traceback.contains(words), "the image's own frames are nobody's business: {traceback}");
        }
    }
    let chained = "def main():\n    try:\n        1 / 0\n    except ZeroDivisionError as error:\n        raise ValueError('outer') from error";
    let reply = node.call(sandboxed(chained, json!([])));
    let traceback = reply["traceback"].as_str().unwrap();
    for words in ["ZeroDivisionError", "direct cause", "ValueError: outer", "raise ValueError('outer') from error"] {
        assert!(traceback.contains(words), "{words:?} is missing in {traceback}");
    }
}

#[test]
fn exceptions_of_all_kinds_have_the_texts_that_native_python_gives_them() {
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
        ("raise SystemExit(3)", "the task called sys.exit(3); return a value instead", "SystemExit"),
    ] {
        let reply = node.call(sandboxed(&format!("def main():\n    {raise}"), json!([])));
        assert_eq!((&reply["error"], &reply["error_type"]), (&json!(error), &json!(error_type)), "{raise}: {reply:#}");
        assert!(reply["traceback"].as_str().unwrap().contains("line 2, in main"), "{raise}: {reply:#}");
    }
    for (program, error_type, line) in
        [("def main():\n    return (1 +\n", "SyntaxError", 2), ("def main():\nreturn 1\n", "IndentationError", 2)]
    {
        let reply = node.call(sandboxed(program, json!([])));
        assert_failed(&reply, "task_failed", &format!("(<string>, line {line})"));
        assert_eq!(reply["error_type"], error_type, "{reply:#}");
    }
    assert_failed(&node.call(sandboxed("1 / 0\ndef main(): pass", json!([]))), "task_failed", "division by zero");
    assert_failed(&node.call(sandboxed("def main(): return '\0'", json!([]))), "task_failed", "null");
    check_serving(&node);
}

#[test]
fn a_program_that_is_no_text_costs_its_task_alone() {
    let node = TestNode::peer().cpu("workers = 1").start();
    for runtime in ["sandbox", "python"] {
        let half = format!(
            r#"{{"type":"CPU_TASK","runtime":"{runtime}","program":"def main(): return '\ud800'","timeout":20}}"#
        );
        let reply: Value = serde_json::from_str(&node.call_raw(half)).unwrap();
        assert!(!reply["error"].is_null(), "{reply:#}");
        assert_ne!(reply["code"], "timeout", "{runtime}: it is a worker's end again and again: {reply:#}");
        check_serving(&node);
    }
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
        ("{'x': -float('inf')}", "infinity"),
    ] {
        let reply = node.call(sandboxed(&format!("def main(): return {result}"), json!([])));
        assert_failed(&reply, "result_unusable", words);
    }
    let circle = "def main():\n    a = []\n    a.append(a)\n    return a";
    assert_failed(&node.call(sandboxed(circle, json!([]))), "result_unusable", "");
    assert_eq!(
        run(&node, "def main(): return {1: 'a', None: 'b', True: 'c'}", json!([])),
        json!({ "1": "c", "null": "b" })
    );
}

#[test]
fn a_huge_result_is_refused_and_a_large_one_passes() {
    let node = TestNode::peer().start();
    let program = "def main(mib): return 'x' * (mib << 20)";
    assert_eq!(run(&node, program, json!([11])).as_str().unwrap().len(), 11 << 20);
    assert_failed(&node.call(sandboxed(program, json!([13]))), "result_unusable", "over the limit");
    let text = "x".repeat(14 << 20);
    assert_eq!(run(&node, "def main(text): return len(text)", json!([text])), 14 << 20);
    let long = format!("data = '{}'\ndef main(): return len(data)", "y".repeat(14 << 20));
    assert_eq!(run(&node, &long, json!([])), 14 << 20);
    check_serving(&node);
}

#[test]
fn output_has_a_limit() {
    let node = TestNode::peer().start();
    let call = |program: &str, args: Value, members: Value| node.call(with(sandboxed(program, args), members));
    let exact = "def main(n): print('x' * n, end='')";
    let limit = json!({ "output_limit_bytes": 5000 });
    assert_eq!(call(exact, json!([5000]), limit.clone())["stdout"].as_str().unwrap().len(), 5000);
    assert_failed(&call(exact, json!([5001]), limit.clone()), "output_limit", "5000");
    for flood in [
        "def main():\n    while True: print('and another thing')",
        "import sys\ndef main():\n    while True: print('x' * 1000, file=sys.stderr)",
        "import os\ndef main():\n    while True: os.write(1, bytes(1 << 16))",
        "def main():\n    while True:\n        try: print('x' * 1000)\n        except BaseException: pass",
    ] {
        let reply = call(flood, json!([]), limit.clone());
        assert_failed(&reply, "output_limit", "5000");
        let printed = reply["stdout"].as_str().unwrap().len() + reply["stderr"].as_str().unwrap().len();
        assert!(printed > 100 && printed < 2 << 20, "{printed} bytes");
        check_serving(&node);
    }
    // Within the limit, but too long to come back whole.
    let reply = call("def main():\n    print('x' * (1 << 20))\n    return 'done'", json!([]), json!({}));
    assert_eq!(reply["result"], "done", "{}", shown(&reply));
    let stdout = reply["stdout"].as_str().unwrap();
    assert!(stdout.len() < MIB as usize && stdout.contains("more bytes]"), "{} bytes", stdout.len());
    let reply = call("def main(): raise ValueError('x' * (16 << 20))", json!([]), json!({}));
    assert_failed(&reply, "task_failed", "xxx");
    assert!(reply.to_string().len() < MIB as usize, "{} bytes", reply.to_string().len());
}

#[test]
fn a_sandboxed_task_may_be_one_of_a_batch_and_be_tried_again() {
    let node = TestNode::peer().start();
    let reply = node.call(json!({ "type": "BATCH_TASK", "tasks": [
        { "task_id": "sandboxed", "runtime": "sandbox", "program": "import sys\ndef main(): return sys.platform" },
        { "task_id": "native", "program": "import sys\ndef main(): return sys.platform" },
        { "task_id": "raises", "runtime": "sandbox", "program": "def main(): return 1 / 0", "max_retries": 2 },
        { "task_id": "leaves", "runtime": "sandbox", "program": "import os\ndef main(): os._exit(1)", "max_retries": 1 },
    ] }));
    let results = reply["results"].as_array().unwrap();
    let shape = |index: usize| (&results[index]["result"], &results[index]["code"], &results[index]["attempts"]);
    assert_eq!(shape(0), (&json!("wasi"), &Value::Null, &json!(1)), "{reply:#}");
    assert_eq!(shape(1), (&json!("linux"), &Value::Null, &json!(1)), "{reply:#}");
    assert_eq!(shape(2), (&Value::Null, &json!("task_failed"), &json!(3)), "{reply:#}");
    assert_eq!(shape(3), (&Value::Null, &json!("worker_died"), &json!(2)), "{reply:#}");
}
