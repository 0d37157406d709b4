#| tries = "prints what makes terminals and JSON readers stumble: escapes, NUL, halves of characters"
#| python = "ok"
#| sandbox = "ok"

import os


def main():
    print("\x1b]0;title\x07\x1b[2J\x1b[31m\x00\u202e\u2028\ufeff\U0010ffff\ud800")
    os.write(1, bytes(range(256)) * 10)
    os.write(1, "é".encode()[:1])
    return "\x00\u2028\U0010ffff</script>"
