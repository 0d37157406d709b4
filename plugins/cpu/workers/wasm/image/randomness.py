"""Randomness that no two instances share, and that costs nothing when it is not used.

The generator of a module such as `random` was seeded when the image was built, so every instance would draw the same
numbers. It is seeded anew, from the host, when a program first gets hold of the module. Because the host sees that
question, it also knows of a program that never asked, for time or randomness, that its result depends on its arguments
alone.
"""

import importlib.machinery
import random
import sys
import types

# Name of a module: the module, and what seeds its generator.
_modules = {"random": (random, random.seed)}
_seeded = set()


def _seed(name: str) -> None:
    if name not in _seeded:
        _seeded.add(name)
        _modules[name][1]()


class _Finder:
    """Finds the modules where the import system no longer does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _modules:
            return None
        spec = importlib.machinery.ModuleSpec(name, _Finder, origin="frozen")
        spec.submodule_search_locations = getattr(_modules[name][0], "__path__", None)
        return spec

    @staticmethod
    def create_module(spec):
        _seed(spec.name)
        return _modules[spec.name][0]

    @staticmethod
    def exec_module(module):
        pass


class _Proxy(types.ModuleType):
    """Stands for a module inside those that have imported it before."""

    def __getattr__(self, name):
        _seed(self.__name__)
        return getattr(_modules[self.__name__][0], name)


def add(module, seed) -> None:
    """Treats one more module like `random`."""
    _modules[module.__name__] = module, seed


def make_lazy() -> None:
    for real, _ in _modules.values():
        _replace(real)
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    forget()


def _replace(real) -> None:
    proxy = _Proxy(real.__name__)
    package, _, name_in_package = real.__name__.rpartition(".")
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        if names is globals():
            continue
        for name, value in list(names.items()):
            if value is not real:
                continue
            if module.__name__ == package and name == name_in_package:
                # The package imports it again when it is asked for it.
                del names[name]
            else:
                names[name] = proxy


def forget() -> None:
    """As if nobody had asked for the modules yet."""
    _seeded.clear()
    for name in _modules:
        sys.modules.pop(name, None)
