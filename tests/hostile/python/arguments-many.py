#| tries = "is called with a million arguments"
#| args_text = { before = "[0", repeat = ",1", times = 1000000, closing = "", after = "]" }
#| python = "ok 1000001"
#| sandbox = ["ok 1000001", "memory_limit"]
#| limits = { timeout = 30 }


def main(*args):
    return len(args)
