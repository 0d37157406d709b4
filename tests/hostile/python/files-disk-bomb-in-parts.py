#| tries = "fills the disk from its folder, in many files that are small enough each"
#| python = "scratch_limit"
#| sandbox = "ok true"
#| limits = { timeout = 20 }

BLOCK = bytes(1 << 20)


def main():
    written = 0
    try:
        for number in range(64):
            with open(f"bomb-{number}", "wb", buffering=0) as file:
                for _ in range(8):
                    written += file.write(BLOCK)
    except OSError:
        pass
    # Who has written more is looked at every quarter of a second.
    while written > 128 << 20:
        pass
    return True
