#| tries = "leaves streams behind whose flush never returns its value, and closes the real ones"
#| python = "ok 1"
#| sandbox = "ok 1"

import os
import sys


class Stream:
    def write(self, text):
        raise SystemExit("written to a poisoned stream")

    def flush(self):
        raise KeyboardInterrupt

    def __del__(self):
        raise SystemExit


def main():
    sys.stdout.close()
    sys.stderr.close()
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Stream()
    for descriptor in (1, 2):
        try:
            os.close(descriptor)
        except OSError:
            pass
    return 1
