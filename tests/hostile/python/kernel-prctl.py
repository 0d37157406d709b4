#| tries = "undoes what the worker has set on its process: filter, death with the node, readability, capabilities"
#| needs = ["seccomp", "no_new_privs"]
#| python = "ok []"

import ctypes

CALLS = {
    "survive the node": (1, 0),
    "no adoption": (36, 0),
    "new privileges": (38, 0),
    "filter off": (22, 0),
    "readable": (4, 1),
    "any tracer": (0x59616D61, -1),
    "ambient capability": (47, 2, 21, 0, 0),
    "bounding set": (24, 21),
    "keep capabilities": (8, 1),
    "securebits": (28, 0),
    "speculation": (53, 0, 2, 0, 0),
    "machine checks": (33, 1, 0, 0, 0),
    "time stamp": (26, 1),
    "map of the process": (35, 14, 0, 0, 0),
}


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    reached = [name for name, words in CALLS.items() if libc.prctl(*map(ctypes.c_long, words)) == 0]
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0" * 16), ("CapBnd", "0" * 16)):
        if status[name] != wanted:
            reached.append(f"{name} is {status[name]}")
    return reached
