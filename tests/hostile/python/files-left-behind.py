#| tries = "leaves a tree that resists removal: links to the outside, deep folders, long and strange names, no permissions"
#| args = ["$canary"]
#| python = ["ok", "scratch_limit"]
#| sandbox = "ok"

import os


def main(canary):
    made = 0
    for function in (
        lambda: os.symlink(canary, "outside"),
        lambda: os.symlink("loop", "loop"),
        lambda: os.symlink(".", "self"),
        lambda: open("n" * 255, "w").close(),
        lambda: open(b"\xff\xfe\n\x1b[31m\x01", "w").close(),
        lambda: open(" .. ", "w").close(),
        lambda: open("-rf", "w").close(),
        lambda: os.mkfifo("pipe"),
        lambda: os.makedirs("shut/inside"),
        lambda: open("shut/inside/file", "w").close(),
        lambda: os.chmod("shut/inside", 0),
        lambda: os.chmod("shut", 0),
    ):
        try:
            function()
            made += 1
        except Exception:
            pass
    try:
        # Deeper than a path may be long.
        for _ in range(300):
            os.mkdir("d" * 100)
            os.chdir("d" * 100)
            made += 1
    except OSError:
        pass
    return made
