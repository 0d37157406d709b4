#| tries = "asks for names and for pages: name servers, the service that tells virtual machines their secrets"
#| python = "ok []"
#| sandbox = "ok []"
#| limits = { timeout = 20 }

import socket
import urllib.request


def main():
    reached = []
    for name, function in (
        ("getaddrinfo", lambda: socket.getaddrinfo("example.org", 80)),
        ("gethostbyname", lambda: socket.gethostbyname("example.org")),
        ("urlopen", lambda: urllib.request.urlopen("http://169.254.169.254/latest/meta-data", timeout=1)),
        ("file", lambda: urllib.request.urlopen("file:///etc/shadow")),
        ("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0/tmp/.X11-unix/X0")),
        ("bus", lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    return reached
