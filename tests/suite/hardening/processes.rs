//! Processes: a task starts none, and reaches none but its own.

use super::denied;
use potluck_tests::{TestNode, children, is_alive, outcomes, task, with};
use serde_json::{Value, json};

#[test]
fn no_program_and_no_copy_can_be_started() {
    let node = TestNode::peer().start();
    let made = node.folder().join("made");
    denied(
        &node,
        &[
            "import os; got = os.fork()",
            "import os; got = os.forkpty()",
            "import os; got = os.execv('/bin/true', ['true'])",
            "import os; got = os.execve('/proc/self/exe', ['python3', '-c', 'print()'], {})",
            "import os; got = os.posix_spawn('/bin/touch', ['touch', 'FOLDER/made'], {})",
            "import os; got = os.popen('touch FOLDER/made').close()\nif got: raise OSError(got, 'popen')",
            "import os; got = os.system('touch FOLDER/made')\nif got: raise OSError(got, 'system')",
            "import os; got = os.spawnv(os.P_WAIT, '/bin/touch', ['touch', 'FOLDER/made'])\nif got: raise OSError(got, 'spawnv')",
            "import subprocess; got = subprocess.run(['touch', 'FOLDER/made'])",
            "import subprocess; got = subprocess.run('touch FOLDER/made', shell=True)",
            "import subprocess; got = subprocess.Popen(['true'], start_new_session=True)",
            "import multiprocessing; p = multiprocessing.Process(target=print); got = p.start()",
            "import multiprocessing; got = multiprocessing.get_context('spawn').Process(target=print).start()",
            "import concurrent.futures as c; got = c.ProcessPoolExecutor(1).submit(print).result(5)",
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ngot = libc.fork()\nif got < 0: raise OSError(ctypes.get_errno(), 'fork')",
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ngot = libc.vfork()\nif got < 0: raise OSError(ctypes.get_errno(), 'vfork')",
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\ngot = libc.daemon(1, 1)\nif got < 0: raise OSError(ctypes.get_errno(), 'daemon')",
        ],
    );
    assert!(!made.exists());
    for worker in children(node.pid()) {
        assert_eq!(children(worker), Vec::<u32>::new(), "a worker has a child");
    }
}

#[test]
fn no_signal_reaches_the_node_or_a_sibling() {
    let node = TestNode::peer().cpu("workers = 2\nspare_workers = 2").start();
    node.check_serving();
    let siblings =
        node.wait_until("spare workers", |status| status["executor"]["worker_processes"].as_u64() >= Some(3));
    let siblings = (siblings, children(node.pid())).1;
    let pieces: Vec<String> = [
        "import os; got = os.kill(NODE, 0)",
        "import os; got = os.kill(NODE, 19)",
        "import os; got = os.kill(NODE, 15)",
        "import os; got = os.kill(NODE, 9)",
        "import os; got = os.killpg(NODE, 9)",
        "import os; got = os.kill(os.getppid(), 9)",
        "import os; got = os.killpg(os.getpgid(os.getppid()), 9)",
        "import os; got = os.kill(1, 0)",
        "import os; got = os.kill(-1, 0)",
        "import os; got = os.kill(0, 0)",
        "import signal, os; got = signal.pidfd_send_signal(os.pidfd_open(NODE), 9)",
        "import os; got = os.pidfd_open(NODE)",
        "import fcntl, socket; a, b = socket.socketpair(); got = fcntl.fcntl(a, fcntl.F_SETOWN, NODE)",
        "import os, resource; got = resource.prlimit(NODE, resource.RLIMIT_NOFILE, (3, 3))",
        "import os, resource; got = resource.prlimit(NODE, resource.RLIMIT_AS)",
        "import os; got = os.setpriority(os.PRIO_PROCESS, NODE, 19)",
        "import os; got = os.sched_setaffinity(NODE, {0})",
        "import os; got = os.sched_setscheduler(NODE, os.SCHED_IDLE, os.sched_param(0))",
        "import os; got = os.setpgid(0, NODE)",
        "import os; got = os.setsid()",
        "import os; got = os.nice(-5)",
    ]
    .map(str::to_owned)
    .into();
    let node_pid = node.pid().to_string();
    let pieces: Vec<String> = pieces.iter().map(|piece| piece.replace("NODE", &node_pid)).collect();
    potluck_tests::refused(&node, json!({}), &pieces);
    // All but the one that runs this are others' workers.
    let at_siblings = "
import os
hit = []
for pid in SIBLINGS:
    if pid != os.getpid():
        for number in (0, 19, 9):
            try:
                os.kill(pid, number)
                hit.append(pid)
            except PermissionError:
                pass
got = hit
"
    .replace("SIBLINGS", &json!(siblings).to_string());
    assert_eq!(outcomes(&node, json!({}), &[at_siblings])[0]["got"], "[]");
    assert!(is_alive(node.pid()) && siblings.iter().all(|pid| is_alive(*pid)), "{siblings:?}");
    assert_eq!(node.status()["executor"]["workers_died"], 0);
    node.check_serving();
}

