"""Plays Conway's Game of Life on an endless board.

    main(cells, generations)        the living cells afterwards, as sorted [x, y] pairs
    render(cells, generations=0)    the same as text, `#` for a living cell
    random_cells(width, height, seed=0, share=0.3)   a board to start from; the same seed gives the same board

    potluck cpu --file game_of_life.py --args '[[[1, 0], [2, 1], [0, 2], [1, 2], [2, 2]], 4]'
"""

import random
from collections import Counter


def main(cells, generations):
    living = {tuple(cell) for cell in cells}
    for _ in range(generations):
        living = step(living)
    return sorted(list(cell) for cell in living)


def step(living):
    neighbours = Counter(
        (x + dx, y + dy) for x, y in living for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy
    )
    return {cell for cell, count in neighbours.items() if count == 3 or (count == 2 and cell in living)}


def render(cells, generations=0):
    living = {tuple(cell) for cell in main(cells, generations)}
    if not living:
        return "(no cell lives)"
    columns = range(min(x for x, _ in living), max(x for x, _ in living) + 1)
    rows = range(min(y for _, y in living), max(y for _, y in living) + 1)
    return "\n".join("".join("#" if (x, y) in living else "." for x in columns) for y in rows)


def random_cells(width, height, seed=0, share=0.3):
    generator = random.Random(seed)
    return [[x, y] for y in range(height) for x in range(width) if generator.random() < share]
