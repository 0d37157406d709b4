#| tries = "has as many threads call the node at once as it can start"
#| python = ["ok", "task_failed", "memory_limit"]
#| limits = { timeout = 20 }

import threading

import potluck


def ask(refused):
    try:
        for _ in range(20):
            potluck.get("nothing")
    except potluck.PotluckError as error:
        refused.append(error.code)


def main():
    refused = []
    threads = [threading.Thread(target=ask, args=(refused,)) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(set(refused))
