#| tries = "opens descriptors until there are no more, and keeps them"
#| python = "ok true"
#| sandbox = "ok true"

import os


def main():
    kept = []
    try:
        while len(kept) < 100_000:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except Exception:
        pass
    try:
        while len(kept) < 100_000:
            kept.extend(os.pipe())
    except Exception:
        pass
    return len(kept) < 5000
