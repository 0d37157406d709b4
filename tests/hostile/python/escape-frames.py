#| tries = "climbs up the frames and replaces every function that the worker's own code calls"
#| python = "ok 1"
#| sandbox = ["ok", "task_failed", "result_unusable", "worker_died", "memory_limit"]

import sys


def forged(*args, **kwargs):
    return '"forged"'


def main():
    frame = sys._getframe().f_back
    while frame is not None:
        for names in (frame.f_globals, frame.f_locals):
            for name, value in list(names.items()):
                if callable(value) and not name.startswith("__"):
                    try:
                        names[name] = forged
                    except Exception:
                        pass
        frame = frame.f_back
    return 1
