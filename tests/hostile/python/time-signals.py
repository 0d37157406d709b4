#| tries = "ignores and blocks all signals, and lets itself be interrupted all the time"
#| python = "timeout"
#| sandbox = ["timeout", "task_failed"]
#| limits = { timeout = 2 }

import signal


def handle(number, frame):
    signal.raise_signal(signal.SIGUSR1)


def main():
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {signal.SIGALRM})
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
