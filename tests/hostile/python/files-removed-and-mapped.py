#| tries = "fills the disk with files that are removed and closed, and only mapped"
#| python = "scratch_limit"
#| sandbox = "ok 0"
#| limits = { timeout = 20 }

import os
import time

BLOCK = bytes(1 << 20)


def main():
    kept = []
    try:
        import mmap

        for number in range(8):
            with open(f"mapped-{number}", "w+b", buffering=0) as file:
                for _ in range(32):
                    file.write(BLOCK)
                os.unlink(f"mapped-{number}")
                # A page is enough to keep all of it.
                kept.append(mmap.mmap(file.fileno(), 4096))
    except (ImportError, OSError):
        return 0
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return len(kept)
