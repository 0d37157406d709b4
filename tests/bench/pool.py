"""What Python itself offers: a warm ProcessPoolExecutor that runs trivial tasks.

Reads lines with the name of a measurement below, how many seconds it shall take and a number of its own, and answers
each with one line of JSON.
"""

import concurrent.futures
import json
import sys
import time

WORKERS = 2
TASKS_AT_A_TIME = 1000


def square(x):
    return x * x


def latency(pool, seconds, pause_seconds):
    """Microseconds of submit().result(), one task after the other, each a pause after the result before it."""
    samples = []
    end = time.perf_counter() + seconds
    while True:
        if pause_seconds:
            time.sleep(pause_seconds)
        begun = time.perf_counter()
        if begun >= end:
            return percentiles(samples)
        if pool.submit(square, 7).result() != 49:
            raise ValueError("a wrong result")
        samples.append((time.perf_counter() - begun) * 1e6)


def throughput(pool, seconds, _):
    """Tasks per second, with many submitted at once."""
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        results = list(pool.map(square, range(TASKS_AT_A_TIME)))
        if results[-1] != (TASKS_AT_A_TIME - 1) ** 2:
            raise ValueError("a wrong result")
        count += len(results)
    return {"per_second": count / (time.perf_counter() - begun)}


def burst(pool, _, count):
    """Microseconds from submitting some tasks at once to each one's result."""
    samples = []
    begun = time.perf_counter()
    futures = [pool.submit(square, number) for number in range(int(count))]
    for future in concurrent.futures.as_completed(futures):
        future.result()
        samples.append((time.perf_counter() - begun) * 1e6)
    return percentiles(samples)


def percentiles(samples):
    samples.sort()
    return {"p50": samples[len(samples) // 2], "p99": samples[int(len(samples) * 0.99)]}


MEASUREMENTS = {"latency": latency, "throughput": throughput, "burst": burst}


def main():
    with concurrent.futures.ProcessPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(square, range(100 * WORKERS)))
        for line in sys.stdin:
            what, seconds, parameter = line.split()
            print(json.dumps(MEASUREMENTS[what](pool, float(seconds), float(parameter))), flush=True)


if __name__ == "__main__":
    main()
