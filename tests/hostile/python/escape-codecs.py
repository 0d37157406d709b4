#| tries = "registers a codec that every text passes through, and returns text that is none"
#| python = "ok"
#| sandbox = "ok"

import codecs


def search(name):
    return codecs.CodecInfo(trap, trap, name=name)


def trap(*args):
    raise SystemExit("a poisoned codec was used")


def main():
    codecs.register(search)
    for errors in ("strict", "backslashreplace", "surrogateescape", "replace"):
        codecs.register_error(errors, trap)
    print("\ud800 and \udfff")
    return "\ud800\udc00\udfff\x00\x1b[31m"
