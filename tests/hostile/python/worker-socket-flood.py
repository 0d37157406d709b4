#| tries = "announces a frame of 17 MB to the node and sends it byte by byte, and then floods the socket"
#| python = ["timeout", "worker_died", "ok", "task_failed"]
#| limits = { timeout = 3 }

import itertools
import os


def main():
    sockets = []
    for descriptor in range(3, 256):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                sockets.append(descriptor)
        except OSError:
            sockets.append(descriptor)
    for number in itertools.count():
        for descriptor in sockets:
            try:
                os.write(descriptor, b"\x01\x00\x00\x00" if number == 0 else b"x" * min(number, 65536))
            except OSError:
                pass
