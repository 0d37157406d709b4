#| tries = "waits for events that never come, in every way that the library has"
#| python = "timeout"
#| sandbox = ["timeout", "task_failed"]
#| limits = { timeout = 2 }

import os
import queue
import select
import threading


def main():
    def wait():
        for function in (
            lambda: queue.Queue().get(),
            lambda: threading.Event().wait(),
            lambda: os.read(os.pipe()[0], 1),
            lambda: select.select([], [], [], 1e6),
            lambda: select.poll().poll(),
        ):
            try:
                threading.Thread(target=function, daemon=True).start()
            except RuntimeError:
                pass

    wait()
    queue.Queue().get()
