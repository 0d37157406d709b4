#| tries = "starts processes through the libraries for parallel work"
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"
#| limits = { timeout = 20 }

import concurrent.futures
import multiprocessing


def work(x=1):
    return x


def main():
    reached = []

    def start(method):
        process = multiprocessing.get_context(method).Process(target=work)
        process.start()
        process.join(5)

    def memory():
        from multiprocessing import shared_memory

        shared_memory.SharedMemory(create=True, size=1 << 20).unlink()

    for name, function in (
        ("fork", lambda: start("fork")),
        ("spawn", lambda: start("spawn")),
        ("forkserver", lambda: start("forkserver")),
        ("executor", lambda: concurrent.futures.ProcessPoolExecutor(1).submit(work).result(5)),
        ("shared memory", memory),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    return reached
