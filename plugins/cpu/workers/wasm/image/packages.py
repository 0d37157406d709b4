"""Packages that the node's owner wants in the sandbox: added to an image of the node's own, which is frozen once more.

Like the standard library they are kept in memory as compiled code. Their modules are imported at once, so that no task has
to wait for that, unless one cannot be shared by all instances; that one is imported by the task that asks for it.
"""

import gc
import importlib
import importlib.abc
import importlib.machinery
import io
import marshal
import random
import re
import sys

import library

# Where a package says that it is.
FOLDER = "<packages>"
# Code of another machine.
NATIVE = (".so", ".pyd", ".dylib", ".dll")
# Modules beside a package that are not meant to be imported.
NO_MODULES = {"conftest", "docs", "examples", "setup", "test", "tests"}

# Name of a module: whether it is a package, where it is, and its code, which a folder without code does not have.
_code = {}
# Path of a file that is no module: what it contains.
_files = {}
# All paths.
_places = set()
# Name of a distribution, in small letters: its folder.
_distributions = {}
# Serves files and descriptions; loaded with the first package.
_package_files = None


class Unusable(Exception):
    """A package cannot be added; says why."""


class Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader, importlib.abc.ResourceLoader):
    """Finds modules, files and descriptions of packages in memory."""

    def find_spec(self, name, path=None, target=None):
        found = _code.get(name)
        if found is None:
            return None
        is_package, origin, code = found
        loader = self if code is not None else None
        spec = importlib.machinery.ModuleSpec(name, loader, origin=origin, is_package=is_package)
        # Many packages look for `__file__`, if only to see where they are.
        spec.has_location = loader is not None
        if is_package:
            spec.submodule_search_locations = [f"{FOLDER}/{name.replace('.', '/')}"]
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name):
        return marshal.loads(_code[name][2])

    def is_package(self, name):
        return _code[name][0]

    def get_source(self, name):
        return None

    def get_data(self, path):
        try:
            return _files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file in a package", path) from None

    def get_resource_reader(self, name):
        return _package_files.Reader(_files, f"{FOLDER}/{name.replace('.', '/')}")

    def find_distributions(self, context=None):
        wanted = getattr(context, "name", None)
        for name, folder in list(_distributions.items()):
            if wanted is None or _normal(wanted) == name:
                yield _package_files.distribution(_files, folder)

    def invalidate_caches(self):
        pass


def install(packages: list) -> tuple:
    """Adds packages; returns their names, and what is not imported yet and why."""
    global _package_files
    if not packages:
        return [], []
    streams = sys.stdin, sys.stdout, sys.stderr
    # A stream of the host's that was opened now would be missing in the instances.
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    try:
        names = [_add(package.name, _unpack(package.name, dict(package.files))) for package in packages]
        _package_files = library.own_module(library.FILES_OF_PACKAGES)
        importer = Importer()
        # Last: nothing takes the place of a module of the standard library.
        sys.meta_path.append(importer)
        reasons = [(name, _import(name, importer)) for name in sorted(_code) if _is_for_programs(name)]
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    return names, [f"{name}: {reason}" for name, reason in reasons if reason]


def _is_for_programs(module: str) -> bool:
    return "." not in module and not module.startswith("_") and module not in NO_MODULES


def _unpack(name: str, files: dict) -> dict:
    if len(files) != 1 or not next(iter(files)).endswith(".whl"):
        return files
    import zipfile

    unpacked = {}
    try:
        with zipfile.ZipFile(io.BytesIO(next(iter(files.values())))) as wheel:
            for entry in wheel.infolist():
                path = entry.filename
                outside = re.match(r"[^/]+\.data/(\w+)/", path)
                if outside and outside[1] in ("purelib", "platlib"):
                    path = path[outside.end() :]
                elif outside:
                    # Scripts and manuals.
                    continue
                if not entry.is_dir():
                    unpacked[path] = wheel.read(entry)
    except Exception as error:
        raise Unusable(f"{name} is no wheel: {error}") from None
    return unpacked


def _add(name: str, files: dict) -> str:
    """Keeps the files of a package, compiled if they are modules; returns its name and version."""
    description = name
    for path, content in sorted(files.items()):
        if path.endswith(NATIVE):
            raise Unusable(
                f"{name} contains code for a processor ({path}), which the sandbox cannot run; only packages that are all "
                "Python can be added"
            )
        if "__pycache__" in path or path.endswith(".pyc"):
            continue
        place = f"{FOLDER}/{path}"
        if place in _places:
            raise Unusable(f"{name} and a package before it both contain {path}")
        _places.add(place)
        folder, _, file = path.rpartition("/")
        if file in ("METADATA", "PKG-INFO") and folder.endswith((".dist-info", ".egg-info")):
            fields = dict(re.findall(r"^(Name|Version): *(.*?)\s*$", content.decode(errors="replace"), re.MULTILINE))
            _distributions[_normal(fields.get("Name", name))] = f"{FOLDER}/{folder}"
            description = " ".join(fields.values()) or name
        if not _add_module(path, place, content):
            _files[place] = content
    return description


def _add_module(path: str, place: str, content: bytes) -> bool:
    """Whether the file is a module."""
    parts = path.removesuffix(".py").split("/")
    if not path.endswith(".py") or not all(part.isidentifier() for part in parts):
        return False
    try:
        # With documentation and assertions: some packages do not work without.
        code = compile(content, place, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        # Templates, and code for other versions of Python.
        return False
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    if name and (is_package or name not in _code or _code[name][2] is None):
        _code[name] = (is_package, place, marshal.dumps(code))
    # Folders without code of their own are packages as well.
    for length in range(1, len(parts)):
        _code.setdefault(".".join(parts[:length]), (True, None, None))
    return True


def _import(name: str, importer: Importer):
    """Imports a module; if that must be left to the tasks, takes it back and tells why."""
    modules, generators = set(sys.modules), _generators()
    reason = None
    try:
        importlib.import_module(name)
        if _generators() != generators:
            reason = "it makes a generator of random numbers, which would give all tasks the same ones"
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        for new in set(sys.modules) - modules:
            spec = getattr(sys.modules[new], "__spec__", None)
            if getattr(spec, "loader", None) is importer:
                del sys.modules[new]
        gc.collect()
    return reason


def _generators() -> set:
    """The generators of random numbers that there are."""
    kinds = [(id(each), type(each)) for each in gc.get_objects()]
    return {each for each, kind in kinds if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
