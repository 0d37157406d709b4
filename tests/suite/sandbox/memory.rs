//! Memory and stack of sandboxed tasks.

use super::{assert_failed, check_serving, run, shown, workers};
use potluck_tests::{TestNode, resident_bytes, sandboxed, with};
use serde_json::json;
use std::thread;

const MIB: u64 = 1 << 20;

#[test]
fn memory_over_the_limit_is_refused_to_the_task() {
    let node = TestNode::peer().start();
    let limit = json!({ "memory_limit_bytes": 64 * MIB });
    for program in [
        "def main(): return len(bytearray(1 << 30))",
        "def main(): return len([0] * (1 << 28))",
        "def main(): return len('x' * (1 << 30))",
        "def main():\n    hoard = []\n    while True: hoard.append(bytearray(1 << 20))",
        "def main():\n    hoard = []\n    while True: hoard.append('x' * 100000 + str(len(hoard)))",
        "def main():\n    hoard = []\n    while True: hoard.append(object())",
        "def main():\n    hoard = {}\n    while True: hoard[len(hoard)] = [len(hoard)]",
        "def main():\n    text = 'x'\n    while True: text += text",
        "hoard = []\nwhile True: hoard.append([0] * 1000)",
    ] {
        let reply = node.call(with(sandboxed(program, json!([])), limit.clone()));
        assert_failed(&reply, "memory_limit", &(64 * MIB).to_string());
        assert_eq!(reply["error_type"], "MemoryError", "{program}: {}", shown(&reply));
        check_serving(&node);
    }
    // What fits in fits in.
    let fits = "def main(): return len(bytearray(16 << 20))";
    assert_eq!(node.call(with(sandboxed(fits, json!([])), limit))["result"], 16 << 20);
    assert_eq!(run(&node, "def main(): return len(bytearray(512 << 20))", json!([])), 512 << 20);
    let reply = node.call(with(sandboxed(fits, json!([])), json!({ "memory_limit_bytes": MIB })));
    assert_failed(&reply, "memory_limit", "1048576");
}

#[test]
fn a_task_that_catches_the_want_of_memory_goes_on() {
    let node = TestNode::peer().start();
    let program = "
def main():
    caught = []
    for size in (1 << 30, (1 << 31) - 1):
        try:
            bytearray(size)
        except MemoryError as error:
            caught.append(type(error).__name__)
    hoard = []
    try:
        while True:
            hoard.append(bytearray(1 << 18))
    except MemoryError:
        size = len(hoard)
        hoard.clear()
    print('went on')
    return [caught, size > 10, len(bytearray(4 << 20))]
";
    let reply = node.call(with(sandboxed(program, json!([])), json!({ "memory_limit_bytes": 64 * MIB })));
    assert_eq!(reply["result"], json!([["MemoryError", "MemoryError"], true, 4 << 20]), "{}", shown(&reply));
    assert_eq!(reply["stdout"], "went on\n");
}

