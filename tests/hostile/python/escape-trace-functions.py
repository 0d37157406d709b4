#| tries = "leaves trace, profile and audit functions behind, that watch and stop whoever runs next"
#| python = ["ok", "task_failed", "timeout"]
#| sandbox = ["ok", "task_failed", "timeout", "worker_died"]
#| limits = { timeout = 3 }

import sys
import threading


def watch(*args):
    raise SystemExit("watched")


def main():
    try:
        threading.settrace(watch)
        threading.setprofile(watch)
    except Exception:
        pass
    sys.addaudithook(lambda event, args: None if event == "sys.settrace" else watch())
    sys.settrace(watch)
    sys.setprofile(watch)
    return 1
