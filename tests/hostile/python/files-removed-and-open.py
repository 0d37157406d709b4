#| tries = "fills the disk with files that it has removed already, and holds open"
#| python = "scratch_limit"
#| sandbox = "ok 0"
#| limits = { timeout = 20 }

import os
import time

BLOCK = bytes(1 << 20)


def main():
    kept = []
    try:
        for number in range(8):
            file = open(f"removed-{number}", "wb", buffering=0)
            os.unlink(f"removed-{number}")
            for _ in range(32):
                file.write(BLOCK)
            kept.append(file)
    except OSError:
        return 0
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return len(kept)