#[test]
fn deep_recursion_is_an_error_of_the_task() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = workers(&node);
    let reply = node.call(sandboxed("def main(): return main()", json!([])));
    assert_failed(&reply, "task_failed", "recursion");
    assert_eq!(reply["error_type"], "RecursionError", "{}", shown(&reply));
    // A task may catch it.
    let caught =
        "def deep(n): return deep(n + 1)\ndef main():\n    try: deep(0)\n    except RecursionError: return 'caught'";
    assert_eq!(run(&node, caught, json!([])), "caught");
    let nested = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
    for program in [
        "import sys\ndef main():\n    sys.setrecursionlimit(10 ** 9)\n    return main()".to_owned(),
        "import sys\nclass Deep:\n    def __repr__(self): return repr(self)\ndef main():\n    sys.setrecursionlimit(10 ** 9)\n    return repr(Deep())".to_owned(),
        "class Deep:\n    def __getattr__(self, name): return getattr(self, name + 'x')\ndef main(): return Deep().x".to_owned(),
        "def main():\n    deep = []\n    for _ in range(100000): deep = [deep]\n    return repr(deep)".to_owned(),
        "def main():\n    deep = ()\n    for _ in range(100000): deep = (deep,)\n    return hash(deep)".to_owned(),
        "def main():\n    import json\n    return json.loads('[' * 100000)".to_owned(),
        "def main():\n    import ast\n    return ast.literal_eval('-' * 100000 + '1')".to_owned(),
        "def main():\n    import re\n    return re.compile('(' * 10000 + ')' * 10000)".to_owned(),
        "def main():\n    import pickle\n    deep = []\n    for _ in range(100000): deep = [deep]\n    return pickle.dumps(deep)".to_owned(),
        "(".repeat(100_000),
        format!("x = {}1", "-".repeat(100_000)),
        format!("x = {}", nested(50_000)),
        format!("x = {}y", "a.".repeat(100_000)),
        format!("x = {}1", "1 + ".repeat(100_000)),
        (0..100).map(|depth| format!("{}if True:\n", " ".repeat(depth))).collect(),
    ] {
        let reply = node.call(with(sandboxed(&program, json!([])), json!({ "timeout": 60 })));
        let code = reply["code"].as_str().unwrap_or_default();
        assert!(["task_failed", "memory_limit"].contains(&code), "{:.200}: {}", program, shown(&reply));
        check_serving(&node);
    }
    // A result that is nested too deep.
    let deep = "def main():\n    deep = []\n    for _ in range(100000): deep = [deep]\n    return deep";
    let reply = node.call(sandboxed(deep, json!([])));
    assert!(["result_unusable", "task_failed"].contains(&reply["code"].as_str().unwrap()), "{}", shown(&reply));
    assert_eq!(workers(&node), before, "the worker process was to live on");
}

#[test]
fn arguments_that_are_nested_too_deep_are_an_error_of_the_task() {
    let node = TestNode::peer().start();
    for depth in [1_000_usize, 100_000] {
        let args = format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        let message = format!(
            r#"{{"type":"CPU_TASK","runtime":"sandbox","program":"def main(x): return 1","args":{args},"timeout":20}}"#
        );
        let reply: serde_json::Value = serde_json::from_str(&node.call_raw(message)).unwrap();
        assert!(reply["result"] == 1 || !reply["error"].is_null(), "{}", shown(&reply));
        assert_ne!(reply["code"], "timeout", "{}", shown(&reply));
        check_serving(&node);
    }
}

/// What a worker may hold beside the memory of the one task that it runs: the compiled image, which is mapped from its
/// file, and the instances that wait.
const WORKER_BYTES_MAX: u64 = 192 * MIB;

#[test]
fn two_hundred_tasks_at_once_stay_within_the_workers_budget() {
    let node = TestNode::peer().cpu("workers = 2").start();
    check_serving(&node);
    let program = "
def main(number):
    block = bytearray(20 << 20)
    for place in range(0, len(block), 4096):
        block[place] = number % 256
    return [number, sum(block[::4096]) == (number % 256) * (len(block) // 4096)]
";
    let mut wire = node.wire();
    for number in 0..200 {
        let members = json!({ "memory_limit_bytes": 64 * MIB, "id": number, "timeout": 600 });
        wire.send(with(sandboxed(program, json!([number])), members));
    }
    let most = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            loop {
                let processes = workers(&node);
                assert!(processes.len() <= 2, "{processes:?}");
                most = processes.iter().map(|pid| resident_bytes(*pid)).chain([most]).max().unwrap();
                let stats = node.status()["scheduler"]["stats"].take();
                if stats["active_tasks"] == 0 && stats["queue_size"] == 0 {
                    return most;
                }
            }
        });
        for _ in 0..200 {
            let reply = wire.read();
            assert_eq!(reply["result"], json!([reply["id"], true]), "{}", shown(&reply));
        }
        watcher.join().unwrap()
    });
    let budget = 64 * MIB + WORKER_BYTES_MAX;
    assert!(most <= budget, "a worker held {} MiB, over its {} MiB", most / MIB, budget / MIB);
    assert_eq!(workers(&node).len(), 2);
    check_serving(&node);
}
