#| tries = "introduces itself to the node a second time, as a worker without protections that stops its orders itself"
#| python = ["timeout", "worker_died"]
#| limits = { timeout = 1 }

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
    say({"description": "another", "protections": [], "stops_orders": True})
    while True:
        pass
