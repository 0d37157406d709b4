#| tries = "keeps its memory from being swapped out, and takes huge pages"
#| needs = ["seccomp"]
#| python = "ok []"

import ctypes
import mmap


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    reached = []
    page = mmap.mmap(-1, 64 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if libc.mlockall(3) == 0:
        reached.append("mlockall")
    if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(64 << 20)) == 0:
        reached.append("mlock")
    try:
        mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
        reached.append("huge pages")
    except (OSError, ValueError):
        pass
    return reached
