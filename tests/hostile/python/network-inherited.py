#| tries = "uses the descriptors that the worker has open as sockets: connects, listens, asks whom they lead to"
#| args = ["$port"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import socket


def main(port):
    reached = []
    for descriptor in range(3, 256):
        try:
            connection = socket.socket(fileno=os.dup(descriptor))
        except Exception:
            continue
        for name, function in (
            ("connect", lambda: connection.connect(("127.0.0.1", port))),
            ("listen", lambda: connection.listen()),
            ("bind", lambda: connection.bind("")),
            ("accept", lambda: (connection.setblocking(False), connection.accept())),
            ("pass", lambda: socket.send_fds(connection, [b""], [descriptor])),
        ):
            try:
                function()
                reached.append(f"{name} {descriptor}")
            except Exception:
                pass
    return reached
