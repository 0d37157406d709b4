#| tries = "takes memory piece by piece, and keeps it"
#| python = "memory_limit: more memory than its limit of 134217728"
#| sandbox = "memory_limit: more memory than its limit of 134217728"
#| limits = { memory_limit_bytes = 134217728, timeout = 20 }

import itertools


def main():
    hoard = []
    for number in itertools.count():
        hoard.append([number] * 100)
