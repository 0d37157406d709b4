//! Every task has an instance that nobody has used: nothing is left of others, and no two draw the same random numbers.

use super::run;
use potluck_tests::{TestNode, sandboxed, task};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn one_worker() -> TestNode {
    TestNode::peer().cpu("workers = 1").start()
}

#[test]
fn what_a_task_changes_is_not_there_in_the_next() {
    let node = one_worker();
    let vandal = "
import builtins, json, math, os, random, sys, types
def main():
    builtins.len = lambda things: 666
    builtins.left_behind = 'secret'
    builtins.print = builtins.exec = builtins.compile = None
    json.dumps = json.loads = lambda *args, **kwargs: '666'
    json.JSONEncoder = json.encoder = json.decoder = None
    math.pi = 3
    os.environ['LEFT'] = 'behind'
    random.random = lambda: 0.5
    sys.modules['decimal'] = types.ModuleType('decimal')
    sys.modules.pop('json.decoder', None)
    sys.path.append('/left')
    sys.setrecursionlimit(50)
    sys.meta_path.clear()
    sys.stdout = sys.stderr = None
    return 'done'
";
    let look = "
import builtins, decimal, json, math, os, random, sys
def main(text):
    print('heard')
    return [
        len(text), json.dumps([text]), json.loads('[1]'), hasattr(builtins, 'left_behind'), math.pi > 3.1, dict(os.environ),
        random.random() == 0.5, str(decimal.Decimal('1.5')), sys.path, sys.getrecursionlimit() >= 1000,
        sorted(name for name in sys.modules['__main__'].__dict__ if not name.startswith('__')),
    ]
";
    let names = ["builtins", "decimal", "json", "main", "math", "os", "random", "sys"];
    let expected = json!([4, r#"["text"]"#, [1], false, true, {}, false, "1.5", [], true, names]);
    for _ in 0..3 {
        assert_eq!(run(&node, vandal, json!([])), "done");
        let reply = node.call(sandboxed(look, json!(["text"])));
        assert_eq!((&reply["result"], &reply["stdout"]), (&expected, &json!("heard\n")), "{reply:#}");
    }
}

#[test]
fn what_a_stopped_or_failed_task_changed_is_not_there_either() {
    let node = one_worker();
    let patch = "import builtins, sys\nbuiltins.len = lambda things: 666\nbuiltins.left_behind = sys.modules\n";
    for (ending, code) in [
        ("def main():\n    while True: pass", "timeout"),
        ("def main(): return 1 / 0", "task_failed"),
        ("import os\ndef main(): os._exit(1)", "worker_died"),
        ("def main():\n    hoard = []\n    while True: hoard.append(bytearray(1 << 20))", "memory_limit"),
    ] {
        let members = json!({ "timeout": 3, "memory_limit_bytes": 64 << 20 });
        let reply = node.call(potluck_tests::with(sandboxed(&format!("{patch}{ending}"), json!([])), members));
        super::assert_failed(&reply, code, "");
        let look = "import builtins\ndef main(): return [len('four'), hasattr(builtins, 'left_behind')]";
        assert_eq!(run(&node, look, json!([])), json!([4, false]), "after {ending}");
    }
}

#[test]
fn the_memory_of_a_task_is_not_there_in_the_next() {
    let node = one_worker();
    let marker = "a-mark-that-is-nowhere-else";
    let leave = format!("kept = ['{marker}' * 3 for _ in range(10000)]\ndef main(): return len(kept)");
    assert_eq!(run(&node, &leave, json!([])), 10_000);
    let search = "
import gc
def main(first, second):
    mark = first + second
    return [text[:50] for text in gc.get_objects() if isinstance(text, list) and any(mark in str(x) for x in text[:3])]
";
    let (first, second) = marker.split_at(7);
    assert_eq!(run(&node, search, json!([first, second])), json!([]));
}

#[test]
fn two_equal_monte_carlo_tasks_give_different_results() {
    let node = TestNode::peer().start();
    let program = "
import random
def main(points):
    inside = sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(points))
    return [4 * inside / points, random.random()]
";
    let estimates: Vec<Value> = (0..4).map(|_| run(&node, program, json!([20_000]))).collect();
    for estimate in &estimates {
        let pi = estimate[0].as_f64().unwrap();
        assert!((3.0..3.3).contains(&pi), "{estimates:?}");
    }
    let streams: BTreeSet<String> = estimates.iter().map(|estimate| estimate[1].to_string()).collect();
    assert_eq!(streams.len(), estimates.len(), "{estimates:?}");
}

#[test]
fn every_source_of_randomness_differs_from_task_to_task() {
    let node = one_worker();
    let program = "
import os, random, secrets, statistics, tempfile, uuid
from random import gauss
def main():
    return {
        'random': random.random(), 'from': gauss(), 'getrandbits': random.getrandbits(64), 'shuffle': random.sample(range(10**6), 5),
        'Random': random.Random().random(), 'SystemRandom': random.SystemRandom().random(),
        'urandom': os.urandom(16).hex(), 'getrandom': os.getrandom(8).hex() if hasattr(os, 'getrandom') else os.urandom(9).hex(),
        'token': secrets.token_hex(16), 'randbits': secrets.randbits(64), 'uuid1': uuid.uuid1().hex, 'uuid4': uuid.uuid4().hex,
        'statistics': statistics.NormalDist().samples(1), 'tempfile': next(tempfile._get_candidate_names()),
        'choice': ''.join(random.choices('abcdefghijklmnopqrstuvwxyz', k=20)),
    }
";
    let runs: Vec<Value> = (0..6).map(|_| run(&node, program, json!([]))).collect();
    for name in runs[0].as_object().unwrap().keys() {
        let values: BTreeSet<String> = runs.iter().map(|run| run[name].to_string()).collect();
        assert_eq!(values.len(), runs.len(), "{name} repeats itself: {values:?}");
    }
    // A program that wants the same numbers each time still gets them.
    let seeded = "import random\ndef main():\n    random.seed(7)\n    return random.random()";
    assert_eq!(run(&node, seeded, json!([])), 0.323_832_764_833_162_37);
    assert_eq!(
        run(&node, "import random\ndef main(): return random.Random(7).random()", json!([])),
        0.323_832_764_833_162_37
    );
}

#[test]
fn a_result_says_whether_it_depends_on_anything_but_program_and_arguments() {
    let node = TestNode::peer().start();
    let deterministic = |program: &str| {
        let reply = node.call(sandboxed(program, json!([])));
        assert_eq!(reply["error"], Value::Null, "{program}: {reply:#}");
        reply["deterministic"].as_bool().unwrap_or_else(|| panic!("{program}: {reply:#}"))
    };
    for program in [
        "def main(): return 2 ** 100",
        "import json, math, re, statistics\ndef main(): return statistics.mean([1, 2])",
        "def main(): return sorted({'a', 'b'}) + list({'x': 1, 'y': 2})",
        "import decimal, fractions, hashlib\ndef main(): return hashlib.sha256(b'x').hexdigest()",
        "def main():\n    print('out')\n    return [x * x for x in range(1000)]",
        "import datetime\ndef main(): return datetime.date(2024, 1, 1).isoformat()",
        // The secret of the hashes is part of the image, so the order of a set is the same in every run.
        "def main(): return list({'a', 'b', 'c', 'd'}) + [hash('text')]",
    ] {
        assert!(deterministic(program), "{program}");
    }
    for program in [
        "import random\ndef main(): return random.random()",
        "import random\ndef main(): return random.randint(1, 6)",
        "from random import shuffle\ndef main():\n    a = [1, 2, 3]\n    shuffle(a)\n    return a",
        "import secrets\ndef main(): return secrets.token_hex()",
        "import uuid\ndef main(): return str(uuid.uuid4())",
        "import os\ndef main(): return os.urandom(4).hex()",
        "import random\ndef main(): return random.SystemRandom().random()",
        "import time\ndef main(): return time.time()",
        "import time\ndef main(): return time.monotonic()",
        "import time\ndef main(): return time.perf_counter_ns()",
        "import datetime\ndef main(): return datetime.datetime.now().isoformat()",
        "import time\ndef main(): return time.localtime().tm_year",
        "import statistics\ndef main(): return statistics.NormalDist().samples(2)",
    ] {
        assert!(!deterministic(program), "{program}");
    }
    let native = node.call(task("def main(): return 1", json!([])));
    assert!(native.get("deterministic").is_none(), "the native runtime cannot tell: {native:#}");
}

#[test]
fn hashes_of_texts_are_the_same_in_every_instance() {
    let node = TestNode::peer().start();
    let program = "def main(): return [hash('text'), list({'a', 'b', 'c', 'd', 'e'})]";
    let first = run(&node, program, json!([]));
    for _ in 0..4 {
        assert_eq!(run(&node, program, json!([])), first);
    }
}

#[test]
fn submitters_share_no_more_than_tasks_do() {
    let node = one_worker();
    let leave = "import builtins, sys\ndef main():\n    builtins.left = sys.left = 1\n    return 'left'";
    let look = "import builtins, sys\ndef main(): return [hasattr(builtins, 'left'), hasattr(sys, 'left')]";
    for submitter in [json!({}), json!({ "source_peer": "127.0.0.1:9001" }), json!({ "confidential": true })] {
        let reply = node.call(potluck_tests::with(sandboxed(leave, json!([])), submitter.clone()));
        assert_eq!(reply["result"], "left", "{reply:#}");
        let reply = node.call(potluck_tests::with(sandboxed(look, json!([])), submitter));
        assert_eq!(reply["result"], json!([false, false]), "{reply:#}");
    }
}
