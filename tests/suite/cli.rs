//! `potluck`, the command line: what it prints on which stream, and how it ends.

use potluck_tests::{TestNode, dist, potluck, potluck_command, run, task, wait_for, with};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

const SQUARE: &str = "def main(x): return x * x";
const ENDLESS: &str = "def main():\n    while True: pass";

/// 100!, from another source than Python.
const FACTORIAL_100: &str = "93326215443944152681699238856266700490715968264381621468592963895217599993229915608941463976156518286253697920827223758251185210916864000000000000000000000000";

fn memory_node() -> TestNode {
    TestNode::peer().plugins("[plugins.memory]\n").start()
}

// Tasks.

#[test]
fn a_task_prints_its_result() {
    let node = TestNode::peer().start();
    let port = node.port().to_string();
    let output = potluck([
        "--port",
        &port,
        "cpu",
        "--program",
        "def main(x): return x * x",
        "--function",
        "main",
        "--args",
        "[5]",
    ]);
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (0, "Result: 25\n", ""));
    // The options of the node may stand behind the command as well.
    let output = potluck(["cpu", "--program", SQUARE, "--args", "[6]", "--port", &port, "--host", "localhost"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "Result: 36\n"), "{output:?}");
    let output =
        run(potluck_command().env("POTLUCK_PORT", &port).args(["cpu", "--program", SQUARE, "--args", "7"]), "");
    assert_eq!((output.status, output.stdout.as_str()), (0, "Result: 49\n"), "{output:?}");
}

