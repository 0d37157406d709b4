#| tries = "makes system calls through the interface for 32-bit programs and through x32, which a filter may forget"
#| needs = ["seccomp"]
#| python = ["ok []", "worker_died"]

import ctypes
import mmap
import platform


def run(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return function()


def main():
    if platform.machine() != "x86_64":
        return []
    reached = []
    # x32: mov eax, 0x40000000 + 39 (getpid); syscall; ret
    if run(b"\xb8\x27\x00\x00\x40\x0f\x05\xc3") > 0:
        reached.append("x32")
    # mov eax, 20 (getpid); int 0x80; ret
    if run(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3") > 0:
        reached.append("int 0x80")
    return reached
