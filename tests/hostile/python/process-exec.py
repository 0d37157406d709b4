#| tries = "turns itself into another program, which nothing would hold back"
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import sys


def main():
    for path in ("/bin/sh", "/usr/bin/env", sys.executable):
        for attempt in (
            lambda: os.execv(path, [path, "-c", "exit 0"]),
            lambda: os.execve(os.open(path, os.O_RDONLY), [path], {}),
            lambda: os.execvp("sh", ["sh"]),
        ):
            try:
                attempt()
            except Exception:
                pass
    return []
