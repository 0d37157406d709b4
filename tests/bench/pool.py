"""What Python itself offers: a warm ProcessPoolExecutor that runs trivial tasks.

Reads lines `latency SECONDS` or `throughput SECONDS` and answers each with one line of JSON.
"""

import concurrent.futures
import json
import sys
import time

WORKERS = 2
TASKS_AT_A_TIME = 1000


def square(x):
    return x * x


def latency(pool, seconds):
    """Microseconds of submit().result(), one task after the other."""
    samples = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        if pool.submit(square, 7).result() != 49:
            raise ValueError("a wrong result")
        samples.append((time.perf_counter() - begun) * 1e6)
    samples.sort()
    return {"p50": samples[len(samples) // 2], "p99": samples[int(len(samples) * 0.99)]}


def throughput(pool, seconds):
    """Tasks per second, with many submitted at once."""
    count = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + seconds:
        results = list(pool.map(square, range(TASKS_AT_A_TIME)))
        if results[-1] != (TASKS_AT_A_TIME - 1) ** 2:
            raise ValueError("a wrong result")
        count += len(results)
    return {"per_second": count / (time.perf_counter() - begun)}


def main():
    with concurrent.futures.ProcessPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(square, range(100 * WORKERS)))
        for line in sys.stdin:
            what, seconds = line.split()
            print(json.dumps({"latency": latency, "throughput": throughput}[what](pool, float(seconds))), flush=True)


if __name__ == "__main__":
    main()
