//! What native tasks leave behind, and what is open in their workers before they come.

use potluck_tests::{TestNode, children, task, wait_for, with};
use rustix::pipe::pipe;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Tells in which process it runs, of how many threads that is, and whether a timer runs there.
const LOOK: &str = "
import os, signal
def main():
    with open('/proc/self/status') as file:
        threads = next(int(line.split()[1]) for line in file if line.startswith('Threads:'))
    return [os.getpid(), threads, signal.getitimer(signal.ITIMER_REAL)[0]]
";

#[test]
fn nothing_that_goes_on_is_there_when_the_next_task_comes() {
    let node = TestNode::peer().cpu("workers = 1").start();
    for leaves in [
        "ctypes.CDLL(None).pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p), None)",
        "signal.setitimer(signal.ITIMER_REAL, 3600)",
        "signal.setitimer(signal.ITIMER_VIRTUAL, 3600)",
        "signal.setitimer(signal.ITIMER_PROF, 3600)",
        "signal.alarm(3600)",
        "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
    ] {
        let program =
            format!("import ctypes, os, signal, threading, time\ndef main():\n    {leaves}\n    return os.getpid()");
        let before = node.run(&program, json!([]));
        let after = node.run(LOOK, json!([]));
        assert_ne!(before, after[0], "{leaves}: the next task of the submitter met what was left behind");
        assert_eq!((&after[1], &after[2]), (&json!(1), &json!(0.0)), "{leaves}");
    }
    // Otherwise they share a process.
    assert_eq!(node.run(LOOK, json!([]))[0], node.run(LOOK, json!([]))[0]);
}

#[test]
fn what_whoever_started_the_node_has_open_reaches_no_worker() {
    // Both ends are passed on to whatever is started now.
    let (reader, writer) = pipe().unwrap();
    let node = TestNode::peer().start();
    let link = |pid: u32, descriptor: &str| fs::read_link(format!("/proc/{pid}/fd/{descriptor}"));
    let leaked = link(std::process::id(), &reader.as_raw_fd().to_string()).unwrap();
    drop((reader, writer));
    node.check_serving();
    let guest = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
    node.call_with(json!({ "type": "CPU_TASK", "runtime": "wasm" }), &guest);
    node.call(potluck_tests::sandboxed("def main(): return 1", json!([])));
    for pid in children(node.pid()) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let name = entry.file_name();
            let Ok(target) = link(pid, name.to_str().unwrap()) else { continue };
            assert_ne!(target, leaked, "the descriptor {name:?} of {}", potluck_tests::command_line(pid));
        }
    }
    let program = "
import os
def main():
    own = [os.fstat(1), os.fstat(2)]
    found = []
    for descriptor in range(3, 1024):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        # What the worker keeps so that a task cannot take it away.
        if not any(os.path.samestat(status, other) for other in own):
            found.append(descriptor)
    return found
";
    let found = node.run(program, json!([]));
    assert_eq!(found.as_array().map(Vec::len), Some(1), "the way to the node and no more: {found}");
}

#[test]
fn memory_that_a_task_reserves_for_its_output_is_given_back() {
    let node = TestNode::peer().cpu("workers = 1").start();
    let program = "
import ctypes, os
def main():
    for descriptor in (1, 2):
        for begin, length in ((0, 1 << 20), (3 << 20, 1 << 20)):
            try:
                os.posix_fallocate(descriptor, begin, length)
            except OSError:
                pass
        ctypes.CDLL(None).fallocate(descriptor, 1, ctypes.c_long(5 << 20), ctypes.c_long(64 << 20))
        os.pwrite(descriptor, b'x', 2 << 20)
    return os.getpid()
";
    let pid = node.run(program, json!([]));
    for descriptor in [1, 2] {
        // The file of the stream itself, which has no other name.
        let Ok(stream) = fs::metadata(format!("/proc/{pid}/fd/{descriptor}")) else { continue };
        assert_eq!((stream.len(), stream.blocks()), (0, 0), "the descriptor {descriptor} of {pid}");
    }
    let length = node.run(LOOK, json!([]));
    assert_eq!(length[1], 1);
}

#[test]
fn files_of_many_short_tasks_are_counted_together() {
    let node = TestNode::peer().cpu("workers = 1\nscratch_limit_bytes = 33554432").start();
    let program = "
import os
def main(number):
    with open(f'part-{number}', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
    return sum(entry.stat().st_size for entry in os.scandir())
";
    // Each takes a few milliseconds, so that none of them runs when the node looks.
    let mut number = 0;
    let mut most = 0;
    wait_for("the files to be too many", || {
        number += 1;
        let reply = node.call(task(program, json!([number])));
        let there = reply["result"].as_u64();
        most = most.max(there.unwrap_or(0));
        // Either a task is told so, or the next one begins with an empty folder.
        reply["code"] == "scratch_limit" || there.is_some_and(|bytes| bytes < most)
    });
    node.check_serving();
    // A thread of their own removes them.
    wait_for("the folders of workers that have gone to go", || {
        let left = fs::read_dir(node.provider_dir("cpu").join("scratch")).unwrap().count();
        left <= children(node.pid()).len() + 1
    });
}

#[test]
fn nobody_waits_until_the_files_of_a_task_are_removed() {
    const FILES: usize = 20_000;
    let node = TestNode::peer().cpu("workers = 1").start();
    let bulk = node.folder().join("bulk");
    for number in 0..FILES {
        let folder = bulk.join((number / 5000).to_string());
        if number % 5000 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        File::create(folder.join(number.to_string())).unwrap();
    }
    let mut wire = node.wire();
    let program = "
import os, time
def main():
    open('mark', 'w').close()
    while not os.path.exists('bulk'):
        time.sleep(0.002)
    os._exit(1)
";
    wire.send(with(task(program, json!([])), json!({ "timeout": 600 })));
    wait_for("the task to run", || node.scratch_file("mark").is_some());
    let scratch = node.scratch_file("mark").unwrap();
    let scratch = scratch.parent().unwrap().to_owned();
    // As if the task had made them, in many short runs.
    fs::rename(&bulk, scratch.join("bulk")).unwrap();
    let reply = wire.read();
    assert!(["worker_died", "scratch_limit"].contains(&reply["code"].as_str().unwrap()), "{reply:#}");
    let status = node.status();
    assert!(scratch.exists(), "removing {FILES} files was waited for");
    assert_eq!(status["scheduler"]["stats"]["active_tasks"], Value::from(0));
    node.check_serving();
    wait_for("the folder to be gone", || !scratch.exists());
}
