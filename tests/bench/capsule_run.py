"""Another sandbox for Python: capsule-run, whose tasks are components for its own runtime, each run in a new instance.

The task is built from the source below in the folder that is the only argument, once; that takes half a minute. It runs
any program, as the node's sandbox does. Then orders come as in pool.py, after a first answer when everything is ready.
"""

import asyncio
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time

import capsule

TASK = '''import json

from capsule import task


@task(name="main")
def main(program: str, function: str, args: str):
    names = {"__name__": "__main__"}
    exec(program, names)
    return names[function](*json.loads(args))
'''
PROGRAM = "def square(x):\n    return x * x\n"


def build(folder, version):
    recipe = f"# {version}\n{TASK}"
    built_from = folder / "recipe.txt"
    if built_from.exists() and built_from.read_text() == recipe:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(TASK)
    command = ["capsule", "build", "task.py", "--export"]
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
    # Last, so that an interrupted run is repeated.
    built_from.write_text(recipe)


async def square(folder):
    answer = await capsule.run(file="task.wasm", args=[PROGRAM, "square", "[7]"], cwd=str(folder))
    if answer["result"] != 49:
        raise ValueError(f"a wrong result: {answer}")


async def latency(folder, seconds, _):
    samples = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        await square(folder)
        samples.append((time.perf_counter() - begun) * 1e6)
    samples.sort()
    return {"p50": samples[len(samples) // 2], "p99": samples[int(len(samples) * 0.99)]}


async def throughput(folder, seconds, in_flight):
    begun = time.perf_counter()

    async def one_after_the_other():
        count = 0
        while time.perf_counter() < begun + seconds:
            await square(folder)
            count += 1
        return count

    counts = await asyncio.gather(*[one_after_the_other() for _ in range(int(in_flight))])
    return {"per_second": sum(counts) / (time.perf_counter() - begun)}


async def main(folder):
    # Its programs lie beside the interpreter.
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    version = importlib.metadata.version("capsule-run")
    build(folder, version)
    await latency(folder, 0.5, 0)
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        what, seconds, parameter = line.split()
        measurement = {"latency": latency, "throughput": throughput}[what]
        print(json.dumps(await measurement(folder, float(seconds), float(parameter))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1])))
