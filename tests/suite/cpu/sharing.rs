//! Who shares an interpreter with whom, and what one task leaves to the next.

use super::{PID, assert_failed, one_worker};
use potluck_tests::{TestNode, is_alive, task, wait_for, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

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
