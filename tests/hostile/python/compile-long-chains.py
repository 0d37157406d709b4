#| tries = "compiles chains of a million attributes and sums, whose trees are as deep as they are long"
#| python = ["ok", "worker_died", "memory_limit", "timeout"]
#| sandbox = ["ok", "task_failed", "memory_limit", "timeout"]
#| limits = { timeout = 20 }


def main():
    for source in ("x" + ".a" * 1_000_000, "1" + "+x" * 1_000_000, "x" + "()" * 1_000_000, "x" + "[0]" * 500_000):
        try:
            compile(source, "<bomb>", "exec")
        except (SyntaxError, RecursionError, MemoryError):
            pass
    return "compiled"
