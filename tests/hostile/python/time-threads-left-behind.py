#| tries = "returns, and leaves threads behind that go on, print, and wait for the next task's data"
#| python = "ok 1"
#| sandbox = ["ok 1", "task_failed"]

import sys
import threading


def haunt():
    while True:
        print("a ghost")
        sys.stdout.flush()


def main():
    for daemon in (True, False):
        for _ in range(4):
            threading.Thread(target=haunt, daemon=daemon).start()
    return 1
