"""Programs that keep a processor busy, each about as long as the others where Python runs natively."""

import json


def fib(n):
    """Calls of functions."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def json_texts(rounds):
    """Libraries in C, and the allocator."""
    rows = [{"id": number, "name": f"row {number}", "values": [number / 3, None, True]} for number in range(500)]
    length = 0
    for _ in range(rounds):
        text = json.dumps(rows)
        rows = json.loads(text)
        length += len(text)
    return length


def sort(count):
    """Comparisons in C, and memory that is read out of order."""
    state, numbers = 1, []
    for _ in range(count):
        state = state * 48271 % 2147483647
        numbers.append(state)
    numbers.sort()
    words = sorted(str(number) for number in numbers)
    return [numbers[0], words[-1]]


def loops(count):
    """The interpreter's own loop, with arithmetic on integers and floats."""
    total, share = 0, 0.0
    for number in range(count):
        if number % 3:
            total += number * number & 0xFF
        else:
            share += number * 0.5
    return [total, share]
