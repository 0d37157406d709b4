"""Works with matrices. The peer's Python needs numpy.

    main(size, seed=0)     solves a random system of linear equations; {"residual": ..., "condition": ...}
    multiply(a, b)         product of two matrices, given as lists of rows
    eigenvalues(matrix)    eigenvalues of a symmetric matrix, in ascending order

The random numbers depend on the seed alone; the last digits of the results may differ between processors.

    potluck cpu --file matrix_numpy.py --args '[500]'
    potluck cpu --file matrix_numpy.py --function multiply --args '[[[1, 2], [3, 4]], [[0, 1], [1, 0]]]'
"""

import numpy as np


def main(size, seed=0):
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((size, size))
    right_side = generator.standard_normal(size)
    solution = np.linalg.solve(matrix, right_side)
    # Results leave as JSON, which knows Python's numbers and not numpy's.
    return {
        "residual": float(np.abs(matrix @ solution - right_side).max()),
        "condition": float(np.linalg.cond(matrix)),
    }


def multiply(a, b):
    return (np.array(a) @ np.array(b)).tolist()


def eigenvalues(matrix):
    return np.linalg.eigvalsh(np.array(matrix, dtype=float)).tolist()
