#| tries = "lifts the limit on recursion and calls itself through C code until the stack is gone"
#| python = ["worker_died", "memory_limit", "task_failed"]
#| sandbox = ["task_failed", "memory_limit", "worker_died"]
#| limits = { timeout = 30 }

import sys


class Deep:
    def __repr__(self):
        return repr(self)


def main():
    sys.setrecursionlimit(2**31 - 1)
    return repr(Deep())
