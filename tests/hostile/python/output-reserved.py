#| tries = "reserves memory behind the end of its standard output, where no length shows it"
#| python = "ok []"
#| limits = { timeout = 10, output_limit_bytes = 4096 }

import ctypes

# FALLOC_FL_KEEP_SIZE, alone and with flags that move, remove and zero what is there.
MODES = (1, 1 | 2, 8, 16, 16 | 1, 32, 64, 64 | 1)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    reserved = []
    for descriptor in (1, 2):
        for mode in MODES:
            if libc.fallocate(descriptor, mode, ctypes.c_long(0), ctypes.c_long(64 << 20)) == 0:
                reserved.append([descriptor, mode])
    return reserved
