"""The standard library: what tasks commonly need is imported when the image is built; the rest is kept in memory as
compiled code and imported when a task asks for it. No instance has a file system to import anything from.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import types

EAGER = """
abc array ast asyncio base64 binascii bisect calendar cmath codecs collections collections.abc colorsys
concurrent.futures contextlib copy csv dataclasses datetime decimal difflib enum fnmatch fractions functools gc glob
graphlib gzip hashlib heapq hmac html inspect io itertools json keyword linecache locale logging math numbers operator
pathlib pickle pprint queue random re reprlib secrets shutil statistics string struct tempfile textwrap threading time
token tokenize traceback types typing unicodedata urllib.parse uuid warnings weakref zlib zoneinfo
""".split()

# Not part of a library for tasks: tests, windows and tools.
SKIPPED = {
    "__pycache__", "distutils", "ensurepip", "idlelib", "lib2to3", "pip", "pydoc_data", "site-packages", "test",
    "tests", "tkinter", "turtle", "turtledemo", "venv",
}  # fmt: skip

# A module of the image's own that only images with packages load.
FILES_OF_PACKAGES = "package_files"

# How programs reach the node. Like no other module it keeps its documentation: programs may ask for help.
POTLUCK = "potluck"

# Name of a module: whether it is a package, and its code.
_code = {}
# The same for the image's own, which programs do not find.
_hidden = {}


class _MemoryImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        found = _code.get(name)
        if found is None:
            return None
        return importlib.util.spec_from_loader(name, self, origin=_origin(name), is_package=found[0])

    def create_module(self, spec):
        return None

    def get_code(self, name):
        return marshal.loads(_code[name][1])

    def get_source(self, name):
        return None

    def exec_module(self, module):
        exec(self.get_code(module.__name__), module.__dict__)


def _origin(name: str) -> str:
    return f"<python>/{name.replace('.', '/')}.py"


def _scan(folder: str, prefix: str) -> None:
    for entry in sorted(os.listdir(folder)):
        path = f"{folder}/{entry}"
        if entry in SKIPPED or entry.startswith("test_"):
            continue
        if os.path.isdir(path):
            if os.path.exists(f"{path}/__init__.py"):
                _scan(path, f"{prefix}{entry}.")
            continue
        if not entry.endswith(".py"):
            continue
        is_package = entry == "__init__.py"
        name = prefix[:-1] if is_package else prefix + entry[:-3]
        if not name or name in _code:
            continue
        with open(path, "rb") as file:
            _keep(name, is_package, file.read())


def _keep(name: str, is_package: bool, source: bytes, optimize: int = 2) -> None:
    # Documentation strings are a third of the library, and no task reads them.
    code = compile(source, _origin(name), "exec", dont_inherit=True, optimize=optimize)
    _code[name] = (is_package, marshal.dumps(code))


def load() -> None:
    """Imports what is imported early, from the code that is kept, so that no module remembers a file."""
    for folder in list(sys.path):
        if folder and os.path.isdir(folder) and os.path.exists(f"{folder}/os.py"):
            _scan(folder, "")
    for name, optimize in ((FILES_OF_PACKAGES, 2), (POTLUCK, 0)):
        with open(f"{os.path.dirname(__file__)}/{name}.py", "rb") as file:
            _keep(name, False, file.read(), optimize)
    sys.meta_path.insert(0, _MemoryImporter())
    for name in EAGER:
        importlib.import_module(name)


def potluck():
    """The module, imported: a task that wants it has it at once."""
    return importlib.import_module(POTLUCK)


def forget_build_machine() -> None:
    """Removes what would lead to the machine that built the image."""
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    sys.argv = [""]
    os.environ.clear()


def hide(modules: tuple) -> None:
    """Takes the image's own code out of the programs' sight."""
    for name in modules:
        if name in _code:
            _hidden[name] = _code.pop(name)
        sys.modules.pop(name, None)


def own_module(name: str):
    """A module of the image's own, made anew."""
    module = types.ModuleType(name)
    exec(marshal.loads((_hidden.get(name) or _code[name])[1]), module.__dict__)
    return module
