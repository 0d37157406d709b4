#| tries = "truncates every file that the worker shares with the node, which would be SIGBUS for whoever has it mapped"
#| python = ["ok 1", "worker_died", "task_failed"]
#| limits = { timeout = 10 }

import os


def main():
    for descriptor in range(256):
        try:
            os.ftruncate(descriptor, 0)
        except OSError:
            pass
    try:
        for name in os.listdir("/proc/self/map_files"):
            os.truncate(f"/proc/self/map_files/{name}", 0)
    except OSError:
        pass
    return 1
