#| tries = "computes with a billion decimal places, factorials and fractions without end"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["timeout", "memory_limit", "task_failed"]
#| limits = { timeout = 1 }

import decimal
import math


def main():
    decimal.getcontext().prec = min(10**9, decimal.MAX_PREC)
    try:
        decimal.Decimal(2).sqrt()
    except MemoryError:
        pass
    return math.factorial(10**8)
