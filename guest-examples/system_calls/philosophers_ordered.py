"""Five philosophers who take the fork with the smaller number first: nobody starves.

    main(table="table", seats=5, meals=3)   seats everybody and waits: how often each has eaten
    dine(seat, table, seats, meals, node)   one philosopher, a task of its own; the forks are on that node

For a deadlock somebody has to hold a fork and wait for one with a smaller number, and nobody does: whoever holds the
one with the largest number has all that it needs. `philosophers_naive.py` shows what happens otherwise.

    potluck cpu --file philosophers_ordered.py
"""

import potluck


def fork(table, number, node):
    return potluck.lock(f"{table}-fork-{number}", to=node)


def dine(seat, table, seats, meals, node):
    first, second = (fork(table, number, node) for number in sorted((seat, (seat + 1) % seats)))
    eaten = 0
    for _ in range(meals):
        with first, second:
            eaten += 1
    return eaten


def main(table="table", seats=5, meals=3):
    node = potluck.me().node
    philosophers = [potluck.spawn(dine, seat, table, seats, meals, node) for seat in range(seats)]
    eaten = [philosopher.result() for philosopher in philosophers]
    for number in range(seats):
        fork(table, number, node).delete()
    return eaten
