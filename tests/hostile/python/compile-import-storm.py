#| tries = "imports modules that import each other, thousands of them, and reloads them for ever"
#| python = "timeout"
#| sandbox = ["timeout", "memory_limit"]
#| limits = { timeout = 3 }

import importlib
import importlib.abc
import importlib.util
import sys


class Storm(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("storm"):
            return importlib.util.spec_from_loader(name, self)

    def exec_module(self, module):
        number = int(module.__name__[5:])
        try:
            for following in (2 * number, 2 * number + 1):
                importlib.import_module(f"storm{following}")
        except RecursionError:
            pass


def main():
    sys.meta_path.insert(0, Storm())
    while True:
        importlib.import_module("storm1")
        for name in [name for name in sys.modules if name.startswith("storm")]:
            del sys.modules[name]
