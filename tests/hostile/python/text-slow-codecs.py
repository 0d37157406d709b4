#| tries = "uses the slow parts of the library for texts: names of domains, differences, normal forms, wildcards"
#| python = ["timeout", "ok"]
#| sandbox = ["timeout", "ok", "memory_limit"]
#| limits = { timeout = 1 }

import difflib
import fnmatch
import unicodedata


def main():
    for _ in range(100):
        try:
            ("\u0130" * 100_000).encode("idna")
        except UnicodeError:
            pass
        unicodedata.normalize("NFKC", "\ufdfa" * 1_000_000)
        fnmatch.fnmatch("a" * 50_000, "*a" * 50 + "b")
        difflib.SequenceMatcher(None, "ab" * 5_000, "ba" * 5_000, False).ratio()
    return 1
