#| tries = "reads memory, environment and files of the node, of other workers and of the first process through /proc"
#| args = ["$node"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(node):
    reached = []
    numbers = {node, 1}
    try:
        numbers |= {os.getppid()}
        numbers |= {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}
    except (OSError, AttributeError):
        pass
    for number in sorted(numbers)[:200]:
        for name in ("mem", "environ", "maps", "cmdline", "auxv", "fd", "cwd/.", "root/etc", "map_files", "task", "syscall", "stack"):
            path = f"/proc/{number}/{name}"
            try:
                os.listdir(path) if name in ("fd", "cwd/.", "root/etc", "map_files", "task") else open(path, "rb").read(1)
            except (OSError, ValueError):
                continue
            reached.append(path)
    return reached
