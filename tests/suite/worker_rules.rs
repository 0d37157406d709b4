//! Tasks that have found the socket of their worker and write to it what no worker would say: the worker ends, with the
//! task that did it, and the node serves everybody else.

use potluck_tests::{Gate, TestNode, Wire, is_alive, task, wait_for, with};
use serde_json::{Value, json};

/// Finds the socket, and says whose it is.
const BEGIN: &str = "
import os, stat, sys, threading, time

def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False

[SOCKET] = [number for number in range(3, 64) if is_socket(number)]

def write(data):
    while data:
        try:
            data = data[os.write(SOCKET, data):]
        except BlockingIOError:
            time.sleep(0.001)

def frame(text):
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(4, 'big') + data

def call(number, slot=0, message='{\"type\":\"PING\"}'):
    return frame('{\"call\":%d,\"slot\":%d,\"message\":%s}' % (number, slot, message))

print(os.getpid(), flush=True)
";

/// Writes what the argument evaluates to, and then would run for ever.
const WRITES: &str = "
def main(data):
    write(eval(data))
    while True: time.sleep(1)
";

fn node(settings: &str) -> TestNode {
    TestNode::peer().cpu(settings).plugin("process", "").plugin("ipc", "").start()
}

fn naughty(program: &str, args: Value) -> Value {
    let members = json!({ "id": "naughty", "cache": false, "max_retries": 0, "timeout": 600 });
    with(task(&format!("{BEGIN}{program}"), args), members)
}

/// Those who have nothing to do with it, in all runtimes that there are processes of.
struct Others {
    gate: Gate,
    wires: Vec<Wire>,
}

impl Others {
    fn begin(node: &TestNode) -> Others {
        let gate = Gate::new(node);
        let reply = node.call(json!({ "type": "CREATE_QUEUE", "queue_id": "others" }));
        assert_eq!(reply["status"], "OK", "{reply}");
        let waits = "import potluck\ndef main(): return potluck.queue('others').receive()";
        let waits = |runtime: &str| with(task(waits, json!([])), json!({ "runtime": runtime, "cache": false }));
        let begin = |message: Value| {
            let mut wire = node.wire();
            wire.send(message);
            wire
        };
        let wires = vec![begin(gate.task()), begin(waits("sandbox")), begin(waits("python"))];
        let states = || {
            let listed = node.call(json!({ "type": "LIST_PROCESSES" }));
            let processes = listed["processes"].as_array().unwrap().clone();
            processes.iter().filter(|process| process["reason"] == "queue others").count()
        };
        wait_for("two to wait for the queue", || states() == 2);
        node.wait_for_tasks(1, 0);
        Others { gate, wires }
    }

    fn end(self, node: &TestNode) {
        self.gate.open();
        for _ in 0..2 {
            let send = json!({ "type": "SEND_MESSAGE", "queue_id": "others", "sender": "c", "receiver": "?",
                "data": "through" });
            assert_eq!(node.call(send)["status"], "OK");
        }
        for mut wire in self.wires {
            let reply = wire.read();
            assert_eq!((&reply["result"], &reply["attempts"]), (&json!("through"), &json!(1)), "{reply:#}");
        }
    }
}

/// The answer to a task that writes something, which is the only one.
fn answer(node: &TestNode, message: Value) -> Value {
    let mut wire = node.wire();
    wire.send(message);
    let reply = wire.read();
    assert_eq!((&reply["type"], &reply["id"]), (&json!("CPU_RESULT"), &json!("naughty")), "{reply:#}");
    assert_eq!(wire.call(json!({ "type": "PING", "id": "last" }))["id"], "last");
    reply
}

/// The process that ran a task; nothing when it ended after it had taken what the task had printed.
fn worker(reply: &Value) -> Option<u32> {
    reply["stdout"].as_str()?.lines().next()?.parse().ok()
}

/// Waits until the process that ran a task is gone.
fn wait_for_end(worker: Option<u32>) {
    wait_for("the worker to be gone", || worker.is_none_or(|worker| !is_alive(worker)));
}

