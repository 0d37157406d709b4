"""The standard image of the sandbox: CPython with its standard library, started once and frozen twice.

`componentize-py` runs this file when the image is built and takes a snapshot of the interpreter afterwards. The worker
program then calls `install` in that, and takes another one. So all this is paid for once, by whoever builds the image, and
is there in every instance: imported modules, warm code, a heap without holes. What a task does is seen by no other, because
its instance is thrown away.

The secret that spreads the hashes of strings is part of the snapshot: `hash("a")` is the same in all instances. Somebody
who knows the image can therefore write a program whose dictionaries are slow, which costs that program its own time and
nobody else's.
"""

import wit_world
from componentize_py_types import Err

import compaction
import event_loop
import library
import packages
import randomness
import runner

library.load()
potluck = library.potluck()
# Looked up each time: what is held here now would be this instance's.
potluck._send = lambda message: wit_world.call(message)
potluck._program = runner.program
event_loop.install()
runner.warm_up()
randomness.make_lazy()
library.forget_build_machine()

OWN_MODULES = (
    "app", "compaction", "event_loop", "library", "packages", "package_files", "randomness", "runner", "wit_world",
    "componentize_py_types",
)  # fmt: skip


class WitWorld(wit_world.WitWorld):
    def install(self, wanted: list) -> wit_world.Installation:
        global _FILLED
        try:
            names, on_demand = packages.install(wanted)
        except packages.Unusable as error:
            raise Err(str(error)) from None
        wanted.clear()
        randomness.make_lazy()
        library.forget_build_machine()
        # Not sooner: they are being imported until the first snapshot is taken.
        library.hide(OWN_MODULES)
        for _ in range(20):
            runner.touch()
        randomness.forget()
        runner.freeze()
        # Last: what is allocated from here on lies behind everything else.
        _FILLED = _FILLED, compaction.fill_holes()
        return wit_world.Installation(names, on_demand)

    def prepare(self) -> None:
        # The bindings have just seeded the generator themselves, which imported it.
        randomness.forget()
        runner.touch()

    def compile(self, program: str) -> bytes:
        code, failure = runner.compile_program(program)
        if failure is None:
            return code
        raise Err(wit_world.Failure(*failure))

    def run(self, program: str, code: bytes, function: str, args_json: str) -> str:
        result, failure = runner.run(program, code, function, args_json)
        if failure is None:
            return result
        raise Err(wit_world.Failure(*failure))


_FILLED = None
