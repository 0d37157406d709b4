//! Native tasks that answer for their worker: they write into the page and the socket that it shares with the node.

use potluck_tests::{TestNode, children, resident_bytes, sandboxed, task, wait_for, with};
use serde_json::{Value, json};
use std::fs;

/// What a task needs to speak in its worker's place: `own_cells()` are its order's numbers in the page of claims, `claim`
/// writes a state there, and `say` sends a frame.
const TOOLS: &str = r#"
import ctypes, json, os, stat
def cells():
    with open("/proc/self/maps") as file:
        begin = next(int(line.split("-")[0], 16) for line in file if "potluck-claims" in line)
    return (ctypes.c_ubyte * 64).from_address(begin)
def own_cells():
    page = cells()
    return [number for number in range(64) if page[number] == 2]
def claim(state):
    page = cells()
    for number in own_cells():
        page[number] = state
def write(text):
    for descriptor in range(3, 256):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue
        while text:
            text = text[os.write(descriptor, text):]
def frame(message):
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(text).to_bytes(4, "big") + text
def say(message):
    write(frame(message))
"#;

/// A task of this submitter, made from [`TOOLS`] and the body of `main`.
fn forger(body: &str, args: Value, submitter: &str, timeout_seconds: f64) -> Value {
    let program = format!("{TOOLS}\ndef main(*args):\n    {}", body.replace('\n', "\n    "));
    with(task(&program, args), json!({ "source_peer": submitter, "timeout": timeout_seconds }))
}

/// Strangers are served in every runtime.
#[track_caller]
fn check_strangers(node: &TestNode) {
    let stranger = json!({ "source_peer": "stranger", "timeout": 60 });
    let program = "def main(x): return x * x";
    for message in [task(program, json!([12])), sandboxed(program, json!([12]))] {
        let reply = node.call(with(message, stranger.clone()));
        assert_eq!(reply["result"], 144, "{reply:#}");
    }
    let guest = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
    let message = with(json!({ "type": "CPU_TASK", "runtime": "wasm" }), stranger);
    let reply = node.call_with(message, &guest).value();
    assert_eq!(reply["code"], "result_unusable", "it prints nothing: {reply:#}");
    node.wait_for_tasks(0, 0);
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn a_task_ends_with_its_time_whatever_it_says_of_its_order() {
    let node = TestNode::peer().cpu("workers = 2\nspare_workers = 1").start();
    check_strangers(&node);
    for state in (0..8).chain([9, 127, 255]) {
        // As many as there are slots, each with a worker of its own.
        let mut wire = node.wire();
        for submitter in 0..2 {
            let body = "claim(args[0])\nwhile True: pass";
            wire.send(forger(body, json!([state]), &format!("forger-{state}-{submitter}"), 0.5));
        }
        for _ in 0..2 {
            let reply = wire.read();
            assert_eq!(reply["code"], "timeout", "it wrote {state}: {reply:#}");
        }
        check_strangers(&node);
    }
    assert_eq!(node.status()["executor"]["workers_died"], 0, "the pool has ended each of them");
}

#[test]
fn a_task_that_denies_its_order_can_be_cancelled() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_strangers(&node);
    for state in [0, 1, 3, 4, 5, 255] {
        let mut wire = node.wire();
        let message =
            forger("claim(args[0])\nopen('denied', 'w').close()\nwhile True: pass", json!([state]), "forger", 600.0);
        wire.send(with(message, json!({ "task_id": "denied" })));
        wait_for("the task to have written", || node.scratch_file("denied").is_some());
        // What says that it has ended cannot be found any more, and is ended nevertheless.
        node.call(json!({ "type": "CANCEL_TASK", "task_id": "denied" }));
        let reply = wire.read();
        assert_eq!(reply["code"], "cancelled", "it wrote {state}: {reply:#}");
        check_strangers(&node);
        wait_for("the worker's folder to be gone", || node.scratch_file("denied").is_none());
    }
}

#[test]
fn a_report_that_cannot_be_costs_the_task_that_sent_it() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_strangers(&node);
    for frame in [
        r#"{"slot": 0, "skipped": True}"#,
        r#"{"slot": 0, "stopped": True}"#,
        r#"{"slot": 63, "skipped": True}"#,
        r#"{"slot": 64, "skipped": True}"#,
        r#"{"slot": 1 << 40, "result": 1}"#,
        r#"{"slot": 0, "result": "forged"}"#,
        r#"{"slot": 0, "failure": {"code": "cancelled", "error": "forged"}}"#,
    ] {
        let reply = node.call(forger(&format!("say({frame})\nwhile True: pass"), json!([]), "forger", 30.0));
        assert_eq!(reply["code"], "worker_died", "{frame}: {reply:#}");
        check_strangers(&node);
    }
}

