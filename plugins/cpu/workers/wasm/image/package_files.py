"""Files and descriptions of packages that are kept in memory, for `importlib.resources` and `importlib.metadata`. Imported
when a package asks for them.
"""

import importlib.metadata
import importlib.resources.abc
import io


class Reader(importlib.resources.abc.TraversableResources):
    def __init__(self, files: dict, folder: str):
        self._root = Path(files, folder)

    def files(self):
        return self._root


class Path(importlib.resources.abc.Traversable):
    """A file or a folder."""

    def __init__(self, files: dict, path: str):
        self._files = files
        self._path = path

    @property
    def name(self):
        return self._path.rpartition("/")[2]

    def __str__(self):
        return self._path

    def iterdir(self):
        start = f"{self._path}/"
        names = {path[len(start) :].partition("/")[0] for path in self._files if path.startswith(start)}
        return (Path(self._files, start + name) for name in sorted(names))

    def is_file(self):
        return self._path in self._files

    def is_dir(self):
        start = f"{self._path}/"
        return any(path.startswith(start) for path in self._files)

    def joinpath(self, *descendants):
        return Path(self._files, "/".join([self._path, *map(str, descendants)]))

    __truediv__ = joinpath

    def open(self, mode="r", *args, **kwargs):
        if not self.is_file():
            raise FileNotFoundError(2, "No such file in a package", self._path)
        content = io.BytesIO(self._files[self._path])
        return content if "b" in mode else io.TextIOWrapper(content, *args, **kwargs)

    def read_bytes(self):
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding=None, errors=None):
        with self.open("r", encoding=encoding or "utf-8", errors=errors) as file:
            return file.read()


class _Distribution(importlib.metadata.Distribution):
    def __init__(self, files: dict, folder: str):
        self._files = files
        self._folder = folder

    def read_text(self, filename):
        content = self._files.get(f"{self._folder}/{filename}")
        return None if content is None else content.decode("utf-8")

    def locate_file(self, path):
        return Path(self._files, f"{self._folder.rpartition('/')[0]}/{path}")


def distribution(files: dict, folder: str) -> importlib.metadata.Distribution:
    return _Distribution(files, folder)
