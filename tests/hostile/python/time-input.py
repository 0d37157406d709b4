#| tries = "waits for somebody to type something, and starts the debugger"
#| python = "task_failed: EOF"
#| sandbox = "task_failed"
#| limits = { timeout = 10 }

import sys


def main():
    if sys.stdin is not None and sys.stdin.read() != "":
        return "somebody typed something"
    return input("password: ")
