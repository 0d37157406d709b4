#| tries = "kills itself and everything in its group"
#| python = ["worker_died", "task_failed"]
#| sandbox = "task_failed"

import os
import signal


def main():
    try:
        os.killpg(0, signal.SIGKILL)
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGKILL)
    return "survived"
