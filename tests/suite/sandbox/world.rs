//! What a sandboxed task can reach of the world around it: nothing.

use super::{check_serving, run};
use potluck_tests::{TestNode, refused};
use serde_json::json;

fn denied(node: &TestNode, pieces: &[&str]) {
    refused(node, json!({ "runtime": "sandbox" }), pieces);
    check_serving(node);
}

#[test]
fn there_are_no_files() {
    let node = TestNode::peer().start();
    denied(
        &node,
        &[
            "got = open('/etc/passwd').read()",
            "got = open('/etc/shadow').read()",
            "got = open('/proc/self/environ').read()",
            "got = open('/proc/self/mem', 'rb').read(1)",
            "got = open('/dev/urandom', 'rb').read(1)",
            "got = open('.')",
            "got = open('made', 'w').write('x')",
            "got = open('/tmp/made', 'w').write('x')",
            "import io; got = io.open('/etc/passwd', 'rb').read()",
            "import io; got = io.FileIO('/etc/passwd').read()",
            "import os; got = os.open('/etc/passwd', os.O_RDONLY)",
            "import os; got = os.listdir('/')",
            "import os; got = os.listdir('.')",
            "import os; got = os.listdir()",
            "import os; got = list(os.scandir('/'))",
            "import os; got = os.stat('/etc/passwd')",
            "import os; got = os.stat('/')",
            "import os; got = os.mkdir('made')",
            "import os; got = os.unlink('/etc/passwd')",
            "import os; got = os.rename('/etc/passwd', '/etc/other')",
            "import os; got = os.symlink('/etc/passwd', 'link')",
            "import os; got = os.readlink('/proc/self/exe')",
            "import os; got = os.chdir('/')",
            "import os; got = os.utime('/etc/passwd')",
            "import os; got = os.truncate('/etc/passwd', 0)",
            "import os; got = os.read(3, 1)",
            "import os; got = os.write(3, b'x')",
            "import pathlib; got = pathlib.Path('/etc/hostname').read_text()",
            "import pathlib; got = [pathlib.Path('/')] + list(pathlib.Path('/').iterdir())",
            "import tempfile; got = tempfile.mkdtemp()",
            "import tempfile; got = tempfile.TemporaryFile()",
            "import shutil; got = shutil.copy('/etc/passwd', 'copy')",
            "import sqlite3; got = sqlite3.connect('file').execute('create table t (x)').fetchall()",
            "import zipfile; got = zipfile.ZipFile('/etc/passwd')",
            "import runpy; got = runpy.run_path('/etc/passwd')",
        ],
    );
    let program = "
import glob, os
def main():
    return [os.path.exists('/etc/passwd'), os.path.exists('/'), glob.glob('/*'), list(os.walk('/'))]
";
    assert_eq!(run(&node, program, json!([])), json!([false, false, [], []]));
}

#[test]
fn there_is_no_network() {
    let node = TestNode::peer().start();
    let pieces = [
        "import socket; got = socket.create_connection(('127.0.0.1', PORT), 5)",
        "import socket; s = socket.socket(); s.connect(('127.0.0.1', PORT)); got = s",
        "import socket; s = socket.socket(socket.AF_INET6); s.connect(('::1', PORT)); got = s",
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); got = s",
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); got = s.sendto(b'x', ('127.0.0.1', PORT))",
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock'); got = s",
        "import socket; got = socket.socketpair()",
        "import socket; got = socket.socket(fileno=3)",
        "import socket; got = socket.getaddrinfo('localhost', PORT)",
        "import socket; got = socket.gethostbyname('localhost')",
        "import urllib.request; got = urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=5)",
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=5); got = c.request('GET', '/')",
        "import asyncio; got = asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
        "import asyncio; got = asyncio.run(asyncio.start_server(print, '127.0.0.1', 0))",
        "import smtplib; got = smtplib.SMTP('127.0.0.1', PORT, timeout=5)",
    ];
    let port = node.port().to_string();
    let pieces: Vec<String> = pieces.iter().map(|piece| piece.replace("PORT", &port)).collect();
    let before = node.status()["connections"].clone();
    refused(&node, json!({ "runtime": "sandbox" }), &pieces);
    check_serving(&node);
    assert_eq!(node.status()["connections"], before);
}

