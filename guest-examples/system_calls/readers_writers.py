"""Readers and writers of one thing: many may read at a time, but who writes is alone.

    main(readers=4, writers=2, rounds=5, name="page")   how often it was read and written, and how often somebody read
                                                        half of a change: never
    read(name, rounds, node)                            one reader; the page is on that node, wherever it runs
    write(name, rounds, node)                           one writer

The room has a number of places. A reader takes one of them, a writer all, and writers come in one by one, so that no
two of them hold half of the places each and wait for the other half.

    potluck cpu --file readers_writers.py
"""

import potluck

PLACES = 3


def room(name, node):
    return potluck.semaphore(f"{name}-room", PLACES, to=node)


def read(name, rounds, node):
    places = room(name, node)
    torn = 0
    for _ in range(rounds):
        with places:
            torn += potluck.get(f"{name}-left", to=node) != potluck.get(f"{name}-right", to=node)
    return torn


def write(name, rounds, node):
    places, writing = room(name, node), potluck.lock(f"{name}-writing", to=node)
    for _ in range(rounds):
        with writing:
            for _ in range(PLACES):
                places.acquire()
            number = potluck.get(f"{name}-left", to=node) + 1
            potluck.set(f"{name}-left", number, to=node)
            potluck.set(f"{name}-right", number, to=node)
            for _ in range(PLACES):
                places.release()
    return rounds


def main(readers=4, writers=2, rounds=5, name="page"):
    node = potluck.me().node
    sides = [f"{name}-left", f"{name}-right"]
    for side in sides:
        potluck.set(side, 0, to=node)
    reading = [potluck.spawn(read, name, rounds, node) for _ in range(readers)]
    writing = [potluck.spawn(write, name, rounds, node) for _ in range(writers)]
    torn = sum(each.result() for each in reading)
    written = sum(each.result() for each in writing)
    last = potluck.get(sides[0], to=node)
    for side in sides:
        potluck.delete(side, to=node)
    room(name, node).delete()
    potluck.lock(f"{name}-writing", to=node).delete()
    return {"reads": readers * rounds, "writes": written, "last": last, "torn": torn}
