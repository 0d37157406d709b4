#| tries = "replaces functions of builtins, so that whoever runs next calls them"
#| python = "ok 1"
#| sandbox = "ok 1"

import builtins


def trap(*args, **kwargs):
    raise SystemError("a poisoned function was called")


def main():
    for name in ("len", "print", "open", "sorted", "isinstance", "compile", "exec", "repr", "callable", "__build_class__"):
        setattr(builtins, name, trap)
    builtins.__import__ = trap
    return 1
