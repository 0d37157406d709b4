#| tries = "runs bytecode that no compiler would write, to read beyond the interpreter's objects"
#| python = ["worker_died", "task_failed", "memory_limit"]
#| sandbox = ["task_failed", "worker_died", "memory_limit"]
#| limits = { timeout = 20 }

import itertools
import random


def victim(a, b):
    return a + b


def main():
    generator = random.Random(1)
    code = victim.__code__
    for _ in itertools.repeat(None):
        garbage = bytes(generator.randrange(256) for _ in range(64))
        try:
            victim.__code__ = code.replace(co_code=garbage, co_stacksize=2, co_consts=(), co_names=())
            victim(1, 2)
        except Exception:
            pass
    return "survived"