#[test]
fn there_are_no_processes_threads_or_libraries() {
    let node = TestNode::peer().start();
    denied(
        &node,
        &[
            "import os\nif os.system('true') != 0: raise OSError('no shell')",
            "import os; got = os.popen('true').read()",
            "import os; got = os.fork()",
            "import os; got = os.execv('/bin/true', ['true'])",
            "import os; got = os.posix_spawn('/bin/true', ['true'], {})",
            "import os; got = os.kill(1, 0)",
            "import os; got = os.kill(os.getppid(), 9)",
            "import os; got = os.setuid(0)",
            "import os; got = os.waitpid(-1, 0)",
            "import posix; got = posix.fork()",
            "import _posixsubprocess; got = _posixsubprocess.fork_exec",
            "import subprocess; got = subprocess.run(['true'])",
            "import subprocess; got = subprocess.Popen('true', shell=True)",
            "import multiprocessing; p = multiprocessing.Process(target=print); got = p.start()",
            "import concurrent.futures as c; got = c.ProcessPoolExecutor(1).submit(print).result(5)",
            "import concurrent.futures as c; got = c.ThreadPoolExecutor(1).submit(print).result(5)",
            "import threading; got = threading.Thread(target=print).start()",
            "import _thread; got = _thread.start_new_thread(print, ())",
            "import asyncio; got = asyncio.run(asyncio.to_thread(print))",
            "import ctypes; got = ctypes.CDLL(None)",
            "import _ctypes; got = _ctypes",
            "import mmap; got = mmap.mmap(-1, 4096)",
            "import resource; got = resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
            "import signal; got = signal.alarm(1)",
            "import _interpreters; i = _interpreters.create(); got = _interpreters.exec(i, 'import os; os.fork()')",
        ],
    );
}

#[test]
fn the_environment_is_empty() {
    let node = TestNode::peer().env("POTLUCK_SECRET", "secret").start();
    let program = "
import os, sys
def main():
    return [dict(os.environ), ''.join(sys.argv), sys.path, sys.stdin.read(), sys.flags.interactive, os.getenv('HOME')]
";
    assert_eq!(run(&node, program, json!([])), json!([{}, "", [], "", 0, null]));
}

#[test]
fn nothing_leads_to_the_machine_that_built_the_image_or_to_the_worker() {
    let node = TestNode::peer().start();
    let program = "
import os, sys
def main():
    found = []
    for name, module in list(sys.modules.items()):
        for attribute in ('__file__', '__cached__', '__path__'):
            value = getattr(module, attribute, None)
            if value and not str(value).startswith(('<python>', '/python/', '[]', \"['/python/\")):
                found.append([name, attribute, str(value)])
    hidden = [name for name in ('app', 'runner', 'library', 'randomness', 'compaction', 'wit_world') if name in sys.modules]
    return [found, hidden, sys.platform, sys.implementation.name]
";
    assert_eq!(run(&node, program, json!([])), json!([[], [], "wasi", "cpython"]));
}

#[test]
fn leaving_the_interpreter_ends_the_task_alone() {
    let node = TestNode::peer().cpu("workers = 1").start();
    check_serving(&node);
    let before = super::workers(&node);
    for (call, code) in [
        ("os._exit(3)", "worker_died"),
        ("os._exit(0)", "worker_died"),
        ("os.abort()", "task_failed"),
        ("signal.raise_signal(signal.SIGKILL)", "task_failed"),
        ("sys.exit(3)", "task_failed"),
        ("raise SystemExit", "task_failed"),
        ("raise KeyboardInterrupt", "task_failed"),
        ("atexit.register(os._exit, 5); return atexit._run_exitfuncs()", "worker_died"),
    ] {
        let program =
            format!("import atexit, os, signal, sys\ndef main():\n    print('before', flush=True)\n    {call}");
        let reply = node.call(potluck_tests::sandboxed(&program, json!([])));
        super::assert_failed(&reply, code, "");
        assert_eq!(reply["stdout"], "before\n", "{call}: {reply:#}");
        check_serving(&node);
    }
    assert_eq!(super::workers(&node), before, "the worker process was to live on");
}
