"""Counts the ways to put n queens on an n by n board so that none attacks another.

    main(n, first_column=None)   number of solutions; with first_column only those whose first queen stands there
    solution(n)                  the columns of one solution, row by row, or null
    board(n)                     that solution as text

The columns of the first queen share the work out evenly: n tasks, whose results add up.

    potluck cpu --file nqueens.py --args '[10]'
    seq 0 11 | sed 's/.*/{"args": [12, &]}/' | potluck batch - --file nqueens.py
"""


def main(n, first_column=None):
    full = (1 << n) - 1
    if first_column is None:
        return count(full, 0, 0, 0)
    queen = 1 << first_column
    return count(full, queen, queen << 1, queen >> 1)


def count(full, columns, left, right):
    """Bits are columns that are taken: by a queen above, by a left and by a right diagonal of the next row."""
    if columns == full:
        return 1
    solutions = 0
    free = full & ~(columns | left | right)
    while free:
        queen = free & -free
        free -= queen
        solutions += count(full, columns | queen, (left | queen) << 1, (right | queen) >> 1)
    return solutions


def solution(n):
    def place(columns):
        row = len(columns)
        if row == n:
            return columns
        for column in range(n):
            if all(column != other and abs(column - other) != row - above for above, other in enumerate(columns)):
                found = place(columns + [column])
                if found is not None:
                    return found
        return None

    return place([])


def board(n):
    columns = solution(n)
    if columns is None:
        return "no solution"
    return "\n".join(" ".join("Q" if place == column else "." for place in range(n)) for column in columns)
