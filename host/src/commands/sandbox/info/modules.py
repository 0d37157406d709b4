"""Finds out what an image can import. Runs in the image, as a task."""

import importlib
import importlib.metadata
import re
import sys

# They open a browser, print, or belong to another operating system.
SKIPPED = {"antigravity", "this", "msilib", "msvcrt", "nt", "winreg", "winsound"}
# Names of packages that are not those of their modules, where the image does not tell.
MODULES = {
    "beautifulsoup4": "bs4",
    "pillow": "PIL",
    "python-dateutil": "dateutil",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}


def names(packages):
    """Python's version, the standard library's modules, and those of the packages."""
    library = sorted(name for name in sys.stdlib_module_names if not name.startswith("_") and name not in SKIPPED)
    try:
        told = importlib.metadata.packages_distributions()
    except Exception:
        told = {}
    of_packages = []
    for package in packages:
        key = _normal(re.split(r"[ =<>!~;\[(]", package, maxsplit=1)[0])
        modules = [module for module, owners in told.items() if key in map(_normal, owners) and module.isidentifier()]
        of_packages += modules or [MODULES.get(key, key.replace("-", "_"))]
    of_packages = sorted({name for name in of_packages if not name.startswith("_")} - set(library))
    return {"version": sys.version.split()[0], "library": library, "packages": of_packages}


def try_imports(modules):
    """Why each module cannot be imported; null for those that can."""
    return [_reason(module) for module in modules]


def _reason(module):
    try:
        importlib.import_module(module)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
