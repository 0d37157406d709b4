#| tries = "aborts, after it has refused all signals that it can"
#| python = "worker_died: signal 6"
#| sandbox = ["task_failed", "worker_died"]

import os
import signal


def main():
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    os.abort()
