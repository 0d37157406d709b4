#| tries = "replaces what writes tracebacks and shows lines of source, and then fails"
#| python = "task_failed: on purpose"
#| sandbox = "task_failed: on purpose"

import linecache
import sys
import traceback


def trap(*args, **kwargs):
    raise SystemExit("the worker called a poisoned function")


def main():
    for module in (traceback, linecache):
        for name in list(vars(module)):
            if callable(vars(module)[name]):
                setattr(module, name, trap)
    sys.excepthook = sys.unraisablehook = trap
    raise ValueError("on purpose")
