#| tries = "starts threads without number, which burn the processor and take the lock of the interpreter"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["task_failed", "timeout"]
#| limits = { timeout = 2 }

import threading


def burn():
    while True:
        pass


def main():
    for _ in range(1000):
        try:
            threading.Thread(target=burn, daemon=True).start()
        except RuntimeError:
            break
    burn()
