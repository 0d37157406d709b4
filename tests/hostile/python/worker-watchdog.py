#| tries = "leaves a watchdog of the C library behind, which ends the process during the task of whoever comes next"
#| python = "ok 1"
#| sandbox = ["ok", "task_failed"]

import faulthandler
import signal


def main():
    try:
        faulthandler.dump_traceback_later(0.3, exit=True)
    except RuntimeError:
        pass
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0.4, 0.01)
    return 1
