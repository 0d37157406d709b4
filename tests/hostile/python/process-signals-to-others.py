#| tries = "signals the node, its group, the first process, and everybody"
#| args = ["$node"]
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import signal


def main(node):
    reached = []
    # Signal 0 only asks whether it would be allowed: a node which fails the test stays alive to say so.
    for name, function in (
        ("node", lambda: os.kill(node, 0)),
        ("parent", lambda: os.kill(os.getppid(), 0)),
        ("first", lambda: os.kill(1, 0)),
        ("everybody", lambda: os.kill(-1, 0)),
        ("group of the node", lambda: os.killpg(os.getpgid(node), 0)),
        ("pidfd", lambda: signal.pidfd_send_signal(os.pidfd_open(node), 0)),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    for number in range(max(2, node - 50), node + 50):
        try:
            if number != os.getpid():
                os.kill(number, 0)
                reached.append(number)
        except Exception:
            pass
    return reached
