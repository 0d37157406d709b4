"""Computes rows of a picture of the Mandelbrot set.

    main(width, height, first_row=0, rows=None, iterations=100)  iteration counts, one list a row
    ascii(width=72, height=24, iterations=100)                   the whole picture as text

A count of `iterations` means that the point did not escape: it belongs to the set. Rows do not depend on each other,
so a large picture can be cut into bands for many peers.

    potluck cpu --file mandelbrot.py --function ascii
    potluck cpu --file mandelbrot.py --args '[80, 40, 0, 10]'
"""

# The part of the plane that holds the whole set.
LEFT, RIGHT = -2.2, 0.8
BOTTOM, TOP = -1.2, 1.2

SHADES = " .:-=+*%#@"


def main(width, height, first_row=0, rows=None, iterations=100):
    last_row = height if rows is None else min(first_row + rows, height)
    return [row_counts(row, width, height, iterations) for row in range(first_row, last_row)]


def row_counts(row, width, height, iterations):
    # Points are the centres of the pixels, so that the picture is symmetric as the set is.
    imaginary = TOP - (row + 0.5) * (TOP - BOTTOM) / height
    step = (RIGHT - LEFT) / width
    return [escape_count(complex(LEFT + (column + 0.5) * step, imaginary), iterations) for column in range(width)]


def escape_count(point, iterations):
    """How many steps of z -> z*z + point stay within distance 2 of the origin."""
    z = 0j
    for count in range(iterations):
        if z.real * z.real + z.imag * z.imag > 4.0:
            return count
        z = z * z + point
    return iterations


def ascii(width=72, height=24, iterations=100):
    darkest = len(SHADES) - 1
    # One shade more from the fourth step on draws the outline around the set, where the counts are still small.
    return "\n".join(
        "".join(SHADES[min(count * darkest // iterations + (count > 3), darkest)] for count in counts)
        for counts in main(width, height, iterations=iterations)
    )
