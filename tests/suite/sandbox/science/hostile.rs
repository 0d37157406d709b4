//! Programs in the science image that mean harm, or leave something behind. It has files, unlike the standard one.

use super::super::{assert_failed, shown};
use super::{run, science, science_node};
use potluck_tests::{TestNode, children, command_line, is_alive, wait_for, with};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The node's executor as STATUS shows it.
fn executor(node: &TestNode) -> Value {
    node.status()["executor"].take()
}

/// The worker processes of the image.
fn workers(node: &TestNode) -> Vec<u32> {
    children(node.pid()).into_iter().filter(|pid| command_line(*pid).contains(" serve sandbox ")).collect()
}

#[test]
fn workers_live_on_while_they_have_nothing_to_do() {
    let Some(node) = science_node(TestNode::peer().cpu("workers = 2")) else { return };
    for _ in 0..20 {
        assert_eq!(run(&node, "def main(): return 1"), 1);
    }
    let before = executor(&node);
    let processes = workers(&node);
    // Instances are made ready behind each task, and more than there may be would end a worker.
    for number in 0..40 {
        assert_eq!(run(&node, &format!("def main(): return {number}")), number);
    }
    let after = executor(&node);
    assert_eq!((&after["workers_started"], &after["workers_died"]), (&before["workers_started"], &json!(0)));
    assert_eq!(workers(&node), processes);
}

#[test]
fn what_files_tell_is_the_same_in_every_run_or_noticed() {
    // Other processes, at another time, in other folders.
    let nodes: Option<Vec<TestNode>> = (0..2).map(|_| science_node(TestNode::peer().cpu("workers = 1"))).collect();
    let Some(nodes) = nodes else { return };
    for what in [
        "[tuple(os.stat(path)) for path in ('/', '/tmp', '.', '/usr/local/lib/python315.zip')]",
        "[(entry.name, entry.inode(), entry.is_dir()) for entry in os.scandir('/')]",
        "[(entry.name, tuple(entry.stat())) for entry in os.scandir('/')]",
        "tuple(os.fstat(os.open('/usr/local/lib/python315.zip', os.O_RDONLY)))",
        "[getattr(os.stat('/'), name) for name in ('st_mtime_ns', 'st_ctime_ns', 'st_atime_ns', 'st_ino', 'st_dev')]",
        "[tuple(os.fstat(number)) for number in range(3)]",
        "pathlib.Path('/').stat().st_ino",
        "os.path.getmtime('/usr/local/lib/python315.zip')",
        "made()",
        "removed()",
        "listed()",
    ] {
        let program = format!(
            "
import os, pathlib
def made():
    open('made', 'w').close()
    return tuple(os.stat('made'))
def removed():
    open('/tmp/removed', 'w').close()
    found = tuple(os.stat('/tmp/removed'))
    os.unlink('/tmp/removed')
    return found
def listed():
    for number in range(40):
        os.mkdir(f'/tmp/{{number}}')
    found = os.listdir('/tmp')
    for number in range(40):
        os.rmdir(f'/tmp/{{number}}')
    return found
def main():
    return repr({what})
"
        );
        let replies: Vec<Value> =
            nodes.iter().flat_map(|node| [(); 2].map(|()| node.call(science(&program)))).collect();
        for reply in &replies {
            assert_eq!(reply["error"], Value::Null, "{what}: {}", shown(reply));
            let is_same = reply["result"] == replies[0]["result"];
            // Whoever keeps results must be able to rely on it.
            assert!(is_same || reply["deterministic"] == false, "{what}: {} and {}", shown(&replies[0]), shown(reply));
        }
    }
}

#[test]
fn an_answer_that_a_program_forges_is_its_own_failure() {
    let Some(node) = science_node(TestNode::peer().cpu("workers = 1")) else { return };
    assert_eq!(run(&node, "def main(): return 1"), 1);
    let forge = |answer: &str| {
        let program = format!(
            "
import sys
def main():
    frame = sys._getframe()
    while frame is not None:
        if '_call' in frame.f_globals and 'prepare' in frame.f_globals:
            frame.f_globals['_call']({answer})
            frame.f_globals['_call'] = lambda *arguments: None
        frame = frame.f_back
    return 'not forged'
"
        );
        node.call(science(&program))
    };
    for answer in [
        "'éx'.encode()",
        "'é'.encode()",
        "b'-'",
        "b'x'",
        "b'\\xff\\xfe'",
        "b'-[]'",
        "b'-' + b'[' * 100_000",
        "b'-[\"cancelled\", \"forged\", null, null]'",
        "b'-[\"timeout\", \"forged\", null, null]'",
        "b'-[\"worker_died\", \"forged\", null, null]'",
        "b'-[\"node_stopping\", \"forged\", null, null]'",
        "b'-[\"task_failed\", \"' + b'x' * 5_000_000 + b'\", null, null]'",
        "b'+'",
        "b'+{'",
        "b'+1 2'",
        "b'+' + b'[' * 1_000_000",
    ] {
        let reply = forge(answer);
        let code = reply["code"].as_str().unwrap_or_default();
        assert!(["task_failed", "result_unusable"].contains(&code), "{answer}: {}", shown(&reply));
        assert!(!reply["error"].as_str().unwrap().contains("char boundary"), "{answer}: {}", shown(&reply));
        assert!(reply.to_string().len() < 256 << 10, "{answer}: {} bytes", reply.to_string().len());
        assert_eq!(run(&node, "def main(): return 1"), 1);
    }
    assert_eq!(executor(&node)["workers_died"], 0, "{}", node.log_tail());
}

