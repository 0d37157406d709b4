#| tries = "decompresses thousands of members of a gzip file, gigabytes together"
#| python = "memory_limit"
#| sandbox = "memory_limit"
#| limits = { timeout = 30 }

import gzip


def main():
    return len(gzip.decompress(gzip.compress(bytes(1 << 20)) * 4096))
