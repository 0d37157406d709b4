#| tries = "loads garbage as marshalled code and runs whatever comes out"
#| python = ["ok", "worker_died", "task_failed", "memory_limit"]
#| sandbox = ["ok", "task_failed", "worker_died", "memory_limit"]
#| limits = { timeout = 20 }

import marshal
import random


def main():
    good = marshal.dumps(compile("x = [1, 'a', (2, 3)]\ndef f(): return x", "<m>", "exec"))
    generator = random.Random(2)
    for _ in range(2000):
        bad = bytearray(good)
        for _ in range(4):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        try:
            code = marshal.loads(bytes(bad))
            if hasattr(code, "co_code"):
                exec(code, {})
        except Exception:
            pass
    return "survived"