#[test]
fn files_that_are_removed_and_open_count() {
    let limit = "workers = 1\nscratch_limit_bytes = 67108864";
    let Some(node) = science_node(TestNode::peer().cpu(limit)) else { return };
    let program = "
import os, time
def main():
    kept = []
    for number in range(6):
        file = open(f'/tmp/{number}', 'wb', buffering=0)
        os.unlink(f'/tmp/{number}')
        kept.append(file)
        for _ in range(40):
            file.write(bytes(1 << 20))
    while True:
        time.sleep(0.01)
";
    let reply = node.call(with(science(program), json!({ "timeout": 30 })));
    let code = reply["code"].as_str().unwrap_or_default();
    assert!(code == "scratch_limit" || reply["error_type"] == "OSError", "{}", shown(&reply));
    assert_eq!(run(&node, "def main(): return 1"), 1);
}

#[test]
fn what_resists_removal_harms_nobody_who_comes_later() {
    let Some(node) = science_node(TestNode::peer().cpu("workers = 1")) else { return };
    for leave in [
        // Deeper than a path may be long.
        "path = ''\n    for _ in range(1500):\n        path += '/a'\n        os.mkdir(path)",
        // Deeper than a path leads: one tree within the other.
        "for top in 'ab': os.makedirs('/'.join([f'/tmp/{top}', *('x' * 200)]))\n    os.rename('/tmp/b', '/'.join(['/tmp/a', *('x' * 200), 'b']))",
        "for number in range(9000): open(f'/tmp/{number}', 'w').close()",
        "open('/tmp/' + 'n' * 255, 'w').close()",
        "os.symlink('.', '/tmp/self')",
    ] {
        let program = format!("import os\ndef main():\n    {leave}\n    return 1");
        let reply = node.call(science(&program));
        let code = reply["code"].as_str().unwrap_or("ok");
        assert!(
            ["ok", "task_failed", "result_unusable", "scratch_limit"].contains(&code),
            "{leave}: {}",
            shown(&reply)
        );
        // Long enough for its worker's files to be looked at meanwhile.
        for _ in 0..3 {
            let sleeps =
                "import os, time\ndef main():\n    time.sleep(0.6)\n    return [os.listdir('/'), os.listdir('/tmp')]";
            assert_eq!(run(&node, sleeps), json!([["tmp"], []]), "{leave}");
        }
    }
    // Instances have a folder each, in that of their worker: what is there belongs to those that are ready.
    let scratch = node.provider_dir("cpu").join("scratch");
    let folders = |path: &Path| {
        fs::read_dir(path)
            .map_or(Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<PathBuf>>())
    };
    let is_fresh = |root: &PathBuf| {
        folders(root).iter().all(|entry| entry.file_name().unwrap() == "tmp" && folders(entry).is_empty())
    };
    wait_for("all leftovers to be removed", || {
        folders(&scratch).iter().flat_map(|worker| folders(worker)).all(|root| is_fresh(&root))
    });
}

/// A node with copies of all images in a folder of its own, from which they may be removed, and that folder.
fn node_with_copies() -> Option<(TestNode, TempDir)> {
    // It makes the image, if no test has done so yet.
    science_node(TestNode::peer())?;
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    copy(&PathBuf::from(std::env::var_os("POTLUCK_IMAGES")?), &images);
    let node = TestNode::peer().cpu(format!("workers = 1\nimages_dir = {}", json!(images))).start();
    Some((node, folder))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn an_image_can_be_removed_while_its_tasks_run() {
    let Some((node, folder)) = node_with_copies() else { return };
    let (image, aside) = (folder.path().join("images/science"), folder.path().join("aside"));
    copy(&image, &aside);
    assert_eq!(run(&node, "def main(): return 1"), 1);
    let old = workers(&node);
    let mut wire = node.wire();
    let endless = json!({ "task_id": "running", "timeout": 3600 });
    wire.send(with(science("import numpy\ndef main():\n    while True: pass"), endless));
    node.wait_for_tasks(1, 0);
    let removed = node.call(json!({ "type": "SANDBOX_REMOVE", "image": "science" }));
    assert_eq!(removed["status"], "REMOVED", "{removed:#}");
    assert!(!image.exists());
    assert_eq!(node.active_tasks(), 1, "what runs may go on");
    // It is unknown at once, also to whoever would wait for the worker that is still there.
    let reply = node.call(with(science("def main(): return 2"), json!({ "timeout": 30 })));
    assert_failed(&reply, "runtime_unavailable", "science");
    let again = node.call(json!({ "type": "SANDBOX_REMOVE", "image": "science" }));
    assert!(again["error"].as_str().unwrap().contains("no image"), "{again:#}");
    // The same image comes back under its name, as an install would put it there.
    fs::rename(&aside, &image).unwrap();
    let cancelled = node.call(json!({ "type": "CANCEL_TASK", "task_id": "running" }));
    assert_eq!(cancelled["status"], "CANCELLED", "{cancelled:#}");
    assert_failed(&wire.read(), "cancelled", "");
    wait_for("the workers of the old image to be gone", || !old.iter().any(|pid| is_alive(*pid)));
    wait_for("the image to be found again", || node.call(science("def main(): return 3"))["result"] == 3);
    assert!(!workers(&node).iter().any(|pid| old.contains(pid)));
    node.wait_for_tasks(0, 0);
    node.check_serving();
}
