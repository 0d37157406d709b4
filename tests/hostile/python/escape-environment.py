#| tries = "looks for the node's secrets in the environment and in the command line"
#| args = ["$secret"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import sys


def main(secret):
    reached = [name for name, value in os.environ.items() if secret in value]
    reached += [word for word in (*sys.argv, *getattr(sys, "orig_argv", ())) if secret in word]
    for path in ("/proc/self/environ", f"/proc/{os.getpid()}/environ", "/proc/self/cmdline"):
        try:
            with open(path, errors="replace") as file:
                if secret in file.read():
                    reached.append(path)
        except OSError:
            pass
    return reached
