#| tries = "maps exabytes, and the same page a million times"
#| python = "ok true"
#| limits = { timeout = 20 }

import mmap


def main():
    kept = []
    for size in (1 << 62, 1 << 46, 1 << 40):
        try:
            kept.append(mmap.mmap(-1, size))
        except (OSError, OverflowError, MemoryError, ValueError):
            pass
    huge = len(kept)
    try:
        for _ in range(200_000):
            kept.append(mmap.mmap(-1, 4096))
    except (OSError, MemoryError):
        pass
    return huge == 0
