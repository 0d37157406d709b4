#| tries = "makes thousands of files that are nearly empty"
#| python = "ok"
#| sandbox = "ok 0"
#| limits = { timeout = 30 }

import os


def main():
    written = 0
    try:
        for number in range(3000):
            os.makedirs(f"{number % 50}", exist_ok=True)
            with open(f"{number % 50}/{number}", "wb") as file:
                written += file.write(b"x")
    except OSError:
        pass
    return written
