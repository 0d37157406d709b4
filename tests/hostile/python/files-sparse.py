#| tries = "makes files of exabytes that hold nothing, and reserves space for them"
#| python = "ok []"
#| sandbox = "ok []"

import os


def main():
    made = []
    for size in (1 << 62, 1 << 50, 1 << 40, 1 << 33):
        try:
            with open(f"sparse-{size}", "wb") as file:
                os.ftruncate(file.fileno(), size)
            made.append(size)
        except (OSError, ValueError):
            pass
    # Not more than a disk has to spare: a node that fails the test must not take the machine with it.
    try:
        with open("reserved", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1 << 27)
        made.append("reserved")
    except (OSError, ValueError, AttributeError):
        pass
    return made
