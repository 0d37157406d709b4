#| tries = "replaces its own folder by a link to somebody else's, so that others are cleaned up or written to"
#| args = ["$canary"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(canary):
    reached = []
    try:
        own = os.getcwd()
    except OSError:
        return reached
    for name, function in (
        ("rename", lambda: os.rename(own, own + ".moved")),
        ("rmdir", lambda: os.rmdir(own)),
        ("sibling", lambda: os.mkdir(own + "-sibling")),
        ("link", lambda: os.symlink(canary, own + "-link")),
        ("list", lambda: os.listdir(os.path.dirname(own)) if os.path.dirname(own) != own else 1 / 0),
        ("exchange", lambda: os.replace(f"{canary}/witness.txt", own)),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    return reached
