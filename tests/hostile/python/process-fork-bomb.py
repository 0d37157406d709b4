#| tries = "forks for ever, in processes that leave the group and the session"
#| needs = ["seccomp"]
#| python = "ok 0"
#| sandbox = "ok 0"
#| limits = { timeout = 5 }

import os
import time


def main():
    # Bounded, so that a node which fails the test does not take the machine with it.
    forks = 0
    for _ in range(6):
        try:
            forks += 1 if os.fork() else 1
        except Exception:
            continue
        try:
            os.setsid()
        except OSError:
            pass
    while forks:
        time.sleep(1)
    return forks
