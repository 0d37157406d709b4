//! System calls that no Python function makes: the kernel's less travelled doors.
#![cfg(target_arch = "x86_64")]

use potluck_tests::{TestNode, is_alive, task};
use serde_json::{Value, json};

/// Makes each call, and tells the name of the error that it got, or what it returned.
const CALLS: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def main(calls):
    outcomes = {}
    for name, number, *args in calls:
        args = [ctypes.c_char_p(arg.encode()) if isinstance(arg, str) else ctypes.c_long(arg) for arg in args]
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *args)
        outcomes[name] = errno.errorcode.get(ctypes.get_errno(), 'nothing') if result < 0 else result
    return outcomes
";
/// As a bit of a call's number: the one of the narrower pointers, with numbers of their own.
const X32: u64 = 0x4000_0000;

/// Makes calls in a native task; `[name, number, arguments...]` each.
fn make(node: &TestNode, calls: &Value) -> Value {
    let mut reply = node.call(task(CALLS, json!([calls])));
    assert_eq!(reply["error"], Value::Null, "{reply:#}");
    reply["result"].take()
}

/// Makes calls and expects each to be refused as not permitted.
#[track_caller]
fn denied(node: &TestNode, calls: &Value) {
    let outcomes = make(node, calls);
    let allowed: Vec<_> = outcomes.as_object().unwrap().iter().filter(|(_, outcome)| *outcome != "EPERM").collect();
    assert!(allowed.is_empty(), "{allowed:?}");
    assert_eq!(outcomes.as_object().unwrap().len(), calls.as_array().unwrap().len());
    assert!(is_alive(node.pid()), "the node is gone");
    node.check_serving();
}

#[test]
fn other_processes_cannot_be_looked_into() {
    let node = TestNode::peer().start();
    let pid = node.pid();
    denied(
        &node,
        &json!([
            ["ptrace attach", 101, 16, pid, 0, 0],
            ["ptrace seize", 101, 0x4206, pid, 0, 0],
            ["ptrace traceme", 101, 0, 0, 0, 0],
            ["process_vm_readv", 310, pid, 0, 0, 0, 0, 0],
            ["process_vm_writev", 311, pid, 0, 0, 0, 0, 0],
            ["process_madvise", 440, 0, 0, 0, 0, 0],
            ["process_mrelease", 448, 0, 0],
            ["pidfd_open", 434, pid, 0],
            ["pidfd_getfd", 438, 0, 0, 0],
            ["pidfd_send_signal", 424, 0, 9, 0, 0],
            ["kcmp", 312, pid, pid, 0, 0, 0],
            ["kill", 62, pid, 9],
            ["kill its group", 62, -i64::from(pid), 9],
            ["tkill", 200, pid, 9],
            ["tgkill", 234, pid, pid, 9],
            ["rt_sigqueueinfo", 129, pid, 9, 0],
            ["prlimit64", 302, pid, 7, 0, 0],
            ["sched_setaffinity", 203, pid, 0, 0],
            ["sched_setattr", 314, pid, 0, 0],
            ["setpriority", 141, 0, pid, 19],
            ["ioprio_set", 251, 1, pid, 0],
            ["move_pages", 279, pid, 0, 0, 0, 0, 0],
            ["migrate_pages", 256, pid, 0, 0, 0],
            ["get_robust_list", 274, pid, 0, 0],
            ["setpgid", 109, 0, pid],
        ]),
    );
}

#[test]
fn the_kernels_wide_interfaces_are_closed() {
    let node = TestNode::peer().start();
    denied(
        &node,
        &json!([
            ["io_uring_setup", 425, 8, 0],
            ["io_uring_enter", 426, 0, 0, 0, 0, 0, 0],
            ["io_uring_register", 427, 0, 0, 0, 0],
            ["io_setup", 206, 8, 0],
            ["bpf", 321, 0, 0, 0],
            ["add_key", 248, "user", "x", 0, 0, -3],
            ["request_key", 249, "user", "x", 0, 0],
            ["keyctl", 250, 0, -3, 0],
            ["userfaultfd", 323, 0],
            ["perf_event_open", 298, 0, 0, 0, 0, 0],
            ["memfd_create", 319, "x", 0],
            ["memfd_secret", 447, 0],
            ["seccomp", 317, 1, 0, 0],
            ["prctl seccomp", 157, 22, 2, 0, 0, 0],
            ["prctl dumpable", 157, 4, 1, 0, 0, 0],
            ["prctl child subreaper", 157, 36, 0, 0, 0, 0],
            ["prctl parent death signal", 157, 1, 0, 0, 0, 0],
            ["prctl no new privileges", 157, 38, 0, 0, 0, 0],
            ["landlock_create_ruleset", 444, 0, 0, 1],
            ["landlock_restrict_self", 446, 0, 0],
            ["personality", 135, 0x40000],
            ["modify_ldt", 154, 0, 0, 0],
            ["kexec_load", 246, 0, 0, 0, 0],
            ["init_module", 175, 0, 0, ""],
            ["finit_module", 313, 0, "", 0],
            ["delete_module", 176, "x", 0],
            ["reboot", 169, 0xfee1_dead_u32, 672_274_793, 0, 0],
            ["syslog", 103, 3, 0, 0],
            ["quotactl", 179, 0, 0, 0, 0],
            ["swapon", 167, "/dev/null", 0],
            ["acct", 163, 0],
            ["iopl", 172, 3],
            ["ioperm", 173, 0, 1, 1],
            ["settimeofday", 164, 0, 0],
            ["clock_settime", 227, 0, 0],
            ["adjtimex", 159, 0],
            ["sethostname", 170, "x", 1],
            ["setdomainname", 171, "x", 1],
            ["vhangup", 153],
            ["fanotify_init", 300, 0, 0],
            ["inotify_init1", 294, 0],
            ["name_to_handle_at", 303, -100, ".", 0, 0, 0],
            ["open_by_handle_at", 304, -100, 0, 0],
            ["shmget", 29, 1, 4096, 0o1600],
            ["semget", 64, 1, 1, 0o1600],
            ["msgget", 68, 1, 0o1600],
            ["mq_open", 240, "/x", 0o102, 0o600, 0],
            ["mlockall", 151, 3],
            ["ioctl sends input", 16, 0, 0x5412, 0],
            ["ioctl takes a terminal", 16, 0, 0x540e, 0],
            ["a number that no call has", 9999, 0],
        ]),
    );
}

