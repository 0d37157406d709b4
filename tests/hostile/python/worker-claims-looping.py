#| tries = "says in the page that it shares with the node all that can be said of its own order, in turn, and loops"
#| python = "timeout: Task execution timeout"
#| limits = { timeout = 1.5 }

import ctypes


def main():
    with open("/proc/self/maps") as file:
        begin = next(int(line.split("-")[0], 16) for line in file if "potluck-claims" in line)
    cells = (ctypes.c_ubyte * 64).from_address(begin)
    own = [number for number in range(64) if cells[number] == 2]
    state = 0
    while True:
        for number in own:
            cells[number] = state % 8
        for _ in range(100_000):
            pass
        state += 1
