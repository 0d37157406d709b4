"""Estimates pi by throwing points at a square and counting those inside the quarter circle.

    main(samples, seed=None)   number of points inside; pi is about 4 * inside / samples
    estimate(inside, samples)  pi from the sums over many tasks

Tasks with different seeds are independent, so the work can be cut into any number of them. Without a seed every run
has its own random numbers, and the result differs from run to run.

    potluck cpu --file monte_carlo_pi.py --args '[1000000, 42]'
"""

import random


def main(samples, seed=None):
    if seed is None:
        # From the operating system: a process that is copied or reused would repeat the numbers of its twin.
        seed = random.SystemRandom().getrandbits(64)
    uniform = random.Random(seed).random
    inside = 0
    for _ in range(samples):
        x = uniform()
        y = uniform()
        if x * x + y * y <= 1.0:
            inside += 1
    return inside


def estimate(inside, samples):
    return 4 * inside / samples
