#| tries = "takes the orders out of the worker's socket and never answers"
#| python = ["timeout", "worker_died"]
#| limits = { timeout = 2 }

import os
import select


def main():
    while True:
        for descriptor in range(3, 256):
            try:
                os.set_blocking(descriptor, False)
                os.read(descriptor, 1 << 20)
            except OSError:
                pass
        select.select([], [], [], 0.01)
