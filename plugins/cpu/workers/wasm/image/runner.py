"""Runs a function of a program, as the native worker does: fresh globals, Python's own JSON on both ends, and failures in
the same words.

A program can replace whatever it finds in builtins and in modules. That is its own affair, since nobody uses its instance
afterwards; but its result and its errors are still written by what is held here.
"""

import builtins
import gc
import io
import json
import json.decoder
import json.encoder
import linecache
import marshal
import sys
import traceback
import types

# How programs are called in tracebacks and syntax errors.
FILE_NAME = "<string>"
RESULT_BYTES_MAX = 12 << 20
ERROR_CHARACTERS_MAX = 16 << 10
TRACEBACK_CHARACTERS_MAX = 64 << 10
# A program may ask for more, as far as the stack goes.
RECURSION_LIMIT = 1000

_dumps, _loads = marshal.dumps, marshal.loads
_compile, _exec, _callable, _len, _str, _isinstance, _type = compile, exec, callable, len, str, isinstance, type
_scan = json.decoder.JSONDecoder().scan_once
_make_encoder = json.encoder.c_make_encoder
_encode_text = json.encoder.encode_basestring_ascii
_refuse = json.encoder.JSONEncoder().default
_format_exception = traceback.format_exception
_lines_of_files = linecache.cache
_modules = sys.modules
_module_type = types.ModuleType
_join = "".join


def _stream(descriptor):
    # With a buffer: a raw file takes as much of a long text as the host takes at once, and drops the rest.
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)


sys.stdout = sys.__stdout__ = _stdout = _stream(1)
sys.stderr = sys.__stderr__ = _stderr = _stream(2)


_program = None


def program():
    """The source of the program that runs."""
    return _program


class _Refusal(Exception):
    """There is no result, and no exception of the program's either: the code and the sentence."""


def compile_program(program: str):
    """The program as `run` takes it and nothing, or nothing and the failure. Nothing of the program is run."""
    try:
        return _dumps(_compile(program, FILE_NAME, "exec", dont_inherit=True)), None
    except BaseException as error:
        return None, _explain(error, program)


def run(program: str, code: bytes, function: str, args_json: str):
    """The result as JSON and nothing, or nothing and the failure: `(code, error, error_type, traceback)`."""
    global _program
    _program = program
    try:
        return _call(code, function, args_json), None
    except _Refusal as refusal:
        code, error = refusal.args
        return None, (code, error, None, None)
    except BaseException as error:
        return None, _explain(error, program)
    finally:
        _flush()


def _call(code, function, args_json):
    main = _module_type("__main__")
    _modules["__main__"] = main
    names = main.__dict__
    names["__builtins__"] = builtins
    _exec(_loads(code), names)
    if function not in names:
        raise _Refusal("task_failed", f"Function '{function}' not found in program")
    callee = names[function]
    if not _callable(callee):
        raise _Refusal("task_failed", f"'{function}' is not callable")
    result = callee(*_scan(args_json, 0)[0])
    try:
        parts = _make_encoder({}, _refuse, _encode_text, None, ": ", ", ", False, False, False)(result, 0)
        text = _join(parts)
    except MemoryError:
        raise
    except Exception as error:
        text = _text(error)
        if "Out of range float" in text:
            text = "the result contains NaN or infinity, which JSON cannot carry"
        raise _Refusal("result_unusable", text[: 4 << 10]) from None
    if _len(text) > RESULT_BYTES_MAX:
        raise _Refusal(
            "result_unusable",
            f"the result has {_len(text)} bytes as JSON, over the limit of {RESULT_BYTES_MAX}; "
            "return less, or store it and return its name",
        )
    return text


def _text(error) -> str:
    try:
        return _str(error)
    except BaseException:
        return ""


def _explain(error, program):
    kind = _type(error).__name__
    text = _text(error)
    code = "task_failed"
    if _isinstance(error, MemoryError) and not text:
        # The worker knows the limit and puts it into words. The parser has a limit of its own, and says so.
        code = "memory_limit"
    elif _isinstance(error, SystemExit):
        text = f"the task called sys.exit({text}); return a value instead"
    return code, _shorten(text or kind, ERROR_CHARACTERS_MAX), kind, _traceback(error, program)


def _traceback(error, program):
    frames = error.__traceback__
    # The first ones are this file's.
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    try:
        # A last line without an end would put the carets under the wrong column.
        lines = [line + "\n" for line in program.splitlines()]
        _lines_of_files[FILE_NAME] = (_len(program), None, lines, FILE_NAME)
        return _shorten(_join(_format_exception(_type(error), error, frames)), TRACEBACK_CHARACTERS_MAX)
    except BaseException:
        return None


def _shorten(text, characters_max):
    # What is no character, such as half of a pair, cannot be sent.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if _len(text) <= characters_max else text[:characters_max] + "\n[shortened]"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, _stdout, _stderr):
        try:
            stream.flush()
        except BaseException:
            pass


_TOUCH = _dumps(_compile("def main(x):\n    return x * x\n", FILE_NAME, "exec", dont_inherit=True))


def touch() -> None:
    """A task that leaves nothing behind."""
    before = _modules.get("__main__")
    _call(_TOUCH, "main", "[7]")
    _lines_of_files.pop(FILE_NAME, None)
    if before is None:
        _modules.pop("__main__", None)
    else:
        _modules["__main__"] = before


def warm_up() -> None:
    """Tasks of several kinds, so that the interpreter has specialised its code when the snapshot is taken."""
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    for _ in range(20):
        touch()
    varied = (
        "import json, math\n"
        "class Point:\n    def __init__(self): self.x = {}\n"
        "def main(*args):\n    return [Point().x, 1.5, None, True, 'é', f'{3:>4}', sorted([2, 1]), args]\n"
    )
    for _ in range(5):
        run(varied, compile_program(varied)[0], "main", '[1, {"a": [1.5, null]}]')
    compile_program("def main(:")
    for program in ("def main():\n    return 1 / 0\n", "def main():\n    raise SystemExit(3)\n"):
        run(program, compile_program(program)[0], "main", "[]")
    _lines_of_files.pop(FILE_NAME, None)
    _modules.pop("__main__", None)
    global _program
    _program = None


def freeze() -> None:
    """What is here now is never garbage: the collector need not look at it, and so not touch its pages."""
    gc.collect()
    gc.freeze()
    gc.enable()