#[test]
fn what_a_forged_report_says_of_itself_is_not_believed() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_strangers(&node);
    let mut forgers = 0;
    let mut forge = |members: &str, rest: &str| {
        let body = format!(
            "number = own_cells()[0]\nclaim(3)\nmessage = {{'slot': number, 'result': 1}}\nmessage.update({members})\nwrite(frame(message) + {rest})\nos._exit(0)"
        );
        // Each in a worker of its own.
        forgers += 1;
        let message = forger(&body, json!([]), &format!("forger-{forgers}"), 20.0);
        node.call(with(message, json!({ "task_id": "forged" })))
    };
    let answered = |reply: &Value| {
        assert_eq!((&reply["type"], &reply["task_id"]), (&json!("CPU_RESULT"), &json!("forged")), "{reply:#}");
        check_strangers(&node);
    };
    let reply = forge("{'seconds': 1e300}", "b''");
    answered(&reply);
    assert!(reply["execution_time"].as_f64().unwrap() < 1e6, "{reply:#}");
    let stats = node.status()["scheduler"]["stats"].take();
    for (name, value) in stats.as_object().unwrap() {
        assert!(value.as_f64().is_none_or(|value| value < 1e6), "{name} is {value} in {stats:#}");
    }
    for name in ["../../evil", "/etc/evil", "a/../../b", "", ".", "a//b", "plain"] {
        let reply = forge(&format!("{{'files': [{{'name': {name:?}, 'bytes': 3}}]}}"), "b'abc'");
        answered(&reply);
        assert!(reply["files"].as_array().is_none_or(Vec::is_empty), "native tasks hand back no files: {reply:#}");
    }
    let reply = forge("{'stdout': 'x' * 16_700_000}", "b''");
    answered(&reply);
    assert!(reply.to_string().len() < 1 << 20, "{} bytes", reply.to_string().len());
    let reply = forge("{'deterministic': True}", "b''");
    answered(&reply);
    assert_ne!(reply["deterministic"], true, "nobody can say that of a native task: {reply:#}");
}

#[test]
fn a_flood_of_reports_leaves_nothing_behind_in_the_node() {
    let node = TestNode::peer().cpu("workers = 1\nspare_workers = 1\nworker_processes_max = 2").start();
    let rest = || {
        check_strangers(&node);
        let mut before = 0;
        wait_for("the workers to be ready", || {
            let processes = children(node.pid()).len();
            std::mem::replace(&mut before, processes) == processes
                && node.status()["executor"]["worker_processes"] == processes
        });
        (resident_bytes(node.pid()), descriptors(node.pid()))
    };
    let (memory, open) = rest();
    for flood in [
        r#"frame({"slot": 63, "skipped": True}) * 5000"#,
        r#"frame({"slot": 0, "skipped": True}) * 5000"#,
        r#"frame({"slot": 63, "result": 1, "stdout": "x" * 200_000}) * 5"#,
        r#"frame({"slot": 0, "result": 1, "stdout": "x" * 16_000_000})"#,
    ] {
        for _ in 0..5 {
            let mut wire = node.wire();
            wire.send(forger(&format!("flood = {flood}\nwhile True: write(flood)"), json!([]), "forger", 30.0));
            let pid = node.pid();
            let watched = std::thread::scope(|scope| {
                let reader = scope.spawn(|| wire.read());
                let mut peak = 0;
                while !reader.is_finished() {
                    peak = peak.max(resident_bytes(pid));
                    // Nobody waits for the flood to be over.
                    assert_eq!(node.call(json!({ "type": "STATUS" }))["status"], "OK");
                }
                (reader.join().unwrap(), peak)
            });
            let (reply, peak) = watched;
            assert_eq!(reply["code"], "worker_died", "{flood}: {reply:#}");
            let growth = peak.saturating_sub(memory);
            assert!(growth < 256 << 20, "{flood}: the node grew by {} MiB", growth >> 20);
        }
    }
    let (memory_after, _) = rest();
    assert!(memory_after < memory + (64 << 20), "the node has grown from {memory} to {memory_after} bytes");
    // Some are open for a moment only, such as a folder that is being removed.
    wait_for("the descriptors of the node to be as many as before", || descriptors(node.pid()) <= open);
}
