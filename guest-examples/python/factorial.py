"""Computes factorials, which soon have more digits than any machine integer.

    main(n)               n!, exactly
    digits(n)             number of decimal digits of n!
    trailing_zeros(n)     number of zeros at its end, without computing it

Integers of any size pass through Potluck digit for digit.

    potluck cpu --file factorial.py --args '[100]'
"""

import math
import sys


def main(n):
    # Python 3.11 and later refuse to print longer integers unless asked: the limit guards against input of strangers.
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    return math.factorial(n)


def digits(n):
    # lgamma is the logarithm of the factorial. Right beside a power of ten it would be too inexact; no n! is so close.
    return max(1, math.floor(math.lgamma(n + 1) / math.log(10)) + 1)


def trailing_zeros(n):
    # Each zero takes a factor 5; factors 2 are always plenty.
    zeros = 0
    while n:
        n //= 5
        zeros += n
    return zeros
