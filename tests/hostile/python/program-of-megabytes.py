#| tries = "is itself as long as a message may be"
#| program = { before = "def main(): return 1\n", repeat = "#", times = 15000000, after = "" }
#| python = "ok 1"
#| sandbox = "ok 1"
#| limits = { timeout = 30 }
