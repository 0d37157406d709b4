#| tries = "compiles a program with a million lines, constants of megabytes and integers of a million digits"
#| python = ["ok", "timeout", "memory_limit"]
#| sandbox = ["ok", "timeout", "memory_limit", "task_failed"]
#| limits = { timeout = 20 }


def main():
    for source in (
        "".join(f"x{number} = {number}\n" for number in range(200_000)),
        "x = '" + "y" * 20_000_000 + "'",
        "x = 0x" + "f" * 1_000_000,
        "x = " + "9" * 200_000,
        "x = (" + "1," * 500_000 + ")",
        "x = 'a' 'b'" * 1,
        "x = " + "'a' " * 200_000,
        "x = 'a' * 4096 * 4096 * 4096",
        "x = 1 << 1 << 62",
        "def f(" + ",".join(f"a{number}" for number in range(100_000)) + "): pass",
    ):
        try:
            compile(source, "<bomb>", "exec")
        except (SyntaxError, MemoryError, RecursionError, OverflowError, ValueError):
            pass
    return "compiled"
