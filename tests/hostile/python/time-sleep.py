#| tries = "sleeps much longer than it may, and goes back to sleep when it is woken"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }

import time


def main():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