#[test]
fn results_are_shown_as_python_shows_them() {
    let node = TestNode::peer().start();
    for (args, expected) in [
        ("[5]", "5"),
        ("[null]", "None"),
        ("[true]", "True"),
        (r#"["a text"]"#, "a text"),
        ("[1.5]", "1.5"),
        (r#"[{"a": [1, null, "x"], "b": {}}]"#, "{'a': [1, None, 'x'], 'b': {}}"),
        ("not json", "not json"),
        (r#"{"k": "it's"}"#, r#"{'k': "it's"}"#),
        ("", ""),
    ] {
        let output = node.cli(["cpu", "--program", "def main(x): return x", "--args", args]);
        assert_eq!((output.status, output.stdout), (0, format!("Result: {expected}\n")), "{args}");
    }
}

#[test]
fn large_integers_are_exact_to_the_last_digit() {
    let node = TestNode::peer().start();
    let factorial = "import math\ndef main(n): return math.factorial(n)";
    let output = node.cli(["cpu", "--program", factorial, "--args", "[100]"]).success();
    assert_eq!(output.stdout, format!("Result: {FACTORIAL_100}\n"));

    let digits = "9876543210".repeat(30);
    let output =
        node.cli(["cpu", "--program", "def main(x): return [x, -x]", "--args", &format!("[{digits}]")]).success();
    assert_eq!(output.stdout, format!("Result: [{digits}, -{digits}]\n"));
    let output = node.cli(["--json", "cpu", "--program", "def main(x): return x", "--args", &digits]).success();
    assert!(output.stdout.contains(&format!(r#""result":{digits},"#)), "{output:?}");

    node.cli(["set-mem", "--key", "big", "--value", &digits, "--json-value"]).success();
    assert_eq!(node.cli(["get-mem", "--key", "big"]).success().stdout, format!("Memory value: {digits}\n"));
    assert!(
        node.cli(["get-mem", "--key", "big", "--json"]).success().stdout.contains(&format!(r#""value":{digits},"#))
    );
}

#[test]
fn what_a_task_prints_comes_before_its_result_on_the_same_stream() {
    let node = TestNode::peer().start();
    let program = "import sys\ndef main():\n    print('one')\n    print('problem', file=sys.stderr)\n    print('two', end='')\n    return 3";
    let output = node.cli(["cpu", "--program", program]);
    assert_eq!(
        (output.status, output.stdout.as_str(), output.stderr.as_str()),
        (0, "one\ntwo\nResult: 3\n", "problem\n")
    );
}

#[test]
fn a_task_that_fails_shows_its_traceback_and_exits_with_1() {
    let node = TestNode::peer().start();
    let program = "def main(x):\n    print('before')\n    return 1 / x";
    let output = node.cli(["cpu", "--program", program, "--args", "[0]"]);
    assert_eq!((output.status, output.stdout.as_str()), (1, "before\n"), "{output:?}");
    assert!(output.stderr.contains("line 3, in main\n    return 1 / x"), "{output:?}");
    assert!(output.stderr.ends_with("Error: division by zero\n"), "{output:?}");

    let output = node.cli(["cpu", "--program", program, "--args", "[0]", "--json"]);
    assert_eq!((output.status, output.stderr.as_str()), (1, ""), "{output:?}");
    let reply = output.json();
    assert_eq!(
        (&reply["code"], &reply["error_type"]),
        (&json!("task_failed"), &json!("ZeroDivisionError")),
        "{reply:#}"
    );
}

#[test]
fn all_options_of_a_task_have_their_effect() {
    let node = TestNode::peer().start();
    let cpu = |options: &[&str], program: &str| {
        node.cli(["--json", "cpu", "--program", program].iter().chain(options)).json()
    };
    assert_eq!(cpu(&["--task-id", "my task"], SQUARE)["task_id"], "my task");
    assert_eq!(cpu(&["--timeout", "0.5"], ENDLESS)["code"], "timeout");
    assert_eq!(cpu(&["--cpu-limit", "0.2"], ENDLESS)["code"], "cpu_limit");
    assert_eq!(cpu(&["--memory-limit", "256M"], "def main(): bytearray(1 << 29)")["code"], "memory_limit");
    assert_eq!(cpu(&["--output-limit", "1K"], "def main(): print('x' * 2000)")["code"], "output_limit");
    assert_eq!(cpu(&["--retries", "1"], "def main(): 1 / 0")["attempts"], 2);
    assert_eq!(cpu(&["--function", "f", "--priority", "-5", "--confidential"], "def f(): return 'f'")["result"], "f");
    assert_eq!(
        cpu(&["--runtime", "python", "--isolated", "--estimated-time", "1"], "def main(): return 'x'")["result"],
        "x"
    );
    assert_eq!(cpu(&["--runtime", "perl"], SQUARE)["code"], "runtime_unavailable");
}

#[test]
fn a_program_may_come_from_a_file_or_from_standard_input() {
    let node = TestNode::peer().start();
    let path = node.folder().join("square.py");
    // As an editor on another system may save it.
    fs::write(&path, format!("\u{feff}{SQUARE}\r\n")).unwrap();
    let output = node.cli(["cpu", "--file", path.to_str().unwrap(), "--args", "[8]"]);
    assert_eq!(output.success().stdout, "Result: 64\n");
    let output = node.cli_with_input(["cpu", "--file", "-", "--args", "[9]"], SQUARE);
    assert_eq!(output.success().stdout, "Result: 81\n");
    let output = node.cli(["cpu", "--file", "/no/such/file.py"]);
    assert!(output.status == 1 && output.stderr.contains("/no/such/file.py"), "{output:?}");
}

#[test]
fn ctrl_c_cancels_the_task_too() {
    let node = TestNode::peer().start();
    let child = start(&node, &["cpu", "--program", ENDLESS, "--task-id", "endless"]);
    node.wait_for_tasks(1, 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Cancelled task endless"), "{output:?}");
    node.wait_for_tasks(0, 0);
}

/// Starts a command that does not end by itself.
fn start(node: &TestNode, args: &[&str]) -> Child {
    let mut command = potluck_command();
    command.arg("--port").arg(node.port().to_string()).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_task_is_cancelled_by_its_name() {
    let node = TestNode::peer().start();
    let output = thread::scope(|scope| {
        let submitter = scope.spawn(|| node.cli(["cpu", "--program", ENDLESS, "--task-id", "endless"]));
        node.wait_for_tasks(1, 0);
        let output = node.cli(["cancel", "--task-id", "endless"]);
        assert_eq!((output.status, output.stdout.as_str()), (0, "Task endless cancelled successfully\n"), "{output:?}");
        submitter.join().unwrap()
    });
    assert_eq!((output.status, output.stderr.as_str()), (1, "Error: Task cancelled\n"), "{output:?}");

    let output = node.cli(["cancel", "--task-id", "endless"]);
    assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{output:?}");
    assert!(output.stderr.starts_with("Error: Task endless not found"), "{output:?}");
}

// Batches.

#[test]
fn a_batch_prints_its_results_in_the_order_of_the_file() {
    let node = TestNode::peer().start();
    let path = node.folder().join("tasks.jsonl");
    let program = "import time\ndef main(x):\n    time.sleep(0.002 * (x % 3))\n    return x * x";
    let line = |x: usize| json!({ "task_id": format!("t{x}"), "program": program, "args": [x] }).to_string();
    fs::write(&path, (0..100).map(|x| line(x) + "\n").collect::<String>()).unwrap();

    let output = node.cli(["batch", path.to_str().unwrap()]).success();
    let lines: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(matches!(lines[0][..], ["TASK", "PEER", _, "RESULT"]), "{:?}", lines[0]);
    assert_eq!(lines.len(), 101);
    for (x, line) in lines[1..].iter().enumerate() {
        assert_eq!((line[0], line[1], line[3]), (&*format!("t{x}"), node.address(), &*(x * x).to_string()));
    }
    assert!(output.stderr.starts_with("100 ok, 0 failed in "), "{}", output.stderr);

    let output = node.cli(["--json", "batch", path.to_str().unwrap(), "--jobs", "3"]).success();
    let results = output.json_lines();
    assert!(
        results.iter().enumerate().all(|(x, result)| result["result"] == x * x && result["task_id"] == format!("t{x}"))
    );
    assert_eq!(results.len(), 100);
}

#[test]
fn a_batch_with_a_failure_goes_on_and_exits_with_1() {
    let node = TestNode::peer().start();
    let input = "\n{\"args\": [2]}\n{\"args\": [0]}\n\n{\"args\": [4]}\n{\"args\": [1], \"function\": \"other\"}";
    let output = node.cli_with_input(["batch", "-", "--program", "def main(x): return 12 // x"], input);
    assert_eq!(output.status, 1, "{output:?}");
    let rows: Vec<&str> = output.stdout.lines().skip(1).collect();
    let ends =
        ["  6", "  Error: integer division or modulo by zero", "  3", "  Error: Function 'other' not found in program"];
    assert_eq!(rows.len(), ends.len(), "{output:?}");
    assert!(rows.iter().zip(ends).all(|(row, end)| row.ends_with(end)), "{output:?}");
    assert!(output.stderr.contains("2 ok, 2 failed"), "{output:?}");
}

#[test]
fn a_batch_stops_at_a_line_that_is_no_task_and_names_it() {
    let node = TestNode::peer().start();
    let path = node.folder().join("tasks.jsonl");
    let path = path.to_str().unwrap();
    fs::write(path, "{\"args\": [3]}\n{\"args\": [\n{\"args\": [5]}\n").unwrap();
    let output = node.cli(["batch", path, "--program", SQUARE]);
    assert_eq!(output.status, 1, "{output:?}");
    // The heading, and the task before the bad line.
    assert!(output.stdout.lines().count() == 2 && output.stdout.ends_with("  9\n"), "{output:?}");
    assert!(output.stderr.contains(&format!("Error: {path}:2")), "{output:?}");
    assert!(output.stderr.contains("1 ok, 0 failed"), "{output:?}");
    let output = node.cli(["batch", "/no/such/tasks.jsonl"]);
    assert!(output.status == 1 && output.stderr.contains("/no/such/tasks.jsonl"), "{output:?}");
}

#[test]
fn a_long_batch_keeps_its_order() {
    let node = TestNode::peer().start();
    let input: String = (0..5000).map(|x| format!("{{\"args\": [{x}]}}\n")).collect();
    let output = node.cli_with_input(["--json", "batch", "-", "--program", SQUARE], &input).success();
    let results = output.json_lines();
    assert_eq!(results.len(), 5000);
    assert!(results.iter().enumerate().all(|(x, result)| result["result"] == x * x));
}

// Memory.

#[test]
fn values_are_stored_read_listed_and_removed() {
    let node = memory_node();
    let output = node.cli(["set-mem", "--key", "greeting", "--value", "hello"]).success();
    assert_eq!(output.stdout, "Memory set: greeting = hello\n");
    assert_eq!(node.cli(["get-mem", "--key", "greeting"]).success().stdout, "Memory value: hello\n");
    // A value is a text unless said otherwise.
    node.cli(["set-mem", "--key", "-5", "--value", "-7"]).success();
    assert_eq!(node.call(json!({ "type": "GET_MEM", "key": "-5" }))["value"], "-7");

    let output = node.cli(["list-mem"]).success();
    assert!(output.stdout.starts_with("KEY") && output.stdout.contains("greeting"), "{output:?}");
    let output = node.cli(["list-mem", "--prefix", "gr", "--json"]).success().json();
    assert_eq!(output["entries"][0]["key"], "greeting");
    assert_eq!(output["entries"].as_array().unwrap().len(), 1);

    assert_eq!(node.cli(["del-mem", "--key", "greeting"]).success().stdout, "Memory deleted: greeting\n");
    for command in ["get-mem", "del-mem"] {
        let output = node.cli([command, "--key", "greeting"]);
        assert_eq!((output.status, output.stdout.as_str()), (1, "Key 'greeting' not found\n"), "{command}");
        let output = node.cli([command, "--key", "greeting", "--json"]);
        assert_eq!((output.status, &output.json()["key"]), (1, &json!("greeting")), "{command}");
    }
}

#[test]
fn options_of_set_mem_have_their_effect() {
    let node = memory_node();
    node.cli(["set-mem", "--key", "k", "--value", "{\"a\": [1]}", "--json-value", "--ttl", "1000"]).success();
    let entry = node.call(json!({ "type": "GET_MEM", "key": "k" }));
    assert_eq!(entry["value"], json!({ "a": [1] }));
    assert!(entry["expires_in_seconds"].as_f64().unwrap() <= 1000.0);
    let output = node.cli(["set-mem", "--key", "k", "--value", "1", "--if-version", "0"]);
    assert!(output.status == 1 && output.stderr.contains("version"), "{output:?}");
    let output = node.cli(["set-mem", "--key", "k", "--value", "1", "--if-version", "0", "--json"]);
    assert_eq!((output.status, &output.json()["code"]), (1, &json!("version_mismatch")));
    let output = node.cli(["set-mem", "--key", "k", "--value", "{broken", "--json-value"]);
    assert!(output.status == 2 && output.stderr.contains("no JSON"), "{output:?}");
}

#[test]
fn a_long_list_says_that_there_is_more() {
    let node = memory_node();
    let mut wire = node.wire();
    for number in 0..250 {
        wire.call(json!({ "type": "SET_MEM", "key": format!("key-{number:03}"), "value": 0 }));
    }
    let output = node.cli(["list-mem", "--limit", "10"]).success();
    assert_eq!(output.stdout.lines().count(), 11);
    assert!(output.stderr.contains("10 keys listed of 250"), "{output:?}");
    let output = node.cli(["list-mem", "--all"]).success();
    assert_eq!((output.stdout.lines().count(), output.stderr.as_str()), (251, ""));
    let list = node.cli(["list-mem", "--all", "--limit", "100", "--json"]).success().json();
    assert_eq!((list["entries"].as_array().unwrap().len(), &list["next"]), (250, &Value::Null));
}

// The node.

#[test]
fn a_message_of_any_type_can_be_sent() {
    let node = memory_node();
    assert_eq!(node.cli(["send", "PING"]).success().stdout, "{\"type\":\"PONG\"}\n");
    let output = node.cli(["send", "SET_MEM", "key=a b", "value=[1.00, null]"]).success();
    assert_eq!(output.json()["status"], "OK");
    assert!(node.call_raw(json!({ "type": "GET_MEM", "key": "a b" })).contains("[1.00, null]"));

    let whole = r#"{"key": "c", "value": [1.00], "type": "SET_MEM"}"#;
    assert_eq!(node.cli(["send", whole]).success().json()["status"], "OK");
    assert!(node.call_raw(json!({ "type": "GET_MEM", "key": "c" })).contains("[1.00]"));
    for text in [r#"{"key": "c"}"#, r#""PING""#, r#"{"type": "PING""#] {
        let output = node.cli(["send", text]);
        assert!(output.status == 2 && output.stderr.contains("type"), "{text}: {output:?}");
        assert!(!output.stderr.contains("lost"), "{text}: {output:?}");
    }

    let output = node.cli(["send", "NO_SUCH"]);
    assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{output:?}");
    assert!(output.stderr.starts_with("Error: no provider answers NO_SUCH"), "{output:?}");
    let output = node.cli(["send", "NO_SUCH", "--json"]);
    assert_eq!((output.status, &output.json()["code"]), (1, &json!("no_provider")));

    let attachment = node.folder().join("attachment");
    fs::write(&attachment, vec![1; 1 << 20]).unwrap();
    let output = node.cli(["send", "PING", "--attachment", attachment.to_str().unwrap()]);
    assert_eq!(output.success().stdout, "{\"type\":\"PONG\"}\n");
    fs::write(&attachment, vec![1; (8 << 20) + 1]).unwrap();
    let output = node.cli(["send", "PING", "--attachment", attachment.to_str().unwrap()]);
    assert!(output.status == 1 && output.stderr.contains("send it in pieces"), "{output:?}");
}

#[test]
fn a_message_can_be_sent_to_another_peer() {
    let (node, other) = (memory_node(), memory_node());
    let output = node.cli(["send", "STATUS", "--to", other.address()]).success();
    assert_eq!(output.json()["peer_id"], other.peer_id());
    let output = node.cli(["send", "STATUS", "--to", "nonsense"]);
    assert!(output.status == 1 && output.stderr.contains("nonsense"), "{output:?}");
}

#[test]
fn status_plugins_and_peers_are_shown_to_people_and_to_programs() {
    let node = TestNode::peer().start();
    let status = node.cli(["status"]).success();
    for words in ["node\n", "scheduler\n", "memory\n", node.peer_id(), "PRIORITY"] {
        assert!(status.stdout.contains(words), "{words:?} is missing in {}", status.stdout);
    }
    assert_eq!(node.cli(["status", "--json"]).success().json()["peer_id"], node.peer_id());

    let plugins = node.cli(["plugins"]).success();
    let lines: Vec<&str> = plugins.stdout.lines().collect();
    assert!(lines[0].starts_with("PLUGIN"), "{plugins:?}");
    for (line, id, message) in [(lines[1], "memory", "SET_MEM"), (lines[2], "cpu", "CPU_TASK")] {
        assert!(line.starts_with(id) && line.contains("started") && line.contains(message), "{plugins:?}");
    }
    assert_eq!(node.cli(["plugins", "--json"]).success().json()["plugins"].as_array().unwrap().len(), 2);

    let peers = node.cli(["peers"]).success();
    assert_eq!(peers.stdout, "No peers\n");
    assert!(peers.stderr.contains("No tracker"), "{peers:?}");
    assert_eq!(node.cli(["peers", "--json"]).success().json()["peers"], json!([]));
}

#[test]
fn a_plugin_that_does_not_work_is_shown_with_the_reason() {
    let node = TestNode::peer().python("/no/such/python3").start();
    wait_for("the node to find out", || node.cli(["plugins"]).success().stdout.contains("degraded"));
    let output = node.cli(["plugins"]).success();
    assert!(output.stdout.contains("\ncpu is degraded: /no/such/python3 cannot be started"), "{output:?}");
    let output = node.cli(["cpu", "--program", SQUARE, "--args", "[5]"]);
    assert!(output.status == 1 && output.stderr.contains("set `python` in [plugins.cpu]"), "{output:?}");
}

#[test]
fn events_are_followed_as_they_happen() {
    let node = TestNode::peer().start();
    let mut child = start(&node, &["--json", "events", "--topic", "task.*"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // Only events from now on are shown, and nobody tells when that is: so there are tasks until one is.
    let mut line = String::new();
    thread::scope(|scope| {
        let reader = scope.spawn(|| stdout.read_line(&mut line).unwrap());
        wait_for("an event to be shown", || {
            node.call(with(task("def main(): return 1", json!([])), json!({ "task_id": "seen" })));
            reader.is_finished()
        });
    });
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["topic"], &event["body"]["task_id"]), (&json!("task.finished"), &json!("seen")), "{event:#}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "Ctrl-C is the way to end it");
}

#[test]
fn the_selftest_passes() {
    let node = TestNode::peer().start();
    let output = node.cli(["selftest"]).success();
    assert_eq!(output.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 6, "{output:?}");
    assert!(output.stdout.ends_with("6 ok, 0 failed, 0 skipped\n"), "{output:?}");
    let checks = node.cli(["selftest", "--json"]).success().json_lines();
    assert!(checks.iter().all(|check| check["outcome"] == "ok"), "{checks:?}");

    // What a node does not offer is no failure; what it offers and cannot do is one.
    let output = memory_node().cli(["selftest"]).success();
    assert!(output.stdout.contains("skip task") && output.stdout.contains("0 failed"), "{output:?}");
    let output = TestNode::peer().python("/no/such/python3").start().cli(["selftest"]);
    assert!(output.status == 1 && output.stdout.contains("FAIL task"), "{output:?}");
}

// Mistakes.

#[test]
fn a_node_that_is_not_there_is_named_with_what_to_do() {
    // Nobody listens on port 1.
    for command in
        [&["status"][..], &["cpu", "--program", SQUARE, "--args", "[5]"], &["get-mem", "--key", "k"], &["selftest"]]
    {
        let output = potluck(["--port", "1"].iter().chain(command));
        assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{output:?}");
        assert!(output.stderr.starts_with("Error: cannot connect to 127.0.0.1:1: "), "{output:?}");
        assert!(output.stderr.contains("start one with `potluck peer`"), "{output:?}");
    }
    let output = potluck(["--host", "no.such.host.invalid", "status"]);
    assert!(output.status == 1 && output.stderr.contains("no.such.host.invalid"), "{output:?}");
}

#[test]
fn bad_usage_exits_with_2_and_says_what_is_wrong() {
    for (args, words) in [
        (&["fly"][..], "unrecognized subcommand 'fly'"),
        (&["cpu"], "--program"),
        (&["cpu", "--program", "p", "--timeout", "soon"], "number of seconds"),
        (&["cpu", "--program", "p", "--memory-limit", "5X"], "512M"),
        (&["cpu", "--program", "p", "--no-such-option"], "--no-such-option"),
        (&["get-mem"], "--key"),
        (&["set-mem", "--key", "k"], "--value"),
        (&["send", "PING", "key"], "KEY=VALUE"),
        (&["send", "PING", "type=X"], "once"),
        (&["--port", "70000", "status"], "70000"),
        (&["peer", "--tracker", "nowhere"], "HOST:PORT"),
        (&["completions", "csh"], "csh"),
    ] {
        // `send` connects before it looks at the fields; the port makes no difference to the others.
        let node = memory_node_if(args[0] == "send");
        let output = node.as_ref().map_or_else(|| potluck(args), |node| node.cli(args));
        assert_eq!((output.status, output.stdout.as_str()), (2, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    let output = run(potluck_command().env("POTLUCK_PORT", "many").arg("status"), "");
    assert!(output.status == 2 && output.stderr.contains("POTLUCK_PORT"), "{output:?}");
}

fn memory_node_if(wanted: bool) -> Option<TestNode> {
    wanted.then(memory_node)
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = potluck::<&str>([]).success();
    assert!(help.stdout.contains("Usage: potluck") && help.stderr.is_empty(), "{help:?}");
    assert_eq!(potluck(["help"]).success().stdout, potluck(["--help"]).success().stdout);
    assert!(potluck(["--version"]).success().stdout.starts_with("potluck "));
    for command in [
        "tracker",
        "peer",
        "cpu",
        "batch",
        "cancel",
        "set-mem",
        "get-mem",
        "del-mem",
        "list-mem",
        "status",
        "peers",
        "plugins",
        "send",
        "events",
        "selftest",
        "completions",
    ] {
        assert!(help.stdout.contains(command), "{command} is missing in the help");
        let output = potluck([command, "--help"]).success();
        assert!(output.stdout.contains("Usage: potluck") && output.stdout.contains("--json"), "{output:?}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = potluck(["completions", shell]).success().stdout;
        assert!(script.contains("set-mem") && script.contains("memory-limit"), "the script for {shell} is not whole");
    }
    let script = potluck(["completions", "bash"]).success().stdout;
    run(Command::new("bash").args(["-n", "/dev/stdin"]), &script).success();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let node = memory_node();
    let mut child = start(&node, &["status"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{output:?}");
}

// Starting a node.

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let node = memory_node();
    let other = TestNode::peer().plugins("[plugins.memory]\n").data_dir(node.data_dir()).try_start();
    let failure = other.err().expect("two nodes on one folder");
    assert_eq!(failure.status, Some(1), "{failure:?}");
    assert!(failure.log.contains("another node runs on") && failure.log.contains("--data-dir"), "{failure:?}");
    assert_eq!(node.call(json!({ "type": "PING" }))["type"], "PONG");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let node = memory_node();
    let other = TestNode::peer().plugins("[plugins.memory]\n").port(node.port()).try_start();
    let failure = other.err().expect("two nodes on one port");
    assert_eq!(failure.status, Some(1), "{failure:?}");
    assert!(failure.log.contains(node.address()) && failure.log.contains("--port"), "{failure:?}");
}

#[test]
fn a_node_listens_on_this_machine_alone() {
    for host in ["0.0.0.0", "192.0.2.1"] {
        let node = TestNode::peer().arg("--host").arg(host).start();
        assert_eq!(node.address(), format!("127.0.0.1:{}", node.port()));
        assert!(node.log_text().contains("serves this machine alone"), "{}", node.log_tail());
        let taken = TcpListener::bind(("127.0.0.2", node.port()));
        assert!(taken.is_ok(), "it listens on more than 127.0.0.1");
    }
}

#[test]
fn a_node_that_was_killed_starts_again_as_the_same_peer() {
    let mut node = TestNode::peer().start();
    node.check_serving();
    let peer_id = node.peer_id().to_owned();
    node.kill9();
    node.restart();
    assert_eq!(node.peer_id(), peer_id);
    node.check_serving();
    assert!(node.stop().success(), "{}", node.log_tail());
    node.restart();
    assert_eq!(node.peer_id(), peer_id);
    let id_file = fs::read_to_string(node.data_dir().join("peer_id.txt")).unwrap();
    assert_eq!(id_file.trim(), peer_id);
}

#[test]
fn ctrl_c_stops_a_node_in_order() {
    let mut node = TestNode::peer().start();
    node.check_serving();
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(node.wait_for_exit().success(), "{}", node.log_tail());
    let log = node.log_text();
    assert!(log.contains("Starting peer on port") && log.contains("Press Ctrl+C to stop"), "{log}");
}

// The examples.

/// Runs an example as its first lines say, and returns what it returned.
fn example(node: &TestNode, file: &str, function: &str, args: &Value) -> Value {
    let path = dist().join("share/guest-examples/python").join(file);
    let args = args.to_string();
    let mut words = vec!["--json", "cpu", "--file", path.to_str().unwrap(), "--function", function];
    if args != "null" {
        words.extend(["--args", args.as_str()]);
    }
    node.cli(words).success().json()["result"].take()
}

#[test]
fn the_examples_run_and_give_the_results_that_they_promise() {
    let node = TestNode::peer().start();
    let glider = json!([[1, 0], [2, 1], [0, 2], [1, 2], [2, 2]]);
    let moved = json!([[1, 3], [2, 1], [2, 3], [3, 2], [3, 3]]);
    let log = "10.0.0.1 - - [10/Oct/2025:13:55:36 +0000] \"GET /a HTTP/1.1\" 200 2326\nnonsense\n";
    let log_summary = example(&node, "log_analysis.py", "main", &json!([log]));
    for (file, function, args, expected) in [
        ("prime_sum.py", "main", json!([1, 1_000_000]), json!(37_550_402_023_u64)),
        ("prime_sum.py", "primes", json!([1, 20]), json!([2, 3, 5, 7, 11, 13, 17, 19])),
        ("nqueens.py", "main", json!([8]), json!(92)),
        ("game_of_life.py", "main", json!([glider, 4]), moved),
        ("word_count.py", "main", json!(["to be or not to be", 3]), json!([["be", 2], ["to", 2], ["not", 1]])),
        ("monte_carlo_pi.py", "estimate", json!([700, 1000]), json!(2.8)),
        ("factorial.py", "digits", json!([100]), json!(158)),
        ("factorial.py", "trailing_zeros", json!([100]), json!(24)),
        ("log_analysis.py", "merge", json!([[log_summary]]), log_summary.clone()),
    ] {
        assert_eq!(example(&node, file, function, &args), expected, "{file}: {function}");
    }
    assert_eq!(log_summary["requests"], 1, "{log_summary:#}");
    let inside = example(&node, "monte_carlo_pi.py", "main", &json!([100_000, 42]));
    assert_eq!(inside, example(&node, "monte_carlo_pi.py", "main", &json!([100_000, 42])));
    assert!((3.1..3.2).contains(&(4.0 * inside.as_f64().unwrap() / 1e5)), "{inside}");
    let picture = example(&node, "mandelbrot.py", "ascii", &Value::Null);
    assert!(picture.as_str().unwrap().lines().count() >= 24 && picture.as_str().unwrap().contains('@'));
    assert_eq!(example(&node, "mandelbrot.py", "main", &json!([8, 4, 1, 2])).as_array().unwrap().len(), 2);
    let strength = example(&node, "password_strength.py", "main", &json!(["correct horse battery staple"]));
    assert!(strength["bits"].as_f64().unwrap() > 0.0 && strength["advice"].is_array(), "{strength:#}");

    let path = dist().join("share/guest-examples/python/factorial.py");
    let output = node.cli(["cpu", "--file", path.to_str().unwrap(), "--args", "[100]"]).success();
    assert_eq!(output.stdout, format!("Result: {FACTORIAL_100}\n"));
}

#[test]
fn every_example_is_run_by_a_test() {
    let source = include_str!("cli.rs");
    for entry in fs::read_dir(dist().join("share/guest-examples/python")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // One needs a package, the other never ends.
        let elsewhere = ["matrix_numpy.py", "endless_loop.py"];
        assert!(elsewhere.contains(&name.as_str()) || source.contains(&format!("\"{name}\"")), "{name} is not run");
    }
}

#[test]
fn the_endless_example_is_stopped_at_each_of_its_limits() {
    let node = TestNode::peer().start();
    let path = dist().join("share/guest-examples/python/endless_loop.py");
    for (options, code) in [
        (&["--timeout", "1"][..], "timeout"),
        (&["--cpu-limit", "0.5"], "cpu_limit"),
        (&["--function", "hungry", "--memory-limit", "256M"], "memory_limit"),
        (&["--function", "talkative", "--output-limit", "64K"], "output_limit"),
    ] {
        let output = node.cli(["--json", "cpu", "--file", path.to_str().unwrap()].iter().chain(options));
        assert_eq!((output.status, &output.json()["code"]), (1, &json!(code)), "{output:?}");
    }
    node.check_serving();
}

#[test]
fn a_node_serves_though_nobody_reads_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let (data, plugins) = (folder.path().join("data"), folder.path().join("plugins.toml"));
    fs::write(&plugins, "[plugins.memory]\n").unwrap();
    let mut command = potluck_command();
    command.args(["peer", "--port", "0", "--host", "127.0.0.1", "--no-tracker"]);
    command.arg("--data-dir").arg(&data).arg("--plugins").arg(&plugins).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let facts = || fs::read(data.join("node.json")).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    wait_for("the node to serve", || facts().is_some() || child.try_wait().unwrap().is_some());
    let facts = facts().expect("it ended instead");
    let output = potluck(["--port", &facts["port"].to_string(), "send", "PING"]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(output.success().stdout, "{\"type\":\"PONG\"}\n");
}

#[test]
fn an_example_runs_as_a_batch() {
    let node = TestNode::peer().start();
    let path = dist().join("share/guest-examples/python/nqueens.py");
    let input: String = (0..8).map(|column| format!("{{\"args\": [8, {column}]}}\n")).collect();
    let output = node.cli_with_input(["--json", "batch", "-", "--file", path.to_str().unwrap()], &input).success();
    let sum: u64 = output.json_lines().iter().map(|result| result["result"].as_u64().unwrap()).sum();
    assert_eq!(sum, 92);
}
