//! Files: a task reads the Python installation, writes in its own folder, and that is all.

use super::{denied, fill_in};
use potluck_tests::{Gate, TestNode, outcomes, task, wait_for, wait_for_some, with};
use serde_json::{Value, json};
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[test]
fn the_machines_files_and_the_nodes_cannot_be_read() {
    let node = TestNode::peer().env("POTLUCK_SECRET", "secret").start();
    fs::write(node.folder().join("private"), "secret").unwrap();
    let errors = denied(
        &node,
        &[
            "got = open('/etc/shadow').read()",
            "got = open('/etc/passwd').read()",
            "got = open('/etc/hostname').read()",
            "got = open('DATA/identity.key', 'rb').read()",
            "got = open('DATA/node.json').read()",
            "got = open('FOLDER/plugins.toml').read()",
            "got = open('FOLDER/node.log').read()",
            "got = open('FOLDER/private').read()",
            "got = open('/proc/NODE/environ').read()",
            "got = open('/proc/NODE/mem', 'rb').read(1)",
            "got = open('/proc/NODE/maps').read()",
            "got = open('/proc/NODE/cmdline').read()",
            "import os; got = os.listdir('/proc/NODE/fd')",
            "import os; got = os.open('/proc/NODE/root', os.O_RDONLY)",
            "import os; got = os.listdir('/proc/NODE/root/')",
            "got = open('/proc/1/environ').read()",
            "got = open('/proc/self/environ').read()",
            "got = open('/proc/self/mem', 'r+b').read(1)",
            "got = open('/proc/sys/kernel/hostname', 'w').write('x')",
            "got = open('/sys/power/state', 'w').write('x')",
            "got = open('/dev/mem', 'rb').read(1)",
            "got = open('/dev/kmsg').read(1)",
            "got = open('/dev/tty')",
            "import os; got = os.openpty()",
            "import os; got = os.listdir('/')",
            "import os; got = os.listdir('/etc')",
            "import os; got = os.listdir('/home')",
            "import os; got = os.listdir('/tmp')",
            "import os; got = os.listdir('/proc')",
            "import os; got = os.listdir('DATA')",
            "import os; got = os.listdir('CPU/scratch')",
            "import os; got = os.listdir('CPU/modules')",
            "import os; got = os.listdir('..')",
            "got = open('../../../../identity.key', 'rb').read()",
            "import os; os.symlink('DATA/identity.key', 'link'); got = open('link', 'rb').read()",
            "import os; os.link('DATA/identity.key', 'hard'); got = open('hard', 'rb').read()",
            "import os; got = os.open('/etc/passwd', os.O_PATH | os.O_RDONLY); got = open(f'/proc/self/fd/{got}').read()",
            "import shutil; got = shutil.copyfile('/etc/passwd', 'copy')",
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ngot = libc.open(b'/etc/passwd', 0)\nif got < 0: raise OSError(ctypes.get_errno(), 'libc')",
            "import sqlite3; got = sqlite3.connect('file:/etc/passwd?mode=ro', uri=True).execute('select 1').fetchall()",
            "import mmap; got = mmap.mmap(open('/etc/passwd').fileno(), 1, prot=mmap.PROT_READ)",
        ],
    );
    let others: Vec<&String> =
        errors.iter().filter(|error| !error.contains("Error") || error.starts_with("Assertion")).collect();
    assert!(others.is_empty(), "{others:?}");
    // Whether a file is there is no secret, and the installation is open.
    let reads = "
import os, json
def main(): return [os.path.exists('/etc/passwd'), len(open(json.__file__).read()) > 100, open('/dev/null').read()]
";
    assert_eq!(node.run(reads, json!([])), json!([true, true, ""]));
}

