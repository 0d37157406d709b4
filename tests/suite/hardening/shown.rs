//! The protections, as the node shows them and as the kernel does.

use potluck_tests::{TestNode, children, command_line, sandboxed, status_line, with};
use serde_json::{Value, json};
use std::env;
use std::path::PathBuf;

const PROTECTIONS: [&str; 7] =
    ["capabilities", "landlock", "network", "no_new_privs", "process_group", "rlimits", "seccomp"];

/// A node whose workers of all runtimes have run something.
fn all_runtimes() -> TestNode {
    let node = TestNode::peer().start();
    node.check_serving();
    assert_eq!(node.call(sandboxed("def main(): return 1", json!([])))["result"], 1);
    let guest = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
    let reply = node.call_with(json!({ "type": "CPU_TASK", "runtime": "wasm" }), &guest).value();
    assert_eq!(reply["code"], "result_unusable", "it prints nothing: {reply:#}");
    node
}

#[test]
fn status_shows_the_protections_of_each_runtime() {
    let node = all_runtimes();
    let runtimes = node.status()["executor"]["runtimes"].take();
    for name in ["python", "sandbox", "wasm"] {
        let runtime = &runtimes[name];
        assert_eq!((&runtime["state"], &runtime["hardened"]), (&json!("ready"), &json!(true)), "{name}: {runtime:#}");
        assert_eq!(runtime["others_work"], "accepted", "{name}: {runtime:#}");
        assert!(runtime["processes"].as_u64() >= Some(1), "{name}: {runtime:#}");
        assert!(!runtime["description"].as_str().unwrap().is_empty(), "{name}: {runtime:#}");
        let shown = runtime["protections"].as_array().unwrap();
        let names: Vec<&str> = shown.iter().map(|protection| protection["name"].as_str().unwrap()).collect();
        assert_eq!(names, PROTECTIONS, "{name}");
        for protection in shown {
            assert_eq!(protection["state"], "on", "{name}: {protection:#}");
        }
    }
}

#[test]
fn a_runtime_that_nobody_has_used_is_idle() {
    let node = TestNode::peer().start();
    node.check_serving();
    let runtimes = node.status()["executor"]["runtimes"].take();
    for name in ["sandbox", "wasm"] {
        assert_eq!(
            (&runtimes[name]["state"], &runtimes[name]["processes"]),
            (&json!("idle"), &json!(0)),
            "{runtimes:#}"
        );
    }
    assert_eq!(runtimes["python"]["state"], "ready", "{runtimes:#}");
}

#[test]
fn the_kernel_says_the_same_of_every_worker() {
    let node = all_runtimes();
    let workers = children(node.pid());
    for kind in ["potluck_worker", " serve sandbox ", " serve wasm "] {
        assert!(workers.iter().any(|pid| command_line(*pid).contains(kind)), "{kind}: {workers:?}");
    }
    // Those that are still on their way have given up nothing yet.
    let is_ready = |pid: &u32| status_line(*pid, "Seccomp") == "2";
    potluck_tests::wait_for("all workers to be ready", || workers.iter().all(is_ready));
    for pid in workers {
        let none = "0000000000000000";
        for (name, value) in [
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("CapEff", none),
            ("CapPrm", none),
            ("CapInh", none),
            ("CapBnd", none),
            ("CapAmb", none),
        ] {
            assert_eq!(status_line(pid, name), value, "{name} of {}", command_line(pid));
        }
        assert_eq!(status_line(pid, "NSpgid"), pid.to_string(), "a group of its own");
    }
}

#[test]
fn threads_of_a_task_are_as_restricted_as_itself() {
    let node = TestNode::peer().start();
    let program = "
import threading
def main():
    seen = []
    def look():
        for path in ('/etc/passwd', '/proc/self/environ'):
            try:
                seen.append(open(path).read())
            except OSError as error:
                seen.append(type(error).__name__)
        with open('/proc/self/status') as file:
            seen.extend(line.split()[1] for line in file if line.startswith(('Seccomp:', 'NoNewPrivs:')))
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen
";
    assert_eq!(node.run(program, json!([])), json!(["PermissionError", "PermissionError", "1", "2"]));
}

#[test]
fn numpy_computes_and_keeps_files_under_protections() {
    let Some(folder) = env::var_os("POTLUCK_TEST_VENV").map(PathBuf::from) else {
        println!("skipped: POTLUCK_TEST_VENV names no virtual environment with numpy; `cargo xtask test` makes one");
        return;
    };
    let interpreter = if folder.is_dir() { folder.join("bin/python") } else { folder };
    let node = TestNode::peer().python(interpreter.to_str().unwrap()).start();
    let program = "
import numpy
def main(n):
    matrix = numpy.arange(n * n, dtype=float).reshape(n, n) + numpy.eye(n) * n
    inverse = numpy.linalg.inv(matrix)
    numpy.save('matrix.npy', matrix)
    numpy.savetxt('matrix.txt', matrix)
    loaded = numpy.load('matrix.npy', mmap_mode='r')
    fourier = numpy.fft.ifft(numpy.fft.fft(matrix)).real
    return [
        bool(numpy.allclose(matrix @ inverse, numpy.eye(n))), bool((loaded == matrix).all()), bool(numpy.allclose(fourier, matrix)),
        bool(numpy.allclose(numpy.loadtxt('matrix.txt'), matrix)), len(numpy.random.default_rng().random(5)),
        bool(numpy.allclose(numpy.linalg.svd(matrix)[1][0] ** 2, numpy.linalg.eigvalsh(matrix @ matrix.T)[-1])),
    ]
";
    for n in [8, 300] {
        assert_eq!(node.run(program, json!([n])), json!([true, true, true, true, 5, true]));
    }
    let file = interpreter.display().to_string();
    let members = json!({ "memory_limit_bytes": 512 << 20 });
    let reply = node.call(with(potluck_tests::task(program, json!([50])), members));
    assert_eq!(reply["error"], Value::Null, "{file}: {reply:#}");
    potluck_tests::refused(&node, json!({}), &["import numpy; got = numpy.fromfile('/etc/passwd')"]);
    assert_eq!(node.status()["executor"]["runtimes"]["python"]["hardened"], true);
}
