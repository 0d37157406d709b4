#| tries = "looks for what was open in the worker when it was started: of whoever started the node, and of the node"
#| python = "ok []"

import os
import stat


def main():
    own = [os.fstat(descriptor) for descriptor in (1, 2)]
    found = []
    sockets = 0
    for descriptor in range(3, 65536):
        try:
            status = os.fstat(descriptor)
        except OSError:
            continue
        # The worker's own way to the node, and what it keeps of the task's output.
        is_socket = stat.S_ISSOCK(status.st_mode)
        sockets += is_socket
        if sockets > 1 or not is_socket and not any(os.path.samestat(status, other) for other in own):
            found.append([descriptor, stat.filemode(status.st_mode)])
    return found
