#| tries = "clones itself into new namespaces of every kind, where it would be root"
#| needs = ["seccomp"]
#| python = "ok []"

import ctypes
import os
import platform

FLAGS = {
    "user": 0x10000000, "mount": 0x00020000, "process": 0x20000000, "network": 0x40000000, "host name": 0x04000000,
    "messages": 0x08000000, "control groups": 0x02000000, "time": 0x00000080,
}  # fmt: skip
SIGCHLD = 17


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    clone, unshare = {"x86_64": (56, 272), "aarch64": (220, 97)}.get(platform.machine(), (None, None))
    reached = []
    if clone is None:
        return reached
    for name, flag in FLAGS.items():
        for user in (0, FLAGS["user"]):
            pid = libc.syscall(clone, ctypes.c_long(flag | user | SIGCHLD), 0, 0, 0, 0)
            if pid == 0:
                os._exit(0)
            if pid > 0:
                os.waitpid(pid, 0)
                reached.append(f"clone {name}")
            if libc.syscall(unshare, ctypes.c_long(flag | user)) == 0:
                reached.append(f"unshare {name}")
    return reached
