#| tries = "returns, and leaves a thread behind that the interpreter knows nothing of"
#| python = "ok 0"

import ctypes


def main():
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    return libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
