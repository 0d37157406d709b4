#| tries = "decompresses gigabytes with the two compressors that shrink zeroes best"
#| python = "memory_limit"
#| limits = { timeout = 30 }

import bz2
import lzma


def main():
    packed = bz2.compress(bytes(1 << 24)) * 64
    try:
        return len(bz2.decompress(packed))
    except MemoryError:
        return len(lzma.decompress(lzma.compress(bytes(1 << 24), preset=0) * 64))
