#| tries = "writes garbage into the worker's own socket to the node"
#| python = ["ok", "worker_died", "task_failed"]
#| limits = { timeout = 10 }

import os


def main():
    for descriptor in range(3, 256):
        for garbage in (b"\0\0\0\x02{}" * 100, b"\xff" * 5000, b"\0\0\0\x05hello", b"\x01\x00\x00\x00" + bytes(1000)):
            try:
                os.set_blocking(descriptor, False)
                os.write(descriptor, garbage)
            except OSError:
                pass
    return 1
