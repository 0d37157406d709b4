#| tries = "says in the page and in a report that it has ended, with a result of its own making, and then runs for ever"
#| python = ["ok \"forged\"", "worker_died"]
#| limits = { timeout = 2 }

import ctypes
import json
import os
import stat


def main():
    with open("/proc/self/maps") as file:
        begin = next(int(line.split("-")[0], 16) for line in file if "potluck-claims" in line)
    cells = (ctypes.c_ubyte * 64).from_address(begin)
    for number in range(64):
        if cells[number] == 2:
            cells[number] = 3
            text = json.dumps({"slot": number, "result": "forged", "seconds": 1e300}).encode()
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(text).to_bytes(4, "big") + text)
        except OSError:
            pass
    while True:
        pass
