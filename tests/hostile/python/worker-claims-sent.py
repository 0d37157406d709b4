#| tries = "makes its own order one that it has not begun, so that it seems to be called off in time"
#| python = "timeout: Task execution timeout"
#| limits = { timeout = 0.5 }

import ctypes


def main():
    with open("/proc/self/maps") as file:
        begin = next(int(line.split("-")[0], 16) for line in file if "potluck-claims" in line)
    cells = (ctypes.c_ubyte * 64).from_address(begin)
    for number in range(64):
        if cells[number] == 2:
            cells[number] = 1
    while True:
        pass
