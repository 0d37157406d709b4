#| tries = "connects to the node's own port, where a local client may do everything"
#| args = ["$port"]
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import asyncio
import socket
import struct


def ask(connection):
    message = b'{"type":"PING"}'
    connection.sendall(struct.pack(">I", len(message)) + message)
    return connection.recv(100)


def main(port):
    reached = []

    async def stream():
        await asyncio.open_connection("127.0.0.1", port)

    for name, function in (
        ("127.0.0.1", lambda: ask(socket.create_connection(("127.0.0.1", port), timeout=2))),
        ("localhost", lambda: ask(socket.create_connection(("localhost", port), timeout=2))),
        ("::1", lambda: ask(socket.create_connection(("::1", port), timeout=2))),
        ("mapped", lambda: ask(socket.create_connection(("::ffff:127.0.0.1", port), timeout=2))),
        ("asyncio", lambda: asyncio.run(stream())),
        ("listen", lambda: socket.create_server(("127.0.0.1", 0))),
        ("datagram", lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    return reached