#[test]
fn neither_rights_nor_namespaces_nor_mounts_can_be_had() {
    let node = TestNode::peer().start();
    let namespaces: [(&str, u64); 8] = [
        ("mount", 0x0002_0000),
        ("cgroup", 0x0200_0000),
        ("uts", 0x0400_0000),
        ("ipc", 0x0800_0000),
        ("user", 0x1000_0000),
        ("pid", 0x2000_0000),
        ("net", 0x4000_0000),
        ("time", 0x0000_0080),
    ];
    let mut calls: Vec<Value> = namespaces
        .iter()
        .flat_map(|(name, flag)| {
            let thread = 0x0001_0f00_u64;
            [
                json!([format!("unshare {name}"), 272, flag]),
                json!([format!("setns {name}"), 308, 0, flag]),
                json!([format!("clone {name}"), 56, flag | 17, 0, 0, 0, 0]),
                json!([format!("clone thread {name}"), 56, flag | thread, 0, 0, 0, 0]),
            ]
        })
        // A thread in a new time namespace is an unknown flag for `clone`, which the kernel itself refuses.
        .filter(|call| call[0] != "clone thread time")
        .collect();
    let others = json!([
        ["mount", 165, "none", "/", "tmpfs", 0, 0],
        ["umount2", 166, "/proc", 2],
        ["pivot_root", 155, ".", "."],
        ["chroot", 161, "."],
        ["fsopen", 430, "tmpfs", 0],
        ["fsmount", 432, 0, 0, 0],
        ["move_mount", 429, 0, "", 0, "", 0],
        ["open_tree", 428, -100, ".", 1],
        ["mount_setattr", 442, -100, ".", 0, 0, 0],
        ["setuid", 105, 0],
        ["setreuid", 113, 0, 0],
        ["setresuid", 117, 0, 0, 0],
        ["setgid", 106, 0],
        ["setgroups", 116, 0, 0],
        ["setfsuid", 122, 0],
        ["capset", 126, 0, 0],
        ["fork", 57],
        ["vfork", 58],
        ["clone", 56, 17, 0, 0, 0, 0],
        ["execve", 59, "/bin/true", 0, 0],
        ["execveat", 322, -100, "/bin/true", 0, 0, 0],
        ["socket", 41, 2, 1, 0],
        ["bind", 49, 0, 0, 0],
        ["connect", 42, 0, 0, 0],
        ["mknod", 133, "device", 0o20666, 0x101],
        ["mknodat", 259, -100, "device", 0o20666, 0x101],
        ["x32 socket", X32 | 41, 2, 1, 0],
        ["x32 execve", X32 | 520, "/bin/true", 0, 0],
        ["x32 ptrace", X32 | 521, 16, node.pid(), 0, 0],
    ]);
    calls.extend(others.as_array().unwrap().iter().cloned());
    denied(&node, &Value::Array(calls));
}

#[test]
fn what_libraries_have_another_way_for_is_not_there() {
    let node = TestNode::peer().start();
    let outcomes = make(&node, &json!([["clone3", 435, 0, 0], ["openat2", 437, -100, "/etc/passwd", 0, 0]]));
    assert_eq!(outcomes, json!({ "clone3": "ENOSYS", "openat2": "ENOSYS" }));
}

#[test]
fn owners_and_attributes_of_files_cannot_be_set() {
    let node = TestNode::peer().start();
    denied(
        &node,
        &json!([
            ["chown", 92, "/dev/null", 1, 1],
            ["fchown", 93, 0, 1, 1],
            ["lchown", 94, "/dev/null", 1, 1],
            ["fchownat", 260, -100, "/dev/null", 1, 1, 0],
            ["setxattr", 188, "/dev/null", "user.x", "x", 1, 0],
            ["lsetxattr", 189, "/dev/null", "user.x", "x", 1, 0],
            ["fsetxattr", 190, 0, "user.x", "x", 1, 0],
            ["removexattr", 197, "/dev/null", "user.x"],
            ["setxattrat", 463, -100, "/dev/null", 0, "user.x", 0, 0],
            ["file_setattr", 469, -100, "/dev/null", 0, 0, 0],
            ["ioctl sets flags", 16, 0, 0x4008_6602, 0],
        ]),
    );
}
