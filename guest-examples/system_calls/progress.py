"""Counts primes, and tells how far it is.

    main(end=200000, steps=10)   how many primes there are below `end`

Whoever has sent the task sees an event `task.progress` for each step:

    potluck events &
    potluck cpu --file progress.py
"""

import potluck


def main(end=200000, steps=10):
    is_prime = bytearray([1]) * end
    is_prime[:2] = bytes(min(end, 2))
    count = 0
    for step in range(steps):
        first, behind = end * step // steps, end * (step + 1) // steps
        # All divisors of these are below, and have been looked at.
        for number in range(first, behind):
            if is_prime[number]:
                count += 1
                is_prime[number * number :: number] = bytes(len(range(number * number, end, number)))
        potluck.progress((step + 1) / steps, f"{count} primes below {behind}")
    return count
