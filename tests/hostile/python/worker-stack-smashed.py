#| tries = "overwrites its own stack and jumps to nowhere"
#| python = "worker_died: signal"

import ctypes


def main():
    buffer = ctypes.create_string_buffer(8)
    try:
        # Read-only memory, the stack, an address that is nothing.
        ctypes.memmove(id(main), b"\xff" * 64, 64)
        ctypes.memset(ctypes.addressof(buffer), 0xFF, 1 << 24)
    finally:
        ctypes.CFUNCTYPE(None)(0x41)()
