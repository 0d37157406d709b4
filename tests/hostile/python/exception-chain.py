#| tries = "raises the last of a hundred thousand exceptions, each of which is the cause of the next"
#| python = "task_failed"
#| sandbox = ["task_failed", "memory_limit"]
#| limits = { timeout = 30 }


def main():
    error = None
    for number in range(100_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    raise error
