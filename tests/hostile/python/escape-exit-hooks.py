#| tries = "leaves hooks behind that run for ever when the interpreter ends"
#| python = "ok 1"
#| sandbox = "ok 1"

import atexit
import gc
import weakref


class Immortal:
    def __del__(self):
        while True:
            pass


def forever(*args):
    while True:
        pass


KEPT = Immortal()


def main():
    atexit.register(forever)
    KEPT.circle = KEPT
    weakref.finalize(KEPT, forever)
    gc.disable()
    return 1
