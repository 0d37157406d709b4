#| tries = "compiles source that is nested a hundred thousand deep, in every way that the grammar has"
#| python = "ok []"
#| sandbox = "ok []"
#| limits = { timeout = 60 }

DEPTH = 100_000


def main():
    compiled = []
    for name, source in (
        ("parentheses", "(" * DEPTH + ")" * DEPTH),
        ("lists", "[" * DEPTH + "]" * DEPTH),
        ("dictionaries", "{1:" * DEPTH + "1" + "}" * DEPTH),
        ("calls", "f(" * DEPTH + ")" * DEPTH),
        ("signs", "-" * DEPTH + "1"),
        ("nots", "not " * DEPTH + "1"),
        ("lambdas", "lambda:" * DEPTH + "1"),
        ("conditions", "1 if 1 else " * DEPTH + "1"),
        ("indices", "x" + "[x" * DEPTH + "]" * DEPTH),
        ("texts", "f'{" * 200 + "1" + "}'" * 200),
        ("formats", "f'{1:" * 100 + "{1:" * 200 + "}" * 200 + "'"),
        ("patterns", "match x:\n case " + "[" * DEPTH + "]" * DEPTH + ": pass"),
        ("blocks", "".join(" " * depth + "if 1:\n" for depth in range(200)) + " " * 200 + "pass"),
        ("loops", "".join(" " * depth + "for x in y:\n" for depth in range(90)) + " " * 90 + "pass"),
        ("functions", "".join(" " * depth + "def f():\n" for depth in range(5000)) + " " * 5000 + "pass"),
    ):
        try:
            compile(source, "<bomb>", "exec")
            compiled.append(name)
        except (SyntaxError, MemoryError, RecursionError):
            pass
    return compiled
