#| tries = "opens a socket of every family and type there is"
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import socket


def main():
    reached = []
    for family in range(50):
        for kind in (1, 2, 3, 4, 5, 6, 10):
            for protocol in (0, 1, 6, 17, 58, 132, 255):
                try:
                    socket.socket(family, kind, protocol).close()
                    reached.append(f"{family}/{kind}/{protocol}")
                except Exception:
                    pass
    return reached
