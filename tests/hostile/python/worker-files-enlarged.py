#| tries = "makes the files of standard output huge, without writing and with reserving memory"
#| python = ["output_limit", "ok 1", "worker_died"]
#| limits = { timeout = 10 }

import os


def main():
    for descriptor in (1, 2):
        for size in (1 << 62, 1 << 40, 1 << 33, 1 << 29):
            for function in (lambda: os.ftruncate(descriptor, size), lambda: os.posix_fallocate(descriptor, 0, size)):
                try:
                    function()
                except OSError:
                    pass
    return 1
