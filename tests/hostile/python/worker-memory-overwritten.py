#| tries = "overwrites all of the worker's memory that can be written"
#| python = ["worker_died", "memory_limit", "task_failed", "timeout"]
#| limits = { timeout = 10 }

import ctypes


def main():
    regions = []
    with open("/proc/self/maps") as file:
        for line in file:
            words = line.split()
            if words[1].startswith("rw"):
                regions.append(tuple(int(number, 16) for number in words[0].split("-")))
    for begin, end in regions:
        ctypes.memset(begin, 0x41, end - begin)
    return "survived"
