#| tries = "asks the garbage collector for open files, sockets and functions of the worker itself"
#| python = "ok []"
#| sandbox = "ok []"

import gc
import io
import sys
import types


def main():
    own = {id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)}
    reached = []
    for thing in gc.get_objects():
        try:
            if isinstance(thing, io.IOBase) and id(thing) not in own and not thing.closed and thing.fileno() > 2:
                reached.append(f"{type(thing).__name__} {thing.fileno()}")
            if isinstance(thing, types.ModuleType) and thing.__name__ in ("socket", "_socket"):
                thing.socket()
                reached.append("a socket")
        except Exception:
            pass
    return reached
