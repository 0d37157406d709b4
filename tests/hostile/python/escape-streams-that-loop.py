#| tries = "leaves a stream behind that loops when the worker flushes it"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 2 }

import sys


class Stream:
    def write(self, text):
        return len(text)

    def flush(self):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass


def main():
    sys.stdout = Stream()
    return 1
