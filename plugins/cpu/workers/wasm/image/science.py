"""The science image: CPython as a module of WASI preview 1, with numpy, pandas, matplotlib and others compiled in.

The node runs this in the module when the image is installed, and takes a snapshot afterwards: what is imported here is
there in every instance. An instance has no file but the installation of Python, to read, and an empty folder, in which the
task is started and whose files come back with its result.

`_host` is the module's door to the node. An empty request asks for the order; `?` and a message call the node; any other
one is the answer to the order.
"""

import functools
import gc
import importlib
import json
import os
import sys
import time

import _host

import compaction
import event_loop
import potluck
import randomness
import runner

# Imported here, so that no task waits for it. What is missing comes from the installation when a task asks for it.
EAGER = """
array ast asyncio base64 bisect calendar cmath collections concurrent.futures contextlib copy csv dataclasses datetime
decimal difflib enum fractions functools hashlib heapq html inspect io itertools json logging math numbers operator
pathlib pickle pprint queue random re secrets shutil statistics string struct tempfile textwrap threading time traceback
types typing unicodedata urllib.parse uuid weakref zlib zoneinfo
numpy numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random pandas matplotlib matplotlib.pyplot
matplotlib.backends.backend_agg
""".split()

OWN_MODULES = ("compaction", "event_loop", "randomness", "runner", "science")

# Taken now: a task may replace what it finds in modules.
_call, _dumps, _loads = _host.call, json.dumps, json.loads
_compile, _run = runner.compile_program, runner.run


# What tells of this machine's files, such as their times and order.
STATISTICS = ("fstat", "fstatvfs", "listdir", "lstat", "scandir", "stat", "statvfs")


def _note_statistics():
    """Counts asking for statistics of files as reading a clock, which the host sees."""
    clock = time.monotonic

    def noted(real):
        @functools.wraps(real)
        def ask(*arguments, **named):
            clock()
            return real(*arguments, **named)

        return ask

    for name in STATISTICS:
        if hasattr(os, name):
            setattr(os, name, noted(getattr(os, name)))
            setattr(sys.modules["posix"], name, getattr(os, name))


def _send(message):
    return _call(b"?" + message.encode()).decode()


def start():
    """Makes everything ready for the snapshot; returns what an instance must be able to call."""
    potluck._send, potluck._program = _send, runner.program
    main = sys.modules["__main__"]
    os.chdir("/")
    for name in EAGER:
        importlib.import_module(name)
    event_loop.install()
    _draw()
    _check_files()
    _note_statistics()
    numpy_random = sys.modules["numpy.random"]
    randomness.add(numpy_random, lambda: numpy_random.seed(list(os.urandom(64))))
    runner.warm_up()
    randomness.make_lazy()
    for name in OWN_MODULES:
        sys.modules.pop(name, None)
    # The interpreter looks for it with each call; the runner has put programs of its own in its place.
    sys.modules["__main__"] = main
    runner.freeze()
    return serve, prepare, compaction.fill_holes()


def _draw():
    """A figure: matplotlib looks for its fonts when the first one is drawn, which takes seconds."""
    import io

    pyplot = sys.modules["matplotlib.pyplot"]
    pyplot.plot([1, 2], [1, 2], label="one")
    pyplot.legend()
    pyplot.savefig(io.BytesIO(), format="png")
    pyplot.close("all")
    # Its caches hold open files of fonts, which no instance would have.
    for name, module in list(sys.modules.items()):
        if name.startswith("matplotlib"):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", _nothing)()
    gc.collect()


def _nothing():
    pass


def _check_files():
    """A file that is open now would be missing in the instances; three of them are the folders."""
    for descriptor in range(6, 64):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        raise RuntimeError(f"the descriptor {descriptor} was left open")


def prepare():
    """Touches what a task will touch, and leaves nothing behind that a program could see."""
    randomness.forget()
    runner.touch()


def serve():
    """Runs the order."""
    order = _loads(_call(b""))
    program = order["program"]
    code, failure = _compile(program)
    if failure is None:
        result, failure = _run(program, code, order["function"], order["args"])
    if failure is None:
        _call(b"+" + result.encode())
    else:
        _call(b"-" + _dumps(failure).encode())
