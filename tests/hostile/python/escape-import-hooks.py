#| tries = "puts modules of its own in place of the library's, on disk and in the import system"
#| python = "ok"
#| sandbox = "ok"

import importlib
import importlib.abc
import sys


class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"{name} is mine now")


def main():
    importlib.invalidate_caches()
    for name in ("json", "traceback", "sitecustomize", "usercustomize", "encodings"):
        try:
            with open(f"{name}.py", "w") as file:
                file.write("raise SystemExit('a planted module was imported')\n")
        except OSError:
            pass
    sys.path[:0] = ["", "."]
    for name in ("json", "json.encoder", "traceback", "linecache", "_json"):
        sys.modules[name] = None
    sys.meta_path.insert(0, Hook())
    sys.path_hooks.insert(0, lambda path: 1 / 0)
    sys.path_importer_cache.clear()
    return {"planted": True}
