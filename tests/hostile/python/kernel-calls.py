#| tries = "makes the system calls that change the machine: mounts, namespaces, modules, clocks, keys, tracing"
#| needs = ["seccomp"]
#| python = "ok []"

import ctypes
import errno
import os
import platform

# By name: the number on x86-64, on AArch64, and arguments with which a kernel that lets the call through would fail for
# another reason than that it is forbidden.
CALLS = {
    "ptrace": (101, 117, (0, 0, 0, 0)),
    "process_vm_readv": (310, 270, (1, 0, 0, 0, 0, 0)),
    "process_vm_writev": (311, 271, (1, 0, 0, 0, 0, 0)),
    "kcmp": (312, 272, (1, 1, 0, 0, 0)),
    "pidfd_open": (434, 434, (1, 0)),
    "pidfd_getfd": (438, 438, (-1, 0, 0)),
    "process_madvise": (440, 440, (-1, 0, 0, 0, 0)),
    "unshare": (272, 97, (0x10000000,)),
    "setns": (308, 268, (-1, 0)),
    "mount": (165, 40, (0, 0, 0, 0, 0)),
    "umount2": (166, 39, (0, 0)),
    "pivot_root": (155, 41, (0, 0)),
    "fsopen": (430, 430, (0, 0)),
    "open_tree": (428, 428, (-1, 0, 0)),
    "move_mount": (429, 429, (-1, 0, -1, 0, 0)),
    "mount_setattr": (442, 442, (-1, 0, 0, 0, 0)),
    "chroot": (161, 51, (0,)),
    "io_uring_setup": (425, 425, (0, 0)),
    "io_uring_enter": (426, 426, (-1, 0, 0, 0, 0, 0)),
    "io_uring_register": (427, 427, (-1, 0, 0, 0)),
    "bpf": (321, 280, (-1, 0, 0)),
    "perf_event_open": (298, 241, (0, 0, 0, -1, 0)),
    "userfaultfd": (323, 282, (-1,)),
    "keyctl": (250, 219, (-1, 0, 0, 0, 0)),
    "add_key": (248, 217, (0, 0, 0, 0, 0)),
    "request_key": (249, 218, (0, 0, 0, 0)),
    "init_module": (175, 105, (0, 0, 0)),
    "finit_module": (313, 273, (-1, 0, 0)),
    "delete_module": (176, 106, (0, 0)),
    "kexec_load": (246, 104, (0, -1, 0, -1)),
    # With numbers that mean nothing.
    "reboot": (169, 142, (0, 0, 0, 0)),
    "swapon": (167, 224, (0, 0)),
    "swapoff": (168, 225, (0,)),
    "acct": (163, 89, (1,)),
    "syslog": (103, 116, (-1, 0, 0)),
    "sethostname": (170, 161, (0, -1)),
    "setdomainname": (171, 162, (0, -1)),
    "quotactl": (179, 60, (-1, 0, 0, 0)),
    "clock_settime": (227, 112, (-1, 0)),
    "settimeofday": (164, 170, (0, 0)),
    "clock_adjtime": (305, 266, (-1, 0)),
    "adjtimex": (159, 171, (0,)),
    "iopl": (172, None, (4,)),
    "ioperm": (173, None, (0, -1, 1)),
    "modify_ldt": (154, None, (-1, 0, 0)),
    "personality": (135, 92, (0x0040000,)),
    "name_to_handle_at": (303, 264, (-1, 0, 0, 0, 0)),
    "open_by_handle_at": (304, 265, (-1, 0, 0)),
    "fanotify_init": (300, 262, (-1, -1)),
    "inotify_init1": (294, 26, (0,)),
    "lookup_dcookie": (212, 18, (0, 0, 0)),
    "shmget": (29, 194, (0, 0, 0)),
    "semget": (64, 190, (0, -1, 0)),
    "msgget": (68, 186, (-1, 0)),
    "mq_open": (240, 180, (0, 0, 0, 0)),
    "socket": (41, 198, (16, 3, 0)),
    "fork": (57, None, ()),
    "memfd_secret": (447, 447, (-1,)),
    "move_pages": (279, 239, (1, 0, 0, 0, 0, 0)),
    "migrate_pages": (256, 238, (1, 0, 0, 0)),
    "mbind": (237, 235, (0, 0, -1, 0, 0, 0)),
    "set_mempolicy": (238, 237, (-1, 0, 0)),
    "ioprio_set": (251, 30, (1, 1, 0)),
    "sched_setattr": (314, 274, (1, 0, 0)),
    "setpriority": (141, 140, (0, 1, 0)),
    "landlock_create_ruleset": (444, 444, (0, 0, -1)),
    "seccomp": (317, 277, (-1, 0, 0)),
    "execve": (59, 221, (0, 0, 0)),
    "execveat": (322, 281, (-1, 0, 0, 0, 0)),
    "clone3": (435, 435, (0, 0)),
    "setuid": (105, 146, (-1,)),
    "capset": (126, 91, (0, 0)),
    "unknown": (1000, 1000, ()),
}
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    column = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
    reached = []
    for name, row in CALLS.items():
        if column is None or row[column] is None:
            continue
        own = os.getpid()
        ctypes.set_errno(0)
        returned = libc.syscall(row[column], *map(ctypes.c_long, row[2]))
        if os.getpid() != own:
            os._exit(0)
        if returned >= 0 or ctypes.get_errno() not in REFUSALS:
            reached.append(f"{name}: {errno.errorcode.get(ctypes.get_errno(), returned)}")
    return reached
