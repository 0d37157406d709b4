#| tries = "types into terminals, opens new ones, and sends requests to devices"
#| needs = ["seccomp", "landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main():
    reached = []

    def request(number):
        import fcntl

        for descriptor in range(256):
            try:
                fcntl.ioctl(descriptor, number, b"x")
                return
            except OSError:
                pass
        raise OSError

    for name, function in (
        ("TIOCSTI", lambda: request(0x5412)),
        ("TIOCLINUX", lambda: request(0x541C)),
        ("TIOCSCTTY", lambda: request(0x540E)),
        ("ptmx", lambda: os.open("/dev/ptmx", os.O_RDWR)),
        ("openpty", lambda: os.openpty()),
        ("tty", lambda: os.open("/dev/tty", os.O_RDWR)),
        ("console", lambda: os.open("/dev/console", os.O_WRONLY)),
        ("kvm", lambda: os.open("/dev/kvm", os.O_RDWR)),
        ("fuse", lambda: os.open("/dev/fuse", os.O_RDWR)),
        ("loop", lambda: os.open("/dev/loop-control", os.O_RDWR)),
        ("sysrq", lambda: os.open("/proc/sysrq-trigger", os.O_WRONLY)),
        ("sysctl", lambda: os.open("/proc/sys/kernel/hostname", os.O_WRONLY)),
    ):
        try:
            function()
            reached.append(name)
        except Exception:
            pass
    return reached
