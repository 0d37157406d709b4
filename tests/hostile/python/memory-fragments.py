#| tries = "frees every second of its small objects for ever, so that nothing can be given back"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["timeout", "memory_limit"]
#| limits = { timeout = 3, memory_limit_bytes = 134217728 }

import itertools


def main():
    kept = []
    for size in itertools.count(1):
        kept.extend(bytes(size % 5000) for _ in range(100))
        del kept[::2]
