"""Five philosophers who all take their left fork first: they starve.

    main(table="table", seats=5)     seats everybody and waits: what became of each, in the order of the seats
    dine(seat, table, seats, node)   one philosopher, a task of its own; the forks are on that node, wherever it runs

Between two philosophers lies one fork, a semaphore of the node, and eating takes two. Each takes the fork on the
left, and when all of them have done so each waits for the one on the right, which a neighbour holds: a deadlock. The
node finds it, and can give up one of them, so that the others eat:

    potluck cpu --file philosophers_naive.py &
    potluck deadlock
    potluck deadlock resolve
"""

import potluck


def fork(table, number, node):
    return potluck.lock(f"{table}-fork-{number}", to=node)


def wait_until_all_hold_one(table, seats, node):
    """Bad luck would have to be waited for, and here it is the point: nobody goes on before all have a fork."""
    gate = potluck.semaphore(f"{table}-gate", 0, to=node)
    if potluck.update(f"{table}-holding", lambda count: count + 1, default=0, to=node) == seats:
        for _ in range(seats):
            gate.release()
    gate.acquire()


def dine(seat, table, seats, node):
    left, right = fork(table, seat, node), fork(table, (seat + 1) % seats, node)
    with left:
        wait_until_all_hold_one(table, seats, node)
        with right:
            return f"philosopher {seat} has eaten"


def main(table="table", seats=5):
    node = potluck.me().node
    philosophers = [potluck.spawn(dine, seat, table, seats, node) for seat in range(seats)]
    ends = []
    for philosopher in philosophers:
        try:
            ends.append(philosopher.result())
        except potluck.TaskFailed as failure:
            ends.append(f"{philosopher.pid} has starved: {failure}")
    for number in range(seats):
        fork(table, number, node).delete()
    potluck.semaphore(f"{table}-gate", 0).delete()
    potluck.delete(f"{table}-holding")
    return ends
