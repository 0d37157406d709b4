#| tries = "closes every descriptor of the worker"
#| python = ["ok 1", "worker_died", "task_failed"]
#| limits = { timeout = 10 }

import os


def main():
    os.closerange(0, 4096)
    return 1
