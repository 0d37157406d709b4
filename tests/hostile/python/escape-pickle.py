#| tries = "unpickles programs that start others and open files"
#| python = "ok []"
#| sandbox = "ok []"

import os
import pickle
import posixpath
import subprocess


class Start:
    def __init__(self, function, *args):
        self.what = function, args

    def __reduce__(self):
        return self.what


def main():
    reached = []
    for name, payload in (
        ("system", (os, "system", "true")),
        ("popen", (os, "popen", "echo reached")),
        ("Popen", (subprocess, "Popen", ["true"])),
        ("shadow", (__builtins__, "open", "/etc/shadow")),
    ):
        try:
            holder, function, argument = payload
            function = holder[function] if isinstance(holder, dict) else getattr(holder, function)
            got = pickle.loads(pickle.dumps(Start(function, argument)))
            if hasattr(got, "read"):
                got = got.read()
            if hasattr(got, "wait"):
                got = "process" if got.wait() == 0 else ""
            if got not in (None, "") and not (isinstance(got, int) and got != 0):
                reached.append(name)
        except Exception:
            pass
    return reached
