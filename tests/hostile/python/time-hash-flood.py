#| tries = "fills a dictionary with keys that all have the same hash"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }

import itertools
import sys


def main():
    # Multiples of the modulus of hashes.
    return {number * sys.hash_info.modulus: None for number in itertools.takewhile(lambda n: n < 500_000, itertools.count())}
