#| tries = "tells the node that it has not run its order, while it runs it for ever"
#| python = "worker_died"
#| limits = { timeout = 2 }

import json
import os
import stat


def say(message):
    text = json.dumps(message).encode()
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(text).to_bytes(4, "big") + text)
        except OSError:
            pass


def main():
    say({"slot": 0, "skipped": True})
    while True:
        pass
