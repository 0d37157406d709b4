#| tries = "imports and runs what lies in the folders of others"
#| args = ["$canary", "$data"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import importlib.machinery
import importlib.util
import runpy
import sys


def main(canary, data):
    reached = []

    def load(path):
        loader = importlib.machinery.SourceFileLoader("stranger", path)
        spec = importlib.util.spec_from_loader("stranger", loader)
        loader.exec_module(importlib.util.module_from_spec(spec))

    def find():
        sys.path[:0] = [canary, data, f"{data}/.."]
        import stranger

    for name, function in (
        ("path", lambda: find()),
        ("file", lambda: load(f"{canary}/stranger.py")),
        ("text", lambda: load(f"{canary}/secret.txt")),
        ("run", lambda: runpy.run_path(f"{canary}/stranger.py")),
        ("key", lambda: runpy.run_path(f"{data}/identity.key")),
    ):
        try:
            function()
            reached.append(name)
        except NameError:
            # It was read, and is no program.
            reached.append(name)
        except SyntaxError:
            reached.append(name)
        except Exception:
            pass
    return reached
