#| tries = "leaves timers of the kernel behind, which stop the worker before its next order"
#| python = "ok []"

import ctypes
import platform

# timer_create and timer_settime.
CALLS = (222, 223) if platform.machine() == "x86_64" else (107, 110)


class Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    ]


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    made = []
    for signal in (19, 9, 14, 10):
        for clock in (0, 1, 2, 3):
            event, timer = Event(None, signal, 0), ctypes.c_void_p()
            if libc.syscall(CALLS[0], clock, ctypes.byref(event), ctypes.byref(timer)) == 0:
                in_300_ms = (ctypes.c_long * 4)(0, 0, 0, 300_000_000)
                libc.syscall(CALLS[1], timer, 0, in_300_ms, None)
                made.append([signal, clock])
    return made
