#| tries = "empties sys.modules, sys.path and the modules themselves, and then fails"
#| python = "task_failed: after all that"
#| sandbox = "task_failed"

import builtins
import json
import sys
import traceback


def main():
    error = RuntimeError("after all that")
    sys.modules.clear()
    sys.path.clear()
    for module in (json, json.encoder, json.decoder, traceback):
        vars(module).clear()
    vars(sys).pop("stdout", None)
    vars(sys).pop("stderr", None)
    raise error
