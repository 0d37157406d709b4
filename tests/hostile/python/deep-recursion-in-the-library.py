#| tries = "makes the library recurse: copies, pickles, JSON, comparisons of lists that are nested 100,000 deep"
#| python = "ok []"
#| sandbox = ["ok []", "task_failed", "memory_limit"]
#| limits = { timeout = 30 }

import copy
import functools
import json
import pickle


def main():
    survived = []
    nested = []
    for _ in range(100_000):
        nested = [nested]
    twin = []
    for _ in range(100_000):
        twin = [twin]
    chain = functools.reduce(lambda inner, _: functools.partial(int, inner), range(100_000), int)
    for name, function in (
        ("copy", lambda: copy.deepcopy(nested)),
        ("pickle", lambda: pickle.dumps(nested)),
        ("json", lambda: json.dumps(nested)),
        ("json text", lambda: json.loads("[" * 1_000_000)),
        ("compare", lambda: nested == twin),
        ("repr", lambda: repr(nested)),
        ("isinstance", lambda: isinstance(1, functools.reduce(lambda inner, _: (inner,), range(100_000), (str,)))),
        ("partial", lambda: repr(chain)),
    ):
        try:
            function()
            survived.append(name)
        except RecursionError:
            pass
    return survived
