#| tries = "tells the node of millions of orders that it has not run, faster than the node can read"
#| python = "worker_died"
#| limits = { timeout = 5 }

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
    text = b"{\"slot\":63,\"skipped\":true}"
    flood = (len(text).to_bytes(4, "big") + text) * 2000
    for descriptor in range(3, 256):
        try:
            while stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, flood)
        except OSError:
            pass
    say({"slot": 63, "skipped": True})
