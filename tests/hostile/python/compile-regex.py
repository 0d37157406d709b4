#| tries = "compiles regular expressions that are nested deep, repeated billions of times, and of megabytes"
#| python = ["ok", "timeout", "memory_limit"]
#| sandbox = ["ok", "timeout", "memory_limit", "task_failed"]
#| limits = { timeout = 20 }

import re


def main():
    for pattern in (
        "(" * 10_000 + ")" * 10_000,
        "(?:" * 5_000 + "a" + ")*" * 5_000,
        "((a{1,4000}){1,4000}){1,4000}",
        "a{4294967294}",
        "[" + "".join(map(chr, range(256, 60_000))) + "]",
        "|".join(f"a{number}" for number in range(100_000)),
        "(?i)" + "\u0130" * 100_000,
        "".join(f"(?P<g{number}>a)" for number in range(10_000)),
    ):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError, MemoryError):
            pass
    return "compiled"
