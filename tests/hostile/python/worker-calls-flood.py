#| tries = "calls the node past its worker as fast as it can, and reads no answer"
#| python = ["ok", "worker_died", "task_failed", "timeout"]
#| limits = { timeout = 5 }

import json
import os
import time


def main():
    frames = b""
    for number in range(1000):
        message = {"type": "GET_MEM", "key": "flood", "padding": "x" * 1000}
        frame = json.dumps({"call": number, "slot": 0, "message": message}).encode()
        frames += len(frame).to_bytes(4, "big") + frame
    end = time.monotonic() + 2
    for descriptor in range(3, 256):
        try:
            while time.monotonic() < end:
                os.write(descriptor, frames)
        except OSError:
            pass
    return 1
