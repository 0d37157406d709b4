"""Sums the primes of a range.

    main(start, end)          sum of the primes from start up to, but without, end
    primes(start, end)        the primes themselves
    split(start, end, parts)  argument lists for that many tasks of about equal length

Ranges do not depend on each other: cut a long one into parts, give each to a peer, add the results.

    potluck cpu --file prime_sum.py --args '[1, 1000000]'
"""

from math import isqrt

# Numbers that are sieved at once. A long range then needs no more memory than a short one.
SEGMENT_LENGTH = 1 << 16


def main(start, end):
    return sum(iterate_primes(start, end))


def primes(start, end):
    return list(iterate_primes(start, end))


def split(start, end, parts):
    edges = [start + (end - start) * part // parts for part in range(parts + 1)]
    return [list(pair) for pair in zip(edges, edges[1:])]


def iterate_primes(start, end):
    """A segmented sieve of Eratosthenes: only the primes up to the square root of end are kept."""
    start = max(start, 2)
    divisors = small_primes(isqrt(max(end, 0)) + 1)
    for low in range(start, end, SEGMENT_LENGTH):
        high = min(low + SEGMENT_LENGTH, end)
        is_prime = bytearray([1]) * (high - low)
        for divisor in divisors:
            # Smaller multiples have a smaller divisor and are struck out already.
            first = max(divisor * divisor, -(-low // divisor) * divisor)
            if first < high:
                is_prime[first - low :: divisor] = bytes(len(range(first, high, divisor)))
        for offset, flag in enumerate(is_prime):
            if flag:
                yield low + offset


def small_primes(end):
    is_prime = bytearray([1]) * max(end, 2)
    is_prime[0:2] = b"\0\0"
    for number in range(2, isqrt(max(end - 1, 0)) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, len(is_prime), number)))
    return [number for number, flag in enumerate(is_prime) if flag]
