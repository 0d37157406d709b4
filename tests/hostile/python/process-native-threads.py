#| tries = "takes all numbers of threads that the machine has, without the interpreter and with stacks that cost nothing"
#| python = "thread_limit"
#| limits = { timeout = 20 }

import ctypes
import time


def main():
    libc = ctypes.CDLL(None)
    attributes = ctypes.create_string_buffer(256)
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(32 << 10))
    thread = ctypes.c_ulong()
    # Bounded, so that a node which fails the test does not take the machine with it.
    made = sum(
        libc.pthread_create(ctypes.byref(thread), attributes, ctypes.cast(libc.pause, ctypes.c_void_p), None) == 0
        for _ in range(2000)
    )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return made
