#| tries = "writes to the descriptors of standard output, beside Python's streams, and ignores errors"
#| python = ["output_limit", "timeout"]
#| sandbox = ["output_limit", "timeout"]
#| limits = { timeout = 5 }

import os

BLOCK = b"\xff\x00\x1b[2J" * 10_000


def main():
    while True:
        for descriptor in (1, 2):
            try:
                os.write(descriptor, BLOCK)
            except OSError:
                pass
