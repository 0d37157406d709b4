#| tries = "enters the worker's own loop a second time, to be given the orders of others"
#| python = ["task_failed", "worker_died"]

import sys


def main():
    import potluck_worker

    potluck_worker.serve()
    return "served"
