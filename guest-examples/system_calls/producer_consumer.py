"""Producers and consumers with a bounded queue between them.

    main(producers=2, consumers=2, items=20, size=4, name="work")   what was consumed: its sum, and how much by each
    produce(name, size, node, first, items)                         one producer: sends that many numbers
    consume(name, size, node)                                       one consumer: adds numbers up until it gets none

The queue has room for `size` numbers: producers that are faster wait until there is room, and consumers that are
faster until there is something. All of them are tasks of their own, on this peer or others.

    potluck cpu --file producer_consumer.py --args '[3, 2, 100]'
"""

import potluck


def produce(name, size, node, first, items):
    jobs = potluck.queue(name, size, to=node)
    for number in range(first, first + items):
        jobs.send(number)
    return items


def consume(name, size, node):
    jobs = potluck.queue(name, size, to=node)
    total = count = 0
    while True:
        number = jobs.receive()
        if number is None:
            return [total, count]
        total += number
        count += 1


def main(producers=2, consumers=2, items=20, size=4, name="work"):
    # One queue for all of them, wherever they run.
    node = potluck.me().node
    jobs = potluck.queue(name, size, to=node)
    takers = [potluck.spawn(consume, name, size, node) for _ in range(consumers)]
    makers = [potluck.spawn(produce, name, size, node, maker * items, items) for maker in range(producers)]
    for maker in makers:
        maker.result()
    for _ in takers:
        # No more work, for one of them.
        jobs.send(None)
    results = [taker.result() for taker in takers]
    jobs.delete()
    return {"sum": sum(total for total, _ in results), "consumed": [count for _, count in results]}
