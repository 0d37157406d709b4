#| tries = "frees a chain of ten million links in one go, and iterators within iterators"
#| python = ["ok 1", "memory_limit", "worker_died"]
#| sandbox = ["ok 1", "memory_limit", "task_failed", "worker_died"]
#| limits = { timeout = 30 }

import itertools


class Link:
    __slots__ = ("following",)


def main():
    chain = None
    for _ in range(500_000):
        link = Link()
        link.following = chain
        chain = link
    del chain, link
    iterator = iter(())
    for _ in range(200_000):
        iterator = itertools.chain(iterator)
    del iterator
    return 1
