#| tries = "calls the node past its worker: for other orders, as others, with nonsense for a message"
#| python = ["ok", "worker_died", "task_failed"]
#| limits = { timeout = 10 }

import json
import os


def main():
    who = {"type": "TASK_SELF"}
    messages = [
        {"call": 0, "slot": 0, "message": who},
        {"call": (1 << 64) - 1, "slot": 63, "message": who},
        {"call": 1, "slot": 64, "message": who},
        {"call": 1, "slot": 1 << 63, "message": who},
        {"call": 1, "slot": 0, "message": {"type": "SHUTDOWN", "behalf": "local"}},
        {"call": 2, "slot": 0, "message": {"type": "GET_MEM", "key": "a", "behalf": "task:P1", "attachment": 9}},
        {"call": 3, "slot": 0, "message": []},
        {"call": 4, "slot": 0, "message": {"type": "TASK_JOIN", "child": "P1"}},
        {"call": -1, "slot": 0, "message": who},
        {"call": "x"},
    ]
    for descriptor in range(3, 256):
        for message in messages:
            frame = json.dumps(message).encode()
            try:
                os.set_blocking(descriptor, False)
                os.write(descriptor, len(frame).to_bytes(4, "big") + frame)
            except OSError:
                break
    return 1
