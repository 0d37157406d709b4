#| tries = "matches a regular expression that backtracks for years, without a break"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }

import re


def main():
    return re.match("(a+)+$", "a" * 60 + "b") is None
