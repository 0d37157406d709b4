#| tries = "raises groups of exceptions that hold each other, deep and wide: a billion lines as text"
#| python = ["task_failed", "timeout", "memory_limit"]
#| sandbox = ["task_failed", "timeout", "memory_limit"]
#| limits = { timeout = 3 }


def main():
    error = ValueError("x")
    for _ in range(30):
        error = ExceptionGroup("twice", [error, error])
    raise error
