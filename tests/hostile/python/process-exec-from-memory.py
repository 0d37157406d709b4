#| tries = "turns itself into a program that is in memory alone, or in its own folder"
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import os

SCRIPT = b"#!/bin/sh\nexit 0\n"


def main():
    def from_memory():
        descriptor = os.memfd_create("program")
        os.write(descriptor, SCRIPT)
        os.execve(descriptor, ["program"], {})

    def from_own_folder():
        with open("program", "wb") as file:
            file.write(SCRIPT)
        os.chmod("program", 0o755)
        os.execv("./program", ["program"])

    def through_the_linker():
        os.execv("/lib64/ld-linux-x86-64.so.2", ["ld.so", "/bin/true"])

    def spawned_from_memory():
        descriptor = os.memfd_create("program")
        os.write(descriptor, SCRIPT)
        os.posix_spawn(f"/proc/self/fd/{descriptor}", ["program"], {})

    reached = []
    for function in (from_memory, from_own_folder, through_the_linker, spawned_from_memory):
        try:
            function()
            reached.append(function.__name__)
        except Exception:
            pass
    return reached