#[test]
fn what_no_worker_says_ends_the_worker_and_the_task_that_said_it() {
    let node = node("workers = 2");
    let others = Others::begin(&node);
    for data in [
        "frame('nonsense')",
        "frame('')",
        "frame('[]')",
        "frame(bytes(range(256)))",
        // Longer than any frame, and longer than any message in one.
        "b'\\xff' * 64",
        "call(1, message='\"' + 'x' * (12 << 20) + '\"')",
        // Calls of nobody, of an order that there is not, without a number or a message.
        "frame('{\"call\":1}')",
        "frame('{\"call\":-1,\"slot\":0,\"message\":{}}')",
        "frame('{\"call\":\"one\",\"slot\":0,\"message\":{}}')",
        "call(1, slot=7)",
        "call(1, slot=2 ** 63)",
        // The same number again, while the first one waits.
        "call(1, message='{\"type\":\"RECEIVE_MESSAGE\",\"queue_id\":\"none\",\"timeout\":600}') * 2",
        // More at once than a task may have.
        "b''.join(call(n, message='{\"type\":\"RECEIVE_MESSAGE\",\"queue_id\":\"none\"}') for n in range(65))",
        // What the node says to workers.
        "frame('{\"answer\":1,\"message\":{}}')",
        // It takes orders already.
        "frame('{\"description\":\"new\",\"protections\":[],\"stops_orders\":true}')",
        // An answer before the end, so that the true one would be the second; also one for another order.
        "frame('{\"slot\":0,\"result\":\"early\",\"seconds\":0}')",
        "frame('{\"slot\":0,\"result\":\"early\",\"seconds\":0}') * 2",
        "frame('{\"slot\":5,\"result\":\"early\",\"seconds\":0}')",
        "frame('{\"slot\":0,\"skipped\":true}')",
        "frame('{\"slot\":0,\"stopped\":true}')",
        "frame('{\"slot\":0,\"files\":[{\"name\":\"a\",\"bytes\":1}]}') + frame('a')",
    ] {
        let create = json!({ "type": "CREATE_QUEUE", "queue_id": "none", "exist_ok": true });
        assert_eq!(node.call(create)["status"], "OK");
        let reply = answer(&node, naughty(WRITES, json!([data])));
        assert_eq!((&reply["code"], &reply["result"]), (&json!("worker_died"), &Value::Null), "{data}: {reply:#}");
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains("has written to the socket between its worker process and the node"), "{data}: {error}");
        assert!(worker(&reply).is_some(), "{reply:#}");
        wait_for_end(worker(&reply));
        node.check_serving();
    }
    others.end(&node);
    node.wait_for_tasks(0, 0);
}

#[test]
fn calls_in_the_right_form_are_answered_whoever_writes_them() {
    // Else what is above would say nothing.
    let node = node("workers = 1");
    let program = "
def main():
    write(call(70))
    head = os.read(SOCKET, 4)
    return os.read(SOCKET, int.from_bytes(head, 'big')).decode()
";
    let reply = answer(&node, naughty(program, json!([])));
    let said: Value = serde_json::from_str(reply["result"].as_str().unwrap_or_else(|| panic!("{reply:#}"))).unwrap();
    assert_eq!(said["answer"], 70, "{said:#}");
}

#[test]
fn what_is_written_after_the_end_of_a_task_is_nobodys() {
    let node = node("workers = 2");
    let others = Others::begin(&node);
    // The thread goes on when its task has ended. What comes before that is a call as any other.
    let program = "
def main(data):
    ended = threading.Event()
    def after():
        ended.wait()
        for number in range(10 ** 9):
            write(eval(data))
    threading.Thread(target=after, daemon=True).start()
    ended.set()
    return 'ended'
";
    for data in
        ["call(1000 + number)", "frame('{\"slot\":0,\"result\":\"again\"}')", "frame('{\"slot\":0,\"skipped\":true}')"]
    {
        for _ in 0..3 {
            let reply = answer(&node, naughty(program, json!([data])));
            let (result, code) = (&reply["result"], &reply["code"]);
            // Which of the two is first is a matter of luck.
            assert!(*result == "ended" || (result.is_null() && *code == "worker_died"), "{data}: {reply:#}");
            node.check_serving();
            wait_for_end(worker(&reply));
        }
    }
    others.end(&node);
    node.wait_for_tasks(0, 0);
}

#[test]
fn a_process_that_a_task_leaves_behind_cannot_speak_for_the_worker() {
    // Others' tasks may not start any.
    let node = node("workers = 1\ntrusted = true");
    let program = "
def main(data):
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(here)
        os.write(there, b'x')
        while True:
            time.sleep(0.002)
            write(eval(data))
    os.read(here, 1)
    return child
";
    for data in ["call(1000)", "frame('{\"slot\":0,\"result\":\"again\"}')", "frame('nonsense')"] {
        let reply = answer(&node, naughty(program, json!([data])));
        let (result, code) = (&reply["result"], &reply["code"]);
        // What it says before the task's own result is still said by the task, and for the task alone.
        let is_own = result.is_u64() || *result == "again";
        assert!(is_own || *code == "worker_died", "{data}: {reply:#}");
        wait_for_end(worker(&reply));
        if let Some(child) = result.as_u64() {
            let child = u32::try_from(child).unwrap();
            wait_for("what it left behind to be gone", || !is_alive(child));
        }
        node.check_serving();
    }
}

#[test]
fn no_descriptor_of_the_worker_is_within_reach_of_a_sandboxed_task() {
    let node = node("workers = 1");
    let program = "
import os
def main(data):
    taken = 0
    for number in range(3, 256):
        try:
            taken += os.write(number, bytes(data))
        except OSError:
            pass
    return taken
";
    let frame: Vec<u8> = potluck_tests::frame_bytes("nonsense");
    let died = || node.status()["executor"]["workers_died"].clone();
    let before = died();
    assert!(before.is_u64(), "{before}");
    for _ in 0..3 {
        let message = with(task(program, json!([frame])), json!({ "runtime": "sandbox", "cache": false }));
        let reply = node.call(message);
        assert_eq!((&reply["result"], &reply["error"]), (&json!(0), &Value::Null), "{reply:#}");
    }
    assert_eq!(died(), before);
}
