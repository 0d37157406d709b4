#| tries = "fills the disk from its folder, in one file"
#| python = "ok true"
#| sandbox = "ok true"
#| limits = { timeout = 20 }

BLOCK = bytes(1 << 20)


def main():
    # Bounded, so that a node which fails the test does not take the machine with it. The corpus allows 64 MiB.
    written = 0
    try:
        with open("bomb", "wb", buffering=0) as file:
            for _ in range(256):
                written += file.write(BLOCK)
    except OSError:
        pass
    return written <= 64 << 20
