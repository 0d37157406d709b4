#| tries = "stops itself, so that nobody can ask it to end"
#| python = "timeout"
#| sandbox = "task_failed"
#| limits = { timeout = 2 }

import os
import signal


def main():
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)