#[test]
fn what_a_task_does_to_its_own_process_ends_with_it() {
    let node = TestNode::peer().start();
    for (call, words) in [
        ("os._exit(3)", "exit code 3"),
        ("os.abort()", "signal 6"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("os.kill(os.getpid(), 15)", "signal 15"),
        ("ctypes.string_at(0)", "signal 11, segmentation fault"),
        ("signal.raise_signal(signal.SIGSYS)", "signal 31"),
    ] {
        let program = format!("import ctypes, os, signal\ndef main():\n    print('before', flush=True)\n    {call}");
        let reply = node.call(with(task(&program, json!([])), json!({ "timeout": 30 })));
        assert_eq!(
            (&reply["code"], &reply["stdout"]),
            (&json!("worker_died"), &json!("before\n")),
            "{call}: {reply:#}"
        );
        assert!(reply["error"].as_str().unwrap().contains(words), "{call}: {reply:#}");
        node.check_serving();
    }
}

#[test]
fn a_crash_leaves_no_picture_of_the_memory() {
    let node = TestNode::peer().start();
    let program = "import os, resource\ndef main(): return [resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 1024]";
    assert_eq!(node.run(program, json!([])), json!([[0, 0], true]));
    let raise = "
import resource
for name in ('RLIMIT_CORE', 'RLIMIT_NOFILE', 'RLIMIT_FSIZE', 'RLIMIT_AS', 'RLIMIT_MEMLOCK'):
    number = getattr(resource, name)
    before = resource.getrlimit(number)
    try:
        resource.setrlimit(number, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, PermissionError):
        pass
    if resource.getrlimit(number) != before:
        raise SystemExit(name)
got = 'as before'
";
    assert_eq!(outcomes(&node, json!({}), &[raise])[0]["got"], "'as before'");
}

#[test]
fn a_thousand_descriptors_and_threads_end_with_their_task() {
    let node = TestNode::peer().start();
    let files = "import os\ndef main():\n    kept = []\n    try:\n        while True: kept.append(os.open('/dev/null', os.O_RDONLY))\n    except OSError as error:\n        return [error.strerror, len(kept) < 1000]";
    let reply = node.call(with(task(files, json!([])), json!({ "isolated": true })));
    assert_eq!(reply["result"], json!(["Too many open files", true]), "{reply:#}");
    let threads = "
import threading, time
def main():
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return threading.active_count()
";
    let reply = node.call(with(task(threads, json!([])), json!({ "timeout": 60 })));
    assert!(reply["result"] == 1001 || !reply["error"].is_null(), "{reply:#}");
    assert_ne!(reply["result"], Value::from(1), "{reply:#}");
    node.check_serving();
}
