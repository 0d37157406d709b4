"""What Python itself offers to processes that work together: multiprocessing's values, semaphores and queues.

Reads lines with the name of a measurement below, how many seconds it shall take and a number that it does not need, and
answers each with one line of JSON: the microseconds of one call, or of one hand-over from one process to another.
"""

import json
import multiprocessing
import sys
import time

VALUE = "xxxxxxxxxxxxxxxxxxxx"
CALLS = 200


def getter(values, seconds, answer):
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        for _ in range(CALLS):
            if values.get("bench") != VALUE:
                raise ValueError("a wrong value")
        count += CALLS
    answer.put((time.perf_counter() - begun) / count * 1e6)


def get(manager, seconds):
    """A value of a Manager's dictionary, from another process."""
    answer = multiprocessing.SimpleQueue()
    values = manager.dict(bench=VALUE)
    child = multiprocessing.Process(target=getter, args=(values, seconds, answer))
    child.start()
    microseconds = answer.get()
    child.join()
    return microseconds


def partner(mine, other, stop):
    while True:
        mine.acquire()
        if stop.value:
            return
        other.release()


def hand_over(mine, other, stop, seconds):
    child = multiprocessing.Process(target=partner, args=(other, mine, stop))
    child.start()
    other.release()
    mine.acquire()
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        for _ in range(CALLS):
            other.release()
            mine.acquire()
        count += 2 * CALLS
    microseconds = (time.perf_counter() - begun) / count * 1e6
    stop.value = True
    other.release()
    child.join()
    return microseconds


def semaphore(_, seconds):
    """Semaphores of the kernel, in memory that both processes have."""
    stop = multiprocessing.Value("b", False)
    return hand_over(multiprocessing.Semaphore(0), multiprocessing.Semaphore(0), stop, seconds)


def manager_semaphore(manager, seconds):
    """Semaphores of a Manager: those that processes can find by a name, and use from another machine."""
    stop = multiprocessing.Value("b", False)
    return hand_over(manager.Semaphore(0), manager.Semaphore(0), stop, seconds)


MEASUREMENTS = {"get": get, "semaphore": semaphore, "manager_semaphore": manager_semaphore}


def main():
    with multiprocessing.Manager() as manager:
        for line in sys.stdin:
            what, seconds, _ = line.split()
            print(json.dumps({"microseconds": MEASUREMENTS[what](manager, float(seconds))}), flush=True)


if __name__ == "__main__":
    main()
