#| tries = "puts other files behind the worker's descriptors"
#| python = ["ok 1", "worker_died", "task_failed", "timeout"]
#| limits = { timeout = 5 }

import os


def main():
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(256):
        if descriptor != null:
            try:
                os.fstat(descriptor)
                os.dup2(null, descriptor)
            except OSError:
                pass
    return 1
