#| tries = "reports results for tasks that it was not given, and twice for its own"
#| python = ["ok", "worker_died", "task_failed"]
#| limits = { timeout = 10 }

import json
import os


def main():
    for descriptor in range(3, 256):
        for slot in (*range(64), 64, 1 << 31, 1 << 63):
            report = json.dumps({"slot": slot, "result": "forged", "seconds": 1e308, "stdout": "x" * 100}).encode()
            try:
                os.set_blocking(descriptor, False)
                os.write(descriptor, len(report).to_bytes(4, "big") + report)
            except OSError:
                break
    return 1
