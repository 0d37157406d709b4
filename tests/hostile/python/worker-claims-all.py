#| tries = "fills every place in the page that it shares with the node, so that nothing can be sent to it, and returns"
#| python = ["ok 1", "worker_died", "timeout"]
#| limits = { timeout = 2 }

import ctypes


def main():
    with open("/proc/self/maps") as file:
        begin = next(int(line.split("-")[0], 16) for line in file if "potluck-claims" in line)
    cells = (ctypes.c_ubyte * 64).from_address(begin)
    for number in range(64):
        if cells[number] != 2:
            cells[number] = 2
    return 1
