#| tries = "fills the disk with files that never had a name"
#| python = ["scratch_limit", "ok 0"]
#| sandbox = "ok 0"
#| limits = { timeout = 20 }

import os
import time

BLOCK = bytes(1 << 20)


def main():
    kept = []
    try:
        for _ in range(8):
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
            for _ in range(32):
                os.write(descriptor, BLOCK)
            kept.append(descriptor)
    except (AttributeError, OSError):
        return 0
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return len(kept)
