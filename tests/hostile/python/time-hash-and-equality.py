#| tries = "has keys that decide anew, each time they are asked, whether they are equal"
#| python = ["ok", "timeout", "task_failed", "memory_limit"]
#| sandbox = ["ok", "timeout", "task_failed", "memory_limit"]
#| limits = { timeout = 2 }

import random


class Key:
    def __hash__(self):
        return random.randrange(4)

    def __eq__(self, other):
        table.pop(self, None)
        table[Key()] = other
        return random.random() < 0.5

    def __lt__(self, other):
        keys.clear()
        return random.random() < 0.5


table, keys = {}, []


def main():
    for _ in range(10_000):
        table[Key()] = 1
        keys.extend(Key() for _ in range(50))
        try:
            keys.sort()
        except ValueError:
            pass
    return len(table) >= 0
