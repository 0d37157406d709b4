#| tries = "raises an exception with a text of 64 MB"
#| python = ["task_failed: xxx", "memory_limit"]
#| sandbox = ["task_failed: xxx", "memory_limit"]
#| limits = { timeout = 20 }


def main():
    raise ValueError("x" * (64 << 20))