/// What changes when a file is touched in any way.
fn marks(metadata: &Metadata) -> [i64; 8] {
    [
        metadata.mode().into(),
        metadata.uid().into(),
        metadata.gid().into(),
        metadata.nlink().try_into().unwrap(),
        metadata.len().try_into().unwrap(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime_nsec(),
    ]
}

#[test]
fn nothing_can_be_written_outside_the_tasks_own_folder() {
    let node = TestNode::peer().start();
    let (file, folder) = (node.folder().join("kept"), node.folder().join("folder"));
    fs::write(&file, "kept").unwrap();
    fs::create_dir(&folder).unwrap();
    let before = [marks(&file.metadata().unwrap()), marks(&folder.metadata().unwrap())];
    let names = || {
        let mut names: Vec<_> = fs::read_dir(node.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let names_before = names();
    denied(
        &node,
        &[
            "got = open('FOLDER/made', 'w')",
            "got = open('FOLDER/kept', 'w')",
            "got = open('FOLDER/kept', 'a')",
            "got = open('FOLDER/kept', 'r+')",
            "got = open('/tmp/made-by-a-task', 'w')",
            "got = open('/dev/shm/made-by-a-task', 'w')",
            "got = open('/var/tmp/made-by-a-task', 'w')",
            "got = open('DATA/made', 'w')",
            "got = open('CPU/scratch/made', 'w')",
            "got = open('../made', 'w')",
            "got = open('/proc/self/oom_score_adj', 'w').write('0')",
            "got = open('/proc/NODE/oom_score_adj', 'w').write('1000')",
            "import os; got = os.open('FOLDER', os.O_TMPFILE | os.O_RDWR)",
            "import os; got = os.open('FOLDER/kept', os.O_RDONLY | os.O_TRUNC)",
            "import os; got = os.truncate('FOLDER/kept', 0)",
            "import os; got = os.unlink('FOLDER/kept')",
            "import os; got = os.rmdir('FOLDER/folder')",
            "import os; got = os.mkdir('FOLDER/made')",
            "import os; got = os.mkfifo('FOLDER/made')",
            "import os; got = os.mknod('FOLDER/made')",
            "import os; got = os.mknod('device', 0o20666, os.makedev(1, 1)); got = open('device', 'rb').read(1)",
            "import os; got = os.symlink('kept', 'FOLDER/made')",
            "import os; got = os.link('FOLDER/kept', 'FOLDER/made')",
            "import os; got = os.link('FOLDER/kept', 'inside')",
            "import os; got = os.rename('FOLDER/kept', 'FOLDER/made')",
            "import os; got = os.rename('FOLDER/kept', 'inside')",
            "import os; open('inside', 'w').close(); got = os.rename('inside', 'FOLDER/made')",
            "import os; os.symlink('FOLDER/made', 'out'); got = open('out', 'w')",
            "import os; os.symlink('FOLDER/kept', 'over'); got = open('over', 'a')",
            "import os; got = os.chown('FOLDER/kept', 1, 1)",
            "import os; got = os.lchown('FOLDER/kept', 1, 1)",
            "import os; fd = os.open('FOLDER/kept', os.O_PATH); got = os.chown(f'/proc/self/fd/{fd}', 1, 1)",
            "import os; got = os.setxattr('FOLDER/kept', 'user.x', b'x')",
            "import os; got = os.removexattr('FOLDER/kept', 'user.x')",
            "import os; got = os.chroot('/')",
        ],
    );
    // These are answered as if they had worked, so that copying files does; they must have done nothing.
    let ignored = [
        "import os; got = os.chmod('FOLDER/kept', 0o777)",
        "import os; got = os.chmod('FOLDER/folder', 0o777)",
        "import os; got = os.chmod('FOLDER/kept', 0o777, follow_symlinks=False)",
        "import os; got = os.utime('FOLDER/kept', (1, 1))",
        "import os; got = os.utime('FOLDER/kept', ns=(1, 1), follow_symlinks=False)",
        "import os; fd = os.open('FOLDER/kept', os.O_PATH); got = os.chmod(f'/proc/self/fd/{fd}', 0o777)",
        "import os; fd = os.open('FOLDER/kept', os.O_PATH); got = os.utime(f'/proc/self/fd/{fd}', (1, 1))",
        "import pathlib; got = pathlib.Path('FOLDER/kept').touch()",
        "import os; got = os.chmod('DATA/identity.key', 0o777)",
    ];
    let key = node.data_dir().join("identity.key");
    let key_before = marks(&key.metadata().unwrap());
    outcomes(&node, json!({}), &fill_in(&node, &ignored));
    assert_eq!([marks(&file.metadata().unwrap()), marks(&folder.metadata().unwrap())], before);
    assert_eq!(marks(&key.metadata().unwrap()), key_before);
    assert_eq!((fs::read_to_string(&file).unwrap().as_str(), names()), ("kept", names_before));
    for path in ["/tmp/made-by-a-task", "/dev/shm/made-by-a-task", "/var/tmp/made-by-a-task"] {
        assert!(!fs::exists(path).unwrap(), "{path}");
    }
    node.check_serving();
}

#[test]
fn in_its_own_folder_a_task_may_do_what_programs_do() {
    let node = TestNode::peer().start();
    let program = "
import glob, os, pathlib, shutil, sqlite3, tempfile, zipfile
def main():
    os.makedirs('a/b')
    pathlib.Path('a/b/file').write_text('text')
    shutil.copy2('a/b/file', 'copy')
    shutil.copytree('a', 'tree')
    os.rename('copy', 'renamed')
    os.symlink('renamed', 'link')
    os.link('renamed', 'hard')
    os.replace('hard', 'a/hard')
    with tempfile.NamedTemporaryFile('w+') as file, tempfile.TemporaryDirectory() as folder:
        file.write('x')
        open(os.path.join(folder, 'y'), 'w').close()
    with zipfile.ZipFile('z.zip', 'w') as archive:
        archive.write('renamed')
    database = sqlite3.connect('db')
    database.execute('create table t (x)')
    database.execute('insert into t values (7)')
    database.commit()
    shutil.rmtree('tree')
    os.chmod('renamed', 0o600)
    os.utime('renamed')
    with open('renamed', 'r+') as file:
        file.truncate(2)
    read = open('link').read()
    return [read, sorted(glob.glob('*')), database.execute('select x from t').fetchall(), zipfile.ZipFile('z.zip').read('renamed').decode()]
";
    let expected = json!(["te", ["a", "db", "link", "renamed", "z.zip"], [[7]], "text"]);
    assert_eq!(node.run(program, json!([])), expected);
}

#[test]
fn another_tasks_folder_is_closed() {
    let node = TestNode::peer().cpu("workers = 2").start();
    let gate = Gate::new(&node);
    let keeper = "
import os, time
def main(path):
    with open('secret-of-the-first', 'w') as file:
        file.write('secret')
    while not os.path.exists(path):
        time.sleep(0.002)
    return open('secret-of-the-first').read()
";
    let mut wire = node.wire();
    let path = gate.task()["args"][0].clone();
    wire.send(with(task(keeper, json!([path])), json!({ "source_peer": "127.0.0.1:9001", "timeout": 600 })));
    let secret = wait_for_some("the first task's file", || {
        let secret = node.scratch_file("secret-of-the-first")?;
        (fs::read_to_string(&secret).ok()? == "secret").then_some(secret)
    });
    let folder = secret.parent().unwrap().canonicalize().unwrap();
    let folder = folder.to_str().unwrap();
    let pieces: Vec<String> = [
        "got = open('OTHER/secret-of-the-first').read()",
        "got = open('OTHER/secret-of-the-first', 'a')",
        "got = open('OTHER/made', 'w')",
        "import os; got = os.listdir('OTHER')",
        "import os; got = os.unlink('OTHER/secret-of-the-first')",
        "import os; got = os.rename('OTHER/secret-of-the-first', 'mine')",
        "import os; got = os.link('OTHER/secret-of-the-first', 'mine')",
        "import os; got = os.rmdir('OTHER')",
        "import shutil; got = shutil.rmtree('OTHER')",
    ]
    .iter()
    .map(|piece| piece.replace("OTHER", folder))
    .collect();
    for submitter in [json!({}), json!({ "source_peer": "127.0.0.1:9002" }), json!({ "confidential": true })] {
        potluck_tests::refused(&node, submitter, &pieces);
    }
    gate.open();
    assert_eq!(wire.read()["result"], "secret");
}

#[test]
fn a_tasks_folder_goes_with_its_worker() {
    let mut node = TestNode::peer().start();
    let program = "
import os
def main():
    os.makedirs('deep/er')
    for path in ('file', 'deep/er/file'):
        with open(path, 'w') as file:
            file.write('x' * 100000)
    os.chmod('deep', 0)
    return os.getcwd()
";
    for isolated in [true, true] {
        let reply = node.call(with(task(program, json!([])), json!({ "isolated": isolated })));
        let folder = reply["result"].as_str().unwrap_or_else(|| panic!("{reply:#}")).to_owned();
        wait_for("the folder of the isolated task to be gone", || !fs::exists(&folder).unwrap());
    }
    // The same when the worker is killed, and when it ends by itself.
    for (end, code) in [("while True: pass", "timeout"), ("os._exit(1)", "worker_died"), ("os.abort()", "worker_died")]
    {
        let program = format!(
            "import os\ndef main():\n    open('left-behind', 'w').close()\n    print(os.getcwd(), flush=True)\n    {end}"
        );
        let reply = node.call(with(task(&program, json!([])), json!({ "timeout": 2 })));
        assert_eq!(reply["code"], code, "{reply:#}");
        let folder = reply["stdout"].as_str().unwrap().trim().to_owned();
        assert!(folder.starts_with('/'), "{reply:#}");
        wait_for("the folder of the dead worker to be gone", || !fs::exists(&folder).unwrap());
    }
    node.run(program, json!([]));
    assert!(node.stop().success(), "{}", node.log_tail());
    assert!(!node.provider_dir("cpu").join("scratch").exists(), "the node has left its tasks' files behind");
}

#[test]
fn a_nodes_own_files_are_closed_to_others() {
    let node = TestNode::peer().start();
    node.check_serving();
    for (name, mode) in [("", 0o700), ("identity.key", 0o600), ("node.json", 0o600)] {
        let found = node.data_dir().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found & 0o077, 0, "{name:?} has the mode {found:o}, expected {mode:o}");
    }
}

#[test]
fn the_files_of_a_task_have_a_limit() {
    let node = TestNode::peer().cpu("scratch_limit_bytes = 33554432").start();
    let one = "def main():\n    with open('large', 'wb') as file:\n        while True: file.write(bytes(1 << 20))";
    let many = "
def main():
    number = 0
    while True:
        number += 1
        with open(f'part-{number}', 'wb') as file:
            file.write(bytes(1 << 20))
";
    for program in [one, many] {
        let reply = node.call(with(task(program, json!([])), json!({ "timeout": 60 })));
        // One file that is too large is refused by the kernel, and the task may catch that.
        let code = reply["code"].as_str().unwrap_or_default();
        assert!(code == "scratch_limit" || (code == "task_failed" && reply["error_type"] == "OSError"), "{reply:#}");
        node.check_serving();
    }
    let fits = "def main():\n    open('fits', 'wb').write(bytes(8 << 20))\n    return 'fits'";
    assert_eq!(node.call(with(task(fits, json!([])), json!({ "isolated": true })))["result"], "fits");
    assert_eq!(node.status()["scheduler"]["stats"]["active_tasks"], Value::from(0));
}
