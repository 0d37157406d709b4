#| tries = "writes an integer with ten million digits as text, which takes quadratic time"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["timeout", "memory_limit", "task_failed"]
#| limits = { timeout = 1 }


def main():
    return str(1 << (10**10 // 256))
