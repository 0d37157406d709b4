#| tries = "changes limits, priority and processors of the node, and raises its own"
#| args = ["$node"]
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(node):
    try:
        import resource
    except ImportError:
        resource = None
    reached = []
    for name, function in (
        ("limits of the node", lambda: resource.prlimit(node, resource.RLIMIT_NOFILE)),
        ("limits of the parent", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_AS)),
        ("priority of the node", lambda: os.setpriority(os.PRIO_PROCESS, node, 0)),
        ("own priority", lambda: os.nice(-5)),
        ("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        ("processors of the node", lambda: os.sched_setaffinity(node, {0})),
        ("group of the node", lambda: os.setpgid(0, os.getpgid(node))),
        ("session", lambda: os.setsid()),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    for limit in ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_RTPRIO", "RLIMIT_NICE"):
        try:
            number = getattr(resource, limit)
            soft, hard = resource.getrlimit(number)
            if hard == resource.RLIM_INFINITY:
                reached.append(f"{limit} has no limit")
                continue
            resource.setrlimit(number, (hard + 1, hard + 1))
            reached.append(limit)
        except Exception:
            pass
    return reached
