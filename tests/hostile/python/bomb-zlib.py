#| tries = "decompresses 8 MB to 8 GiB, in one piece"
#| python = "memory_limit"
#| sandbox = "memory_limit"
#| limits = { timeout = 30 }

import zlib


def main():
    compressor = zlib.compressobj(9, wbits=-15)
    # A full flush makes the piece independent of what is before it, so it can be repeated.
    piece = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return len(zlib.decompress(piece * 8192, wbits=-15))
