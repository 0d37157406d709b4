#| tries = "overwrites the page in which node and worker agree on who runs what"
#| python = ["ok", "worker_died", "task_failed", "timeout"]
#| limits = { timeout = 5 }

import ctypes


def main():
    found = 0
    with open("/proc/self/maps") as file:
        for line in file:
            if "claims" in line:
                begin, end = (int(number, 16) for number in line.split()[0].split("-"))
                for value in (*range(8), 255, 2):
                    ctypes.memset(begin, value, end - begin)
                found += 1
    return found
